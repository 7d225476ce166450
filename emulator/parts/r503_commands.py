"""The R503 class's commands (manual 1.2.2, chapter V).

A command is a generator. It yields the µs that it takes and what it sends; power may go at each
yield.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tallystick.emulator.fingerprints.impression import SIZE
from tallystick.emulator.fingerprints.levels import THRESHOLDS
from tallystick.emulator.fingerprints.matcher import TEMPLATE_LIMIT
from tallystick.emulator.parts import r503_auto
from tallystick.emulator.parts.r503_codes import ANSWER_SIZE, ARGUMENT_SIZES, Code, Confirm
from tallystick.emulator.parts.r503_flash import BAUDS, CAPACITY, LEVELS, PACKET_CODES
from tallystick.emulator.parts.r503_memory import BUFFERS, SEARCH_US, WRITE_US, Memory
from tallystick.emulator.parts.r503_packets import Packet, Pid
from tallystick.emulator.parts.r503_state import SensorState

_OPEN = {Code.ECHO, Code.HANDSHAKE, Code.VFY_PWD, Code.CANCEL}  # answered before the password came
_TRANSFER_LIMIT = 32_768  # bytes that a host may send after DownImage or DownChar


@dataclass(frozen=True)
class Reply:
    """An acknowledge."""

    confirm: int
    extra: bytes = b""

    @property
    def payload(self) -> bytes:
        return bytes([self.confirm]) + self.extra


@dataclass(frozen=True)
class DataPacket:
    """One data packet, or the last one."""

    payload: bytes
    last: bool


Job = Iterator[int | Reply | DataPacket]


def _word(data: bytes) -> int:
    return int.from_bytes(data, "big")


class Commands:
    """All commands of one power-up."""

    def __init__(self, state: SensorState) -> None:
        self._state = state
        self.memory = Memory(state)
        self._verified = state.flash.password == 0
        self._passed = False  # the latest comparison matched
        self._download: tuple[int, bytearray] | None = None  # buffer (0: the image), data so far
        self.light: tuple[int, int, int, int] | None = None
        self._table: dict[int, Callable[[bytes], Job]] = {
            Code.GEN_IMG: self._gen_img, Code.GET_IMAGE_EX: self._get_image_ex,
            Code.IMG2TZ: self._img2tz, Code.MATCH: self._match, Code.SEARCH: self._search,
            Code.FAST_SEARCH: self._search, Code.REG_MODEL: self._reg_model,
            Code.STORE: self._store, Code.LOAD: self._load, Code.UP_CHAR: self._up_char,
            Code.DOWN_CHAR: self._down_char, Code.UP_IMAGE: self._up_image,
            Code.DOWN_IMAGE: self._down_image, Code.DELETE: self._delete, Code.EMPTY: self._empty,
            Code.SET_SYS_PARA: self._set_sys_para, Code.READ_SYS_PARA: self._read_sys_para,
            Code.SET_PWD: self._set_pwd, Code.VFY_PWD: self._vfy_pwd, Code.SET_ADDR: self._set_addr,
            Code.RANDOM: self._random, Code.TEMPLATE_NUM: self._template_num,
            Code.READ_INDEX_TABLE: self._read_index_table, Code.CANCEL: self._cancel,
            Code.AUTO_ENROLL: self._auto_enroll, Code.AUTO_IDENTIFY: self._auto_identify,
            Code.AURA_LED: self._aura_led, Code.CHECK_SENSOR: self._fine,
            Code.GET_ALG_VER: self._version, Code.GET_FW_VER: self._version,
            Code.READ_PROD_INFO: self._read_prod_info, Code.SOFT_RESET: self._soft_reset,
            Code.HANDSHAKE: self._fine, Code.ECHO: self._echo,
        }  # fmt: skip

    def handle(self, packet: Packet) -> Job:
        """Everything that a packet leads to. Every acknowledge has its command's full length."""
        download, self._download = self._download, None
        if packet.intact and packet.pid in (Pid.DATA, Pid.END_OF_DATA):
            if download is not None:
                self._take(download, packet)
            return
        code = packet.payload[0] if packet.payload else -1
        filler = bytes(ANSWER_SIZE.get(code, 0))
        refusal = self._refusal(packet, code)
        if refusal is not None:
            yield Reply(refusal, filler)
            return
        for step in self._table[code](packet.payload[1:]):
            if isinstance(step, Reply) and not step.extra:
                yield replace(step, extra=filler)
            else:
                yield step

    def _refusal(self, packet: Packet, code: int) -> Confirm | None:
        if not packet.intact or packet.pid != Pid.COMMAND:
            return Confirm.PACKET
        if packet.address != self._state.flash.address:
            return Confirm.ADDRESS
        if code not in self._table:
            return Confirm.UNSUPPORTED
        if not self._verified and code not in _OPEN:
            return Confirm.VERIFY_FIRST
        if len(packet.payload) - 1 not in ARGUMENT_SIZES.get(code, (0,)):
            return Confirm.PACKET
        return None

    # image, features, comparison

    def _gen_img(self, _: bytes) -> Job:
        yield Reply((yield from self.memory.capture()))

    def _get_image_ex(self, _: bytes) -> Job:
        confirm = yield from self.memory.capture()
        if confirm is Confirm.OK and self.memory.is_poor():
            confirm = Confirm.FEW_FEATURES
        yield Reply(confirm)

    def _img2tz(self, arguments: bytes) -> Job:
        yield Reply((yield from self.memory.extract(arguments[0])))

    def _reg_model(self, _: bytes) -> Job:
        yield Reply((yield from self.memory.merge()))

    def _match(self, _: bytes) -> Job:
        one, two = self.memory.buffers.get(1), self.memory.buffers.get(2)
        yield SEARCH_US
        score = self.memory.compare(one, two) if one and two else 0
        self._passed = score >= THRESHOLDS[self._state.flash.level]
        if self._passed:
            yield Reply(Confirm.OK, score.to_bytes(2, "big"))
        else:
            yield Reply(Confirm.NO_MATCH)

    def _search(self, arguments: bytes) -> Job:
        buffer, start, count = arguments[0], _word(arguments[1:3]), _word(arguments[3:5])
        threshold = THRESHOLDS[self._state.flash.level]
        found = yield from self.memory.find(buffer, start, count, threshold)
        self._passed = found is not None
        if found is None:
            yield Reply(Confirm.NOT_FOUND)
        else:
            yield Reply(Confirm.OK, found[0].to_bytes(2, "big") + found[1].to_bytes(2, "big"))

    def _auto_enroll(self, arguments: bytes) -> Job:
        for step in r503_auto.enroll(self._state, self.memory, arguments):
            yield Reply(step[0], bytes(step[1])) if isinstance(step, tuple) else step

    def _auto_identify(self, arguments: bytes) -> Job:
        for step in r503_auto.identify(self._state, self.memory, arguments):
            yield Reply(step[0], bytes(step[1])) if isinstance(step, tuple) else step

    # the library

    def _store(self, arguments: bytes) -> Job:
        page = _word(arguments[1:3])
        template = self.memory.buffers.get(arguments[0])
        if page >= CAPACITY:
            yield Reply(Confirm.BAD_PAGE)
        elif template is None:
            yield Reply(Confirm.EMPTY_TEMPLATE)
        else:
            yield WRITE_US
            self._state.flash.templates[page] = template
            self._state.flash.on_write()
            yield Reply(Confirm.OK)

    def _load(self, arguments: bytes) -> Job:
        buffer, page = arguments[0], _word(arguments[1:3])
        template = self._state.flash.templates.get(page)
        if page >= CAPACITY or buffer not in BUFFERS:
            yield Reply(Confirm.BAD_PAGE)
        elif template is None:
            yield Reply(Confirm.LOAD)
        else:
            self.memory.buffers[buffer] = template
            yield Reply(Confirm.OK)

    def _delete(self, arguments: bytes) -> Job:
        start, count = _word(arguments[:2]), _word(arguments[2:])
        if start + count > CAPACITY:
            yield Reply(Confirm.BAD_PAGE)
            return
        for page in range(start, start + count):
            if page in self._state.flash.templates:
                yield WRITE_US
                del self._state.flash.templates[page]
                self._state.flash.on_write()
        yield Reply(Confirm.OK)

    def _empty(self, _: bytes) -> Job:
        yield WRITE_US
        self._state.flash.templates.clear()
        self._state.flash.on_write()
        yield Reply(Confirm.OK)

    def _template_num(self, _: bytes) -> Job:
        yield Reply(Confirm.OK, len(self._state.flash.templates).to_bytes(2, "big"))

    def _read_index_table(self, arguments: bytes) -> Job:
        """256 pages, least significant bit first."""
        if arguments[0] > 3:
            yield Reply(Confirm.BAD_PAGE)
            return
        first = 256 * arguments[0]
        bits = sum(1 << page - first for page in self._state.flash.templates if page >= first)
        yield Reply(Confirm.OK, (bits & ((1 << 256) - 1)).to_bytes(32, "little"))

    # images and templates out and in: the test mode

    def _up_char(self, arguments: bytes) -> Job:
        data = self.memory.packed_template(arguments[0])
        if not self._state.test_mode or data is None:
            yield Reply(Confirm.UPLOAD_TEMPLATE)
            return
        yield Reply(Confirm.OK)
        yield from self._packets(data)

    def _up_image(self, _: bytes) -> Job:
        if not self._state.test_mode or self.memory.image is None:
            yield Reply(Confirm.UPLOAD_IMAGE)
            return
        yield Reply(Confirm.OK)
        yield from self._packets(self.memory.packed_image())

    def _packets(self, data: bytes) -> Job:
        size = 32 << self._state.flash.packet_code
        for at in range(0, len(data), size):
            yield DataPacket(data[at : at + size], last=at + size >= len(data))

    def _down_char(self, arguments: bytes) -> Job:
        yield from self._expect(arguments[0])

    def _down_image(self, _: bytes) -> Job:
        yield from self._expect(0)

    def _expect(self, buffer: int) -> Job:
        if not self._state.test_mode or (buffer and buffer not in BUFFERS):
            yield Reply(Confirm.RECEIVE)
            return
        self._download = (buffer, bytearray())
        yield Reply(Confirm.OK)

    def _take(self, download: tuple[int, bytearray], packet: Packet) -> None:
        buffer, data = download
        data += packet.payload
        if len(data) > _TRANSFER_LIMIT:
            return
        if packet.pid == Pid.DATA:
            self._download = download
        elif buffer:
            self.memory.unpack_template(buffer, bytes(data))
        else:
            self.memory.unpack_image(bytes(data))

    # parameters

    def _set_sys_para(self, arguments: bytes) -> Job:
        register, value = arguments
        good = {4: BAUDS, 5: LEVELS, 6: PACKET_CODES}
        if register not in good:
            yield Reply(Confirm.BAD_REGISTER)
            return
        if value not in good[register]:
            yield Reply(Confirm.BAD_VALUE)
            return
        yield WRITE_US
        if register == 4:
            yield Reply(Confirm.OK)  # still at the old baud rate
            self._state.flash.baud_n = value
            self._state.flash.on_write()
            return
        if register == 5:
            self._state.flash.level = value
            self._state.flash.on_write()
        else:
            self._state.flash.packet_code = value
            self._state.flash.on_write()
        yield Reply(Confirm.OK)

    def _read_sys_para(self, _: bytes) -> Job:
        flash = self._state.flash
        status = self._passed << 1 | self._verified << 2 | (self.memory.image is not None) << 3
        words = (status | self.memory.hint << 8, 0, CAPACITY, flash.level)
        extra = b"".join(word.to_bytes(2, "big") for word in words)
        extra += flash.address.to_bytes(4, "big")
        extra += flash.packet_code.to_bytes(2, "big") + flash.baud_n.to_bytes(2, "big")
        yield Reply(Confirm.OK, extra)

    def _set_pwd(self, arguments: bytes) -> Job:
        yield WRITE_US
        self._state.flash.password = _word(arguments)
        self._state.flash.on_write()
        yield Reply(Confirm.OK)

    def _vfy_pwd(self, arguments: bytes) -> Job:
        self._verified = _word(arguments) == self._state.flash.password
        yield Reply(Confirm.OK if self._verified else Confirm.WRONG_PASSWORD)

    def _set_addr(self, arguments: bytes) -> Job:
        yield WRITE_US
        self._state.flash.address = _word(arguments)
        self._state.flash.on_write()
        yield Reply(Confirm.OK)  # under the new address, as the manual has it

    # the rest

    def _fine(self, _: bytes) -> Job:
        yield Reply(Confirm.OK)

    def _echo(self, _: bytes) -> Job:
        yield Reply(Confirm.READY)

    def _cancel(self, _: bytes) -> Job:
        """The running command was dropped before this one began."""
        self.memory.forget_samples()
        yield Reply(Confirm.OK)

    def _random(self, _: bytes) -> Job:
        yield Reply(Confirm.OK, self._state.random.randbytes(4))

    def _aura_led(self, arguments: bytes) -> Job:
        control, speed, colour, times = arguments
        if not (1 <= control <= 6 and 1 <= colour <= 7):
            yield Reply(Confirm.PACKET)
            return
        self.light = (control, speed, colour, times)
        yield Reply(Confirm.OK)

    def _version(self, _: bytes) -> Job:
        yield Reply(Confirm.OK, b"tallystick emulated R503".ljust(32, b"\0"))

    def _read_prod_info(self, _: bytes) -> Job:
        """Module, batch, serial number, hardware version, sensor, width, height, template size,
        capacity."""
        extra = b"R503-EMULATED".ljust(16, b"\0") + b"0000" + b"00000001" + b"\1\0"
        extra += b"SYNTH".ljust(8, b"\0")
        extra += b"".join(v.to_bytes(2, "big") for v in (SIZE, SIZE, TEMPLATE_LIMIT * 6, CAPACITY))
        yield Reply(Confirm.OK, extra)

    def _soft_reset(self, _: bytes) -> Job:
        yield Reply(Confirm.OK)
        self._state.restart()
