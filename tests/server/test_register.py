"""Registration by PSKC over HTTP: what is taken, and everything that is refused."""

from __future__ import annotations

import re
import secrets
import sqlite3

import pytest

from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential

SEED = secrets.token_bytes(20)
OTHER = secrets.token_bytes(20)


def error(answer) -> str:
    body = answer.json()["error"]
    assert (
        {"code", "what", "kept", "todo"} <= set(body) <= {"code", "what", "kept", "todo", "entries"}
    )
    assert body["what"] and body["kept"]
    return body["code"]


def stored_cards(server) -> int:
    with sqlite3.connect(server.folder / "server.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM card").fetchone()
    connection.close()
    return count


def test_a_card_is_registered_and_shown(server):
    answer = server.register(server.container().add("A1", SEED, counter=7, response_length=8))
    assert answer.status_code == 201
    assert answer.json() == {
        "cards": [{"serial": "A1", "status": "registered", "digits": 8, "moving_factor": 7}]
    }
    assert server.get("/v1/cards/A1").json() == {
        "serial": "A1",
        "type": "hotp",
        "status": "registered",
        "user": None,
        "loan_until": None,
        "overdue_user": None,
        "overdue_since": None,
        "registered_by": server.station.id,
        "registered_at": int(server.clock.now),
        "digits": 8,
        "moving_factor": 7,
    }


def test_the_same_container_again_changes_nothing(server):
    container = server.container().add("A1", SEED).bytes(server.folder)
    assert server.register(container).status_code == 201
    again = server.register(container)
    assert again.status_code == 200
    assert again.json()["cards"][0]["status"] == "already-registered"
    assert stored_cards(server) == 1


def test_a_batch_is_all_or_nothing(server):
    server.register(server.container().add("A2", OTHER))
    batch = server.container().add("A1", SEED).add("A2", secrets.token_bytes(20))
    answer = server.register(batch)
    assert (answer.status_code, error(answer)) == (409, "duplicate-serial")
    assert stored_cards(server) == 1


def test_another_seed_for_the_serial_is_refused(server):
    server.register(server.container().add("A1", SEED))
    answer = server.register(server.container().add("A1", OTHER))
    assert (answer.status_code, error(answer)) == (409, "duplicate-serial")


def test_one_seed_for_two_serials_is_refused(server):
    server.register(server.container().add("A1", SEED))
    answer = server.register(server.container().add("A2", SEED))
    assert (answer.status_code, error(answer)) == (409, "duplicate-seed")


@pytest.mark.parametrize(
    ("serials", "seeds", "code"),
    [
        (("A1", "A1"), (SEED, OTHER), "duplicate-serial"),
        (("A1", "A2"), (SEED, SEED), "duplicate-seed"),
    ],
)
def test_repeats_within_a_container_are_refused(server, serials, seeds, code):
    container = server.container()
    for serial, seed in zip(serials, seeds, strict=True):
        container.add(serial, seed)
    answer = server.register(container)
    assert (answer.status_code, error(answer)) == (422, code)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"secret": SEED[:15]}, "weak-seed"),
        ({"secret": bytes(20)}, "weak-seed"),
        ({"secret": b"abababababababababab"}, "weak-seed"),
        ({"secret": secrets.token_bytes(65)}, "weak-seed"),
        ({"response_length": 5}, "bad-digits"),
        ({"response_length": 9}, "bad-digits"),
        ({"response_encoding": "ALPHANUMERIC"}, "bad-format"),
        ({"serial": "no spaces"}, "bad-serial"),
        ({"serial": None}, "bad-serial"),
        ({"counter": None}, "bad-counter"),
        ({"counter": 2**63}, "bad-counter"),
        ({"algorithm": "urn:ietf:params:xml:ns:keyprov:pskc:totp"}, "not-hotp"),
        ({"algorithm_suite": "SHA256"}, "not-hotp"),
    ],
)
def test_an_unusable_entry_is_refused_by_name(server, fields, code):
    container = server.container().add("A1", OTHER).add("A2", SEED, **fields)
    answer = server.register(container)
    assert (answer.status_code, error(answer)) == (422, code)
    assert "Entry 2" in answer.json()["error"]["what"]
    assert stored_cards(server) == 0


def test_every_bad_entry_has_a_line(server):
    server.register(server.container().add("A1", SEED))
    container = server.container()
    for number in range(6):
        container.add(f"E{number}", secrets.token_bytes(20))
    container.entries[1]["secret"] = bytes(20)
    container.entries[3]["response_length"] = 9
    container.entries[5]["serial"] = "E0"
    lines = server.register(container).json()["error"]["entries"]
    assert [(line["number"], line["serial"], line["code"]) for line in lines] == [
        (2, "E1", "weak-seed"),
        (4, "E3", "bad-digits"),
        (6, "E0", "duplicate-serial"),
    ]
    container = server.container().add("A1", OTHER).add("N1", SEED).add("N2", OTHER[::-1])
    lines = server.register(container).json()["error"]["entries"]
    assert [(line["number"], line["code"]) for line in lines] == [
        (1, "duplicate-serial"),
        (2, "duplicate-seed"),
    ]
    assert stored_cards(server) == 1


