"""P-256: published vectors, another implementation, and a course that depends on no secret."""

from __future__ import annotations

import ast
import itertools
import os
import random
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tallystick.tools.image import p256_table

FIRMWARE = Path(__file__).parents[3] / "firmware"
# RFC 6979, A.2.5: private key and public key.
PRIVATE = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
PUBLIC = bytes.fromhex(
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
# NIST CAVP, KAS ECC CDH primitive, P-256, count 0.
CDH_PRIVATE = 0x7D7DC5F71EB29DDAF80D6214632EEAE03D9058AF1FB6D22ED80BADB62BC1A534
CDH_PEER = bytes.fromhex(
    "700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287"
    "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac"
)
CDH_SHARED = "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b"


@pytest.fixture(scope="module")
def p256(room: Callable[[str], Any]) -> Any:
    return room("lib.p256")


def _public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    numbers = key.public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def test_the_table_is_what_its_generator_makes() -> None:
    assert (FIRMWARE / "lib" / "p256_table.py").read_text() == p256_table.module()


def test_public_key_of_rfc_6979(p256: Any) -> None:
    assert p256.public_key(PRIVATE, os.urandom) == PUBLIC


def test_shared_secret_of_nist(p256: Any) -> None:
    assert p256.shared_x(CDH_PRIVATE, CDH_PEER, os.urandom).hex() == CDH_SHARED


@pytest.mark.parametrize("private", [2**64, 2**64 + 1, 2**128 - 1, 2**255, -(2**64), 1 - 2**64])
def test_small_and_large_keys(p256: Any, private: int) -> None:
    """Not those next to 0, which the module's docstring leaves out."""
    private %= p256.N
    key = ec.derive_private_key(private, ec.SECP256R1())
    assert p256.public_key(private, os.urandom) == _public_bytes(key.public_key())
    other = ec.generate_private_key(ec.SECP256R1())
    shared = key.exchange(ec.ECDH(), other.public_key())
    assert p256.shared_x(private, _public_bytes(other.public_key()), os.urandom) == shared


def test_signatures_are_taken_by_another_implementation(p256: Any) -> None:
    for _ in range(20):
        private = p256.scalar(os.urandom(48))
        digest = os.urandom(32)
        signature = p256.der(*p256.sign(private, digest, os.urandom))
        public = ec.derive_private_key(private, ec.SECP256R1()).public_key()
        public.verify(signature, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def _always(size: int) -> bytes:
    """A chip whose randomness has failed."""
    return b"\x5a" * size


def test_a_nonce_is_not_used_twice(p256: Any) -> None:
    """Two signatures with one nonce tell the key. Each of key, digest and chance is enough."""
    other = bytes(31) + b"\1"
    seen = [
        p256.sign(private, digest, draw)[0]
        for private in (PRIVATE, PRIVATE + 1)
        for digest in (bytes(32), other)
        for draw in (_always, os.urandom, os.urandom)
    ]
    assert len(set(seen)) == len(seen)
    # r of the same nonce would be the same, whatever else is drawn.
    assert p256.sign(PRIVATE, other, _always)[0] == seen[3]


@pytest.mark.parametrize(
    "peer",
    [bytes(64), PUBLIC[:32] + bytes(32), PUBLIC[:63], b"\xff" * 64, PUBLIC[32:] + PUBLIC[:32]],
)
def test_points_off_the_curve_are_refused(p256: Any, peer: bytes) -> None:
    with pytest.raises(p256.InvalidError):
        p256.shared_x(PRIVATE, peer, os.urandom)


_traced: set[CodeType] = set()


def _steps(work: Callable[[], object]) -> int:
    """Bytecode steps that a piece of work takes in the firmware's modules, not in C.

    How many they are is each Python's own, and from 3.12 on they are told from the second traced
    call of a function: work in which a function is traced for the first time is done again.
    """
    count, known = 0, False

    def trace(frame: Any, event: str, _arg: Any) -> Any:
        nonlocal count, known
        if not frame.f_code.co_filename.startswith(str(FIRMWARE)):
            return None
        known &= frame.f_code in _traced
        _traced.add(frame.f_code)
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            count += 1
        return trace

    while not known:
        count, known = 0, True
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(before)
    assert count, "this Python tells no steps"
    return count


def test_steps_depend_on_no_key_nonce_or_message(p256: Any) -> None:
    """Signing, key generation and key agreement; extreme keys, and random ones."""
    rng = random.Random(1)
    keys = [1, 2, p256.N - 1, 2**255, *(p256.scalar(rng.randbytes(48)) for _ in range(12))]
    entropies = [bytes, lambda n: b"\xff" * n, rng.randbytes]
    digests = [bytes(32), b"\xff" * 32, sha256(b"x").digest()]
    signing = {
        _steps(lambda k=k, d=d, e=e: p256.sign(k, d, e))
        for k in keys
        for d in digests
        for e in entropies
    }
    making = {_steps(lambda k=k, e=e: p256.public_key(k, e)) for k in keys for e in entropies}
    agreeing = {
        _steps(lambda k=k, e=e: p256.shared_x(k, CDH_PEER, e)) for k in keys for e in entropies
    }
    assert len(signing) == len(making) == len(agreeing) == 1, (signing, making, agreeing)


def test_the_counter_of_steps_can_tell(p256: Any) -> None:
    """A plain double-and-add shows its key; otherwise the test above would prove nothing."""

    def multiply(k: int) -> None:
        point = (p256.TABLE[0], p256.TABLE[1], 1)
        for bit in bin(k)[2:]:
            point = p256._double(*point)
            if bit == "1":
                p256._double(*point)

    assert _steps(lambda: multiply(0b1000001)) != _steps(lambda: multiply(0b1111111))


def _with_steps(source: str) -> str:
    """The module, with a call before each statement of each function."""
    tree = ast.parse(source)
    numbers = itertools.count()
    bodies = [
        getattr(node, name)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        for name in ("body", "orelse")
        if getattr(node, name, None)
    ]
    for body in bodies:
        body[:] = [
            one
            for statement in body
            for one in (ast.parse(f"_step({next(numbers)})").body[0], statement)
        ]
    return ast.unparse(tree)


def test_every_statement_is_one_course() -> None:
    """So that the same statements are the same bytecode: nothing in them decides anything, but
    where a pause or the first column is asked for, and where a result is refused."""
    tree = ast.parse((FIRMWARE / "lib" / "p256.py").read_text())
    deciding = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.IfExp | ast.BoolOp | ast.comprehension | ast.Lambda)
    }
    assert deciding == {
        "not r or not s",
        "len(peer) != 64 or x >= P or y >= P or (y * y - x * x * x + 3 * x - B) % P",
        "data[start] == 0 and data[start + 1] < 128",  # of the signature, when it is out
    }


