"""The file that names who may ask by RADIUS."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from tallystick.common.errors import BadInputError
from tallystick.server.services import radius_clients
from tallystick.server.services.radius_clients import EXAMPLE, GroupAttribute, Mode, RadiusClient
from tests.server.test_radius_pieces import client_at


@pytest.fixture
def read(tmp_path):
    """→ the clients of a file with this text; the secret of a branch is beside it"""

    def made(text, encoding="utf-8"):
        file = tmp_path / "clients.toml"
        file.write_text(text, encoding=encoding)
        file.chmod(0o600)
        (tmp_path / "branch").write_text("\ufeff  of the branch 16  \n", encoding="utf-8")
        (tmp_path / "odd").write_bytes(b"\xff" * 20)
        return radius_clients.clients_from(file)

    return made


LEAST = '[[client]]\naddress = "10.0.0.0/8"\nsecret = "sixteen letters!"\n'


def test_what_a_client_is_when_little_is_said(read):
    (client,) = read(LEAST, "utf-8-sig")
    assert client.secret.reveal() == b"sixteen letters!"
    assert client == RadiusClient(ip_network("10.0.0.0/8"), client.secret, "default")
    defaults = (Mode.CHALLENGE, 6, False, None, False)
    assert defaults == (
        client.mode, client.code_digits, client.allow_unsigned, client.group_attribute,
        client.eap_gtc,
    )  # fmt: skip


def test_what_it_is_when_all_is_said(read):
    (client,) = read(
        '[[client]]\naddress = "::1"\nsecret_file = "branch"\nfirm = "b"\nmode = "append"\n'
        'code_digits = 8\nallow_unsigned = true\neap_gtc = true\ngroup_attribute = "Class"\n'
    )
    assert client.secret.reveal() == b"of the branch 16"
    assert client == RadiusClient(
        ip_network("::1"), client.secret, "b", Mode.APPEND, 8, True, GroupAttribute.CLASS, True
    )


def test_every_field_may_be_said_at_once(read):
    text = LEAST + (
        'firm = "b"\nmode = "append"\ncode_digits = 7\nallow_unsigned = false\neap_gtc = false\n'
        'group_attribute = "Class"\n'
    )
    assert read(text)[0].code_digits == 7
    with pytest.raises(BadInputError, match="has no secret of 16"):
        read(text.replace("secret =", "secret_file =") + 'secret = "short"')


@pytest.mark.parametrize(
    ("text", "says", "todo"),
    [
        ("[client", "is not TOML.", "Expected: [[client]]"),
        ("\x00", "is not TOML.", "Expected: [[client]]"),
        ("", "names no clients.", "Expected: [[client]]"),
        ("client = []", "names no clients.", "Expected: [[client]]"),
        ("client = 7", "names no clients.", "Expected: [[client]]"),
        (f"a = 1\n{LEAST}", "names no clients.", "Expected: [[client]]"),
        ("client = [7]", "Client 1 of FILE has what is not known: no table.", "Expected: [[c"),
        (LEAST + "b = 1\na = 1", "Client 1 of FILE has what is not known: a, b.", "Expected: [[c"),
        (LEAST + LEAST.replace("10.", "11.") + "a = 1", "Client 2 of FILE has what is not", ""),
        (LEAST + LEAST, "FILE names 10.0.0.0/8 twice.", "Leave one of them."),
        (LEAST.replace("address", "#"), "Client 1 of FILE has no address or network: ", ""),
        (LEAST + "firm = 7", "Client 1 of FILE has a firm that is no text, or codes of", ""),
        (LEAST + "code_digits = 5", "codes of not 6 to 8 digits.", ""),
        (LEAST + "code_digits = 9", "codes of not 6 to 8 digits.", ""),
        (LEAST + "code_digits = 6.0", "codes of not 6 to 8 digits.", ""),
        (LEAST + "code_digits = true", "codes of not 6 to 8 digits.", ""),
        (LEAST + "allow_unsigned = 1", "an allow_unsigned that is not true or false.", ""),
        (LEAST + 'eap_gtc = ""', "Client 1 of FILE has an eap_gtc that is not true or false.", ""),
        (LEAST + 'mode = "x"', "Client 1 of FILE has mode 'x'; append or challenge is exp", ""),
        (LEAST + "group_attribute = 7", "has group_attribute 7; Filter-Id or Class is exp", ""),
        (LEAST.replace("!", ""), "Client 1 of FILE has no secret of 16 characters", "openssl"),
        (LEAST.replace('"sixteen letters!"', "[16]"), "has no secret of 16", "openssl"),
        (LEAST + 'secret_file = "branch"\n', None, ""),
        (LEAST.replace("secret", "secret_file"), "sixteen letters! cannot be read (Fil", ""),
        (LEAST.replace('secret = "sixteen letters!"', 'secret_file = "odd"'), "(Unicode", ""),
        (LEAST.replace('secret = "sixteen letters!"', "secret_file = 7"), "no secret of 16", ""),
    ],
)
def test_what_is_wrong_with_a_file_of_clients(read, tmp_path, text, says, todo):
    if says is None:  # what stands there itself counts
        assert read(text)[0].secret.reveal() == b"sixteen letters!"
        return
    with pytest.raises(BadInputError) as caught:
        read(text)
    error = caught.value
    assert says.replace("FILE", str(tmp_path / "clients.toml")) in str(error)
    assert todo in error.todo
    if "Expected" in todo:
        assert error.todo.endswith(f"Expected: {EXAMPLE}.")
    assert "sixteen letters" not in str(error) or "secret_file" in text


def test_what_others_may_read_holds_no_secrets(read, tmp_path):
    read(LEAST)
    file = tmp_path / "clients.toml"
    file.chmod(0o640)
    with pytest.raises(BadInputError, match="can be read by others than its owner") as caught:
        radius_clients.clients_from(file)
    assert caught.value.todo == f"chmod 600 {file}"


def test_the_smallest_network_is_asked():
    clients = [client_at(one) for one in ("10.0.0.0/8", "10.1.0.0/16", "::/0", "10.1.2.0/24")]
    for address, at in (
        ("10.1.2.3", 3), ("10.1.3.3", 1), ("10.2.0.1", 0), ("::ffff:10.1.2.3", 3), ("::1", 2),
        ("192.0.2.1", None),
    ):  # fmt: skip
        found = radius_clients.client_of(clients, address)
        assert found is (None if at is None else clients[at])
