"""Send a file of any size to the server, and show how far it is (`server/api/streaming.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tallystick.common.console import progress
from tallystick.common.errors import BadInputError, RefusedError, TallyError, UnreachableError

if TYPE_CHECKING:
    import httpx
    from rich.progress import Progress, TaskID

DOING = {
    "sent": "sending",
    "read": "reading",
    "sealed": "encrypting",
    "linked": "signing",
    "registered": "registering",
    "planned": "comparing",
    "done": "writing",
}
SILENCE_S = 120.0


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], bar: Progress, task: TaskID) -> None:
        self._file, self._bar, self._task = file, bar, task

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._bar.advance(self._task, len(content))
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def send_file(
    url: str,
    token: str,
    file: Path,
    options: Mapping[str, Any],
    *,
    quiet: bool,
    nothing: str,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """→ the result, and the lines before it that are no progress. nothing: what was kept where it
    is refused or breaks off. Raises RefusedError, UnreachableError, BadInputError."""
    import httpx

    size = file.stat().st_size
    if not size:
        raise BadInputError(f"{file} is empty.", kept=nothing, todo="Give the file that you mean.")
    with file.open("rb") as opened, progress(disable=quiet) as bar:
        task = bar.add_task(DOING["sent"], total=size)
        parts = [
            ("options", (None, json.dumps(options), "application/json")),
            ("file", (file.name, _Counted(opened, bar, task), "application/octet-stream")),
        ]
        try:
            with httpx.stream(
                "POST",
                url,
                files=parts,  # type: ignore[arg-type]  # it only reads it
                headers={"authorization": f"Bearer {token}"},
                timeout=SILENCE_S,
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refused(answer.json()["error"])
                return _result(answer.iter_lines(), bar, task)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _away(url, error) from None


def _result(
    lines: Iterable[str], bar: Progress, task: TaskID
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    others: list[dict[str, Any]] = []
    for text in lines:
        line = json.loads(text)
        if "error" in line:
            raise _refused(line["error"])
        if "result" in line:
            return line["result"], others
        if "progress" in line:
            told = line["progress"]
            name = DOING.get(told["doing"], told["doing"])
            bar.update(task, description=name, completed=told["done"], total=told["of"])
        else:
            others.append(line)
    raise UnreachableError(
        "The server broke off its answer.",
        kept="Nothing was done, or all of it: sending it again is safe.",
        todo="See the server's log, and send it again.",
    )


def _away(url: str, error: httpx.HTTPError | httpx.InvalidURL) -> TallyError:
    return UnreachableError(
        f"The server at {url} does not answer ({type(error).__name__}).",
        kept="Nothing was registered, or all of it: importing again is safe.",
        todo="Start it, or name it with --server.",
    )


def _refused(error: dict[str, Any]) -> TallyError:
    entries = error.get("entries") or []
    # A single one is what the error says already.
    lines = [f"{one['number']:>5}  {one['what']}" for one in entries if len(entries) > 1]
    todos = dict.fromkeys(one["todo"] for one in entries if one.get("todo"))
    return RefusedError(
        "\n".join([error["what"], *lines]),
        kept=error["kept"],
        todo="\n".join(todos) or error["todo"],
    )