def test_the_course_on_micropython_depends_on_no_key(micropython: Any) -> None:
    """The same statements in the same order, on the interpreter that ships."""
    module = _with_steps((FIRMWARE / "lib" / "p256.py").read_text())
    source = f"""
_course = [0, 0]
def _step(number):
    _course[0] += 1
    _course[1] = (_course[1] * 31 + number) & 0xFFFFFF
{module}
import os
seen = set()
for key in (1, 2, N - 1, 1 << 255, scalar(os.urandom(48)), scalar(os.urandom(48))):
    for digest in (bytes(32), os.urandom(32)):
        _course[:] = [0, 0]
        sign(key, digest, os.urandom)
        seen.add(("sign", _course[0], _course[1]))
    _course[:] = [0, 0]
    public_key(key, os.urandom)
    seen.add(("make", _course[0], _course[1]))
    _course[:] = [0, 0]
    shared_x(key, bytes.fromhex("{CDH_PEER.hex()}"), os.urandom)
    seen.add(("agree", _course[0], _course[1]))
answer([list(one) for one in seen])
"""
    courses = micropython.run(source)
    assert sorted(name for name, _, _ in courses) == ["agree", "make", "sign"], courses
    assert all(steps > 500 for _, steps, _ in courses)


def test_field_operations_of_a_signature(p256: Any) -> None:
    """Documented in docs/reference/reader.md, from which the time on a board is estimated."""
    counts = {"double": 0, "add": 0}
    double, add = p256._double, p256._add_affine

    def counted_double(*point: int) -> Any:
        counts["double"] += 1
        return double(*point)

    def counted_add(*points: int) -> Any:
        counts["add"] += 1
        return add(*points)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(p256, "_double", counted_double)
        patch.setattr(p256, "_add_affine", counted_add)
        p256.sign(PRIVATE, bytes(32), os.urandom)
    assert counts == {"double": 40, "add": 40}


def test_on_micropython(micropython: Any) -> None:
    """The compiled module, on the real thing, against another implementation."""
    source = """
import os
from lib import p256
private = p256.scalar(os.urandom(48))
digest = os.urandom(32)
peer = p256.scalar(os.urandom(48))
mine, theirs = p256.public_key(private, os.urandom), p256.public_key(peer, os.urandom)
same = p256.shared_x(private, theirs, os.urandom) == p256.shared_x(peer, mine, os.urandom)
answer([hex(private), mine.hex(), digest.hex(), p256.der(*p256.sign(private, digest,
os.urandom)).hex(), same])
"""
    private, public, digest, signature, same = micropython.run(source)
    key = ec.derive_private_key(int(private, 16), ec.SECP256R1()).public_key()
    assert _public_bytes(key).hex() == public
    prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
    key.verify(bytes.fromhex(signature), bytes.fromhex(digest), prehashed)
    assert same
