"""The contact sheet, drawn from small photos that the tests make, and looked at by their pixels."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from facewatchd.errors import UsageError
from facewatchd.matches import Box, Match, Term
from facewatchd.photos import decode as decoding
from facewatchd.photos import sheet_mark
from facewatchd.pictures import sheet
from facewatchd.pictures import target as targets
from facewatchd.system import atomic_files

CELL = 216
RED, BLUE = (255, 0, 0), (0, 0, 255)


def photo(path: Path, *, size: tuple[int, int] = (400, 300), box: Box, colour: tuple[int, int, int] = RED) -> Match:
    """Write a grey photo with a face, which is a patch of colour, and return the match that finds it."""
    image = Image.new("RGB", size, (128, 128, 128))
    image.paste(colour, (box.x, box.y, box.x + box.w, box.y + box.h))
    image.save(path)
    return Match(os.fsencode(path), 0.75, box, 0.9, 1)


def picture(image: Image.Image, column: int, row: int = 0) -> Image.Image:
    """Cut one tile's picture out of a sheet."""
    left, top = 16 + column * CELL, 16 + row * (200 + 57 + 16)
    return image.crop((left, top, left + 200, top + 200))


def near(found: object, expected: tuple[int, int, int]) -> bool:
    assert isinstance(found, tuple)
    return all(abs(one - other) < 12 for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("box", "size", "region"),
    [
        (Box(100, 100, 40, 50), (400, 300), (70, 75, 170, 175)),
        (Box(0, 0, 40, 50), (400, 300), (0, 0, 100, 100)),
        (Box(360, 250, 40, 50), (400, 300), (300, 200, 400, 300)),
        (Box(10, 100, 80, 120), (100, 1000), (0, 40, 100, 280)),
        (Box(0, 0, 100, 100), (100, 100), (0, 0, 100, 100)),
        (Box(0, 0, 1, 1), (1, 1), (0, 0, 1, 1)),
    ],
)
def test_the_cut_holds_the_face_and_stays_in_the_photo(
    box: Box, size: tuple[int, int], region: tuple[int, int, int, int]
) -> None:
    assert sheet.crop_region([box], *size) == region


@pytest.mark.parametrize("box", [Box(90, 0, 20, 20), Box(0, 90, 20, 20), Box(-1, 0, 20, 20), Box(5, 5, 0, 20)])
def test_a_box_that_does_not_fit_its_photo_is_not_cut(box: Box) -> None:
    assert sheet.crop_region([box], 100, 100) is None


def test_the_query_comes_first_and_the_matches_in_order(tmp_path: Path) -> None:
    asked = photo(tmp_path / "q.png", box=Box(0, 0, 60, 80), colour=BLUE)
    matches = [
        photo(tmp_path / "z.png", box=Box(200, 100, 80, 80)),
        photo(tmp_path / "a.png", box=Box(10, 10, 80, 80), colour=(0, 255, 0)),
    ]
    tiles = [sheet.query_tile(str(tmp_path / "q.png"), None, "q.png", asked.box), *map(sheet.match_tile, matches)]
    drawn = sheet.draw(tiles)
    assert drawn.size == (16 + 3 * CELL, 16 + 200 + 57 + 16)
    first, second, third = (picture(drawn, column) for column in range(3))
    assert near(first.getpixel((40, 40)), BLUE)
    assert near(second.getpixel((100, 100)), RED)
    assert near(third.getpixel((50, 50)), (0, 255, 0))
    assert near(second.getpixel((10, 10)), (128, 128, 128))
    assert near(first.getpixel((1, 199)), (0x18, 0x60, 0xC0))  # the frame that only the query has
    assert near(second.getpixel((50, 100)), (0x30, 0xC0, 0x40))  # the box's left edge


def test_of_several_people_every_face_is_shown(tmp_path: Path) -> None:
    assert sheet.crop_region([Box(100, 100, 40, 50), Box(300, 120, 60, 40)], 1000, 1000) == (70, 0, 390, 320)
    assert sheet.crop_region([Box(0, 0, 10, 10), Box(95, 0, 10, 10)], 100, 100) is None
    match = photo(tmp_path / "a.png", size=(800, 600), box=Box(100, 100, 80, 80))
    other = Term(0.6, Box(500, 300, 60, 80), 0.9, 2)
    terms = (Term(0.7, match.box, 0.9, 1), other, Term(None, None, None, None))
    drawn = picture(sheet.draw([sheet.match_tile(match._replace(terms=terms))]), 0)
    assert near(drawn.getpixel((30, 52)), RED)
    for box in (match.box, other.box):
        assert box
        assert near(drawn.getpixel((round((box.x - 60) / 2.7), round(box.y / 2.7) + 10)), (0x30, 0xC0, 0x40))


def test_the_caption_names_what_the_user_said_and_when_it_was() -> None:
    match = Match(b"/p/a.jpg", 0.75, Box(0, 0, 9, 9), 0.9, 1, person="Anna", taken="2019-06-30T12:00:00")
    burst = match._replace(similar=(b"/b", b"/c"), taken_from="mtime")
    for changed, named, dated, heading, date in (
        (match, False, False, "0.750", ""),
        (match, True, True, "Anna 0.750", "2019-06-30"),
        (burst, True, True, "Anna 0.750 +2", "2019-06-30~"),
        (match._replace(confirmed=True, similarity=1.0), True, False, "Anna confirmed", ""),
        (match._replace(person="", similarity=None, box=None, confirmed=True), True, False, "confirmed", ""),
    ):
        tile = sheet.match_tile(changed, named=named, dated=dated)
        assert (tile.heading, tile.date) == (heading, date)


def test_a_photo_is_cut_upright(tmp_path: Path) -> None:
    """Stored on its side with EXIF orientation 6; the box is that of the upright photo."""
    upright = Image.new("RGB", (300, 400), (128, 128, 128))
    upright.paste(RED, (200, 300, 260, 360))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    drawn = sheet.draw([sheet.match_tile(Match(os.fsencode(tmp_path / "a.png"), 0.5, Box(200, 300, 60, 60), 0.9, 1))])
    assert near(picture(drawn, 0).getpixel((110, 110)), RED)
    assert near(picture(drawn, 0).getpixel((20, 20)), (128, 128, 128))


def test_a_query_from_bytes_needs_no_file(tmp_path: Path) -> None:
    asked = photo(tmp_path / "q.png", box=Box(100, 100, 80, 80), colour=BLUE)
    data = (tmp_path / "q.png").read_bytes()
    drawn = sheet.draw([sheet.query_tile("/nowhere/-", data, "standard input", asked.box)])
    assert near(picture(drawn, 0).getpixel((100, 100)), BLUE)


def test_photos_that_cannot_be_shown_have_a_tile_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing more")
    os.mkfifo(tmp_path / "pipe.jpg")
    smaller = photo(tmp_path / "small.png", size=(50, 50), box=Box(0, 0, 9, 9))._replace(box=Box(40, 40, 30, 30))
    said: list[str] = []
    placeholder = sheet._placeholder
    monkeypatch.setattr(sheet, "_placeholder", lambda reason: said.append(reason) or placeholder(reason))
    names = ("gone.jpg", "broken.jpg", "pipe.jpg")
    lost = [Match(os.fsencode(tmp_path / name), 0.5, Box(0, 0, 9, 9), 0.9, 1) for name in names]
    drawn = sheet.draw([sheet.match_tile(match) for match in [*lost, smaller]])
    assert said == ["missing", "unreadable", "unreadable", "changed"]
    for column in range(4):
        colours = picture(drawn, column).getcolors(1 << 16)
        assert colours
        assert len(colours) > 1  # the background and the word


def test_each_photo_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    two = photo(tmp_path / "b.png", box=Box(0, 0, 50, 50))
    decoded: list[int] = []
    decode = decoding.decode
    monkeypatch.setattr(decoding, "decode", lambda file: decoded.append(file.seek(0, os.SEEK_END)) or decode(file))
    seen: list[tuple[int, int]] = []
    sheet.draw([sheet.match_tile(match) for match in (one, two, one, two)], lambda done, of: seen.append((done, of)))
    assert len(decoded) == 2
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("name", ["日本の写真.jpg", "שלום.png", "👩‍🚀.jpg", "bad\udcff\x1b[2J\n.jpg", "x" * 255, ""])
def test_any_name_can_be_written(name: str) -> None:
    drawn = sheet.draw([sheet.match_tile(Match(os.fsencode(f"/gone/{name}"), 0.5, Box(0, 0, 9, 9), 0.9, 1))])
    assert drawn.size == (16 + CELL, 289)


