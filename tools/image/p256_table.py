"""Makes `firmware/lib/p256_table.py`: the points of the fixed-base comb. A test compares.

Point i is 2^(6·41)·G plus or minus 2^(41·t)·G for t = 0..5: plus where bit t of i is set.
Run as `python -m tallystick.tools.image.p256_table > firmware/lib/p256_table.py`.
"""

from __future__ import annotations

import click
from cryptography.hazmat.primitives.asymmetric import ec

COLUMNS = 41
TEETH = 7
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def points() -> bytes:
    """64 points, each X ‖ Y, 32 bytes big endian."""
    out = b""
    for index in range(1 << (TEETH - 1)):
        scalar = 1 << (TEETH - 1) * COLUMNS
        for tooth in range(TEETH - 1):
            term = 1 << tooth * COLUMNS
            scalar += term if index >> tooth & 1 else -term
        numbers = ec.derive_private_key(scalar % _N, ec.SECP256R1()).public_key().public_numbers()
        out += numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    return out


def module() -> str:
    """Source text of the table."""
    data = points()
    lines = [
        '"""Comb of P-256, made by tools/image/p256_table.py: 64 points, X ‖ Y."""',
        "",
        "TABLE = (",
    ]
    for at in range(0, len(data), 24):
        text = "".join(f"\\x{byte:02x}" for byte in data[at : at + 24])
        lines.append(f'    b"{text}"')
    return "\n".join([*lines, ")  # fmt: skip", ""])


if __name__ == "__main__":
    click.echo(module(), nl=False)
