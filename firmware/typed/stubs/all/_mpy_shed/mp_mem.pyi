"""Memory by address, in whole numbers: the published stub says that anything may be there."""

class _MemoryObject:
    def __getitem__(self, key: int) -> int: ...
    def __setitem__(self, key: int, value: int) -> None: ...

__all__ = ["_MemoryObject"]
