"""Several registers of Unicorn at once. Its own way converts each of them each time, which an
interrupt every millisecond would feel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from importlib import import_module
from typing import Any


class RegisterSet:
    """32-bit registers by their names in Unicorn, written in this order."""

    def __init__(self, uc: Any, *names: str) -> None:
        constants = import_module("unicorn.arm_const")
        self._library = import_module("unicorn.unicorn_py3.unicorn").uclib
        self._handle = uc._uch
        self._count = ctypes.c_int(len(names))
        numbers = [getattr(constants, f"UC_ARM_REG_{name}") for name in names]
        self._numbers = (ctypes.c_int * len(names))(*numbers)
        self._values = (ctypes.c_uint32 * len(names))()
        start = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * len(names))(*(start + 4 * n for n in range(len(names))))

    def read(self) -> list[int]:
        self._library.uc_reg_read_batch(self._handle, self._numbers, self._pointers, self._count)
        return list(self._values)

    def write(self, values: Sequence[int]) -> None:
        self._values[:] = list(values)
        self._library.uc_reg_write_batch(self._handle, self._numbers, self._pointers, self._count)
