"""Names that other programs wrote: shown, then said, then taken back, with a daemon as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pillow_heif
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facewatchd.photos.upright import TRANSPOSITIONS
from tests.support import samples, xmp_packets
from tests.support.albums import SIZE, shoot
from tests.support.processes import Daemon, until

pillow_heif.register_heif_opener()

Start = Callable[..., Daemon]
Box = tuple[int, int, int, int]

UNDONE = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
"""What undoes the turning of an orientation; the others undo themselves."""
SMALL_PAGES = """
import sys
if "run" in sys.argv:
    from facewatchd.api import regions
    regions.PAGE = 5
"""
SLOW = """
import sys
if "run" in sys.argv:
    import time
    from facewatchd.api import regions
    def slow(self, params, regions=regions.RegionReader.regions):
        time.sleep(0.5)
        return regions(self, params)
    regions.RegionReader.regions = slow
"""
EMPTY_EXPORT = """\
{"format": "facewatchd", "version": 1, "created": 1, "model": null}
{"person": "Anna", "born": null, "hidden": false}
{"end": {"person": 1, "statement": 0, "photo": 0, "content": 0}}
"""
PICASA_UNNAMED = ".picasa.ini: a face of a contact that is not named in it"
LEFT, RIGHT = (12, 40, 88, 88), (112, 40, 88, 88)
"""Where `shoot` draws its faces with the seed 0."""


def stored(image: Image.Image, orientation: int) -> Image.Image:
    """An upright picture as it is stored with an orientation."""
    method = UNDONE.get(orientation, TRANSPOSITIONS.get(orientation))
    return image if method is None else image.transpose(method)


def relative(box: Box, orientation: int = 1, grown: int = 12) -> tuple[float, float, float, float]:
    """A box around a face, a little larger, on the stored picture, as parts of it."""
    mask = Image.new("L", SIZE)
    x, y, w, h = box
    mask.paste(255, (x - grown, y - grown, x + w + grown, y + h + grown))
    picture = stored(mask, orientation)
    left, top, right, bottom = picture.getbbox() or ()
    return left / picture.width, top / picture.height, (right - left) / picture.width, (bottom - top) / picture.height


def photo(path: Path, orientation: int = 1, *, xmp: bytes = b"", persons: tuple[int, ...] = (1, 2)) -> Path:
    """A photo of two people that is stored turned, with a packet."""
    shoot(path, persons, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = path.name  # no two are copies
    with Image.open(path) as image:
        stored(image, orientation).save(path, exif=exif, quality=95, **({"xmp": xmp} if xmp else {}))
    return path


def named(daemon: Daemon, *arguments: str | Path) -> dict[str, Any]:
    """What ``people import --json`` prints."""
    result = daemon.control("people", "import", "--json", *arguments)
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def verdicts(document: dict[str, Any]) -> dict[tuple[str, str], str]:
    """By the photo's name and the person's."""
    return {
        (Path(each["path"]).name, finding["name"]): finding["verdict"]
        for each in document["photos"]
        for finding in each["findings"]
    }


def people(daemon: Daemon) -> dict[str, int]:
    return {each["name"]: each["photos"] for each in daemon.call("people")["people"]}


def make_album(root: Path) -> dict[tuple[str, str], Box]:
    """Photos of every orientation with names of every kind; returns the face that each is about, by photo and name."""
    names: list[str] = []
    for orientation in range(1, 9):
        boxes = [("Anna", relative(LEFT, orientation)), ("Bob", relative(RIGHT, orientation))]
        shown = [("Anna", relative(LEFT)), ("Bob", relative(RIGHT))]
        sides = SIZE if orientation < 5 else (SIZE[1], SIZE[0])
        photo(root / f"embedded-{orientation}.jpg", orientation, xmp=xmp_packets.digikam(boxes, sides))
        beside = photo(root / f"beside-{orientation}.jpg", orientation)
        beside.with_name(f"{beside.name}.xmp").write_bytes(xmp_packets.exiftool(shown, SIZE))
        windows = photo(root / f"windows-{orientation}.jpg", orientation)
        windows.with_suffix(".xmp").write_bytes(xmp_packets.windows(boxes))
        picasa = photo(root / "album" / f"{orientation}.jpg", orientation)
        names += [f"embedded-{orientation}.jpg", beside.name, windows.name, picasa.name]
    ini = {f"{o}.jpg": [("Anna", relative(LEFT, o)), ("Bob", relative(RIGHT, o))] for o in range(1, 9)}
    (root / "album" / ".picasa.ini").write_bytes(xmp_packets.picasa_ini(ini))
    faces = {(name, person): box for name in names for person, box in (("Anna", LEFT), ("Bob", RIGHT))}
    return faces | {(path.name, "Anna"): LEFT for path in other_formats(root)}


def other_formats(root: Path) -> list[Path]:
    """One photo of two people in each other format, with the name of one."""
    packet = xmp_packets.digikam([("Anna", relative(LEFT))])
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet.decode())
    how: dict[str, dict[str, Any]] = {
        "png": {"pnginfo": text},
        "webp": {"quality": 95, "xmp": packet},
        "tif": {"tiffinfo": {700: packet}},
        "avif": {"quality": 95, "xmp": packet},
        "heic": {"quality": 95, "xmp": packet},
    }
    paths = [root / f"other.{suffix}" for suffix in how]
    with Image.open(shoot(root / "source.jpg", [1, 2], 0)) as image:
        for path in paths:
            image.save(path, **how[path.suffix[1:]])
    return paths


def expect_places(found: dict[str, Any], expected: dict[tuple[str, str], Box]) -> None:
    boxes = {
        (Path(each["path"]).name, finding["name"]): finding["box"]
        for each in found["photos"]
        for finding in each["findings"]
    }
    assert boxes.keys() == expected.keys()
    for key, (x, y, w, h) in expected.items():
        left, top, width, height = boxes[key]
        assert abs(left + width / 2 - (x + w / 2)) < w / 3, key
        assert abs(top + height / 2 - (y + h / 2)) < h / 3, key


def test_regions_of_every_orientation_and_program_name_the_right_faces(
    start: Start, tmp_path: Path, tiny_root: Path
) -> None:
    root = tmp_path / "photos"
    expected = make_album(root)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    found = named(daemon)
    assert set(verdicts(found).values()) == {"new"}
    expect_places(found, expected)
    assert people(daemon) == {}
    assert not (daemon.data / "people.sqlite3").exists(), "a dry run writes nothing"

    assert named(daemon, "--apply")["said"]["added"] == len(expected)
    assert people(daemon) == {"Anna": 37, "Bob": 32}
    again = named(daemon, "--apply")
    assert set(verdicts(again).values()) == {"known"}
    assert again["said"] is None
    sources = {each["source"] for each in daemon.call("person", name="Anna")["statements"]}
    assert sources == {"mwg", "microsoft", "picasa"}
    assert daemon.control("people", "undo").returncode == 0
    assert people(daemon) == {}


@pytest.fixture
def contested(start: Start, tmp_path: Path, tiny_root: Path) -> Daemon:
    """Photos with names that cannot all be true, of which the user named a face."""
    root = tmp_path / "photos"
    boxes = [
        ("anna", relative(LEFT)),
        ("Bob", relative(RIGHT)),
        ("Carl", (0.7, 0.6, 0.2, 0.3)),
        ("Dog", (0.5, 2, 1, 1)),
    ]
    photo(root / "said.jpg", xmp=xmp_packets.digikam(boxes))
    shoot(root / "proposed.jpg", [3], 5)
    (root / "proposed.jpg.supplemental-metadata.json").write_text('{"people": [{"name": "Dora"}]}')
    shoot(root / "open.jpg", [4, 5], 6)
    (root / "open.jpg.json").write_text('{"people": [{"name": "Dora"}]}')
    shoot(root / "hostile.jpg", [6], 7)
    (root / "hostile.jpg.xmp").write_text('<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>')
    (root / ".picasa.ini").write_text("[Contacts]\nab=x_lh,cd\n[open.jpg]\nfaces=rect64(1fff),ab\n")
    shoot(root / "changed.jpg", [7], 8)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    assert daemon.control("people", "add", "Anna", f"{root / 'said.jpg'}#1", "--anyway").returncode == 0
    daemon.call("pause")
    (root / "changed.jpg").write_bytes((root / "hostile.jpg").read_bytes())
    return daemon


def test_what_contradicts_what_was_said_is_shown_and_left_out(contested: Daemon) -> None:
    (root,) = contested.roots
    found = named(contested, "--apply")
    assert verdicts(found) == {
        ("said.jpg", "anna"): "contradicts",
        ("said.jpg", "Bob"): "contradicts",
        ("said.jpg", "Carl"): "no-face",
        ("proposed.jpg", "Dora"): "proposed",
        ("open.jpg", "Dora"): "no-place",
    }
    assert found["said"] is None
    assert found["counts"]["left_out"] == 1
    aside = {Path(each["path"]).name: each["aside"] for each in found["photos"] if each["aside"]}
    assert sum(PICASA_UNNAMED in reasons for reasons in aside.values()) == 1
    assert "its XMP is no XML that can be read" in aside["hostile.jpg"]
    assert aside["said.jpg"] == ["a region that does not lie on the picture"]
    assert people(contested) == {"Anna": 1}
    lines = contested.control("people", "import", root)
    assert "1 where no face was found (--without-face)" in lines.stderr
    assert "1 proposed (--proposals)" in lines.stderr
    assert f"{root / 'said.jpg'}\tcontradicts\tanna\t" in lines.stdout
    assert "1 photo pending, of which the faces are not known yet: import again later" in lines.stderr
    outside = contested.control("people", "import", root.parent)
    assert (outside.returncode, outside.stdout) == (2, "")
    assert "lies in no watched directory" in outside.stderr
    for missing in (root / "typo", root / "hostile.jpg.xmp"):
        result = contested.control("people", "import", missing)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert f"{missing} is no directory, and no photo that was indexed; check its name" in result.stderr


def test_without_knowing_what_was_said_nothing_is_shown(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    photo(tmp_path / "photos" / "a.jpg", xmp=xmp_packets.digikam([("Anna", relative(LEFT))]))
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root)
    daemon.data.mkdir(mode=0o700)
    (daemon.data / "people.sqlite3").write_bytes(b"no names" * 1000)
    with daemon:
        daemon.start()
        daemon.settle()
        for command in (["people", "import"], ["export", "-"], ["import", str(tmp_path / "x")]):
            (tmp_path / "x").write_text(EMPTY_EXPORT)
            result = daemon.control(*command)
            assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1), command
            assert "people.sqlite3: it is damaged" in result.stderr


def test_names_that_cannot_be_placed_are_said_where_that_is_wanted(contested: Daemon) -> None:
    (root,) = contested.roots
    assert named(contested, "--apply", "--proposals", root / "proposed.jpg")["said"]["added"] == 1
    assert people(contested) == {"Anna": 1, "Dora": 1}
    assert contested.call("person", name="Dora")["statements"][0]["source"] == "takeout"
    assert named(contested, "--apply", "--without-face")["said"]["added"] == 1
    assert people(contested) == {"Anna": 1, "Carl": 1, "Dora": 1}
    answer = contested.call("query", who=[{"person": "Carl"}])
    assert [(match["path"], match["similarity"]) for match in answer["matches"]] == [(str(root / "said.jpg"), None)]
    assert verdicts(named(contested, "--apply", "--without-face"))["said.jpg", "Carl"] == "known"


def test_names_of_copies_are_held_together_and_a_rejection_of_a_photo_stays(
    start: Start, tmp_path: Path, tiny_root: Path
) -> None:
    root = tmp_path / "photos"
    shoot(root / "c1" / "r.jpg", [1, 2], 0)
    for directory, names in {"c1": {"Rose": LEFT}, "c2": {"Ruth": LEFT, "Tom": RIGHT}, "c3": {"Tom": RIGHT}}.items():
        copy = root / directory / "r.jpg"
        if directory != "c1":
            copy.parent.mkdir()
            copy.write_bytes((root / "c1" / "r.jpg").read_bytes())
        boxes = [(name, relative(box)) for name, box in names.items()]
        copy.with_name("r.jpg.xmp").write_bytes(xmp_packets.digikam(boxes))
    empty = shoot(root / "empty.jpg", [], 1)
    empty.with_name("empty.jpg.xmp").write_bytes(xmp_packets.digikam([("Tom", relative(LEFT))]))
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    found = named(daemon)
    told = [(Path(each["path"]).parent.name, each["findings"]) for each in found["photos"] if each["findings"]]
    assert [(where, [(each["name"], each["verdict"]) for each in findings]) for where, findings in told] == [
        ("c1", [("Rose", "contradicts")]),
        ("c2", [("Ruth", "contradicts"), ("Tom", "new")]),
        ("photos", [("Tom", "no-face")]),
    ]
    assert told[0][1][0]["against"] == "Ruth is given to the same face"
    assert named(daemon, root / "c1" / "r.jpg")["counts"]["new"] == 1, "only what was asked for is read"

    assert named(daemon, "--apply")["said"] == {"added": 1, "known": 0, "kept": 0}
    assert daemon.control("people", "not", "Tom", empty).returncode == 0
    shown = daemon.control("people", "import", "--apply", "--without-face", empty)
    assert "\tcontradicts\tTom\t" in shown.stdout
    assert "0 names of 0 people to be said, 1 contradicted" in shown.stderr
    assert "undo" not in shown.stderr
    assert people(daemon) == {"Tom": 1}


def test_a_library_is_read_in_pages_and_ctrl_c_leaves_everything_as_it_was(
    start: Start, tmp_path: Path, tiny_root: Path
) -> None:
    root = tmp_path / "photos"
    for number in range(12):
        shoot(root / f"{number}.jpg", [1], number)
        box = (12 / 320, (40 + number) / 240, 88 / 320, 88 / 240)
        (root / f"{number}.jpg.xmp").write_bytes(xmp_packets.digikam([("Anna", box)]))
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(SMALL_PAGES)
    with daemon:
        daemon.start()
        daemon.settle()
        pages, after = 0, None
        while pages == 0 or after is not None:
            page = daemon.call("regions", **({"after": after} if after else {}))
            pages, after = pages + 1, page["next"]
        assert pages == 3
        assert len(named(daemon)["photos"]) == 12
        daemon.stop()
        daemon.hook(SLOW)
        daemon.start()
        daemon.settle()
        command = [sys.executable, "-m", "facewatchd", "people", "import", "--apply", "--socket", str(daemon.socket)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=daemon.environment)
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        process.communicate()
        assert people(daemon) == {}
        until(lambda: daemon.status()["state"] == "idle")


@samples.needs_packs
def test_regions_around_heads_name_the_faces_of_a_real_photo(start: Start, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    daemon = start(root, model="scrfd25g_mfn", model_root=samples.PACKS)
    plain = tmp_path / "plain.jpg"
    plain.write_bytes(samples.group_photo().read_bytes())
    faces = daemon.call("faces", path=str(plain))["faces"]
    with Image.open(plain) as image:
        width, height = image.size
        heads = []
        for number, face in enumerate(faces):
            x, y, w, h = face["box"]
            side = 1.7 * max(w, h)
            heads.append(
                (
                    f"Person {number}",
                    ((x + w / 2 - side / 2) / width, (y + 0.4 * h - side / 2) / height, side / width, side / height),
                )
            )
        image.save(root / "group.jpg", quality=95, xmp=xmp_packets.exiftool(heads, (width, height)))
    daemon.settle()
    assert len(heads) == 6
    assert set(verdicts(named(daemon, "--apply")).values()) == {"new"}
    for number in range(6):
        (said,) = daemon.call("person", name=f"Person {number}")["statements"]
        x, y, w, h = faces[number]["box"]
        left, top, right, bottom = said["box"][0], said["box"][1], *said["box"][2:]
        assert abs(left + right / 2 - (x + w / 2)) < w / 4
        assert abs(top + bottom / 2 - (y + h / 2)) < h / 4
