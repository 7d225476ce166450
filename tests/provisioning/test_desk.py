"""`tally station desk`: the commands against the real server, the wipe on real firmware."""

from __future__ import annotations

import json
from datetime import datetime

import httpx
import pytest

from tallystick.common.errors import (
    BadInputError,
    NoDeviceError,
    RefusedError,
    UnreachableError,
)
from tallystick.common.secret import Secret
from tallystick.emulator.devices.image import Image
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.t1 import Waiting
from tallystick.provisioning.desk.client import Desk, DeskCard
from tallystick.provisioning.desk.operator import parse
from tallystick.provisioning.desk.wipe import retire_and_wipe
from tallystick.provisioning.server_link import RegistryRefusedError
from tallystick.provisioning.steps import Plan, Provisioner
from tallystick.server.serving.running import add_credential
from tallystick.server.store.opened import opened
from tallystick.tools.image.build import build, write
from tests.provisioning.conftest import URL
from tests.provisioning.emulated import EmulatedLink, emulated_card
from tests.provisioning.memory_card import MemoryLink
from tests.provisioning.memory_registry import MemoryRegistry
from tests.provisioning.pty_card import PtyCard
from tests.server.conftest import Container


def text_of(credential) -> str:
    token = credential.token.reveal().decode()
    return json.dumps({"id": credential.id, "role": credential.role, "token": token})


@pytest.fixture
def desk(own_station, memory_card, make_card):
    """Two spares in service, a user with a card of her own, and Ann at the desk."""
    own_station.spares = [memory_card, make_card(serial="TS00000002")]
    own_station.own = make_card(serial="TS00000009")
    container = Container(bytes.fromhex(own_station.psk))
    for known in (*own_station.spares, own_station.own):
        known.seed, known.digits = Secret.random(20).reveal(), 6
        container.add(known.serial, known.seed)
    station = {"Authorization": f"Bearer {own_station.token}"}
    content = container.bytes(own_station.folder)
    xml = station | {"Content-Type": "application/pskc+xml"}
    httpx.post(f"{own_station.url}/v1/cards", content=content, headers=xml).raise_for_status()
    assignment = f"{own_station.url}/v1/cards/{own_station.own.serial}/assignment"
    httpx.put(
        assignment, json={"user": "ada", "new_user": True}, headers=station
    ).raise_for_status()
    own_station.ann = add_credential(own_station.settings, "desk", "Ann")
    own_station.ok(
        "desk",
        "sign-in",
        "--server",
        own_station.url,
        "--credential",
        "-",
        input=text_of(own_station.ann),
    )
    return own_station


def press(card) -> str:
    code = card.code(card.factor)
    card.factor += 1
    return code


def lend(desk, card, user="ada", **kwargs):
    return desk.ok("desk", "lend", card.serial, user, "--code", press(card), **kwargs)


def where(desk, place) -> list[str]:
    return [card["serial"] for card in desk.ok("desk", "cards", "--where", place)]


def test_a_day_with_a_spare(desk):
    spare, other = desk.spares
    assert where(desk, "pool") == [spare.serial, other.serial]
    lent = lend(desk, spare)
    assert (lent["user"], lent["where"]) == ("ada", "lent")
    assert [card["user"] for card in desk.ok("desk", "cards", "--find", "ada")] == ["ada", "ada"]
    back = desk.ok("desk", "return", spare.serial, "--code", press(spare))
    assert (back["user"], back["where"]) == (None, "pool")
    log = [json.loads(line) for line in desk.run("audit", "export").stdout.splitlines()]
    acts = [(entry["act"], entry["subject"]) for entry in log[-2:]]
    assert acts == [("card lent", spare.serial), ("card returned", spare.serial)]
    assert log[-1]["who"].endswith(f" as {desk.ann.id}")


def test_a_scanner_and_a_keyboard_are_enough(desk):
    """Serial number and code are asked for where they are not given; a scanner ends with Enter."""
    spare = desk.spares[0]
    code = press(spare)
    answers = f"{spare.serial}\nada\n{code[:3]} {code[3:]}\n"
    result = desk.run("desk", "lend", input=answers)
    assert result.exit_code == 0 and f"card {spare.serial}: to ada until" in result.stdout
    assert "Scan the card" in result.stderr and spare.serial in result.stderr


@pytest.mark.parametrize(
    ("code", "why"),
    [("wrong", "not one of card"), ("replayed", "used before"), ("of another", "not one of card")],
)
def test_codes_that_prove_nothing(desk, code, why):
    spare, other = desk.spares
    lend(desk, spare)
    used = press(spare)
    desk.ok("desk", "return", spare.serial, "--code", used)
    near = {spare.code(factor) for factor in range(200)}
    wrong = next(f"{n:06}" for n in range(7, 10**6) if f"{n:06}" not in near)
    given = {"wrong": wrong, "replayed": used, "of another": press(other)}[code]
    error = desk.fails(RefusedError, "desk", "lend", spare.serial, "ada", "--code", given)
    assert why in error.what and error.kept == "Who holds the card was not changed." and error.todo
    assert given not in str(error)
    assert where(desk, "lent") == []


