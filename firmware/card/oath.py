"""The OATH applet, the published YKOATH commands for one HOTP credential (protocols.md)."""

from lib import tlv, wire
from lib.apdu import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from card.applets import Applets
    from card.store import Store
    from lib.apdu import Command
    from typed.kinds import Readable


def select(card: "Applets") -> bytes:
    """The answer of SELECT."""
    from hashlib import sha256

    salt = sha256(card.store.serial).digest()[:8]
    return tlv.item(wire.TAG_VERSION, wire.OATH_VERSION) + tlv.item(wire.TAG_NAME, salt)


def process(card: "Applets", command: "Command") -> bytes:
    """Execute one command; the answer without its status word. Raises Refused."""
    ins = command.ins
    if ins == wire.INS_CALCULATE:
        return _calculate(card, command)
    if ins == wire.INS_LIST:
        return _list(card, command)
    if ins == wire.INS_CALCULATE_ALL:
        return _calculate_all(card, command)
    if ins == wire.INS_PUT:
        return _put(card, command)
    if ins == wire.INS_DELETE:
        return _delete(card, command)
    if ins == wire.INS_RESET:
        return _reset(card, command)
    if ins == wire.INS_RENAME:
        return _rename(card, command)
    raise Refused(wire.SW_INSTRUCTION)


def _put(card: "Applets", command: "Command") -> bytes:
    """Store the credential, whole or not at all."""
    card.need_keys()
    _need(command.p1 == 0 and command.p2 == 0, wire.SW_P1P2)
    fields = _fields(command.data, wire.TAG_PROPERTY)
    name = bytes(fields.pop(wire.TAG_NAME, b""))
    key = fields.pop(wire.TAG_KEY, b"")
    moving_factor = fields.pop(wire.TAG_MOVING_FACTOR, b"\0\0\0\0")
    touch = fields.pop(wire.TAG_PROPERTY, b"\0")[0]
    # A code always needs a press, so that asking for one is all that the property may do.
    _need(not fields and touch & ~wire.PROPERTY_TOUCH == 0)
    _need(1 <= len(name) <= wire.NAME_MAX and len(moving_factor) == 4)
    _need(wire.SECRET_MIN <= len(key) - 2 <= wire.SECRET_MAX)
    _need(key[0] == wire.HOTP_SHA1 and wire.DIGITS_MIN <= key[1] <= wire.DIGITS_MAX)
    store = card.store
    _need(not store.name or store.name == name, wire.SW_NO_SPACE)
    card.need_consent("for a new seed")
    store.commit(
        name=name,
        seed=bytes(key[2:]),
        digits=key[1],
        moving_factor=int.from_bytes(moving_factor, "big"),
    )
    return b""


def _delete(card: "Applets", command: "Command") -> bytes:
    card.need_keys()
    _need(command.p1 == 0 and command.p2 == 0, wire.SW_P1P2)
    fields = _fields(command.data)
    _need_credential(card.store, fields.pop(wire.TAG_NAME, b""))
    _need(not fields)
    card.need_consent("to erase its seed")
    _erase(card.store)
    return b""


def _reset(card: "Applets", command: "Command") -> bytes:
    card.need_keys()
    _need(command.p1 == 0xDE and command.p2 == 0xAD, wire.SW_P1P2)
    card.need_consent("to erase its seed")
    _erase(card.store)
    return b""


def _rename(card: "Applets", command: "Command") -> bytes:
    """The old name and the new one, under the same tag."""
    card.need_keys()
    _need(command.p1 == 0 and command.p2 == 0, wire.SW_P1P2)
    try:
        names = [bytes(value) for tag, value in tlv.items(command.data) if tag == wire.TAG_NAME]
        whole = len(list(tlv.items(command.data))) == 2
    except ValueError:
        raise Refused(wire.SW_DATA)
    _need(whole and len(names) == 2 and 1 <= len(names[1]) <= wire.NAME_MAX)
    _need_credential(card.store, names[0])
    card.need_consent("for a new name")
    card.store.commit(name=names[1])
    return b""


def _list(card: "Applets", command: "Command") -> bytes:
    _need(command.p1 == 0 and command.p2 == 0, wire.SW_P1P2)
    name = card.store.name
    return tlv.item(wire.TAG_NAME_LIST, bytes((wire.HOTP_SHA1,)) + name) if name else b""


def _calculate_all(card: "Applets", command: "Command") -> bytes:
    """A HOTP credential is named, never calculated: that would move its factor."""
    _need(command.p1 == 0 and command.p2 <= 1, wire.SW_P1P2)
    fields = _fields(command.data)
    _need(wire.TAG_CHALLENGE in fields and len(fields) == 1)
    store = card.store
    if not store.name:
        return b""
    return tlv.item(wire.TAG_NAME, store.name) + tlv.item(wire.TAG_HOTP, bytes((store.digits,)))


def _calculate(card: "Applets", command: "Command") -> bytes:
    """One code, for a press; inside the firm's session a card that is being provisioned gives it
    without one, so that a fixture can verify codes."""
    _need(command.p1 == 0 and command.p2 <= 1, wire.SW_P1P2)
    store = card.store
    fields = _fields(command.data)
    name = fields.pop(wire.TAG_NAME, b"")
    fields.pop(wire.TAG_CHALLENGE, b"")
    _need(not fields)
    _need_credential(store, name)
    firm = card.private() and store.kvn != wire.KVN_TRANSPORT
    provisioning = firm and store.life_cycle == wire.INITIALIZED
    _need(command.p2 == 1 or provisioning, wire.SW_CONDITIONS)
    card.need_power()
    if not provisioning:
        card.need_press("for a code")
    digits = store.digits
    if command.p2 == 0:
        return tlv.item(wire.TAG_RESPONSE, bytes((digits,)) + store.take_hmac())
    # The client takes these four bytes modulo 10^digits: the code itself, and no further bits.
    code = int(store.take_code())
    return tlv.item(wire.TAG_TRUNCATED, bytes((digits,)) + code.to_bytes(4, "big"))


def _erase(store: "Store") -> None:
    store.commit(name=b"", seed=b"", moving_factor=0)


def _fields(data: memoryview, bare: int = -1) -> "dict[int, memoryview]":
    """The items of a command by tag; each at most once."""
    fields: "dict[int, memoryview]" = {}
    try:
        for tag, value in tlv.items(data, bare):
            _need(tag not in fields)
            fields[tag] = value
    except ValueError:
        raise Refused(wire.SW_DATA)
    return fields


def _need(condition: "bool | Readable", sw: int = wire.SW_DATA) -> None:
    if not condition:
        raise Refused(sw)


def _need_credential(store: "Store", name: "Readable") -> None:
    _need(name, wire.SW_DATA)
    _need(store.name and store.name == bytes(name), wire.SW_NO_CREDENTIAL)
