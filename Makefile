# Everything a person needs to run, test and build Tallystick. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: boards campaign changelog compiled coverage docs foreign fresh fuzz-reader fuzz-tokens ha help hooks papers release setup packages pythons demo soak test test-whole lint upgrade format bench image privacyidea clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

# What is installed stands in requirements/, each version with its hashes. Our own package is built
# with what is installed then (no isolation), so that nothing unlisted comes in.
LOCKED := $(BIN)/pip install --quiet --require-hashes -r
$(STAMP): pyproject.toml requirements/setup.txt requirements/clients.txt
	$(PYTHON) -m venv $(VENV)
	$(LOCKED) requirements/setup.txt
	$(LOCKED) requirements/clients.txt --no-deps
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP) ## Make .venv with everything in it

packages: ## Install the Debian packages that some tests need (as root; otherwise says so)
	@.ci/packages

compiled: setup ## What the index has no wheels of: python-ldap, pyscard, and ykman
	@.ci/compiled

pythons: setup ## Environments for the other Pythons of this machine, which one test compares
	@.ci/pythons

# python-fido2's device tests are in its source distribution only, which fits what is installed.
FIDO2 = $(shell $(BIN)/python -c 'from importlib.metadata import version; print(version("fido2"))')
foreign: setup ## Fetch the source distributions whose own tests ours run
	test -f build/foreign/fido2-$(FIDO2).tar.gz || $(BIN)/pip download --quiet --no-deps \
	  --no-binary fido2 --dest build/foreign fido2==$(FIDO2)

demo: setup ## The main job, end to end, on an emulated card
	$(BIN)/tally demo

# What waits for the network or for dpkg runs beside what computes.
# Some images forbid Python to keep what it has compiled: every process of a test would compile anew.
# Tests wait for processes of theirs a third of the time: half as many again as there are processors.
WORKERS = $(shell echo $$(( ($$(nproc) * 3 + 1) / 2 )))
test: ## Lint, then every test
	@$(MAKE) --no-print-directory -j2 setup packages
	@$(MAKE) --no-print-directory -j3 compiled pythons foreign lint
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

test-whole: ## As test, with every case of the long tests (hours)
	@TALLY_CAMPAIGN=1 $(MAKE) --no-print-directory test

# The ports' stubs overwrite one another in one site-packages: each has a folder of its own.
STUBS := $(VENV)/stubs
$(STUBS)/.installed: requirements/stubs-rp2.txt requirements/stubs-stm32.txt | $(STAMP)
	$(LOCKED) requirements/stubs-rp2.txt --upgrade --target $(STUBS)/rp2
	$(LOCKED) requirements/stubs-stm32.txt --upgrade --target $(STUBS)/stm32
	@touch $@

lint: setup papers $(STUBS)/.installed ## Papers, style, types (firmware: by its boards' stubs), import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tallystick.tools.image.ports $(STUBS) .mypy_cache/firmware

papers: setup ## Requirements, licences, change fragments, commit subjects
	$(BIN)/python -m tallystick.tools.upkeep.locks --check
	$(BIN)/python -m tallystick.tools.upkeep.licences --check
	$(BIN)/python -m tallystick.tools.upkeep.fragments
	$(BIN)/python -m tallystick.tools.upkeep.subjects

upgrade: setup ## Lock the newest versions that pyproject.toml allows, install them, list their licences
	$(BIN)/python -m tallystick.tools.upkeep.locks
	$(MAKE) setup
	$(BIN)/python -m tallystick.tools.upkeep.licences

hooks: setup ## Have git call `make lint` before a commit, and check its subject
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type commit-msg

changelog: setup ## Gather changes/ into CHANGELOG.md, under the version of tallystick/__init__.py
	$(BIN)/towncrier build --yes

release: setup ## Wheel, sources, images of all boards, checksums and notes, of the last commit, into dist/
	$(BIN)/python -m tallystick.tools.upkeep.release $(if $(KEY),--key $(KEY)) $(if $(PASSPHRASE_FILE),--passphrase-file $(PASSPHRASE_FILE))