def test_a_code_that_cannot_be_one_is_not_sent(desk):
    error = desk.fails(BadInputError, "desk", "return", desk.spares[0].serial, "--code", "12345x")
    assert "6 to 8 digits" in error.what


def test_a_card_lent_elsewhere_meanwhile(desk):
    spare = desk.spares[0]
    lend(desk, spare)
    error = desk.fails(RefusedError, "desk", "lend", spare.serial, "ada", "--code", press(spare))
    assert "assigned to another user, or lent" in error.what


def test_the_server_is_down(desk, free_url):
    """Nothing is changed, and the message says so; nothing is noted as done."""
    add = text_of(desk.ann)
    operator = desk.folder / "operator.json"
    value = json.loads(operator.read_text()) | {"url": free_url}
    operator.write_text(json.dumps(value))
    before = desk.run("audit", "export").stdout
    error = desk.fails(
        UnreachableError, "desk", "lend", desk.spares[0].serial, "ada", "--code", "123456"
    )
    assert error.kept == "Nothing was changed." and "No server answers" in error.what
    assert desk.run("audit", "export").stdout == before
    desk.ok("desk", "sign-in", "--server", desk.url, "--credential", "-", input=add)
    assert where(desk, "lent") == []


def test_an_answer_that_was_lost_is_no_refusal(desk, monkeypatch):
    request = httpx.Client.request

    def lose(self, method, path, **how):
        if method == "GET":
            return request(self, method, path, **how)
        raise httpx.ReadTimeout("lost")

    spare = desk.spares[0]
    monkeypatch.setattr(httpx.Client, "request", lose)
    error = desk.fails(UnreachableError, "desk", "lend", spare.serial, "ada", "--code", "123456")
    assert "not known" in error.kept and "Look the card up" in error.todo


def test_a_lost_card_is_replaced(desk):
    spare = desk.spares[0]
    new = desk.ok("desk", "replace", desk.own.serial, spare.serial, "--code", press(spare))
    assert (new["serial"], new["user"], new["where"]) == (spare.serial, "ada", "assigned")
    assert where(desk, "lost") == [desk.own.serial]
    assert desk.ok("desk", "found", desk.own.serial)["where"] == "pool"
    assert desk.ok("desk", "lost", desk.own.serial)["where"] == "lost"


def test_a_drifted_card_asks_for_two_codes(desk):
    spare = desk.spares[0]
    spare.factor += 60
    error = desk.fails(RefusedError, "desk", "lend", spare.serial, "ada", "--code", press(spare))
    assert "lost count" in error.what
    answers = f"{press(spare)}\n{press(spare)}\n"
    assert desk.ok("desk", "resync", spare.serial, input=answers)["where"] == "pool"
    lend(desk, spare)


def test_overdue(desk):
    spare = desk.spares[0]
    until = datetime.now().astimezone().isoformat(timespec="seconds")
    error = desk.fails(
        RefusedError, "desk", "lend", spare.serial, "ada", "--code", press(spare), "--until", until
    )
    assert "is over already" in error.what
    lend(desk, spare)
    with opened(desk.settings) as parts, parts.database.write() as connection:
        past = "UPDATE assignment SET expires_at = 1000 WHERE expires_at IS NOT NULL"
        connection.exec_driver_sql(past)  # time passes
    (late,) = desk.ok("desk", "overdue")
    assert (late["serial"], late["overdue_user"]) == (spare.serial, "ada")
    shown = desk.run("desk", "overdue").stdout
    assert spare.serial in shown and "1970" in shown


def test_a_credential_of_another_role_is_not_taken(desk):
    service = add_credential(desk.settings, "service", "portal")
    result = desk.run(
        "desk", "sign-in", "--server", desk.url, "--credential", "-", input=text_of(service)
    )
    assert isinstance(result.exception, BadInputError)
    bare = service.token.reveal().decode()
    result = desk.run("desk", "sign-in", "--server", desk.url, "--credential", "-", input=bare)
    assert isinstance(result.exception, RefusedError)
    assert bare not in str(result.exception) and bare not in result.output


def test_the_operators_file_is_private(desk):
    path = desk.folder / "operator.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    error = desk.fails(BadInputError, "desk", "cards")
    assert "Others may read" in error.what
    assert desk.run("desk", "sign-out").stdout == "signed out\n" and not path.exists()
    assert "Nobody is signed in" in desk.fails(BadInputError, "desk", "cards").what


def test_retire_and_wipe_by_the_command(desk, make_card):
    spare = make_card(serial="TS00000003")
    with PtyCard(spare) as line:
        desk.ok("provision", "--port", line.port)
    lend(desk, spare)
    with PtyCard(spare) as line:
        gone = desk.ok("desk", "retire", "--port", line.port)
    assert gone == {"serial": spare.serial, "already": False, "known": True}
    assert not spare.seed and spare.life_cycle == 0xFF
    assert where(desk, "retired") == [spare.serial]


# The wipe, on the firmware itself.


