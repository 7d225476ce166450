"""Types that many modules name. Only the type checker reads this folder: nothing of it is in an
image."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from _mpy_shed.time_mp import _TicksMs

Readable: TypeAlias = bytes | bytearray | memoryview
Writable: TypeAlias = bytearray | memoryview
# What `ticks_ms` gives: only `ticks_add` and `ticks_diff` may reckon with it. A field that has not
# been set yet holds 0.
Ticks: TypeAlias = _TicksMs
NotYet: TypeAlias = _TicksMs | int

Random: TypeAlias = Callable[[int], bytes]  # n → n random bytes
Pause: TypeAlias = Callable[[], None]  # called often during long work
Wait: TypeAlias = Callable[[int], None]  # at most so many ms

# What CBOR carries here.
Item: TypeAlias = "None | bool | int | bytes | str | tuple[bytes] | list[Item] | dict[Item, Item]"
Map: TypeAlias = dict[Item, Item]


class Hash(Protocol):
    def update(self, data: Readable, /) -> None: ...
    def digest(self) -> bytes: ...


NewHash: TypeAlias = Callable[[Readable], Hash]
