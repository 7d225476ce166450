"""Token files in pieces: wherever a file is cut on its way, the same comes of it."""

from __future__ import annotations

import base64
import codecs
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.common.secret import Secret
from tallystick.server.errors import ApiError
from tallystick.server.stock.containers import Opening
from tallystick.server.stock.encodings import MAX_LINE, PlainText
from tallystick.server.stock.gathering import IntakeWish
from tallystick.server.stock.refusing import Weakness
from tallystick.server.stock.seed_files import read_tokens
from tallystick.server.store.sealed_file import PIECE, SealedFile
from tests.server.test_token_files import FIELD, NOW, SEED, container, key_package, read

pytestmark = pytest.mark.filterwarnings("ignore:.*decrepit")

KEY = bytes.fromhex("12345678901234567890123456789012")
BASE32 = base64.b32encode(SEED).decode()


class Cut(SealedFile):
    """A file whose pieces end where the test says. What is read of its beginning is not cut: a real
    piece is longer than that."""

    def __init__(self, content: bytes, cuts: Sequence[int]) -> None:
        super().__init__()
        self._content = content
        self._cuts = sorted({0, *(cut for cut in cuts if 0 < cut < len(content)), len(content)})
        self.size = len(content)

    def pieces(self) -> Iterator[bytes]:
        for start, end in zip(self._cuts, self._cuts[1:], strict=False):
            yield self._content[start:end]

    def head(self, size: int) -> bytes:
        return self._content[:size]


def outcome(file: bytes | SealedFile) -> object:
    """All that is told of a file: its entries, or why it is refused."""
    opening = Opening(psk=Secret(KEY), passphrase=Secret(b"words"), takes=frozenset(Weakness))
    try:
        taken = read_tokens(file, opening, NOW, IntakeWish(skip_unusable=True))
    except ApiError as error:
        return error.body()
    entries = [
        (e.serial, e.seed.reveal(), e.moving_factor, e.generator, e.user, e.key_id, e.drift)
        for e in taken.entries
    ]
    return taken.kind, entries, [line.model_dump() for line in taken.left_out], taken.signature


QUOTED = (
    "upn,serial number,secret key,time interval,manufacturer,model\r\n"
    f'"ann@example.org","S1","{BASE32}","30","Maker ""A""","one\r\ntwo, three"\r\n'
    f'"zoë.łuk-日本-𝔘@example.org","S2","{BASE32[::-1]}","30","M","x"\r\n'
    f'bad "quote,S3,{BASE32[4:]}ABCD,30,M,x\r\n'
)
OATH = f'S1,{SEED.hex()},hotp,6,0\r\n\r\n# zoë\r\n"S2",{SEED[::-1].hex()},totp,6,30\r\n'
SAFEWORD = (
    "# SafeWord Authenticator Records\r\ndn: x\r\nobjectclass: sccCustomer\r\n"
    f"sccAuthenticatorId: S1\r\nsccTokenType: O\r\nsccTokenData: sccKey={SEED.hex()};"
    "sccMode=E;sccPwLen=6;sccSeq=0001;\r\n\r\n"
)
XML = container(
    key_package(serial="S1", more="<UserId>zoë 日本 𝔘</UserId>"),
    key_package(serial="S2", ident="S2", seed=SEED[::-1]),
    "<!-- zoë\r\n --><KeyPackage><Key Id='S3'/></KeyPackage>",
)
SAFENET = (
    f'<Tokens><Token serial="S1"><Applications><Application><Seed>{SEED.hex()}</Seed>'
    "<MovingFactor>7</MovingFactor></Application></Applications></Token></Tokens>"
)
TABLES = {"quoted": QUOTED, "oath": OATH, "safeword": SAFEWORD}
DOCUMENTS = {"pskc": XML, "safenet": SAFENET}


def encoded() -> Iterator[tuple[str, bytes]]:
    for name, text in TABLES.items():
        yield f"{name}-utf8", text.encode()
        yield f"{name}-mac", text.replace("\r\n", "\r").encode()
        yield f"{name}-utf8-bom", codecs.BOM_UTF8 + text.encode()
        yield f"{name}-utf16", text.encode("utf-16")
        yield f"{name}-utf16be-bare", text.encode("utf-16-be")
        yield f"{name}-cp1252", text.encode("cp1252", "replace")
        yield f"{name}-broken", text.encode()[:-20] + b"\x81\xff\x81"
    for name, text in DOCUMENTS.items():
        for encoding in ("utf-8", "iso-8859-1", "shift_jis", "gb18030"):
            declared = f'<?xml version="1.0" encoding="{encoding}"?>\r\n{text}'
            yield f"{name}-{encoding}", declared.encode(encoding, "xmlcharrefreplace")
        wrong = f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode("latin-1", "replace")
        yield f"{name}-wrong", wrong.replace(b"zo?", b"zo\xeb") + b"\xeb"
        yield f"{name}-utf16", f'<?xml version="1.0" encoding="UTF-16"?>{text}'.encode("utf-16")
        yield f"{name}-blanks", b"\n \t" + f"<?xml version='1.0'?>{text}".encode()
        yield f"{name}-bom", codecs.BOM_UTF8 + f"<?xml version='1.0'?>{text}".encode()