fresh: ## Both commands of the README on a bare Debian 12 and 13 (root; DEBIAN=13, FRESH_ARGS=tests/server)
	@DEBIAN="$(DEBIAN)" FRESH_ARGS="$(FRESH_ARGS)" FRESH_KEEP="$(FRESH_KEEP)" $(PYTHON) .ci/fresh.py

docs: setup ## The documents as a site, in build/site: searched without a server, links checked
	$(BIN)/python -m tallystick.cli.reference
	$(BIN)/python -m tallystick.cli.policy_page
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Whose tests execute the refusals of the guards (tools/campaign/mutants/scope.py).
GUARDED := tests/server tests/provisioning tests/tools/flash tests/tools/image tests/emulator tests/firmware/wire
coverage: setup ## What the suite executes: of the card's firmware 95 % at least, of the guards every refusal
	rm -rf build/hits
	TALLY_COVERAGE=$(CURDIR)/build/hits $(BIN)/pytest -q -n auto --dist worksteal tests/firmware tests/tools/flash tests/tools/selftest tests/system tests/provisioning/test_emulated.py
	$(BIN)/tally coverage build/hits --data build/.coverage.firmware --lcov build/firmware.info --html build/coverage --only card/ --fail-under 95
	rm -rf build/mutants/map
	-$(BIN)/tally campaign mutants $(GUARDED:%=--map %) # a test that fails here, being slower, is in no map
	$(BIN)/tally campaign refusals

format: setup ## Let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image: setup ## Build the card's firmware image into build/, and measure the heap it needs
	$(BIN)/tally image build --device card --heap

boards: setup ## Build MicroPython for the boards from TALLY_MICROPYTHON_SRC, beside the flash map
	@if [ -n "$$TALLY_MICROPYTHON_SRC" ]; then \
		$(BIN)/python -m tallystick.tools.image.board_builds "$$TALLY_MICROPYTHON_SRC" build/micropython; \
	else \
		echo "NOT BUILT: TALLY_MICROPYTHON_SRC names no checkout of MicroPython (docs/reference/boards.md)"; \
	fi

campaign: setup ## Cut the power in every way, every command in every order, accounts by every actor (hours)
	$(BIN)/tally campaign powercut --scenario all --depth 3
	$(BIN)/tally campaign ctap --full --state build/campaign/ctap.jsonl
	$(BIN)/tally campaign rollback --write-backs 100000 --state build/campaign/rollback.jsonl
	$(BIN)/tally campaign zoo
	$(BIN)/tally campaign proof --slots 3
	$(BIN)/tally campaign proof --replaces
	$(BIN)/tally campaign proof --rots --leaps
	$(BIN)/tally campaign proof --of records --slots 3
	$(BIN)/tally campaign stores
	$(BIN)/tally campaign wear
	$(BIN)/tally campaign wire --runs 100000
	$(BIN)/tally campaign wire --zoo
	$(BIN)/tally campaign tickets
	$(BIN)/tally campaign firm --cards 1000 --readers 20 --days 30
	$(BIN)/tally campaign firm --zoo
	$(BIN)/tally campaign accounts --full --state build/campaign/accounts.json

SECONDS ?= 3600
soak: setup ## Firms one after the other, a seed each, for SECONDS; goes on where it stopped
	$(BIN)/tally campaign firm --soak $(SECONDS) --faults high --state build/campaign/firm.json

ha: setup ## Lose the leader of three databases (Patroni, etcd, HAProxy) in every way, under load
	$(BIN)/tally campaign ha

fuzz-reader: setup ## A million packets at the fingerprint reader (about ten minutes)
	$(BIN)/python -m tests.emulator.reader.fuzz 1000000

fuzz-tokens: setup ## 200,000 mutated token files at the importer (about two minutes)
	$(BIN)/python -m tests.server.fuzz_token_files 200000

bench: setup ## Measure, beside an aim and a peer
	$(BIN)/tally bench

privacyidea: setup ## Install a real privacyIDEA (500 MB) and register cards with it
	$(PYTHON) -m venv build/privacyidea
	build/privacyidea/bin/pip install --quiet 'privacyidea>=3.10,<4'
	TALLY_TEST_PRIVACYIDEA=build/privacyidea $(BIN)/pytest tests/provisioning/test_privacyidea.py

clean: ## Remove what was built (not .venv)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
