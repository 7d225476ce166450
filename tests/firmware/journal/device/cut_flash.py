"""A NOR flash in RAM that cuts the power."""


class PowerCut(Exception):
    pass


class Flash:
    """Cuts the power at operation `cut_at`: `mask` bytes say which of the bits are done."""

    def __init__(self, sectors, sector, unit):
        self.SECTORS = sectors
        self.SECTOR = sector
        self.UNIT = unit
        self.memory = bytearray(b"\xff" * (sectors * sector))
        self.operations = 0
        self.cut_at = -1
        self.mask = b""
        self.bad = set()
        self.erases = [0] * sectors

    def read(self, address, buf):
        buf[:] = self.memory[address : address + len(buf)]

    def program(self, address, buf):
        if address % self.UNIT or len(buf) % self.UNIT:
            raise ValueError("unaligned")
        old = bytes(self.memory[address : address + len(buf)])
        self._change(address, old, bytes(a & b for a, b in zip(old, buf)))  # noqa: B905

    def erase(self, sector):
        self.erases[sector] += 1
        address = sector * self.SECTOR
        old = bytes(self.memory[address : address + self.SECTOR])
        self._change(address, old, b"\xff" * self.SECTOR)

    def _change(self, address, old, new):
        cut = self.operations == self.cut_at
        self.operations += 1
        if address // self.SECTOR in self.bad:
            raise OSError(5)
        if cut:
            m = self.mask
            new = bytes(o ^ ((o ^ n) & m[i % len(m)]) for i, (o, n) in enumerate(zip(old, new)))  # noqa: B905
        self.memory[address : address + len(new)] = new
        if cut:
            raise PowerCut
