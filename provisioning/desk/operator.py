"""Who acts at the desk: a person's own credential of the server, in a private file. Every act is in
the server's audit log under that credential."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tallystick.common.errors import BadInputError
from tallystick.common.formats import number_of
from tallystick.common.private_files import others_may_read
from tallystick.common.secret import Secret
from tallystick.common.server_url import checked_url
from tallystick.provisioning.custody.interface import ServerCredential
from tallystick.provisioning.durable import write_durably

FORMAT = "tallystick desk operator 1"
ROLES = ("desk", "admin")


def parse(url: str, text: str) -> ServerCredential:
    """What `tally server credential add --role desk NAME --json` printed, or the bare token.

    Raises BadInputError.
    """
    text = text.strip()
    if text.startswith("tally_"):
        return ServerCredential(checked_url(url), "", Secret(text.encode()))
    try:
        value = json.loads(text)
        role, token = str(value["role"]), str(value["token"])
        name = str(value["id"])
    except (ValueError, KeyError, TypeError):
        raise BadInputError(
            "That is no credential of a server.",
            todo="Take what `tally server credential add --role desk NAME --json` printed.",
        ) from None
    if role not in ROLES:
        raise BadInputError(
            f"A {role} credential cannot act at the desk.",
            todo="Ask an administrator for one of role desk.",
        )
    return ServerCredential(checked_url(url), name, Secret(token.encode()))


def named(credential: ServerCredential, name: str) -> ServerCredential:
    """With the id that the server knows it by."""
    return replace(credential, id=name)


def save(path: Path, credential: ServerCredential) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    value = {
        "format": FORMAT,
        "url": credential.url,
        "id": credential.id,
        "token": credential.token.reveal().decode(),
    }
    write_durably(path, json.dumps(value).encode())


def load(path: Path) -> ServerCredential:
    """Raises BadInputError when nobody is signed in, or others may read the file; NewerStateError
    for one of a later format."""
    try:
        exposed = others_may_read(path)
        value = json.loads(path.read_bytes())
        # Those of the first release name no format.
        if number_of(value.get("format", FORMAT), FORMAT, f"The credential {path}") is None:
            raise ValueError
        credential = ServerCredential(
            checked_url(str(value["url"])), str(value["id"]), Secret(str(value["token"]).encode())
        )
    except FileNotFoundError:
        raise BadInputError(
            "Nobody is signed in at this desk.",
            todo="Run `tally station desk sign-in --server URL --credential FILE`.",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BadInputError(
            f"{path} does not hold an operator's credential.",
            todo="Run `tally station desk sign-in` again.",
        ) from None
    if exposed:
        raise BadInputError(
            f"Others may read {path}, which holds a credential.",
            kept="It was not used.",
            todo=f"Have the credential revoked if others did; else `chmod 600 {path}`.",
        )
    return credential


def remove(path: Path) -> bool:
    """Sign out; False when nobody was signed in."""
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed
