"""Command APDUs, ISO/IEC 7816-4 section 5: short and extended, cases 1 to 4."""

from lib import wire


class Refused(Exception):
    """The command is refused with a status word."""

    def __init__(self, sw: int) -> None:
        self.sw = sw


class Command:
    """One command, parsed in place: `data` is a view of the buffer that it came in."""

    def __init__(self) -> None:
        self.cla = self.ins = self.p1 = self.p2 = 0
        self.data = memoryview(b"")
        self.le = 0  # as asked for; 0: not given
        self.limit = 0  # most bytes that the answer may carry
        self.head = 0  # bytes from CLA to Lc, as the C-MAC covers them

    def parse(self, apdu: memoryview) -> None:
        """Take a command apart. Raises Refused(6700) when its length is not its own."""
        size = len(apdu)
        extended = size > 5 and apdu[4] == 0
        if size < (7 if extended else 4):
            raise Refused(wire.SW_LENGTH)
        self.cla, self.ins, self.p1, self.p2 = apdu[0], apdu[1], apdu[2], apdu[3]
        if size == 4:
            self._set(apdu, 4, 4, 0)
        elif size == 5:
            self._set(apdu, 5, 5, 1)
        elif not extended:
            self._set(apdu, 5, 5 + apdu[4], 1)
        elif size == 7:
            self._set(apdu, 7, 7, 2)
        elif apdu[5] or apdu[6]:
            self._set(apdu, 7, 7 + (apdu[5] << 8 | apdu[6]), 2)
        else:
            raise Refused(wire.SW_LENGTH)

    def _set(self, apdu: memoryview, head: int, end: int, le_size: int) -> None:
        """Data from head to end, then Le of le_size bytes or nothing."""
        size = len(apdu)
        self.head = head
        self.limit = 0x10000 if le_size == 2 else 0x100
        self.le = 0
        if head == end and le_size:  # case 2: Le stands where Lc would
            end -= le_size
            self.data = apdu[end:end]
        else:
            if size != end and size != end + le_size:
                raise Refused(wire.SW_LENGTH)
            self.data = apdu[head:end]
        if size > end:
            self.le = self.limit = int.from_bytes(apdu[end:size], "big") or self.limit
