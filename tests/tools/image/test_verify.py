"""What a folder of a build is refused for, one thing wrong at a time: each is signed as if by its
builder, so that nothing but the check in question can find it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tallystick.common.errors import BadInputError
from tallystick.tools.image.build import build
from tallystick.tools.image.header import SIGNATURE_SIZE, SIZE, Header, StateFormats
from tallystick.tools.image.keys import SigningKey
from tallystick.tools.image.outputs import SIGNED_AS, write
from tallystick.tools.image.verify import verify

KEY = SigningKey.of(bytes(range(32)))
MADE = {"device": "card", "board": "pico", "version": "1.2.3", "security": 4}


@pytest.fixture(scope="module")
def built():
    return build("card", "pico", "1.2.3", key=KEY, security=4)


@pytest.fixture
def folder(built, tmp_path):
    write(built, tmp_path)
    return tmp_path


def signed_anew(folder, change=lambda manifest: None, key=KEY, said=SIGNED_AS):
    """The manifest with a change, and a signature that fits it."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    signature = key.sign(said + path.read_bytes())
    (folder / "manifest.sig").write_text(signature.hex() + "\n")


def put(folder, name, data):
    """Another content of an output, and a manifest that vouches for it."""
    import hashlib

    (folder / name).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    signed_anew(folder, lambda manifest: manifest["outputs"][name].update(sha256=digest))


def test_what_is_signed_anew_and_says_the_same_is_taken(folder):
    signed_anew(folder)
    image = verify(folder, trusted=KEY.public)
    assert (image.device, image.board, image.version, image.security) == tuple(MADE.values())
    assert image.path == folder


def test_what_a_traceback_shows_of_an_image_is_its_folder(folder):
    assert repr(verify(folder, trusted=KEY.public)) == f"Verified(path={folder!r})"


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig", "card.bin"])
def test_any_file_of_the_folder_names_it(folder, name):
    assert verify(folder / name, trusted=KEY.public).path == folder


# -- the update's header against the manifest ----------------------------------------------------


@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("device", "reader"),
        ("board", "pico2"),
        ("version", "1.2.4"),
        ("security", 5),
        ("formats", StateFormats(1, 2)),
        ("formats", StateFormats(2, 2)),
    ],
)
def test_an_update_that_says_something_else_than_the_manifest(folder, built, field, other):
    """An older or another image in the folder of a new one: each is genuine by itself."""
    header = replace(Header.decode(built.header), **{field: other}).encode()
    rest = (folder / "card.update").read_bytes()[SIZE + SIGNATURE_SIZE :]
    put(folder, "card.update", header + KEY.sign(header) + rest)
    with pytest.raises(BadInputError, match="header does not agree"):
        verify(folder, trusted=KEY.public)


@pytest.mark.parametrize("data", [b"", b"\xff" * 4096, b"TSIM"])
def test_an_update_without_a_header(folder, data):
    put(folder, "card.update", data)
    with pytest.raises(BadInputError, match="header does not agree"):
        verify(folder, trusted=KEY.public)


def test_an_update_whose_header_another_key_signed(folder, built):
    content = (folder / "card.update").read_bytes()
    header = content[:SIZE]
    other = SigningKey.generate().sign(header)
    put(folder, "card.update", header + other + content[SIZE + SIGNATURE_SIZE :])
    with pytest.raises(BadInputError, match="header does not agree"):
        verify(folder, trusted=KEY.public)


def test_an_update_whose_header_was_changed_after_it_was_signed(folder):
    content = bytearray((folder / "card.update").read_bytes())
    content[20] ^= 1  # in the digest, which the manifest does not repeat
    put(folder, "card.update", bytes(content))
    with pytest.raises(BadInputError, match="header does not agree"):
        verify(folder, trusted=KEY.public)


# -- files that changed since --------------------------------------------------------------------


def test_a_file_that_changed_since_it_was_verified(folder, built):
    image = verify(folder, trusted=KEY.public)
    assert image.read(".bin") == built.flash
    path = folder / "card.bin"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="is not the file that was built"):
        image.read(".bin")
    path.unlink()
    with pytest.raises(BadInputError, match=r"card\.bin is not there"):
        image.read(".bin")


def test_an_output_that_the_board_does_not_have(folder):
    image = verify(folder, trusted=KEY.public)
    with pytest.raises(BadInputError, match=r"has no \.exe file"):
        image.read(".exe")


def test_a_missing_file_is_named(folder):
    (folder / "card.hex").unlink()
    with pytest.raises(BadInputError, match=r"card\.hex is missing"):
        verify(folder, trusted=KEY.public)


def test_a_folder_in_the_place_of_a_file(folder):
    (folder / "card.hex").unlink()
    (folder / "card.hex").mkdir()
    with pytest.raises(BadInputError, match=r"card\.hex is missing"):
        verify(folder, trusted=KEY.public)


def test_a_changed_file_is_named(folder):
    (folder / "card.hex").write_text("")
    with pytest.raises(BadInputError, match=r"card\.hex is not the file that was built"):
        verify(folder, trusted=KEY.public)


# -- names, and the manifest's form --------------------------------------------------------------