@pytest.mark.parametrize(
    ("suffix", "format_"), [(".png", "PNG"), (".JPG", "JPEG"), (".jpeg", "JPEG"), (".webp", "WEBP"), (".pdf", None)]
)
def test_the_suffix_says_the_format(tmp_path: Path, suffix: str, format_: str | None) -> None:
    target = tmp_path / f"sheet{suffix}"
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    assert sheet.write(target, [sheet.match_tile(match)]) == 0
    if format_ is None:
        assert target.read_bytes().startswith(b"%PDF")
    else:
        with Image.open(target) as image:
            assert (image.format, image.size) == (format_, (16 + CELL, 289))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.png", target.name])


def test_a_sheet_is_replaced_whole_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("real.png")
    sheet.write(tmp_path / "real.png", [])
    before = (tmp_path / "real.png").read_bytes()
    sheet.write(tmp_path / "link.png", [sheet.match_tile(photo(tmp_path / "a.png", box=Box(0, 0, 50, 50)))] * 7)
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").read_bytes() != before
    with Image.open(tmp_path / "real.png") as image:
        assert image.format == "PNG"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "real.png").stat().st_mode) == 0o666 & ~mask
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "link.png", "real.png"]


SUFFIXES = (".png", ".jpg", ".webp", ".pdf")


def _snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Inode and content of every file below."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_ino, path.read_bytes() if path.is_file() else b"")
        for path in directory.rglob("*")
    }


def _embed_a_sheet(target: Path) -> None:
    """The words are there, and not where the mark is."""
    sheet.write(target, [])
    whole = target.read_bytes()
    target.write_bytes((target.parent / "photo.png").read_bytes() + whole)


def _edit_a_sheet(target: Path) -> None:
    sheet.write(target, [])
    if target.suffix == ".pdf":
        target.write_bytes(target.read_bytes() + b"% an editor appends what was changed\n" * 100)
        return
    with Image.open(target) as image:
        image.convert("L").save(target)


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "photo": lambda target: (
        photo(target.with_name("x.png"), box=Box(0, 0, 9, 9)) and target.with_name("x.png").rename(target)
    ),
    "text": lambda target: target.write_text(f"notes on {sheet_mark.SOFTWARE}\n"),
    "empty": Path.touch,
    "symbolic link": lambda target: target.symlink_to("photo.png"),
    "hard link": lambda target: target.hardlink_to(target.parent / "photo.png"),
    "dangling link": lambda target: target.symlink_to("nothing.png"),
    "link to a device": lambda target: target.symlink_to("/dev/null"),
    "loop": lambda target: target.symlink_to(target.name),
    "directory": Path.mkdir,
    "pipe": os.mkfifo,
    "embedded sheet": _embed_a_sheet,
    "edited sheet": _edit_a_sheet,
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_nothing_but_an_earlier_sheet_is_replaced(tmp_path: Path, kind: str, suffix: str) -> None:
    target = tmp_path / f"sheet{suffix}"
    photo(tmp_path / "photo.png", box=Box(0, 0, 50, 50))
    IN_THE_WAY[kind](target)
    before = _snapshot(tmp_path)
    with pytest.raises(UsageError) as caught:
        targets.check(target)
    assert str(target) in caught.value.message
    with pytest.raises(UsageError):
        sheet.write(target, [])
    assert _snapshot(tmp_path) == before


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_earlier_sheet_is_known_and_replaced(tmp_path: Path, suffix: str) -> None:
    first, renamed = tmp_path / f"sheet{suffix}", tmp_path / f"renamed{suffix}"
    sheet.write(first, [])
    first.rename(renamed)
    assert sheet_mark.is_sheet(renamed)
    targets.check(renamed)
    before = renamed.read_bytes()
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    sheet.write(renamed, [sheet.match_tile(match)] * 9)
    assert renamed.read_bytes() != before
    assert sheet_mark.is_sheet(renamed)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_query_photo_is_not_replaced_although_it_is_a_sheet(tmp_path: Path, suffix: str) -> None:
    target, alias = tmp_path / f"sheet{suffix}", tmp_path / f"alias{suffix}"
    sheet.write(target, [])
    alias.hardlink_to(target)
    (tmp_path / "inner").mkdir()
    for name in (target, alias, tmp_path / "inner" / ".." / target.name):
        with pytest.raises(UsageError, match="is a query photo"):
            targets.check(target, [str(name)])
    with target.open("rb") as file, pytest.raises(UsageError, match="is a query photo"):
        targets.check(target, [file.fileno()])


