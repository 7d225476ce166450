"""A firm's face: its name, colour, logo and help desk on pages and in mails. Name, colour and
contact stand in its policy; the logo is a picture of its own."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from tallystick.server.accounts import firms
from tallystick.server.accounts.firms import KnownFirm
from tallystick.server.errors import NOTHING_CHANGED, ApiError
from tallystick.server.rules.colours import Accents, accents
from tallystick.server.store.audit import Act, record
from tallystick.server.store.keys import ServerKeyRing
from tallystick.server.store.models import FirmLogo
from tallystick.server.wording.worded import worded

MOST_BYTES = 1_000_000
MOST_PIXELS = 16_000_000
KEPT = (480, 120)  # pixels at most: three times what pages show
FORMATS = ("PNG", "JPEG")


@dataclass(frozen=True)
class LogoMark:
    """A logo without its picture. tag: of its content, for caches. width, height: in pixels."""

    tag: str
    width: int
    height: int


@dataclass(frozen=True)
class Logo(LogoMark):
    """png: as this server has drawn it, of what was sent."""

    png: bytes


@dataclass(frozen=True)
class Face:
    """What pages and mails show of a firm. accents: None: the colours of the software."""

    name: str
    contact: str
    colour: str
    accents: Accents | None
    logo: LogoMark | None

    @property
    def adapted(self) -> str:
        """What became of the colour, in a sentence; "" where it is used as it is."""
        if self.accents is None:
            return ""
        light, dark = self.accents.light, self.accents.dark
        used = {"colour": self.colour, "light": light, "dark": dark}
        if self.colour not in (light, dark):
            return worded(
                "So that everybody can read it, {colour} is darker on light pages ({light}) and "
                "lighter on dark pages ({dark}).",
                **used,
            )
        if light != self.colour:
            return worded(
                "So that everybody can read it, {colour} is darker on light pages ({light}).",
                **used,
            )
        if dark != self.colour:
            return worded(
                "So that everybody can read it, {colour} is lighter on dark pages ({dark}).", **used
            )
        return ""


def of(connection: Connection, firm: KnownFirm) -> Face:
    policy = firm.policy
    return Face(
        name=firm.display_name,
        contact=policy.desk_contact,
        colour=policy.colour,
        accents=accents(policy.colour) if policy.colour else None,
        logo=_mark_of(connection, firm.id),
    )


def _mark_of(connection: Connection, firm_id: int) -> LogoMark | None:
    row = connection.execute(
        select(FirmLogo.tag, FirmLogo.width, FirmLogo.height).where(FirmLogo.firm_id == firm_id)
    ).one_or_none()
    return None if row is None else LogoMark(row.tag, row.width, row.height)


def logo_of(connection: Connection, firm_id: int) -> Logo | None:
    row = connection.execute(
        select(FirmLogo.png, FirmLogo.tag, FirmLogo.width, FirmLogo.height).where(
            FirmLogo.firm_id == firm_id
        )
    ).one_or_none()
    return None if row is None else Logo(row.tag, row.width, row.height, row.png)


def read_logo(content: bytes) -> Logo:
    """A picture as it was sent, drawn anew: nothing but its pixels is kept. Raises ApiError (422)
    for what is no PNG or JPEG, is too large, or is broken. SVG is refused: it can carry scripts."""
    if len(content) > MOST_BYTES:
        raise _refused(
            worded("The picture has more than a million bytes."), worded("Send a smaller one.")
        )
    from PIL import Image, ImageOps  # noqa: PLC0415 - only whoever sends one needs it

    large = _refused(
        worded("The picture has more than 16 million pixels."), worded("Send a smaller one.")
    )
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:  # before anything is unpacked
                raise large
            drawn = ImageOps.exif_transpose(picture).convert("RGBA")
    except ApiError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise large from None
    except Exception:  # whatever a broken picture does to the library
        raise _refused(
            worded("This is no PNG or JPEG picture, or it is broken."),
            worded("Save the logo as PNG and send that. SVG is not taken: it can carry scripts."),
        ) from None
    drawn.thumbnail(KEPT)
    made = io.BytesIO()
    drawn.save(made, "PNG", optimize=True)
    png = made.getvalue()
    return Logo(hashlib.sha256(png).hexdigest()[:16], drawn.width, drawn.height, png)


def set_logo(
    connection: Connection,
    ring: ServerKeyRing,
    firm_id: int,
    logo: Logo | None,
    *,
    now: float,
    actor: str,
) -> None:
    """Put it up, or (None) take it down."""
    old = logo_of(connection, firm_id)
    connection.execute(delete(FirmLogo).where(FirmLogo.firm_id == firm_id))
    if logo is not None:
        connection.execute(
            insert(FirmLogo),
            {
                "firm_id": firm_id, "png": logo.png, "tag": logo.tag, "width": logo.width,
                "height": logo.height, "changed_at": int(now),
            },
        )  # fmt: skip
    if old != logo:
        change = f"{old.tag if old else '–'} → {logo.tag if logo else '–'}"
        name = firms.by_id(connection, firm_id).name
        act = Act(int(now * 1000), firm_id, actor, "logo-changed", name, {"logo": change})
        record(connection, ring, [act])


def change(
    connection: Connection,
    ring: ServerKeyRing,
    firm: KnownFirm,
    *,
    now: float,
    actor: str,
    name: str | None = None,
    colour: str | None = None,
    contact: str | None = None,
) -> KnownFirm:
    """Name, colour and contact; None: as it was, "": none. Raises ApiError (422)."""
    wanted: Mapping[str, Any] = {"display_name": name, "colour": colour, "desk_contact": contact}
    given = {field: value for field, value in wanted.items() if value is not None}
    policy = firms.policy_from(firm.policy.model_dump() | given)
    if policy != firm.policy:
        firms.set_policy(connection, ring, firm.id, policy, now=now, actor=actor)
    return replace(firm, policy=policy)


def _refused(what: str, todo: str) -> ApiError:
    return ApiError(422, "bad-logo", what, kept=NOTHING_CHANGED, todo=todo)
