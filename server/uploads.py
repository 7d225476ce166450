"""A form with a file in it (RFC 7578), received as it comes: the file is never in memory as a
whole, and never on a disk in clear."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.store.sealed_file import PIECE, SealedFile
from tallystick.server.wording.worded import worded

MOST_PARTS = 50
MAX_PART = 128 * 1024  # of what is no file
MAX_HEAD = 4096
FILE = "file"


@dataclass
class UploadedForm:
    """fields: of parts that are no file. file: None where there is none, or it is empty."""

    fields: dict[str, str] = field(default_factory=dict)
    file: SealedFile | None = None


async def received(request: Request) -> UploadedForm:
    """Raises ApiError: 413, 422; 503 where there is no room for the file."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(
            422,
            "no-form",
            "The request is no form with a file (multipart/form-data).",
            kept=NOTHING_CHANGED,
            todo="See /v1/openapi.json for what this call takes.",
        )
    parts = _Parts()
    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": parts.begin,
            "on_header_field": parts.header_field,
            "on_header_value": parts.header_value,
            "on_header_end": parts.header_end,
            "on_headers_finished": parts.headers_finished,
            "on_part_data": parts.data,
            "on_part_end": parts.end,
        },
    )
    try:
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= PIECE:
                await run_in_threadpool(parser.write, bytes(waiting))
                waiting.clear()
        await run_in_threadpool(parser.write, bytes(waiting))
        parser.finalize()
    except MultipartParseError:
        raise _not_read(worded("The form cannot be read.")) from None
    if not parts.whole:
        raise _not_read(worded("The form ends in the middle."))
    return parts.form


class _Parts:
    """What the parser calls."""

    def __init__(self) -> None:
        self.form = UploadedForm()
        self.whole = False
        self._count = self._files = 0
        self._name = self._field = ""
        self._head = bytearray()
        self._headers: dict[str, bytes] = {}
        self._text = bytearray()

    def begin(self) -> None:
        self.whole = False
        self._count += 1
        self._headers, self._text = {}, bytearray()
        self._name = ""
        if self._count > MOST_PARTS:
            raise _not_read(worded("The form has more than {most} parts.", most=MOST_PARTS))

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end].decode("latin-1").lower()
        self._bound(len(self._field))

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._head += data[start:end]
        self._bound(len(self._head))

    def header_end(self) -> None:
        self._headers[self._field] = bytes(self._head)
        self._bound(sum(map(len, self._headers.values())))
        self._field, self._head = "", bytearray()

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == FILE and self._files:
            raise _not_read(worded("The form has a part twice."))
        self._files += self._name == FILE

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE:
            if self.form.file is None:
                self.form.file = SealedFile()
            self.form.file.write(data[start:end])
            return
        self._text += data[start:end]
        self._bound(len(self._text), MAX_PART)

    def end(self) -> None:
        self.whole = True
        if self._name != FILE:
            if self._name in self.form.fields:
                raise _not_read(worded("The form has a part twice."))
            self.form.fields[self._name] = self._text.decode("utf-8", "replace")

    def _bound(self, size: int, most: int = MAX_HEAD) -> None:
        if size > most:
            raise ApiError(
                413,
                "body-too-large",
                worded("A part of the form is larger than {most} KiB.", most=most // 1024),
                kept=NOTHING_CHANGED,
                todo="Send what is large as the form's file.",
            )


def _not_read(what: str) -> ApiError:
    return ApiError(422, "bad-form", what, kept=NOTHING_CHANGED, todo="Send the whole form again.")
