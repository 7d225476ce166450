"""Any SMS provider with an HTTP interface, described in a TOML file: how its request looks, and
what its answer says. `{to}`, `{digits}` (without the plus), `{text}` and `{sender}` are filled in.

    url = "https://api.example.com/2010-04-01/Accounts/AC123/Messages.json"
    basic = ["AC123", "token-file"]       # or: bearer = "token-file"; or a header of its own
    form = { To = "{to}", From = "{sender}", Body = "{text}" }   # or: json = { … }, query = { … }
    refused = "error_code"                # an answer with this in it is a refusal
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tallystick.common.errors import BadInputError, UnreachableError
from tallystick.common.failing import why
from tallystick.common.in_time import streamed
from tallystick.common.private_files import secret_in

DEADLINE_S = 30.0  # for one message
ANSWER = 300  # characters of an answer that are shown
Texts = dict[Annotated[str, Field(max_length=200)], str]


class SmsTemplate(BaseModel):
    """basic: a name and the file of the password. bearer: the file of the token. secret_headers:
    header → file. accepted: an answer without this text is a refusal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, Field(pattern=r"^https?://[^/@\s]+(/\S*)?$", max_length=1000)]
    method: Literal["GET", "POST", "PUT"] = "POST"
    headers: Texts = {}
    secret_headers: Texts = {}
    query: Texts = {}
    form: Texts = {}
    json_body: Annotated[dict[str, Any], Field(alias="json")] = {}
    basic: tuple[str, str] | None = None
    bearer: str = ""
    accepted: str = ""
    refused: str = ""

    @model_validator(mode="after")
    def one_body(self) -> Self:
        if self.form and self.json_body:
            raise ValueError("a request has a form or a JSON body, not both")
        if self.method == "GET" and (self.form or self.json_body):
            raise ValueError("a GET has no body: use query")
        if self.basic and self.bearer:
            raise ValueError("basic and bearer are two ways to say who asks: choose one")
        everything = f"{self.url}{self.query}{self.form}{self.json_body}"
        if "{text}" not in everything or not ("{to}" in everything or "{digits}" in everything):
            raise ValueError("the request says neither {to} nor {text}, or only one of them")
        return self


class TemplateGateway:
    """Secrets are read once, from files beside the template."""

    def __init__(self, file: Path, sender: str) -> None:
        """Raises BadInputError, which names the value, and no secret."""
        self._template = _read(file)
        self._sender = sender
        folder = file.parent
        template = self._template
        self._basic = None
        if template.basic:
            self._basic = (template.basic[0], secret_in(folder / template.basic[1]))
        self._bearer = secret_in(folder / template.bearer) if template.bearer else None
        self._headers = {
            name: secret_in(folder / place) for name, place in template.secret_headers.items()
        }

    @property
    def url(self) -> str:
        return self._template.url

    def send(self, to: str, text: str, timeout_s: float) -> str:
        """timeout_s: of each step, in seconds. → what was answered. Raises UnreachableError."""
        import httpx  # noqa: PLC0415

        template = self._template
        known = {"to": to, "digits": to.lstrip("+"), "text": text, "sender": self._sender}
        headers = {name: _filled(value, known) for name, value in template.headers.items()}
        headers |= {name: one.reveal().decode() for name, one in self._headers.items()}
        if self._bearer is not None:
            headers["authorization"] = f"Bearer {self._bearer.reveal().decode()}"
        auth = (self._basic[0], self._basic[1].reveal().decode()) if self._basic else None
        fields = {
            "params": {name: _filled(value, known) for name, value in template.query.items()},
            "data": {name: _filled(value, known) for name, value in template.form.items()},
            "json": _filled(template.json_body, known),
        }
        asked: dict[str, Any] = {name: value or None for name, value in fields.items()}
        try:
            with streamed(
                template.method,
                template.url,
                deadline_s=DEADLINE_S,
                timeout_s=timeout_s,
                headers=headers,
                auth=auth,
                **asked,
            ) as answer:
                answer.read()
        except (OSError, httpx.HTTPError) as error:
            raise _no(f"did not answer: {why(error)}") from None
        said = " ".join(answer.text.split())[:ANSWER].replace(text, "…")
        if not answer.is_success:
            raise _no(f"answered {answer.status_code}: {said}")
        missing = template.accepted and template.accepted not in answer.text
        if missing or (template.refused and template.refused in answer.text):
            raise _no(f"answered {answer.status_code}, but refused: {said}")
        return f"{answer.status_code} {said}".strip()


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    """Placeholders only: what is filled in is not looked at again."""
    if isinstance(value, dict):
        return {name: _filled(one, known) for name, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, known) for one in value]
    if not isinstance(value, str):
        return value
    parts = value.split("{")
    done = [parts[0]]
    for part in parts[1:]:
        name, mark, rest = part.partition("}")
        done.append(known[name] + rest if mark and name in known else "{" + part)
    return "".join(done)


def _read(file: Path) -> SmsTemplate:
    try:
        return SmsTemplate.model_validate(tomllib.loads(file.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file} is not TOML.", todo=f"{error}.") from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise BadInputError(
            f"{file}: {problems}.", todo="See docs/reference/people.md for an example."
        ) from None


def _no(what: str) -> UnreachableError:
    return UnreachableError(
        f"The SMS provider {what}.",
        kept="The message is kept and tried again.",
        todo="Run 'tally server message test --to NUMBER', and read what the provider says.",
    )
