"""Who the card is: the segment that the factory wrote beside the firmware.

`TSID` 01 ‖ serial number (10) ‖ transport keys (48) ‖ date (4) ‖ QR code (63) ‖ CRC-32 (4).
"""

from binascii import crc32

from micropython import const

SIZE = const(134)


class Identity:
    """`present` is False on a card that has not been to the factory: it has no keys to trust."""

    def __init__(self, segment: bytes) -> None:
        good = segment[:5] == b"TSID\x01" and crc32(segment[:130]) == int.from_bytes(
            segment[130:134], "little"
        )
        self.present = good
        self.serial = segment[5:15] if good else b"0000000000"
        self.transport = segment[15:63] if good else b""
        self.qr = segment[67:130] if good else b""