MADE = dict(encoded())
FILES = MADE | {path.name: path.read_bytes() for path in sorted(FIELD.iterdir()) if path.is_file()}
WHOLE = {name: outcome(content) for name, content in FILES.items()}


def test_the_files_say_something():
    """Else nothing would be compared."""
    taken = [name for name in MADE if isinstance(WHOLE[name], tuple)]
    assert len(taken) > len(MADE) * 2 / 3, {n: WHOLE[n] for n in MADE if n not in taken}
    kind, entries, left_out, _ = WHOLE["quoted-utf16"]
    assert kind == "Entra ID CSV" and len(entries) == 3 and not left_out
    assert entries[1][4] == "zoë.łuk-日本-𝔘@example.org"


@pytest.mark.parametrize("name", FILES)
def test_a_byte_at_a_time(name):
    content = FILES[name]
    assert outcome(Cut(content, range(len(content)))) == WHOLE[name]


@pytest.mark.parametrize("name", MADE)
def test_cut_once_at_each_byte(name):
    """A multibyte character, the two bytes of a line's end, a quote and its twin, a tag."""
    content = FILES[name]
    step = 1 if len(content) < 500 else 7
    for cut in range(1, len(content), step):
        assert outcome(Cut(content, [cut])) == WHOLE[name], (cut, content[cut - 8 : cut + 8])


@given(st.sampled_from(sorted(FILES)), st.lists(st.integers(1, 4000), max_size=12))
@settings(max_examples=150, deadline=None)
def test_cut_anywhere(name, cuts):
    assert outcome(Cut(FILES[name], cuts)) == WHOLE[name]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("back", [1, 3, 8, 40, 75, 95])
def test_an_entry_over_the_end_of_a_real_piece(encoding, back):
    """back: so many bytes before its end the entry begins."""
    before = f"# {'x' * 60}\r\n"
    entry = f'"zoë.日本@example.org","S9","{BASE32}","30","Maker ""A""","one\r\ntwo"\r\n'
    head = "upn,serial number,secret key,time interval,manufacturer,model\r\n"
    wide = len("x".encode(encoding)) - len("".encode(encoding))
    room = (PIECE - len("".encode(encoding)) - back) // wide - len(head)
    count = room // len(before)
    filled = before * (count - 1) + f"# {'y' * (room - (count - 1) * len(before) - 4)}\r\n"
    content = (head + filled + entry).encode(encoding)
    at = content.index('"zoë'.encode(encoding)[len("".encode(encoding)) :])
    assert PIECE - back - 2 <= at < PIECE < len(content)
    kind, entries, left_out, _ = outcome(content)
    assert (kind, left_out) == ("Entra ID CSV", [])
    assert [(e[0], e[4]) for e in entries] == [("S9", "zoë.日本@example.org")]


@pytest.mark.parametrize("cuts", [(), (10,), (MAX_LINE // 2,), (MAX_LINE,), (MAX_LINE + 1,)])
def test_how_long_a_line_may_be_does_not_hang_on_the_cuts(cuts):
    good = b"x" * MAX_LINE + b"\nshort\n"
    assert len(list(PlainText(Cut(good, cuts)).lines())) == 3
    with pytest.raises(ApiError, match="line of more than"):
        list(PlainText(Cut(b"x" + good, cuts)).lines())
    with pytest.raises(ApiError, match="line of more than"):
        list(PlainText(Cut(b"short\n" + b"x" * (MAX_LINE + 1), cuts)).lines())


CUT = {
    **{name: text for name, text in TABLES.items() if name != "quoted"},
    "two cells": f"S1,{SEED.hex()}\nS2,{SEED[::-1].hex()}\n",
    "digits last": f"S1,{SEED.hex()},totp,8\nS2,{SEED[::-1].hex()},totp,8\n",
    "headings": f"serial;secret;counter;digits\nS1;{SEED.hex()};12;8\nS2;{SEED.hex()[::-1]};7;8\n",
}


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_was_cut_off_is_refused_whole(name):
    """At every place behind its first line: it is refused, or ends with a whole entry."""
    text = CUT[name]

    def seen(content: str) -> list[tuple]:
        taken = read(content).entries
        return [(e.serial, e.seed.reveal(), e.moving_factor, e.generator) for e in taken]

    whole = seen(text)
    for end in range(text.index("\n") + 1, len(text)):
        try:
            taken = seen(text[:end])
        except ApiError:
            continue
        assert taken == whole[: len(taken)], text[:end][-30:]
