"""Any token file: told by its content, read, and refused in clear unless that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NoReturn

from tallystick.server.stock.containers import ROOTS, Container, Opening
from tallystick.server.stock.encodings import PlainText, XmlText, looks_like_xml
from tallystick.server.stock.gathered import Gathered, Taken, Told
from tallystick.server.stock.gathering import IntakeWish, place
from tallystick.server.stock.intake import read_container
from tallystick.server.stock.plain_seeds import PlainEntry, read_plain
from tallystick.server.stock.refusing import Weakness, refuse, shown
from tallystick.server.stock.safenet import is_safeword, safenet_entries, safeword_entries
from tallystick.server.stock.tables import table_entries
from tallystick.server.stock.xml_limits import root_of
from tallystick.server.store.sealed_file import SealedFile

HEAD = 4096
KINDS = (
    "PSKC (RFC 6030, and its drafts)",
    "SafeNet or Aladdin XML",
    "SafeWord records",
    "CSV with headings (Entra ID and Token2: upn, serial number, secret key, time interval, "
    "manufacturer, model)",
    "OATH CSV (serial, seed, hotp or totp, digits, counter or seconds, hash)",
    "privacyIDEA CSV (“# version: 2”: user, resolver, realm, then as OATH CSV)",
    "multiOTP CSV (serial; maker; HOTP or TOTP; seed; digits; counter or seconds)",
    "Yubico CSV (both formats of its log)",
)
# What people send instead, by its first bytes, and what to do with it.
OTHERS = (
    (b"PK\x03\x04", "a ZIP archive or a workbook", "Unpack it, or save the sheet as CSV."),
    (b"\xd0\xcf\x11\xe0", "an old workbook or document", "Save the sheet as CSV."),
    (b"\x1f\x8b", "compressed", "Unpack it."),
    (b"7z\xbc\xaf\x27\x1c", "compressed", "Unpack it."),
    (b"%PDF", "a PDF document", "Ask the maker for a file that programs read."),
    (b"-----BEGIN PGP", "encrypted with OpenPGP", "Decrypt it with gpg."),
    (b"-----BEGIN PKCS7", "encrypted with CMS", "Decrypt it with openssl cms."),
    (b"-----BEGIN CMS", "encrypted with CMS", "Decrypt it with openssl cms."),
    (b"-----BEGIN", "a key or a certificate", "Give the file with the seeds."),
)


def read_tokens(
    content: bytes | SealedFile,
    opening: Opening,
    now: float,
    wanted: IntakeWish,
    tell: Told = lambda *_: None,
) -> Taken:
    """Every entry of a file of a known kind. Raises ApiError (422) naming the entries that are no
    good, or the kinds that are known; nothing secret is in it."""
    file = SealedFile.of(content) if isinstance(content, bytes) else content
    if not any(piece.strip(b" \t\r\n\0") for piece in file.pieces()):
        refuse("unknown-kind", "The file is empty.", todo=f"Files are taken of: {_kinds()}.")
    head = file.head(HEAD)
    for start, what, todo in OTHERS:
        if head.lstrip()[: len(start)] == start:
            refuse("unknown-kind", f"The file is {what}.", todo=todo)
    if looks_like_xml(head):
        return _read_xml(file, opening, now, wanted, tell)
    text = PlainText(file)
    if is_safeword(text.head(HEAD)):
        return _read_plain(
            "SafeWord records", lambda: safeword_entries(text), opening, wanted, tell
        )
    found = table_entries(text)
    if found is None:
        _unknown("It is a text")
    return _read_plain(*found, opening, wanted, tell, unit="Line")


def _read_xml(
    file: SealedFile, opening: Opening, now: float, wanted: IntakeWish, tell: Told
) -> Taken:
    text = XmlText(file)
    root = root_of(text.pieces())
    if root in ROOTS:
        return read_container(Container(file, opening), now, wanted, tell)
    if root != "Tokens":
        _unknown(f"It is XML of another kind ({shown(root)})")
    return _read_plain("SafeNet XML", partial(safenet_entries, text), opening, wanted, tell)


def _read_plain(
    kind: str,
    entries: Callable[[], Iterable[PlainEntry]],
    opening: Opening,
    wanted: IntakeWish,
    tell: Told,
    *,
    unit: str = "Entry",
) -> Taken:
    """entries: from the first one on, each time that it is called."""
    count = sum(1 for _ in entries())
    if not count:
        refuse("empty-container", f"The file is {kind}, with no token in it.")
    if opening.certificate:
        refuse(
            "wrong-signature",
            f"The file is {kind}: such files are not signed.",
            todo="Leave the certificate away if you trust the way that the file came.",
        )
    if Weakness.PLAIN not in opening.takes:
        refuse(
            "unencrypted",
            f"The file is {kind}, with {_seeds(count)} in clear: whoever read it on its way "
            "can make their codes.",
            takes=Weakness.PLAIN,
        )
    gathered = Gathered(wanted, unit, tell)
    for entry in entries():
        gathered.add(
            entry.number,
            None,
            partial(
                read_plain, place(entry.number, entry.serial, unit), entry, opening.takes, wanted
            ),
        )
    return gathered.finish(kind)


def _seeds(count: int) -> str:
    return "the seed of 1 token" if count == 1 else f"the seeds of {count} tokens"


def _unknown(what: str) -> NoReturn:
    refuse(
        "unknown-kind",
        f"The file is of no kind that is known here. {what}.",
        todo=f"Files are taken of: {_kinds()}.",
    )


def _kinds() -> str:
    return "; ".join(KINDS)