@pytest.mark.parametrize("way", ["renameat2", "none of it"])
@pytest.mark.parametrize("was", ["nothing", "a sheet"])
def test_what_comes_while_a_sheet_is_drawn_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was: str, way: str
) -> None:
    """A photo is put there after the check, also on file systems that cannot exchange files or have no hard links."""
    target = tmp_path / "sheet.png"
    if was == "a sheet":
        sheet.write(target, [])
    if way != "renameat2":
        monkeypatch.setattr(atomic_files, "_rename", _refused)
        monkeypatch.setattr(os, "link", _refused)
    sheet.write(target, [])
    if was == "nothing":
        target.unlink()
    photo(tmp_path / "photo.png", box=Box(0, 0, 50, 50))
    save = Image.Image.save

    def saved(image: Image.Image, *arguments: Any, **options: Any) -> None:
        save(image, *arguments, **options)
        (tmp_path / "photo.png").replace(target)

    monkeypatch.setattr(Image.Image, "save", saved)
    data = (tmp_path / "photo.png").read_bytes()
    with pytest.raises(UsageError, match="only an earlier sheet is replaced"):
        sheet.write(target, [])
    assert target.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def _refused(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_photo_that_comes_at_the_very_last_moment_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "sheet.png"
    sheet.write(target, [])
    photo(tmp_path / "photo.png", box=Box(0, 0, 50, 50))
    data = (tmp_path / "photo.png").read_bytes()
    rename = atomic_files._rename

    def raced(source: Path, place: Path, flags: int) -> None:
        if flags == atomic_files._EXCHANGE and (tmp_path / "photo.png").exists():
            (tmp_path / "photo.png").replace(target)
        rename(source, place, flags)

    monkeypatch.setattr(atomic_files, "_rename", raced)
    with pytest.raises(UsageError, match="only an earlier sheet is replaced"):
        sheet.write(target, [])
    assert target.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@given(st.binary(max_size=200), st.sampled_from(SUFFIXES), st.integers(0, 60), st.integers(0, 255))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_can_be_looked_at(tmp_path: Path, tail: bytes, suffix: str, at: int, value: int) -> None:
    """Headers that lie about their lengths neither raise nor take long."""
    whole = tmp_path / f"whole{suffix}"
    if not whole.exists():
        sheet.write(whole, [])
    data = bytearray(whole.read_bytes()[:120])
    data[at] = value
    (tmp_path / "x").write_bytes(bytes(data) + tail)
    assert sheet_mark.is_sheet(tmp_path / "x") in (True, False)


def test_what_cannot_be_written_is_an_error_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "directory.png").mkdir()
    for target in ("sheet.txt", "sheet", "directory.png", "no/such/sheet.png", "x" * 300 + ".png"):
        with pytest.raises(UsageError):
            sheet.write(tmp_path / target, [])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UsageError, match="No space left"):
        sheet.write(tmp_path / "sheet.png", [])
    assert [path.name for path in tmp_path.iterdir()] == ["directory.png"]


def test_more_tiles_than_fit_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    monkeypatch.setattr(sheet, "MAX_TILES", 7)
    assert sheet.write(tmp_path / "sheet.png", [sheet.match_tile(match)] * 10) == 3
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (16 + 5 * CELL, 16 + 2 * 273)
        assert near(picture(image, 1, 1).getpixel((30, 30)), RED)
        assert image.convert("RGB").crop((2 * CELL + 16, 16 + 273, *image.size)).getextrema() == ((255, 255),) * 3


def test_the_largest_sheet_fits_every_format() -> None:
    drawn_rows = -(-sheet.MAX_TILES // 10)
    assert 16 + drawn_rows * 273 < 16383
