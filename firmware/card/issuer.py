"""GlobalPlatform issuer functions: docs/reference/protocols.md, 3.1."""

from lib import tlv, wire
from lib.apdu import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from card.applets import Applets
    from lib.apdu import Command


def select(card: "Applets") -> bytes:
    """The answer of SELECT."""
    security = tlv.item(0xA5, tlv.item(0x9F65, b"\xff"))
    return tlv.item(0x6F, tlv.item(0x84, wire.AID_ISSUER) + security)


def process(card: "Applets", command: "Command") -> bytes:
    """Execute one command; the answer without its status word. Raises Refused."""
    ins = command.ins
    if command.cla & wire.CLA_GP == 0:
        return _get_challenge(card, command)
    if ins == wire.INS_GET_DATA:
        return _get_data(card, command.p1 << 8 | command.p2)
    if ins == wire.INS_PUT_KEY:
        return _put_key(card, command)
    if ins == wire.INS_SET_STATUS:
        return _set_status(card, command)
    if ins == wire.INS_GET_STATUS:
        return _get_status(card, command)
    raise Refused(wire.SW_INSTRUCTION)


def _get_challenge(card: "Applets", command: "Command") -> bytes:
    if command.p1 or command.p2:
        raise Refused(wire.SW_P1P2)
    if command.data or not 1 <= command.le <= 32:
        raise Refused(wire.SW_LENGTH)
    return card.terminal.random(command.le)


def _get_data(card: "Applets", tag: int) -> bytes:
    store = card.store
    if tag == wire.DATA_SERIAL:
        return store.serial
    if tag == wire.DATA_VERSION:
        from card.version import VERSION

        return bytes(VERSION) + card.terminal.board_name().encode()
    if tag == wire.DATA_CELL:
        loaded, state = card.terminal.cell()
        return loaded.to_bytes(2, "big") + bytes((state,))
    if tag == wire.DATA_WEAR:
        card.need_session()
        erases, dead = store.wear()
        counts = (store.presses, erases, store.cold_starts)
        return b"".join([n.to_bytes(4, "big") for n in counts]) + bytes((dead,))
    if tag == wire.DATA_LIFE_CYCLE:
        return bytes((store.life_cycle,))
    if tag == wire.DATA_IMAGE:
        return _running_image()
    if tag == wire.DATA_FORMAT:
        return bytes((store.format,))
    if tag == wire.DATA_KEYS:
        keys = b"".join([bytes((0xC0, 4, n, store.kvn, wire.KEY_TYPE_AES, 16)) for n in (1, 2, 3)])
        return tlv.item(0xE0, keys)
    raise Refused(wire.SW_NO_DATA)


def _running_image() -> bytes:
    from card import update
    from lib.unload import unload

    try:
        return update.running()
    finally:
        unload("card.update", "lib.update", "lib.slots")  # anybody may ask, and few go on to update


def _put_key(card: "Applets", command: "Command") -> bytes:
    """Replace the key set, whole or not at all."""
    card.need_keys()
    store = card.store
    if command.p2 != 0x81 or command.p1 and command.p1 != store.kvn:
        raise Refused(wire.SW_P1P2)
    data = command.data
    if not data or not 1 <= data[0] <= wire.KVN_FIRM_MAX:
        raise Refused(wire.SW_DATA)
    keys = bytearray(48)
    answer = bytearray(data[:1])
    at = 1
    for i in range(0, 48, 16):
        at = _take_key(store.keys[32:], data, at, memoryview(keys)[i : i + 16])
        answer += data[at - 3 : at]
    if at != len(data):
        raise Refused(wire.SW_DATA)
    card.need_consent("for new keys")
    life_cycle = max(store.life_cycle, wire.INITIALIZED)
    store.commit(keys=bytes(keys), kvn=data[0], life_cycle=life_cycle)
    for i in range(48):
        keys[i] = 0
    return bytes(answer)


def _take_key(dek: bytes, data: memoryview, at: int, key: memoryview) -> int:
    """Decrypt the key block at `at` into key, check it; returns where the next block starts."""
    from cryptolib import aes

    from lib.cmac import same

    if bytes(data[at : at + 2]) == b"\x88\x10":
        at += 2
    elif bytes(data[at : at + 3]) == b"\x88\x11\x10":  # with the key's length once more
        at += 3
    else:
        raise Refused(wire.SW_DATA)
    end = at + 16 + 4
    if end > len(data) or data[at + 16] != 3:
        raise Refused(wire.SW_DATA)
    aes(dek, 2, bytes(16)).decrypt(data[at : at + 16], key)
    if not same(aes(key, 1).encrypt(b"\x01" * 16)[:3], data[end - 3 : end]):
        raise Refused(wire.SW_DATA)
    return end


def _set_status(card: "Applets", command: "Command") -> bytes:
    """Move the life cycle on. Asking for the state that is reached already changes nothing."""
    card.need_firm_keys()
    store = card.store
    if command.p1 != 0x80:
        raise Refused(wire.SW_P1P2)
    state = command.p2
    if state not in (wire.INITIALIZED, wire.SECURED, wire.TERMINATED) or command.data:
        raise Refused(wire.SW_DATA)
    if state < store.life_cycle:
        raise Refused(wire.SW_CONDITIONS)
    if state == wire.TERMINATED:
        card.need_consent("to wipe the card")
        store.commit(life_cycle=state, keys=bytes(48), name=b"", seed=b"")
    elif state > store.life_cycle:
        card.need_power()
        store.commit(life_cycle=state)
    return b""


def _get_status(card: "Applets", command: "Command") -> bytes:
    if command.p1 not in (0x80, 0x40, 0x20, 0x10) or command.p2 & ~0x02:
        raise Refused(wire.SW_P1P2)
    if command.p1 != 0x80:  # of applications and load files, which are not managed here
        raise Refused(wire.SW_NO_DATA)
    if command.data and bytes(command.data) not in (b"\x4f\x00", b"\x4f\x08" + wire.AID_ISSUER):
        raise Refused(wire.SW_NO_DATA)
    state = tlv.item(0x9F70, bytes((card.store.life_cycle,)))
    return tlv.item(0xE3, tlv.item(0x4F, wire.AID_ISSUER) + state)
