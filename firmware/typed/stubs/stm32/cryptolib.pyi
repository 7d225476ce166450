"""Our board definition turns it on; the published stubs are of a board without it."""

from typing import TypeVar, overload

from _mpy_shed import AnyReadableBuf, AnyWritableBuf

_Out = TypeVar("_Out", bound=AnyWritableBuf)

class aes:
    @overload
    def __init__(self, key: AnyReadableBuf, mode: int, /) -> None: ...
    @overload
    def __init__(self, key: AnyReadableBuf, mode: int, iv: AnyReadableBuf, /) -> None: ...
    @overload
    def encrypt(self, in_buf: AnyReadableBuf, /) -> bytes: ...
    @overload
    def encrypt(self, in_buf: AnyReadableBuf, out_buf: _Out, /) -> _Out: ...
    @overload
    def decrypt(self, in_buf: AnyReadableBuf, /) -> bytes: ...
    @overload
    def decrypt(self, in_buf: AnyReadableBuf, out_buf: _Out, /) -> _Out: ...
