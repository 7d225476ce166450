"""The published names of buffers, without the `Incomplete` that lets anything pass for one."""

from array import array
from typing import TypeAlias

AnyReadableBuf: TypeAlias = bytearray | array[int] | memoryview | bytes
AnyWritableBuf: TypeAlias = bytearray | array[int] | memoryview

__all__ = ["AnyReadableBuf", "AnyWritableBuf"]
