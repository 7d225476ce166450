"""python-pskc's parser, with what it cannot read kept beside the entry that it is in."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pskc.device import Device
from pskc.exceptions import PSKCError
from pskc.key import Key
from pskc.parser import PSKCParser

from tallystick.server.stock.refusing import shown

# What python-pskc raises for input that is not what it should be.
UNREADABLE = (PSKCError, ValueError, TypeError, AttributeError, OverflowError, LookupError)
BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
HEX = re.compile(r"([0-9A-Fa-f]{2}){16,}")
BASE32 = re.compile(r"[A-Z2-7]{32,}={0,6}")  # one of 4,000,000,000 keys looks so in base 64
BOOLEANS = {"", "0", "1", "true", "false"}
# Parts of an entry that are no key, and what they should be.
DATES = {"StartDate", "ExpiryDate", "Expiry"}
NUMBERS = {"NumberOfTransactions"}
NUMBER_ATTRIBUTES = {
    *("Length", "length", "Min", "min", "Max", "max", "MinLength", "MaxLength"),
    "MaxFailedAttempts",
}
INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
INTEGER_DIGITS = 20
BINARY_SIZES = (4, 8)  # of a number in base 64, as the drafts have it
OF_BYTES = ("PlainValue", "EncryptedValue/CipherData/CipherValue", "ValueMAC", "ValueDigest")


def problem_of(key: Key) -> str | None:
    """Why an entry could not be read, or None. Nothing secret is in it."""
    return getattr(key, "problem", None)


class EntryParser(PSKCParser):
    """What is wrong with one entry does not hide the others."""

    @classmethod
    def parse_key_package(cls, device: Device, key_package: Any) -> None:
        try:
            super().parse_key_package(device, key_package)
        except UNREADABLE as error:
            if not device.keys:
                device.add_key()
            said_of = f"has device information that cannot be read ({said(error)})"
        else:
            said_of = ""
        for part in ("DeviceInfo", "DeviceId"):
            info = key_package.find(part)
            said_of = (None if info is None else _unreadable_part(info)) or said_of
        for key in device.keys if said_of else ():
            _note(key, said_of)

    @classmethod
    def parse_key(cls, key: Key, key_elm: Any) -> None:
        try:
            super().parse_key(key, key_elm)
        except UNREADABLE as error:
            _note(key, _unreadable_part(key_elm) or f"cannot be read ({said(error)})")
        else:
            if problem := _unreadable_part(key_elm):
                _note(key, problem)

    @classmethod
    def parse_data(cls, key: Key, field: str, element: Any) -> None:
        if element is None or not field:
            return
        name = str(element.get("Name") or element.tag)
        for path in OF_BYTES:
            # Its text would end at the first element inside.
            if any(len(found) for found in element.findall(path)):
                _note(key, f"has a {name} with elements where a value should be")
                return
        problem = _secret_problem(element) if field == "secret" else _number_problem(name, element)
        if problem is None and _is_doubtful(key, element):
            problem = f"has a {name} that is encrypted or not: it has no ValueDigest"
        if problem is not None:
            _note(key, problem)
            return
        super().parse_data(key, field, element)


def _note(key: Key, problem: str) -> None:
    if problem_of(key) is None:
        setattr(key, "problem", problem)  # noqa: B010  (python-pskc's Key has no such field)


def _unreadable_part(element: Any) -> str | None:
    """Which date or number of it is none. python-pskc's errors do not always say."""
    for part in _parts(element):
        name, text = str(part.tag), (part.text or "").strip()
        if name in DATES and not _is_date(text):
            return f"has an {name} of {shown(text)}, which is no date"
        if name in NUMBERS and not INTEGER.fullmatch(text):
            return f"has a {name} of {shown(text)}, which is not a number"
        for mark, value in part.attrib.items():
            if mark in NUMBER_ATTRIBUTES and not INTEGER.fullmatch(str(value).strip()):
                return f"has a {name} whose {mark} is {shown(value)}, which is not a number"
            if mark in ("CheckDigits", "CheckDigit") and str(value).lower() not in BOOLEANS:
                return f"has a {name} whose {mark} is {shown(value)}, neither true nor false"
    return None


def _parts(element: Any) -> Iterator[Any]:
    """An element and what is in it, but extensions: what these mean is their makers' business."""
    yield element
    for part in element:
        if part.tag not in ("Extensions", "Extension"):
            yield from _parts(part)


def _is_date(text: str) -> bool:
    """python-pskc reads others as well, and 03/04/2027 as one of two days."""
    try:
        datetime.fromisoformat(text or "1970-01-01")  # an empty one is none
    except ValueError:
        return False
    return True


def said(error: Exception) -> str:
    """What an error says of a value that is no key; type only, where it may say more."""
    return shown(error) if isinstance(error, (ValueError, PSKCError)) else type(error).__name__


def _secret_problem(element: Any) -> str | None:
    for path in (*OF_BYTES, "Value"):
        text = _bare(element, path)
        if text is None:
            continue
        for name, writing in (("hexadecimal digits", HEX), ("base 32", BASE32)):
            if path == "PlainValue" and writing.fullmatch(text):
                return f"has a secret in {name}, where base 64 is expected (RFC 6030 4.2)"
        if not _is_base64(text):
            return f"has a secret whose {path.rsplit('/', 1)[-1]} is not base 64"
    return None


def _number_problem(name: str, element: Any) -> str | None:
    for path in OF_BYTES[1:]:
        text = _bare(element, path)
        if text is not None and not _is_base64(text):
            return f"has a {name} whose {path.rsplit('/', 1)[-1]} is not base 64"
    text = _bare(element, "PlainValue")
    if text is None or INTEGER.fullmatch(text):
        return None
    raw = base64.b64decode(text) if text and _is_base64(text) else b""
    if (raw.isdigit() and len(raw) < INTEGER_DIGITS) or len(raw) in BINARY_SIZES:
        return None
    return f"has a {name} of {shown(text)}, which is not a number"


def _bare(element: Any, path: str) -> str | None:
    """The text of a part of it, without white space."""
    found = element.find(path)
    return None if found is None else re.sub(r"\s", "", found.text or "")


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except ValueError:  # also what is no ASCII
        return False
    return bool(BASE64.fullmatch(text))


def _is_doubtful(key: Key, element: Any) -> bool:
    """A value of the first drafts: encrypted where there is a digest, and what without one?"""
    digest = element.find("ValueMAC") is not None or element.find("ValueDigest") is not None
    encrypted = bool(key.device.pskc.encryption.algorithm)
    return encrypted and not digest and element.find("Value") is not None
