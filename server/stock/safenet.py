"""Seed files of SafeNet, formerly Aladdin and Secure Computing: XML, and SafeWord's records."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from xml.etree import ElementTree

from tallystick.server.stock.encodings import PlainText, XmlText
from tallystick.server.stock.plain_seeds import PlainEntry
from tallystick.server.stock.refusing import refuse
from tallystick.server.stock.xml_limits import elements_of, look_through

SAFEWORD = "safeword authenticator records"
SHA256_DIGITS = 64  # of a seed in hexadecimal: tokens with so long a seed use SHA-256


def safenet_entries(text: XmlText) -> Iterator[PlainEntry]:
    """Of `<Tokens>`: the first application of each `<Token>`. Raises ApiError (422)."""
    look_through(text.pieces(), ("Token",))
    tokens = (one for one in elements_of(text.pieces()) if _local(one) == "Token")
    for number, token in enumerate(tokens, start=1):
        seeds = [one for one in token.iter() if _local(one) == "Seed"]
        seed = "".join((seeds[0].text or "").split()) if seeds else ""
        counter = next(
            (one.text or "" for one in token.iter() if _local(one) == "MovingFactor"), ""
        )
        yield PlainEntry(
            number,
            (token.get("serial") or "").strip(),
            seed,
            counter=counter,
            hash="SHA256" if len(seed) == SHA256_DIGITS else "SHA1",
            why_not=f"has {len(seeds)} seeds, and only one is expected" if len(seeds) > 1 else "",
        )


def is_safeword(head: str) -> bool:
    """head: the first characters of a file."""
    return SAFEWORD in head[:500].lower() or "sccauthenticatorid" in head[:2000].lower()


def safeword_entries(text: PlainText) -> Iterator[PlainEntry]:
    """Records of lines `name: value`, parted by empty lines; sccTokenData holds the seed. Raises
    ApiError (422)."""
    unended = text.unended().strip()
    if unended and not unended.startswith("#"):  # as makers do not write them
        refuse(
            "cut-off",
            "The last line has no line end.",
            todo="The file seems to be cut off: see whether all of it is there, and send it again.",
        )
    number, record = 0, dict[str, str]()
    for line in chain(text.lines(), [""]):
        stripped = line.strip()
        if stripped.startswith("#"):
            continue
        if ":" in stripped:
            name, value = stripped.split(":", 1)
            if name.strip().lower() == "dn" and "scctokendata" in record:
                number += 1
                yield _record(number, record)
                record = {}
            record[name.strip().lower()] = value.strip()
        elif not stripped and "scctokendata" in record:
            number += 1
            yield _record(number, record)
            record = {}


def _record(number: int, record: dict[str, str]) -> PlainEntry:
    pairs = (one.split("=", 1) for one in record["scctokendata"].split(";") if "=" in one)
    data = {name.strip().lower(): value.strip() for name, value in pairs}
    mode = data.get("sccmode", "E").upper()
    seed = data.get("scckey", "")
    long = "SHA256" if len(seed) == SHA256_DIGITS else "SHA1"
    return PlainEntry(
        number,
        record.get("sccauthenticatorid", ""),
        seed,
        digits=data.get("sccpwlen", ""),
        counter=data.get("sccseq", ""),
        hash=data.get("crypto", "").removeprefix("Hmac") or long,
        # Their time steps are counted from the day of production, not from 1970.
        why_not="" if mode == "E" else "is time-based, by a clock that does not start in 1970",
    )


def _local(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]
