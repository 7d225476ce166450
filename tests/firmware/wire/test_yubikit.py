"""A stock OATH client that is not ours provisions the card and takes codes, over SCP03."""

import pytest
from yubikit.core import TRANSPORT, NotSupportedError
from yubikit.core.smartcard import ApduError, SmartCardConnection
from yubikit.core.smartcard.scp import KeyRef, Scp03KeyParams, ScpKid, StaticKeys
from yubikit.oath import HASH_ALGORITHM, OATH_TYPE, CredentialData, OathSession

CREDENTIAL = CredentialData(
    "TS00000001", OATH_TYPE.HOTP, HASH_ALGORITHM.SHA1, b"12345678901234567890", 6
)


class Reader(SmartCardConnection):
    """A reader with the card in it: over USB the client sends extended APDUs, over NFC short."""

    def __init__(self, card, transport: TRANSPORT) -> None:
        self._card = card
        self._transport = transport

    @property
    def transport(self) -> TRANSPORT:
        return self._transport

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        return self._card.transmit(apdu.hex())

    def close(self) -> None: ...


@pytest.fixture(params=[TRANSPORT.USB, TRANSPORT.NFC])
def reader(pipe_card, request):
    return Reader(pipe_card, request.param)


def parameters(keys: bytes, kvn: int = 0) -> Scp03KeyParams:
    static = StaticKeys(keys[:16], keys[16:32], keys[32:])
    return Scp03KeyParams(KeyRef(ScpKid.SCP03, kvn), static)


@pytest.mark.parametrize("touch", [False, True])
def test_put_list_calculate(pipe_card, reader, firm_keys, touch):
    pipe_card.reset(life_cycle=7, kvn=1, keys=firm_keys.hex())
    session = OathSession(reader, parameters(firm_keys))
    assert session.version == (5, 7, 0)
    assert not session.locked
    session.put_credential(CREDENTIAL, touch)
    (credential,) = session.list_credentials()
    assert credential.name == "TS00000001"
    codes = [session.calculate_code(credential).value for _ in range(3)]
    assert codes == ["755224", "287082", "359152"]
    assert list(session.calculate_all().values()) == [None]
    assert session.calculate(credential.id, b"").hex() == "66c28227d03a2d5529262ff016a1e6ef76557ece"
    renamed = session.rename_credential(credential.id, "of another name")
    assert [entry.id for entry in session.list_credentials()] == [renamed]
    (credential,) = session.list_credentials()
    assert session.calculate_code(credential).value == "338314"  # RFC 4226, of moving factor 4
    session.delete_credential(credential.id)
    assert session.list_credentials() == []
    session.put_credential(CREDENTIAL, touch)
    session.reset()
    assert session.list_credentials() == []


def test_initial_moving_factor(pipe_card, reader):
    session = OathSession(reader, Scp03KeyParams())  # the transport keys are the well-known ones
    credential = CredentialData(**{**vars(CREDENTIAL), "counter": 9})
    stored = session.put_credential(credential)
    pipe_card.press(after_ms=3_000)
    assert session.calculate_code(stored).value == "520489"


def test_without_the_channel(pipe_card, reader):
    session = OathSession(reader)
    with pytest.raises(ApduError) as refused:
        session.put_credential(CREDENTIAL)
    assert refused.value.sw == 0x6982
    with pytest.raises(ApduError):
        session.reset()
    with pytest.raises(ApduError):
        session.rename_credential(b"TS00000001", "mine")
    assert pipe_card.inspect()["commits"] == []


def test_wrong_keys(reader):
    with pytest.raises(ValueError, match="Incorrect SCP parameters"):
        OathSession(reader, parameters(bytes(48)))


def test_unknown_key_version(reader):
    with pytest.raises(ValueError, match="Incorrect SCP parameters"):
        OathSession(reader, parameters(bytes(48), 0x30))


class Claiming(Reader):
    """The card's SELECT answer with another version in it; notes which instructions come."""

    def __init__(self, card, version: tuple[int, int, int]) -> None:
        super().__init__(card, TRANSPORT.USB)
        self._version = bytes(version)
        self.instructions: list[int] = []

    def send_and_receive(self, apdu: bytes) -> tuple[bytes, int]:
        self.instructions.append(apdu[1])
        data, sw = super().send_and_receive(apdu)
        if apdu[1] == 0xA4:
            data = data.replace(b"\x79\x03\x05\x07\x00", b"\x79\x03" + self._version)
        return data, sw


SET_CODE, VALIDATE, RENAME = 0x03, 0xA3, 0x05
VERSIONS = [
    (0, 1, 0), (1, 0, 0), (2, 2, 1), (3, 5, 0), (4, 3, 7), (5, 0, 0), (5, 3, 0), (5, 3, 1),
    (5, 6, 2), (5, 6, 3), (5, 7, 0), (5, 7, 4),
]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_client_takes_for_granted_at_each_version(pipe_card, firm_keys, version):
    """SET CODE at all of them, so that no version is told to spare it; VALIDATE at none, because
    SELECT gives no challenge. Only from 5.6.3 on has it a secure channel and RENAME both."""
    pipe_card.reset(life_cycle=7, kvn=1, keys=firm_keys.hex())
    reader = Claiming(pipe_card, version)
    session = OathSession(reader)
    assert session.version == version and not session.has_key and not session.locked
    for act in (lambda: session.set_key(bytes(16)), session.unset_key):
        reader.instructions.clear()
        with pytest.raises(ApduError) as refused:
            act()
        assert reader.instructions == [SET_CODE] and refused.value.sw == 0x6D00
    reader.instructions.clear()
    renames = True
    try:
        session.rename_credential(b"TS00000001", "mine")
    except NotSupportedError:
        renames = False
    except ApduError:
        assert reader.instructions == [RENAME]
    channel = True
    try:
        OathSession(reader, parameters(firm_keys))
    except NotSupportedError:
        channel = False
    assert renames is (version >= (5, 3, 1))
    assert channel is (version < (5, 0, 0) or version >= (5, 6, 3))
    assert (renames and channel) is (version >= (5, 6, 3))
    assert VALIDATE not in reader.instructions and pipe_card.inspect()["commits"] == []


def test_an_access_code_is_refused_inside_the_channel_too(pipe_card, reader, firm_keys):
    pipe_card.reset(life_cycle=7, kvn=1, keys=firm_keys.hex())
    session = OathSession(reader, parameters(firm_keys))
    session.put_credential(CREDENTIAL)
    before = pipe_card.inspect()["commits"]
    with pytest.raises(ApduError) as refused:
        session.set_key(session.derive_key("a passphrase"))
    assert refused.value.sw == 0x6D00 and pipe_card.inspect()["commits"] == before
    again = OathSession(reader, parameters(firm_keys))
    assert not again.locked and len(again.list_credentials()) == 1
