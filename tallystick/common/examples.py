"""An example of every command: `--help` shows it, and the command reference."""

from __future__ import annotations

import click

# The command without `tally` → its example, a line each. At most 76 characters a line.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("tally demo --board pico --out demo",),
    "emulate card": (
        "tally emulate card --panel --seeded",
        "tally emulate card --pty --control 0",
        "tally emulate card --firmware lamp --panel --watch",
    ),
    "new": ("tally new lamp",),
    "debug": ("tally debug lamp --port 4711",),
    "emulate reader": (
        "tally emulate reader --control 0",
        "tally emulate reader --usb -- fido2-token -L",
    ),
    "emulate sensor": ("tally emulate sensor --pty --control 0",),
    "station audit export": ("tally station audit export > audit.jsonl",),
    "station audit verify": ("tally station audit verify audit.jsonl",),
    "station box scan": (
        "tally station box scan B17",
        "tally station box scan B17 serials.txt",
    ),
    "station box show": ("tally station box show B17",),
    "station console": ("tally station console --server https://otp.example.org",),
    "station desk assign": ("tally station desk assign TS00000042 ada",),
    "station desk card": ("tally station desk card TS00000042",),
    "station desk cards": ("tally station desk cards --where pool",),
    "station desk found": ("tally station desk found TS00000042",),
    "station desk lend": (
        "tally station desk lend TS00000042 ada",
        "tally station desk lend TS00000042 ada --until 'Monday 9:00'",
    ),
    "station desk lost": ("tally station desk lost TS00000042",),
    "station desk overdue": ("tally station desk overdue",),
    "station desk person": ("tally station desk person ada",),
    "station desk replace": ("tally station desk replace TS00000042 TS00000043",),
    "station desk resync": ("tally station desk resync TS00000042",),
    "station desk retire": (
        "tally station desk retire --port /dev/ttyUSB0",
        "tally station desk retire TS00000042 --reason 'flat'",
    ),
    "station desk return": (
        "tally station desk return TS00000042",
        "tally station desk return TS00000042 --reason 'button broken'",
    ),
    "station desk sign-in": (
        "tally station desk sign-in --server https://otp.example.org \\",
        "    --credential ann.json",
    ),
    "station desk sign-out": ("tally station desk sign-out",),
    "station desk statistics": ("tally station desk statistics --days 7",),
    "station desk undo": ("tally station desk undo TS00000042",),
    "station enroll": (
        "tally station enroll --server https://otp.example.org \\",
        "    --credential station.json",
    ),
    "station foreign": (
        "tally station foreign --port 'pcsc:Reader 00' --user ada",
        "tally station foreign --ports pcsc:auto --batch keys --users people.csv",
    ),
    "station keys backup": (
        "tally station keys backup keys.backup --person ANN --person BOB \\",
        "    --protocol record.txt",
    ),
    "station keys create": (
        "tally station keys create",
        "tally station keys create --development    # emulated cards only",
    ),
    "station keys pages": (
        "tally station keys pages p.pdf --person ANN --person BOB --backup k.bak",
    ),
    "station keys prove": ("tally station keys prove ABCDEFGHIJ --keys copy.json",),
    "station keys rehearse": (
        "tally station keys rehearse --person ANN --person BOB --pages pages.pdf",
    ),
    "station keys restore": ("tally station keys restore keys.backup",),
    "station keys rotate": ("tally station keys rotate --until 2027-03-31",),
    "station keys rotation": ("tally station keys rotation --list",),
    "station keys show": ("tally station keys show",),
    "station keys try": (
        "tally station keys try keys.backup",
        "tally station keys try                     # asks a module's copy",
    ),
    "station job certificates": (
        "tally station job certificates --ticket job.jws --output certificates",
    ),
    "station job end": ("tally station job end --ticket job.jws --output account.jws",),
    "station job key": ("tally station job key ada.json --name ada",),
    "station job server-key": ("tally station job server-key server.json",),
    "station job sign": ("tally station job sign job.jws --key bea.json",),
    "station job ticket": ("tally station job ticket job.jws --cards 200 --key ada.json",),
    "station job verify": ("tally station job verify account.jws --key server.json",),
    "station labels": (
        "tally station labels --batch june --stock a4-3x8 --output june.pdf",
        "tally station labels TS00000042 --output label.svg",
        "tally station labels --batch june --stock a4-3x8 --start 9 --output june.pdf",
        "tally station labels --batch june --from TS00000042 --output rest.pdf",
    ),
    "station leaflet": (
        "tally station leaflet --language de --output leaflet.pdf",
        "tally station leaflet TS00000042 --paper a4 --output ada.pdf",
    ),
    "station letters": ("tally station letters --batch june --users people.csv --output june.pdf",),
    "station ports": ("tally station ports",),
    "station provision": (
        "tally station provision --port /dev/ttyUSB0 --user ada",
        "tally station provision --batch june --count 40 --ports auto",
        "tally station provision --batch june --users people.csv --ports auto",
        "tally station provision --batch june --box B17 --ports auto",
    ),
    "station reconcile": ("tally station reconcile --port /dev/ttyUSB0",),
    "station report": (
        "tally station report --batch june --output june.html",
        "tally station report --since 6:00 --output shift.csv",
        "tally station report --since 'yesterday 22:00' --output night.csv",
    ),
    "station rekey": ("tally station rekey --port /dev/ttyUSB0",),
    "station reader": (
        "tally station reader --user ada --pins pins.json --papers for-ada",
        "tally station reader --users people.csv --pins pins.json --papers out",
    ),
    "station security-keys": (
        "tally station security-keys --user ada --pins pins.json",
        "tally station security-keys --users people.csv --batch keys --pins pins.json",
    ),
    "station statistics": ("tally station statistics --days 7",),
    "station stock": ("tally station stock --minimum 20",),
    "station resume": ("tally station resume --port /dev/ttyUSB0",),
    "server audit export": ("tally server audit export --format csv > audit.csv",),
    "server audit fail2ban": ("tally server audit fail2ban > tallystick.conf",),
    "server audit prune": ("tally server audit prune --days 400",),
    "server confirm-restore": ("tally server confirm-restore",),
    "server audit check": (
        "tally server audit check --json > heads.json",
        "tally server audit check --noted heads.json",
    ),
    "server backup": (
        "tally server backup monday.db",
        "tally server backup /var/backups/tallystick --keep 14",
    ),
    "server card import": (
        "tally server card import tokens.xml --token-file admin.token \\",
        "    --passphrase-file passphrase.txt",
    ),
    "server credential add": ('tally server credential add --role station "line 1"',),
    "server credential list": ("tally server credential list",),
    "server credential revoke": ("tally server credential revoke 3",),
    "server directory read": ("tally server directory read --dry-run",),
    "server directory check": ("tally server directory check",),
    "server doctor": ("tally server doctor",),
    "server firm add": ("tally server firm add acme",),
    "server firm face": ('tally server firm face acme --colour "#0b5cad" --logo acme.png',),
    "server firm list": ("tally server firm list",),
    "server firm policy": (
        "tally server firm policy acme > acme.json",
        "tally server firm policy acme --set acme.json",
    ),
    "server init": (
        "tally server init",
        "tally server init --public-url https://otp.example.org --proxy caddy --yes",
    ),
    "server keys list": ("tally server keys list",),
    "server keys retire": ("tally server keys retire 1",),
    "server keys rotate": ("tally server keys rotate",),
    "server message test": ("tally server message test --to ada@example.org",),
    "server oidc add": ("tally server oidc add wiki --redirect-uri https://wiki.example.org/back",),
    "server oidc list": ("tally server oidc list --json",),
    "server oidc remove": ("tally server oidc remove wiki",),
    "server oidc secret": ("tally server oidc secret wiki",),
    "server oidc set": ('tally server oidc set wiki --name "The wiki"',),
    "server person set": ('tally server person set ada --name "Ada Lovelace" --group staff',),
    "server signer add": ("tally server signer add ada --key ada.pub.json",),
    "server signer list": ("tally server signer list",),
    "server signer revoke": ("tally server signer revoke ada",),
    "server oidc rotate": ("tally server oidc rotate",),
    "server person add": (
        "tally server person add boss --role administrator",
        "tally server person add ada --email ada@example.org",
    ),
    "server person import": (
        "tally server person import people.csv --dry-run",
        "tally server person import people.csv --complete",
    ),
    "server person invite": (
        "tally server person invite --all",
        "tally server person invite ada bob --letter",
    ),
    "server person behind": ("tally server person behind > behind.csv",),
    "server person export": ("tally server person export > people.csv",),
    "server person list": ("tally server person list ada",),
    "server person leave": ("tally server person leave bob",),
    "server person delete": ("tally server person delete bob",),
    "server person merge": ("tally server person merge ada ada.l",),
    "server person code": ("tally server person code ada",),
    "server radius": ("tally server radius --secret-file radius.secret --client 10.0.0.0/24",),
    "server restore": (
        "tally server restore monday.db --db sqlite:///new.db --key-file server.keys",
    ),
    "server run": ("tally server run --port 8080",),
    "image build": (
        "tally image build --board pico",
        "tally image build --board pico --version 1.4.0 --key firm.key",
    ),
    "image identity": (
        "tally image identity --board pico --first TS00000001 --count 10 \\",
        "    --development --out segments",
    ),
    "image inspect": ("tally image inspect build/card-pico/card.uf2 --picture map.png",),
    "image keys create": ("tally image keys create firm.key",),
    "image keys boot": ("tally image keys boot boot.pem",),
    "image boot": ("tally image boot base.uf2 --board pico2 --boot-key boot.pem --out boot.uf2",),
    "image keys show": ("tally image keys show firm.key",),
    "image merge": (
        "tally image merge build/card-pico --base micropython.uf2 \\",
        "    --identity segments/TS00000001.hex --public-key firm.key \\",
        "    --out TS00000001.hex",
    ),
    "image readers": (
        "tally image readers --first TR00000001 --count 10 --development \\",
        "    --out readers",
    ),
    "image verify": ("tally image verify build/card-pico --public-key firm.key",),
    "battery compare": ("tally battery compare trace.csv --board nucleo_l476rg",),
    "fingerprints draw": ("tally fingerprints draw right-thumb --to sheet.png",),
    "fingerprints measure": ("tally fingerprints measure --fingers 24",),
    "fingerprints show": ("tally fingerprints show",),
    "campaign powercut": (
        "tally campaign powercut --scenario press --depth 2",
        "tally campaign powercut --list",
    ),
    "campaign rollback": (
        "tally campaign rollback --write-backs 200",
        "tally campaign rollback --json",
    ),
    "campaign firm": (
        "tally campaign firm --cards 12 --days 3 --faults high --report firm.html",
        "tally campaign firm --zoo",
    ),
    "campaign audit": ("tally campaign audit build/campaign/powercut-pico.jsonl",),
    "campaign proof": ("tally campaign proof --limit 100",),
    "campaign stores": (
        "tally campaign stores --second 0",
        "tally campaign stores --only 1p1",
    ),
    "campaign wire": (
        "tally campaign wire --runs 1000 --json",
        "tally campaign wire --replay 'provision,>4.edit.99'",
    ),
    "campaign tickets": ("tally campaign tickets --runs 500 --json",),
    "campaign ctap": (
        "tally campaign ctap --json",
        "tally campaign ctap --replay 'A finger-token,B assert-nobody'",
    ),
    "campaign accounts": (
        "tally campaign accounts --json",
        "tally campaign accounts --no-zoo --steps 500",
    ),
    "campaign mutants": (
        "tally campaign mutants --only provisioning/steps.py",
        "tally campaign mutants --again --json",
    ),
    "campaign refusals": ("tally campaign refusals --only server",),
    "campaign replay": (
        "tally campaign replay pico/press/1/3p44",
        "tally campaign replay 'firm,cards=2,readers=0,days=1,faults=none,seed=1' \\",
        "    --at 'day 0, 12:00' --keep look",
    ),
    "campaign zoo": ("tally campaign zoo --list",),
    "campaign wear": ("tally campaign wear --board pico",),
    "campaign update": ("tally campaign update --board pico --only 17/a/-1",),
    "campaign station": ("tally campaign station --rate 100",),
    "campaign ha": ("tally campaign ha", "tally campaign ha --fault frozen --json"),
    "campaign server": ("tally campaign server --rounds 100",),
    "flash": (
        "tally flash build/card-pico --port /dev/ttyACM0 --development",
        "tally flash build/card-nucleo_l476rg --lock",
        "tally flash --tray batch12.toml --place left --operator ann",
    ),
    "selftest": (
        "tally selftest --port /dev/ttyACM0 --page report.html",
        "tally selftest --batch batch.jsonl --limits limits.toml --drift batch.html",
    ),
    "update": (
        "tally update build/card-pico --port /dev/ttyACM0 --public-key firm.key",
        "tally update build/reader-pico2 --public-key firm.key",
    ),
    "coverage": ("tally coverage .hits --lcov firmware.info --fail-under 95",),
    "second-opinion": (
        "tally second-opinion RPI_PICO.uf2",
        "tally second-opinion --board nucleo_l476rg firmware.hex",
    ),
    "verify": (
        "tally verify --server https://otp.example.org --credential service.json \\",
        "    --user ada",
        "tally verify --server https://otp.example.org --credential otp.json --pam",
    ),
    "bench": ("tally bench card heap",),
}


def show(command: click.Command, path: str) -> None:
    """Puts examples under the help of `command` and of all below it. path: without `tally`."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            show(below, f"{path} {name}")
    elif lines := EXAMPLES.get(path):
        title = "Example:" if len(commands(lines)) == 1 else "Examples:"
        command.epilog = "\b\n" + "\n".join((title, *(f"  {line}" for line in lines)))


def commands(lines: tuple[str, ...]) -> list[str]:
    """Command lines, those that go on over several put together."""
    return "\n".join(lines).replace("\\\n    ", "").split("\n")