class Server:
    """The desk's two calls in memory."""

    def __init__(self, known: bool = True) -> None:
        self.status = "registered" if known else None
        self.codes: list[list[str] | None] = []
        self.reasons: list[str] = []
        self.refuse: RegistryRefusedError | None = None

    def card(self, serial):
        return DeskCard(serial, self.status, None, None, None, None, 6) if self.status else None

    def retire(self, serial, codes, *, reason="", wiped=False):
        self.codes.append(codes)
        self.reasons.append(reason)
        if self.refuse is not None:
            error, self.refuse = self.refuse, None
            raise error
        self.status = "retired"
        return self.card(serial)


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    return Image.load(write(build("card", "nucleo_l476rg", "0.1.0"), folder)["bin"])


@pytest.fixture
def card_in_service(image, custody, journal):
    """An emulated card in service, and the seed that it was given."""
    registry = MemoryRegistry()
    with emulated_card(image) as device:
        link = EmulatedLink(device)
        provisioner = Provisioner(custody, registry, journal, Plan(), URL)
        provisioner.provision(CardConnection(link), lambda s, n: None)
        device.seed = registry.seeds["TS00000001"]
        device.link = link
        yield device


def pressing(device) -> Waiting:
    return Waiting(keepalive=device.press)


def test_the_firmware_wipes_its_seed_and_its_keys(card_in_service, custody):
    server = Server()
    assert card_in_service.seed in bytes(card_in_service.flash.memory)
    connection = CardConnection(card_in_service.link)
    done = retire_and_wipe(connection, custody, server, waiting=pressing(card_in_service))
    assert (done.serial, done.already, done.known) == ("TS00000001", False, True)
    assert len(server.codes) == 1 and len(server.codes[0]) == 1
    assert card_in_service.seed not in bytes(card_in_service.flash.memory)
    card_in_service.link.close()
    card_in_service.press()
    assert card_in_service.read_code() is None
    # And again: nothing more is done.
    again = retire_and_wipe(CardConnection(EmulatedLink(card_in_service)), custody, server)
    assert again.already and len(server.codes) == 1


def test_no_press_no_wipe(card_in_service, custody):
    server = Server()
    with pytest.raises(RefusedError) as refused:
        retire_and_wipe(CardConnection(card_in_service.link), custody, server)
    assert refused.value.kept == "Nothing was changed." and server.codes == []


def test_a_server_that_refuses_leaves_the_card(card_in_service, custody):
    server = Server()
    server.refuse = RegistryRefusedError("no", "409", reason="wrong-code")
    with pytest.raises(RegistryRefusedError):
        retire_and_wipe(
            CardConnection(card_in_service.link), custody, server, waiting=pressing(card_in_service)
        )
    card_in_service.link.close()
    card_in_service.press()
    assert card_in_service.read_code() is not None


def test_a_drifted_card_gives_a_second_code(memory_card, custody, journal):
    Provisioner(custody, MemoryRegistry(), journal, Plan(), URL).provision(
        CardConnection(MemoryLink(memory_card)), lambda s, n: None
    )
    server = Server()
    server.refuse = RegistryRefusedError("drifted", "409", reason="card-drifted")
    expected = [memory_card.code(2), memory_card.code(3)]
    retire_and_wipe(CardConnection(MemoryLink(memory_card)), custody, server)
    assert server.codes == [expected[:1], expected]


def test_a_card_that_goes_away_before_the_wipe(memory_card, custody, journal):
    Provisioner(custody, MemoryRegistry(), journal, Plan(), URL).provision(
        CardConnection(MemoryLink(memory_card)), lambda s, n: None
    )
    server, link = Server(), MemoryLink(memory_card)
    retire = server.retire

    def retire_and_unplug(serial, codes, **more):
        link.unplugged = True
        return retire(serial, codes, **more)

    server.retire = retire_and_unplug
    with pytest.raises(NoDeviceError) as gone:
        retire_and_wipe(CardConnection(link), custody, server)
    assert "has retired it" in gone.value.kept and memory_card.seed
    done = retire_and_wipe(CardConnection(MemoryLink(memory_card)), custody, Server())
    assert not done.already and not memory_card.seed


def test_a_card_that_the_server_does_not_know_is_wiped_all_the_same(memory_card, custody, journal):
    Provisioner(custody, MemoryRegistry(), journal, Plan(), URL).provision(
        CardConnection(MemoryLink(memory_card)), lambda s, n: None
    )
    done = retire_and_wipe(CardConnection(MemoryLink(memory_card)), custody, Server(known=False))
    assert not done.known and not memory_card.seed


def test_a_card_with_its_factory_keys_is_left_alone(memory_card, custody):
    with pytest.raises(RefusedError) as refused:
        retire_and_wipe(CardConnection(MemoryLink(memory_card)), custody, Server())
    assert "factory keys" in refused.value.what and memory_card.life_cycle == 1


def test_no_secret_of_the_operator_in_a_repr():
    credential = parse(URL, json.dumps({"id": "x", "role": "desk", "token": "tally_very-secret"}))
    desk = Desk(credential)
    assert "very-secret" not in repr(credential) + repr(desk) + repr(vars(desk))
    desk.close()