def test_bad_containers(server):
    good = server.container().add("A1", SEED).bytes(server.folder)
    mac = re.search(rb"<pskc:ValueMAC>(.)", good)
    flipped = b"A" if mac.group(1) != b"A" else b"B"
    entity = b'<!DOCTYPE x [<!ENTITY a "b">]>' + good.split(b"?>", 1)[1]
    cases = {
        b"": "malformed-container",
        b"\x00\xff": "malformed-container",
        b"<a/>": "malformed-container",
        b'<?xml version="1.0" encoding="foo"?><a/>': "malformed-container",
        b'<?xml version="1.0" encoding="zlib_codec"?><a/>': "malformed-container",
        good[:-30]: "malformed-container",
        entity: "malformed-container",
        good.replace(b"hmac-sha1", b"hmac-md5"): "no-mac",
        re.sub(rb"<pskc:MACKey>.*</pskc:MACKey>", b"", good, flags=re.S): "no-mac",
        re.sub(rb"<pskc:ValueMAC>.*</pskc:ValueMAC>", b"", good): "no-mac",
        good[: mac.start(1)] + flipped + good[mac.end(1) :]: "wrong-mac",
        re.sub(rb"<pskc:KeyPackage>.*</pskc:KeyPackage>", b"", good, flags=re.S): "empty-container",
    }
    for container, code in cases.items():
        answer = server.register(container)
        assert (answer.status_code, error(answer)) == (422, code), container[:60]
    assert stored_cards(server) == 0


def test_a_changed_ciphertext_does_not_pass_its_mac(server):
    good = server.container().add("A1", SEED).bytes(server.folder)
    _, secret = re.finditer(rb"<\w+:CipherValue>([A-Za-z0-9+/=]+)<", good)  # after the MAC's key
    for position in range(secret.start(1), secret.end(1) - 4, 7):
        changed = bytearray(good)
        changed[position] = ord("A") if changed[position] != ord("A") else ord("B")
        assert error(server.register(bytes(changed))) == "wrong-mac"


def test_plain_seeds_and_other_ciphers_are_refused(server):
    plain = server.container().add("A1", SEED)
    plain_bytes = plain.bytes(server.folder)
    import base64

    value = b"<pskc:PlainValue>" + base64.b64encode(SEED) + b"</pskc:PlainValue>"
    plain_bytes = re.sub(
        rb"(<pskc:Secret>\s*)<pskc:EncryptedValue>.*?</pskc:EncryptedValue>\s*<pskc:ValueMAC>.*?</pskc:ValueMAC>",
        rb"\1" + value,
        plain_bytes,
        flags=re.S,
    )
    assert error(server.register(plain_bytes)) == "unencrypted"
    other = server.container().add("A1", SEED)
    other.psk, other.algorithm = secrets.token_bytes(32), "aes256-cbc"
    assert error(server.register(other)) == "no-mac"


def test_another_stations_container_is_refused(server):
    other = add_credential(server.settings, "station", "second")
    container = server.container().add("A1", SEED)
    answer = server.register(container, who=other)
    assert answer.status_code == 422
    assert error(answer) == "wrong-mac"


def test_a_container_over_the_limit_is_refused(server):
    answer = server.register(b"x" * (server.settings.container_limit + 1))
    assert (answer.status_code, error(answer)) == (413, "container-too-large")


def test_stations_see_only_their_own_cards(server):
    server.register(server.container().add("A1", SEED))
    other = add_credential(server.settings, "station", "second")
    assert server.get("/v1/cards/A1", other).status_code == 404
    assert server.assign("A1", "eve", other).status_code == 404
    assert server.get("/v1/cards/A1", server.admin).status_code == 200


def test_assignment_is_to_one_user(server):
    server.register(server.container().add("A1", SEED))
    assert server.assign("A1", "ann").json()["user"] == "ann"
    assert server.assign("A1", "ann").status_code == 200
    answer = server.assign("A1", "bob")
    assert (answer.status_code, error(answer)) == (409, "already-assigned")
    assert server.get("/v1/cards/A1").json()["user"] == "ann"


def delete(server, who):
    token = who.token.reveal().decode()
    return server.client.delete("/v1/cards/A1", headers={"authorization": f"Bearer {token}"})


def test_a_counter_never_goes_back_after_deletion(server):
    container = server.container().add("A1", SEED).bytes(server.folder)
    server.register(container)
    server.assign("A1", "ann")
    assert server.verify(hotp(SEED, 4, 6)).json()["accepted"]
    assert (delete(server, server.station).status_code) == 409
    assert delete(server, server.admin).status_code == 204
    assert server.get("/v1/cards/A1").status_code == 404
    assert server.reason(hotp(SEED, 5, 6)) == "no-card"
    assert server.register(container).json()["cards"][0]["moving_factor"] == 5
    server.assign("A1", "ann")
    assert server.reason(hotp(SEED, 4, 6)) == "replayed"
    # Twice deleted, the tombstone still knows the highest counter.
    assert delete(server, server.admin).status_code == 204
    assert server.register(container).json()["cards"][0]["moving_factor"] == 5


def test_a_deleted_cards_seed_is_refused_under_another_serial(server):
    server.register(server.container().add("A1", SEED))
    assert delete(server, server.station).status_code == 204
    assert error(server.register(server.container().add("A2", SEED))) == "duplicate-seed"
    assert server.register(server.container().add("A1", OTHER)).status_code == 201


def test_a_thousand_cards_in_one_container(server):
    container = server.container()
    for number in range(1000):
        container.add(f"B{number:05}", secrets.token_bytes(20))
    answer = server.register(container)
    assert answer.status_code == 201
    assert len(answer.json()["cards"]) == 1000
    assert stored_cards(server) == 1000
