# Everything a person needs to run, test and build Tallystick. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: boards campaign coverage fuzz-reader help setup packages pythons demo test lint format bench image privacyidea stock-client clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet -e '.[all]' --group dev
	$(BIN)/pip install --quiet --no-deps --group clients
	@touch $@

setup: $(STAMP) ## Make .venv with everything in it

packages: ## Install the Debian packages that some tests need (as root; otherwise says so)
	@.ci/packages

pythons: setup ## Environments for the other Pythons of this machine, which one test compares
	@.ci/pythons

demo: setup ## The main job, end to end, on an emulated card
	$(BIN)/tally demo

test: setup packages pythons lint ## Lint, then every test
	$(BIN)/pytest -n auto

# The ports' stubs overwrite one another in one site-packages: each has a folder of its own.
STUBS := $(VENV)/stubs
$(STUBS)/.installed: | $(STAMP)
	$(BIN)/pip install --quiet --upgrade --target $(STUBS)/rp2 'micropython-rp2-stubs>=1.28,<2'
	$(BIN)/pip install --quiet --upgrade --target $(STUBS)/stm32 'micropython-stm32-stubs>=1.28,<2'
	@touch $@

lint: setup $(STUBS)/.installed ## Style, types, import arrows, what the boards' MicroPython has
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tallystick.tools.image.ports $(STUBS)

coverage: setup ## Which lines of the card's firmware the suite executes; fails under 95 %
	rm -rf build/hits
	TALLY_COVERAGE=$(CURDIR)/build/hits $(BIN)/pytest -q -n auto tests/firmware tests/tools/flash tests/tools/selftest tests/system tests/provisioning/test_emulated.py
	$(BIN)/tally coverage build/hits --data build/.coverage.firmware --lcov build/firmware.info --html build/coverage --only card/ --fail-under 95

format: setup ## Let ruff rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image: setup ## Build the card's firmware image into build/, and measure the heap it needs
	$(BIN)/tally image build --device card --heap

boards: setup ## Build MicroPython for the boards from TALLY_MICROPYTHON_SRC, beside the flash map
	@if [ -n "$$TALLY_MICROPYTHON_SRC" ]; then \
		$(BIN)/python -m tallystick.tools.image.board_builds "$$TALLY_MICROPYTHON_SRC" build/micropython; \
	else \
		echo "NOT BUILT: TALLY_MICROPYTHON_SRC names no checkout of MicroPython (docs/boards.md)"; \
	fi

campaign: setup ## Cut the power everywhere, in every way (about twenty minutes on two cores)
	$(BIN)/tally campaign powercut --scenario all --depth 3
	$(BIN)/tally campaign zoo
	$(BIN)/tally campaign wear

fuzz-reader: setup ## A million packets at the fingerprint reader (about ten minutes)
	$(BIN)/python -m tests.emulator.reader.fuzz 1000000

bench: setup ## Measure, beside an aim and a peer
	$(BIN)/tally bench

privacyidea: setup ## Install a real privacyIDEA (500 MB) and register cards with it
	$(PYTHON) -m venv build/privacyidea
	build/privacyidea/bin/pip install --quiet 'privacyidea>=3.10,<4'
	TALLY_TEST_PRIVACYIDEA=build/privacyidea $(BIN)/pytest tests/provisioning/test_privacyidea.py

stock-client: setup ## Install ykman (compiles pyscard: swig, libpcsclite-dev) and use it on our card
	$(PYTHON) -m venv build/ykman
	build/ykman/bin/pip install --quiet 'yubikey-manager>=5.9,<6'
	$(BIN)/pip install --quiet 'pyscard>=2.2,<3'
	TALLY_TEST_YKMAN=build/ykman $(BIN)/pytest tests/provisioning/test_stock_client.py

clean: ## Remove what was built (not .venv)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
