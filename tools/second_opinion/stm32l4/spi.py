"""SPI as a master that only sends (RM0351, chapter 42), and the DMA channels that feed it (11)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.registers import Registers

SPI1 = 0x40013000
_CR1, _CR2, _SR, _DR = 0x00, 0x04, 0x08, 0x0C
_RESET = {_CR1: 0, _CR2: 0x700, _SR: 0x02, _DR: 0, 0x10: 7, 0x14: 0, 0x18: 0}
_SPE, _TXDMAEN, _ERRIE, _RXNEIE, _TXEIE = 1 << 6, 1 << 1, 1 << 5, 1 << 6, 1 << 7
_RXNE, _TXE, _OVR, _BSY = 1, 1 << 1, 1 << 6, 1 << 7
_FIFO = 4  # bytes

DMA1, DMA2 = 0x40020000, 0x40020400
_ISR, _IFCR, _CSELR = 0x00, 0x04, 0xA8
_DMA_IRQS = {DMA1: (11, 12, 13, 14, 15, 16, 17), DMA2: (56, 57, 58, 59, 60, 68, 69)}
_EN, _TCIE, _HTIE, _FROM_MEMORY, _CIRCULAR, _MINC = 1, 2, 4, 1 << 4, 1 << 5, 1 << 7


class Spi(Registers):
    """`on_send(data, clock_hz)` hears what was clocked out, when it is. Nothing comes back."""

    def __init__(
        self,
        core: Cortex,
        base: int,
        irq: int,
        clock: Callable[[], float],
        on_send: Callable[[bytes, float], None],
    ) -> None:
        super().__init__(core, base, _RESET)
        self._irq = irq
        self._clock = clock
        self._on_send = on_send
        self.on_dma_request: Callable[[], None] = lambda: None
        self.on_reset()

    def on_reset(self) -> None:
        self._free_ns = 0.0  # when what it has will be clocked out
        self._received = 0  # bytes in the FIFO of what came in
        self._overrun = False

    @property
    def clock_hz(self) -> float:
        return self._clock() / (2 << (self.values[_CR1] >> 3 & 7))

    def send(self, data: bytes) -> float:
        """Clocks `data` out after what is under way; when that is over (ns)."""
        begins = max(self._free_ns, self.core.now_ns)
        self._free_ns = begins + len(data) * 8e9 / self.clock_hz
        clock = self.clock_hz
        self.core.after(self._free_ns - self.core.now_ns, lambda: self._out(data, clock))
        return self._free_ns

    def _out(self, data: bytes, clock_hz: float) -> None:
        self._on_send(data, clock_hz)
        self._overrun |= self._received + len(data) > _FIFO
        self._received = min(_FIFO, self._received + len(data))

    def _level(self) -> int:
        """Bytes that wait to be clocked out, without the one that is."""
        left = (self._free_ns - self.core.now_ns) * self.clock_hz / 8e9
        return max(0, -int(-left // 1) - 1)

    def get(self, at: int) -> int:
        if at == _SR:
            level = self._level()
            status = (_TXE if level <= 2 else 0) | (_RXNE if self._received else 0)
            status |= (_OVR if self._overrun else 0) | min(3, level) << 11
            status |= _BSY if self._free_ns > self.core.now_ns else 0
            return status | min(3, self._received) << 9
        return self.values[at]

    def read(self, offset: int, size: int) -> int:
        if offset == _DR:
            self._received = max(0, self._received - min(size, 2))
            self._overrun = False
            return 0
        return super().read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == _DR:  # frames of eight bits: a wider access packs two
            if self.values[_CR1] & _SPE:
                self.send(value.to_bytes(4, "little")[: min(size, 2)])
            return
        super().write(offset, size, value)

    def put(self, at: int, value: int) -> None:
        if at == _CR1 and value & _SPE and self.values[_CR2] >> 8 & 15 != 7:
            raise self.core.error("set SPI frames that are not eight bits")
        if at == _CR2 and value & (_ERRIE | _RXNEIE | _TXEIE) & ~_ERRIE:
            raise self.core.error("asked for SPI interrupts, which are not emulated")
        if at != _SR:
            self.values[at] = value
        if self.values[_CR1] & _SPE and self.values[_CR2] & _TXDMAEN:
            self.on_dma_request()


class Dma(Registers):
    """Seven channels from memory to a peripheral. `targets` are by data register."""

    def __init__(self, core: Cortex, base: int, targets: dict[int, Spi]) -> None:
        channels = {0x08 + 0x14 * n + at: 0 for n in range(7) for at in (0, 4, 8, 12)}
        super().__init__(core, base, {_ISR: 0, _IFCR: 0, _CSELR: 0, **channels})
        self._targets = targets
        self._active = [False] * 7

    def on_reset(self) -> None:
        self._active = [False] * 7
        self._tell()

    def put(self, at: int, value: int) -> None:
        if at == _IFCR:
            for channel in range(7):
                flags = value >> 4 * channel & 15
                flags = 15 if flags & 1 else flags
                self.values[_ISR] &= ~(flags << 4 * channel)
            self._tell()
            return
        if at == _ISR:
            return
        self.values[at] = value
        channel, register = divmod(at - 0x08, 0x14)
        if at < _CSELR and register == 0:
            if not value & _EN:
                self._active[channel] = False
            self.serve()

    def serve(self) -> None:
        """Starts the channels whose peripheral asks for data."""
        for channel in range(7):
            first = 0x08 + 0x14 * channel
            control, count, target, memory = (self.values[first + n] for n in (0, 4, 8, 12))
            if not control & _EN or self._active[channel] or not count:
                continue
            spi = self._targets.get(target)
            if spi is None or not control & _FROM_MEMORY or control & _CIRCULAR or control & 0xF00:
                raise self.core.error(f"set up a DMA transfer ({control:#x}) that is not emulated")
            if spi.values[_CR1] & _SPE and spi.values[_CR2] & _TXDMAEN:
                self._active[channel] = True
                data = self.core.peek(memory, count if control & _MINC else 1)
                ends = spi.send(data if control & _MINC else data * count)
                # The last bytes are in the FIFO when the channel is done.
                left_ns = ends - self.core.now_ns - 2 * 8e9 / spi.clock_hz
                self.core.after(max(0.0, left_ns), partial(self._done, channel))

    def _done(self, channel: int) -> None:
        if self._active[channel]:
            self._active[channel] = False
            self.values[0x0C + 0x14 * channel] = 0
            self.values[_ISR] |= 0b0111 << 4 * channel
            self._tell()

    def _tell(self) -> None:
        for channel, irq in enumerate(_DMA_IRQS[self.base]):
            enabled = self.values[0x08 + 0x14 * channel] & 0b1110
            flags = self.values[_ISR] >> 4 * channel
            self.core.nvic.line(irq, bool(flags & enabled))
