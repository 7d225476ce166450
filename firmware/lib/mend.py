"""Finds the one bit that a CRC-32 says has flipped."""


def flipped_bit(off: int, size: int) -> int:
    """Which bit of `size` bytes, when flipped, changes the CRC-32 by `off`; -1 when none does."""
    delta = 0xEDB88320
    for byte in range(size - 1, -1, -1):
        for bit in range(7, -1, -1):
            if delta == off:
                return byte << 3 | bit
            delta = delta >> 1 ^ (0xEDB88320 if delta & 1 else 0)
    return -1
