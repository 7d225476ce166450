"""A stock OATH client that is not ours provisions the card and takes codes, over SCP03."""

import pytest
from yubikit.core import TRANSPORT
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
