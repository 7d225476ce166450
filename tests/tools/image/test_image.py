"""Images: the same bytes anywhere, signed, checked, inspected, merged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from intelhex import IntelHex
from PIL import Image as Picture

from tallystick.cli import tally
from tallystick.common.errors import BadInputError
from tallystick.emulator.boards import ALL, find
from tallystick.emulator.chips import rp2040
from tallystick.emulator.devices.image import Image
from tallystick.tools import uf2
from tallystick.tools.image import heap, memory, sizes
from tallystick.tools.image.build import build, write
from tallystick.tools.image.compile import compile_text
from tallystick.tools.image.header import SIZE, Header, parse_version
from tallystick.tools.image.inspect import inspect
from tallystick.tools.image.keys import SigningKey, is_signed, load, point_x, read_public
from tallystick.tools.image.merge import merge, read_parts
from tallystick.tools.image.verify import verify

KEY = SigningKey.of(bytes(range(32)))
PAIRS = [(device, name) for name, board in ALL.items() for device in (board.device,)]


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def built(request):
    device, board = request.param
    return build(device, board, "1.2.3", key=KEY, security=4)


@pytest.fixture
def folder(built, tmp_path):
    write(built, tmp_path)
    return tmp_path


def test_the_version_asked_for_is_in_the_image(built):
    module = f"{built.device}/version.py"
    text = {"card": "VERSION = (1, 2, 3)\n", "reader": "NUMBER = 0x10203\n"}[built.device]
    assert built.files[module.replace(".py", ".mpy")] == compile_text(text, module)


def test_two_folders_and_two_times_give_the_same_bytes(tmp_path, built):
    """In processes of their own, with other clocks, places, locales and hash seeds."""
    script = (
        "import sys; from pathlib import Path\n"
        "from tallystick.tools.image.build import build, write\n"
        "from tallystick.tools.image.keys import SigningKey\n"
        "key = SigningKey.of(bytes(range(32)))\n"
        "write(build(sys.argv[1], sys.argv[2], '1.2.3', key=key, security=4), Path(sys.argv[3]))\n"
    )
    root = Path(__file__).parents[3]
    copy = tmp_path / "elsewhere" / "checkout"
    shutil.copytree(root / "tallystick", copy / "tallystick", ignore=_litter)
    shutil.copytree(root / "firmware", copy / "firmware", ignore=_litter)
    for path in copy.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    results = []
    for place, seed, zone in ((root, "1", "UTC"), (copy, "2", "Asia/Tokyo")):
        out = tmp_path / f"out{seed}"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": str(place)}
        command = [sys.executable, "-c", script, built.device, built.board.name, str(out)]
        subprocess.run(command, check=True, cwd=place, env=environment)
        results.append({path.name: path.read_bytes() for path in out.iterdir()})
    write(built, tmp_path / "here")
    here = {path.name: path.read_bytes() for path in (tmp_path / "here").iterdir()}
    assert results[0] == results[1] == here


def _litter(folder, names):
    return [name for name in names if name in ("__pycache__", "fingerprints")]


def test_hex_uf2_and_bin_hold_the_same(built, folder):
    images = [Image.load(folder / f"{built.device}.{kind}") for kind in ("bin", "hex")]
    if built.board.chip.uf2_family is not None:
        images.append(Image.load(folder / f"{built.device}.uf2"))
    contents = []
    for image in images:
        flash = bytearray(b"\xff" * built.board.flash_size)
        for address, data in image.segments:
            flash[address : address + len(data)] = data
        contents.append(bytes(flash))
    assert len(set(contents)) == 1
    written = contents[0].strip(b"\xff")
    assert written == built.flash.strip(b"\xff")


def test_a_uf2_that_is_dragged_makes_the_boot_record_blank(built, folder):
    """Or a board that was updated in the field would go on with the image in its other slot."""
    file, record = folder / f"{built.device}.uf2", built.board.record
    assert file.exists() == (built.board.chip.uf2_family is not None)
    if record is not None and file.exists():
        runs = dict(uf2.decode(file.read_bytes()))
        assert runs[built.board.chip.flash_base + record.address] == b"\xff" * record.size


def test_nothing_is_written_outside_the_firmwares_area(built):
    area = built.board.file_system
    assert built.board.storage.address == area.address
    assert len(built.flash) <= area.size
    for other in (built.board.identity, built.board.journal, built.board.record):
        if other is not None:
            start = built.board.storage.address
            assert start + len(built.flash) <= other.address or other.end <= start


def test_the_manifest_vouches_for_every_part(built, folder):
    good = verify(folder, trusted=KEY.public)
    assert (good.device, good.board, good.version, good.security) == (
        built.device, built.board.name, "1.2.3", 4,
    )  # fmt: skip
    listed = set(good.manifest["outputs"]) | {"manifest.json", "manifest.sig"}
    assert listed == {path.name for path in folder.iterdir()}


def test_any_changed_file_is_found(built, folder):
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for at in (0, len(whole) // 2, len(whole) - 2):
            changed = bytearray(whole)
            changed[at] ^= 1
            path.write_bytes(changed)
            with pytest.raises(BadInputError):
                verify(folder, trusted=KEY.public)
        path.unlink()
        with pytest.raises(BadInputError):
            verify(folder, trusted=KEY.public)
        path.write_bytes(whole)
    verify(folder, trusted=KEY.public)


def test_who_may_sign(built, folder, tmp_path):
    with pytest.raises(BadInputError, match="another key"):
        verify(folder, trusted=SigningKey.generate().public)
    verify(folder)  # any key but the published one
    write(build(built.device, built.board.name, "1.2.3"), tmp_path / "desk")
    with pytest.raises(BadInputError, match="published development key"):
        verify(tmp_path / "desk")
    verify(tmp_path / "desk", development=True)


def test_a_manifest_signed_anew_by_another_is_refused(folder):
    """A thief who signs his own manifest has his own key, which nobody trusts."""
    manifest = folder / "manifest.json"
    value = json.loads(manifest.read_text())
    thief = SigningKey.generate()
    value["public_key"] = thief.public.hex()
    manifest.write_text(json.dumps(value))
    signature = thief.sign(b"tallystick manifest 1\0" + manifest.read_bytes())
    (folder / "manifest.sig").write_text(signature.hex() + "\n")
    with pytest.raises(BadInputError, match="another key"):
        verify(folder, trusted=KEY.public)


def test_the_sbom_is_valid_and_lists_what_is_in_the_image(built, folder):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (folder / f"{built.device}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {component["name"] for component in json.loads(text)["components"]}
    assert set(built.files) <= names and "micropython" in names


def test_inspect_shows_header_files_and_areas(built, folder):
    found = inspect(folder / f"{built.device}.hex")
    assert found.board is built.board
    if built.board.slots:
        assert found.header == Header.decode(built.header)
        assert found.signed_by == "another key"
        assert inspect(folder / f"{built.device}.update").header == found.header
    assert found.files == {name: len(data) for name, data in sorted(built.files.items())}
    end = built.board.chip.flash_base
    for area in found.areas:
        assert area.address == end and area.size > 0
        end += area.size
    assert end == built.board.chip.flash_base + built.board.flash_size


def test_inspect_takes_the_folder_that_verify_takes(built, folder, tmp_path_factory):
    assert inspect(folder).files == inspect(folder / f"{built.device}.bin").files
    result = CliRunner().invoke(tally, ["image", "inspect", str(folder), "--json"])
    assert json.loads(result.output)["board"] == built.board.name
    with pytest.raises(BadInputError, match="not the folder of a build"):
        inspect(tmp_path_factory.mktemp("empty"))


def test_a_new_board_without_heap_figures_is_built_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(heap, "figures", dict)
    words = ["image", "build", "--board", "pico", "--out", str(tmp_path)]
    result = CliRunner().invoke(tally, words)
    assert result.exit_code == 0 and "heap of pico was never measured" in result.output
    held = json.loads(CliRunner().invoke(tally, [*words, "--json"]).output)["sizes"]
    assert [row["name"] for row in held] == ["bytecode", "file system", "boot stage"]
    assert heap.rows(find("pico"), 40)[0].value == 40 * 1024


def test_what_keys_show_prints_is_a_public_key(tmp_path):
    KEY.save(tmp_path / "firm.key", "open sesame")
    for words in ([], ["--json"]):
        shown = CliRunner().invoke(
            tally, ["image", "keys", "show", str(tmp_path / "firm.key"), *words]
        )
        (tmp_path / "firm.pub").write_text(shown.output)
        assert read_public(str(tmp_path / "firm.pub")) == KEY.public
    (tmp_path / "firm.pub").write_text(KEY.public.hex() + "\n")
    assert read_public(str(tmp_path / "firm.pub")) == KEY.public
    for content in ("", "{}", "public key", '{"public": 7}', "[1]", "{"):
        (tmp_path / "firm.pub").write_text(content)
        with pytest.raises(BadInputError, match="neither"):
            read_public(str(tmp_path / "firm.pub"))


def test_a_picture_that_would_be_no_png_is_refused(built, folder, tmp_path):
    words = ["image", "inspect", str(folder / f"{built.device}.bin"), "--board", built.board.name]
    result = CliRunner().invoke(tally, [*words, "--picture", str(tmp_path / "map.svg")])
    assert isinstance(result.exception, BadInputError) and ".png" in result.exception.todo
    assert not (tmp_path / "map.svg").exists()


def test_the_picture_shows_every_area(built, folder, tmp_path):
    found = inspect(folder / f"{built.device}.hex")
    memory.picture(found.areas, "title").save(tmp_path / "map.png")
    picture = Picture.open(tmp_path / "map.png")
    colours = {colour for _, colour in picture.convert("RGB").getcolors(100_000)}
    for area in found.areas:
        wanted = memory._COLOURS.get(area.name)
        if wanted:
            assert tuple(bytes.fromhex(wanted[1:])) in colours


def test_sizes_against_the_committed_figures(built):
    """Growth is a decision: run `python -m tallystick.tools.image.sizes` and commit the figures."""
    plain = build(built.device, built.board.name, "0.1.0")
    for row in sizes.compare(plain):
        assert row.value <= row.limit, row
        assert row.committed * 0.95 <= row.value <= row.committed * 1.05, row


# -- merging -----------------------------------------------------------------------------------


def test_micropython_image_and_identity_in_one_hex(built, tmp_path):
    board = built.board
    base = board.chip.flash_base
    python = bytes(range(256)) * 64
    (tmp_path / "base.uf2").write_bytes(uf2.encode(python, base, rp2040.CHIP.uf2_family))
    identity = b"\x55" * 134
    data = merge(board, read_parts(tmp_path / "base.uf2"), [(built.address, built.flash)], identity)
    (tmp_path / "all.hex").write_bytes(data)
    areas = {area.name: area for area in inspect(tmp_path / "all.hex", board.name).areas}
    assert areas["MicroPython"].used == len(python.rstrip(b"\xff"))
    merged = IntelHex(str(tmp_path / "all.hex"))
    assert merged.tobinstr(base, size=len(python)) == python
    assert merged.tobinstr(base + board.identity.address, size=134) == identity
    merged.padding = 0xFF
    assert merged.tobinstr(built.address, size=len(built.flash)) == built.flash


def test_a_micropython_that_reaches_into_our_areas_is_refused(built):
    base = built.board.chip.flash_base
    first = min(built.board.identity.address, built.board.storage.address)
    for address in (base + first - 4, base + built.board.journal.address):
        with pytest.raises(BadInputError, match="reaches"):
            merge(built.board, [(address, bytes(16))], [])
    with pytest.raises(BadInputError, match="no flash"):
        merge(built.board, [(base - 16, bytes(16))], [])


def test_a_file_without_micropython_is_refused(built, tmp_path):
    """Else a production programmer would make cards that do not start."""
    (tmp_path / "empty.hex").write_bytes(b"")
    base = built.board.chip.flash_base
    for parts in (read_parts(tmp_path / "empty.hex"), [(base + 256, bytes(16))]):
        with pytest.raises(BadInputError, match="nothing at"):
            merge(built.board, parts, [(built.address, built.flash)])


def test_files_that_are_no_images(tmp_path):
    for name, data in (("a.hex", b":00"), ("b.uf2", b"UF2\n" + bytes(100)), ("c", b"\xff\xfe")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadInputError):
            read_parts(tmp_path / name)


# -- parts -------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_uf2_there_and_back(data, address):
    runs = uf2.decode(uf2.encode(data, address, rp2040.CHIP.uf2_family))
    assert [start for start, _ in runs] == [address]
    assert runs[0][1][: len(data)] == data


@given(
    st.sampled_from(["card", "reader"]),
    st.from_regex(r"[a-z0-9_]{1,16}", fullmatch=True),
    st.tuples(*[st.integers(0, 255)] * 3),
    st.integers(0, 65535),
    st.binary(max_size=100),
)
@settings(max_examples=40, deadline=None)
def test_headers_there_and_back(device, board, numbers, security, content):
    version = ".".join(str(number) for number in numbers)
    header = Header.of(content, device=device, board=board, version=version, security=security)
    assert len(header.encode()) == SIZE
    assert Header.decode(header.encode()) == header


@given(st.binary(max_size=SIZE + 4))
@settings(max_examples=60, deadline=None)
def test_a_header_is_never_made_of_noise(data):
    assert Header.decode(data) is None or data.startswith(b"TSIM\x01")


@pytest.mark.parametrize("version", ["1.2", "1.2.3.4", "1.2.256", "a.b.c", "", "1.2.-3"])
def test_versions_that_are_none(version):
    with pytest.raises(BadInputError):
        parse_version(version)


def test_a_key_file_opens_with_its_passphrase_only(tmp_path):
    path = tmp_path / "key.json"
    KEY.save(path, "correct horse")
    assert load(path, "correct horse").public == KEY.public
    assert read_public(str(path)) == KEY.public
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(BadInputError, match="passphrase"):
        load(path, "wrong")
    with pytest.raises(BadInputError, match="exists already"):
        KEY.save(path, "x")
    value = json.loads(path.read_text())
    value["public"] = "00" * 32
    path.write_text(json.dumps(value))
    with pytest.raises(BadInputError, match="changed"):
        load(path, "correct horse")


def test_the_private_key_is_in_no_repr_and_no_file(tmp_path):
    KEY.save(tmp_path / "key.json", "pass")
    for text in (repr(KEY), str(KEY), (tmp_path / "key.json").read_text()):
        assert bytes(range(32)).hex() not in text
        assert repr(bytes(range(32))) not in text


def test_public_keys_that_would_accept_anything_are_refused():
    """Points of small order (RFC 8032, section 5.1.7, lets them through)."""
    for point in (bytes([1]) + bytes(31), bytes(32), b"\xec" + b"\xff" * 30 + b"\x7f"):
        with pytest.raises(BadInputError):
            point_x(point)
    assert is_signed(KEY.public, b"x", KEY.sign(b"x"))
    assert not is_signed(KEY.public, b"y", KEY.sign(b"x"))


def test_boards_are_found_or_told():
    with pytest.raises(BadInputError, match="There is no board"):
        find("nowhere")