@pytest.mark.parametrize("name", ["../card.bin", "/etc/hostname", "a/b", ".", "..", "", "a/../b"])
def test_a_path_in_a_name(folder, name):
    """A manifest names files of its folder, and reaches nothing else."""

    def add(manifest):
        manifest["outputs"][name] = {"size": 0, "sha256": "00"}

    signed_anew(folder, add)
    with pytest.raises(BadInputError, match=r"malformed|is missing"):
        verify(folder, trusted=KEY.public)


def test_a_file_outside_is_not_even_looked_at(folder, tmp_path_factory):
    import hashlib

    outside = tmp_path_factory.mktemp("outside") / "secret.bin"
    outside.write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    for name in (str(outside), f"../{outside.parent.name}/secret.bin"):
        signed_anew(folder, lambda manifest, name=name: manifest["outputs"].update(
            {name: {"size": 6, "sha256": digest}}))  # fmt: skip
        with pytest.raises(BadInputError, match="malformed"):
            verify(folder, trusted=KEY.public)


@pytest.mark.parametrize("missing", ["public_key", "outputs", *(
    "device", "board", "version", "security_version")])  # fmt: skip
def test_a_manifest_that_lacks_something(folder, missing):
    signed_anew(folder, lambda manifest: manifest.pop(missing))
    with pytest.raises(BadInputError, match="malformed"):
        verify(folder, trusted=KEY.public)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(public_key="no hex"),
        lambda manifest: manifest.update(public_key=7),
        lambda manifest: manifest.update(outputs=[]),
        lambda manifest: manifest["outputs"].update({"card.bin": {}}),
        lambda manifest: manifest["outputs"].update({"card.bin": {"sha256": 7}}),
        lambda manifest: manifest["outputs"].update({"card.bin": None}),
    ],
)
def test_a_malformed_manifest(folder, change):
    signed_anew(folder, change)
    with pytest.raises(BadInputError, match="malformed"):
        verify(folder, trusted=KEY.public)


@pytest.mark.parametrize("formats", [[0, 1], [2, 1], [1], 1, ["a", "b"], None])
def test_formats_of_a_state_that_are_none(folder, formats):
    signed_anew(folder, lambda manifest: manifest.update(state_formats=formats))
    with pytest.raises(BadInputError, match="malformed"):
        verify(folder, trusted=KEY.public)


@pytest.mark.parametrize("text", ["", "[]", "7", "null", "{", '"manifest"'])
def test_a_manifest_that_is_none(folder, text):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BadInputError, match="malformed"):
        verify(folder, trusted=KEY.public)


# -- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "no hex", "00" * 64, "00" * 63, "\xff" * 128])
def test_a_signature_that_is_none(folder, text):
    (folder / "manifest.sig").write_text(text, encoding="latin-1")
    with pytest.raises(BadInputError, match="signature"):
        verify(folder, trusted=KEY.public)


def test_a_signature_over_something_else_of_the_same_bytes(folder):
    """As over an update's header: the manifest's own words come first."""
    signed_anew(folder, said=b"")
    with pytest.raises(BadInputError, match="signature"):
        verify(folder, trusted=KEY.public)


def test_a_manifest_that_names_the_trusted_key_and_is_signed_with_another(folder):
    signed_anew(folder, key=SigningKey.generate())
    for trusted in (KEY.public, None):
        with pytest.raises(BadInputError, match="signature"):
            verify(folder, trusted=trusted)


def test_the_development_key_where_it_is_the_trusted_one(tmp_path):
    """Somebody who names it knows."""
    write(build("card", "pico", "1.2.3"), tmp_path)
    public = SigningKey.development().public
    assert verify(tmp_path, trusted=public).version == "1.2.3"
    assert verify(tmp_path, trusted=public, development=True).version == "1.2.3"
    with pytest.raises(BadInputError, match="another key"):
        verify(tmp_path, trusted=KEY.public, development=True)


def test_the_development_key_where_nobody_named_one(tmp_path):
    write(build("card", "pico", "1.2.3"), tmp_path)
    with pytest.raises(BadInputError, match="published development key") as caught:
        verify(tmp_path)
    assert "--development" in caught.value.todo
    assert verify(tmp_path, development=True).version == "1.2.3"


def test_of_two_things_that_are_wrong_the_first_is_told(folder):
    """Who built it, before whether it was altered, before whether anybody can have; and a changed
    file as that, whatever it says."""
    (folder / "manifest.sig").write_text("00" * SIGNATURE_SIZE)
    with pytest.raises(BadInputError, match="another key"):
        verify(folder, trusted=SigningKey.of(bytes(32)).public)
    anybodys = SigningKey.development().public
    signed_anew(folder, lambda manifest: manifest.update(public_key=anybodys.hex()))
    with pytest.raises(BadInputError, match=r"signature .* is wrong"):
        verify(folder)
    signed_anew(folder, lambda manifest: manifest.update(public_key=KEY.public.hex()))
    signed_anew(folder)
    update = next(folder.glob("*.update"))
    update.write_bytes(bytes(SIZE) + update.read_bytes()[SIZE:])
    with pytest.raises(BadInputError, match="is not the file that was built"):
        verify(folder)


def test_a_manifest_from_before_formats_were_numbered(folder):
    """There was one then."""
    signed_anew(folder, lambda manifest: manifest.pop("state_formats"))
    assert verify(folder, trusted=KEY.public).formats == StateFormats(1, 1)
