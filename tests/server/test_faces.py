"""The firm's face: a colour that everybody can read, a logo that is only pixels, the help desk; on
pages, in mails, by API, command and page."""

from __future__ import annotations

import base64
import email.policy
import io
import re
from email import message_from_bytes

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tallystick.server.accounts import faces, firms
from tallystick.server.errors import ApiError
from tallystick.server.messages.gateways import gateway_from
from tallystick.server.messages.mails import MailFace, mail
from tallystick.server.messages.outbox import face_of
from tallystick.server.operating.cli import server as commands
from tallystick.server.rules import colours
from tallystick.server.store.opened import opened
from tests.server.conftest import bearer
from tests.server.portal_driver import Browser
from tests.server.test_gateways import SmtpServer, smtp

__all__ = ["smtp"]


def picture(
    kind: str = "PNG", size: tuple[int, int] = (900, 300), colours: str = "RGB", **more: object
) -> bytes:
    made = io.BytesIO()
    Image.new(colours, size, "#b00020").save(made, kind, **more)
    return made.getvalue()


# the logo ------------------------------------------------------------------------------------


def test_a_logo_is_drawn_anew():
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "<script>alert(1)</script>")
    sent = picture(pnginfo=told) + b"<script>alert(2)</script>"
    logo = faces.read_logo(sent)
    assert b"script" in sent and b"script" not in logo.png
    assert (logo.width, logo.height) == (360, 120)
    with Image.open(io.BytesIO(logo.png)) as kept:
        assert kept.format == "PNG" and kept.size == (360, 120)
    assert faces.read_logo(picture("JPEG")).png[:4] == b"\x89PNG"


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (SVG, "no PNG or JPEG"),
        (b"", "no PNG or JPEG"),
        (picture("GIF"), "no PNG or JPEG"),
        (picture()[:100], "broken"),
        (b"\x89PNG" + bytes(faces.MOST_BYTES), "million bytes"),
    ],
)
def test_what_is_no_logo(content, words):
    must_be_refused(content, words)


@pytest.mark.parametrize("size", [(5000, 4000), (12000, 12000)])
def test_a_picture_of_many_pixels_is_no_logo(size):
    must_be_refused(picture(size=size, colours="1"), "16 million pixels")


def must_be_refused(content, words):
    with pytest.raises(ApiError, match=words) as refused:
        faces.read_logo(content)
    assert (refused.value.status, refused.value.code) == (422, "bad-logo")


@given(st.binary(max_size=300))
def test_rubbish_is_refused_and_nothing_else(rubbish):
    with pytest.raises(ApiError):
        faces.read_logo(b"\x89PNG\r\n\x1a\n" + rubbish)


# by API, command and page --------------------------------------------------------------------


def api(portal, role: str = "admin"):
    from tallystick.server.accounts.credentials import Role
    from tallystick.server.serving.running import add_credential

    made = bearer(add_credential(portal.settings, Role(role), f"face {role}"))
    http = Browser(portal.url).http
    http.headers.update(made)
    return http


def test_by_api(portal):
    http = api(portal)
    first = http.get("/v1/firm/face").json()
    assert first["name"] == "default" and first["logo"] is None and first["colour"] == ""
    changed = http.patch(
        "/v1/firm/face", json={"name": "Nord & Søn", "colour": "FF0", "contact": "Room 12"}
    ).json()
    assert changed["colour"] == "#ffff00" and "darker on light pages" in changed["adapted"]
    assert changed["colour_on_light"] != "#ffff00" == changed["colour_on_dark"]
    assert http.patch("/v1/firm/face", json={"contact": ""}).json()["name"] == "Nord & Søn"
    answer = http.patch("/v1/firm/face", json={"colour": "red;}body{display:none"})
    assert answer.status_code == 422 and "no colour" in answer.json()["error"]["what"]
    for sent, code in (("%%%", 422), (base64.b64encode(SVG).decode(), 422)):
        assert http.put("/v1/firm/face/logo", json={"picture_base64": sent}).status_code == code
    sent = base64.b64encode(picture()).decode()
    logo = http.put("/v1/firm/face/logo", json={"picture_base64": sent}).json()["logo"]
    assert (logo["width"], logo["height"]) == (360, 120)
    fetched = Browser(portal.url).http.get(logo["path"])
    assert fetched.headers["content-type"] == "image/png" and fetched.content[:4] == b"\x89PNG"
    assert "immutable" in fetched.headers["cache-control"]
    assert http.delete("/v1/firm/face/logo").json()["logo"] is None
    assert Browser(portal.url).http.get(logo["path"]).status_code == 404
    page = portal.staff("boss", "administrator").get("/audit").page.text
    assert "changed the logo of the firm" in page and "changed the policy" in page


def test_by_command(portal, tmp_path):
    (tmp_path / "logo.png").write_bytes(picture())
    where = ["--db", portal.settings.db_url, "--key-file", str(portal.settings.key_file)]
    run = CliRunner().invoke(
        commands,
        ["firm", "face", "default", "--called", "Nord", "--colour", "#ffff00", "--contact",
         "Room 12", "--logo", str(tmp_path / "logo.png"), *where],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert "360 × 120" in run.output and "darker on light pages" in " ".join(run.output.split())
    page = portal.browser().get("/sign-in").page.text
    assert "Nord" in page and "Room 12" in page and "/logo/" in page
    run = CliRunner().invoke(commands, ["firm", "face", "default", "--no-logo", "--json", *where])
    assert '"logo": null' in run.output and '"name": "Nord"' in run.output


def test_by_page(portal):
    boss = portal.staff("boss", "administrator").get("/face")
    token = re.search(r'name="csrf" value="(\w+)"', boss.page.text).group(1)

    def send(**fields: object):
        files = {"file": ("l.png", fields.pop("file"), "image/png")} if "file" in fields else None
        return boss.http.post(
            "/p/default/face",
            data={"csrf": token, "name": "Nord", "colour": "#0b5cad", "contact": "a@b.example"}
            | fields,
            files=files or {"file": ("", b"")},
            headers={"origin": boss.origin},
        )

    page = send(file=picture())
    assert page.status_code == 200 and "It is changed." in page.text
    assert re.search(
        r'class="brand"[^>]*><img class="logo" src="(/p/default/logo/\w+\.png)"', page.text
    )
    assert '<a href="mailto:a@b.example">' in page.text
    sheet = re.search(r'href="(/p/default/colours/0b5cad\.css)"', page.text).group(1)
    css = boss.http.get(sheet)
    assert "--accent:#0b5cad" in css.text and css.headers["content-type"].startswith("text/css")
    assert boss.http.get("/p/default/colours/ffffff.css").status_code == 404
    bad = send(file=SVG, contact="kept as it was sent")
    assert bad.status_code == 422 and "kept as it was sent" in bad.text
    bad = send(colour="blue", name="half")
    assert bad.status_code == 422 and "no colour" in bad.text
    assert "Nord" in boss.get("/sign-in?again=1").page.text  # nothing of the two was kept
    assert "/logo/" not in send(no_logo="yes").text
    auditor = portal.staff("eye", "auditor")
    assert 'type="file"' not in auditor.get("/face").page.text
    assert auditor.post("/face", name="Mine").page.status_code == 403
    error = boss.http.get("/p/default/people/999999")  # also where something went wrong
    assert error.status_code == 404 and "a@b.example" in error.text and "Nord" in error.text


def test_another_firms_face_is_another(portal):
    with opened(portal.settings) as parts, parts.database.write() as connection:
        firms.add(connection, parts.ring, "other", now=portal.clock(), actor="test")
    portal.policy(display_name="Nord", colour="#0b5cad", desk_contact="Room 12")
    other = portal.browser("other").get("/sign-in").page.text
    assert "Nord" not in other and "Room 12" not in other and "colours" not in other


# mails ---------------------------------------------------------------------------------------


def test_a_mail_shows_the_face(portal, smtp: SmtpServer):
    portal.policy(display_name="Nord & Søn", colour="#ffff00", desk_contact="help@nord.example")
    with opened(portal.settings) as parts, parts.database.write() as connection:
        faces.set_logo(
            connection, parts.ring, 1, faces.read_logo(picture()), now=portal.clock(), actor="test"
        )
        face = face_of(connection, 1)
    from tallystick.server.messages.gateways import Letter

    letter = Letter("ann@b.example", "Hi", "One.\n\nNord & Søn", "Nord & Søn", face)
    gateway_from(f"smtp://127.0.0.1:{smtp.port}", sender="otp@nord.example").send(letter)
    (raw,) = smtp.handler.got
    message = message_from_bytes(raw, policy=email.policy.default)
    assert not message.defects
    plain = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    assert plain.strip() == "One.\n\n-- \nNord & Søn\nhelp@nord.example"
    related = message.get_body(("related",))
    assert related.get_content_type() == "multipart/related"
    rich, logo = related.iter_parts()
    name = re.search(r'<img src="cid:([^"]+)" alt="Nord &amp; Søn" width="120" height="40">',
                     rich.get_content()).group(1)  # fmt: skip
    assert logo["content-id"] == f"<{name}>" and logo.get_content()[:4] == b"\x89PNG"
    assert "help@nord.example" in rich.get_content()
    colour = re.search(r"color:(#\w{6});border-bottom", rich.get_content()).group(1)
    assert colours.contrast(colour, "#ffffff") >= colours.AA


def test_a_mail_of_a_firm_without_logo():
    made = mail(
        sender="a@b.example", name="N", to="c@d.example", subject="s", text="t\n\nN",
        face=MailFace("N"),
    )  # fmt: skip
    assert made.get_body(("plain",)).get_content() == "t\n\n-- \nN\n"
    assert "<img" not in made.get_body(("html",)).get_content()
