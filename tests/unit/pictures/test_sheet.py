"""The contact sheet, drawn from small photos that the tests make, and looked at by their pixels."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PdfParser

from facewatchd.errors import UsageError
from facewatchd.matches import Box, Match, Place, Term
from facewatchd.photos import decode as decoding
from facewatchd.photos import sheet_mark
from facewatchd.pictures import pages, pdf, scenes, sheet
from facewatchd.pictures import target as targets
from facewatchd.pictures.source import Source
from facewatchd.system import atomic_files

RED, BLUE, GREEN, GREY = (255, 0, 0), (0, 0, 255), (0, 255, 0), (128, 128, 128)
QUESTION = sheet.Question("Anna", ("with Ben", "3 photos", "asked on 2026-01-02"), (), "2026-01-02")


def photo(path: Path, *, size: tuple[int, int] = (400, 300), box: Box, colour: tuple[int, int, int] = RED) -> Match:
    """Write a grey photo with a face, which is a patch of colour, and return the match that finds it."""
    image = Image.new("RGB", size, GREY)
    image.paste(colour, (box.x, box.y, box.x + box.w, box.y + box.h))
    image.save(path)
    return Match(os.fsencode(path), 0.75, box, 0.9, 1)


def tiles(*matches: Match) -> list[sheet.Tile]:
    return [sheet.match_tile(match, sheet.shared_directory(matches)) for match in matches]


def drawn(*matches: Match, question: sheet.Question = QUESTION) -> pages.Page:
    """The one page of a sheet, as a picture."""
    (page,) = sheet.draw(question, tiles(*matches), pages.SHOWN, as_pictures=True)
    return page


def picture(page: pages.Page, matches: int, index: int) -> Image.Image:
    """Cut one match's picture out of a page."""
    shape = sheet.layout(QUESTION, [sheet.match_tile(Match(b"/a", 0.5, None, None, None))] * matches)
    left, top = (page.pixels(length) for length in shape.place(0, index))
    return page.image.crop((left, top, left + page.pixels(shape.side), top + page.pixels(shape.side)))


def at(image: Image.Image, across: float, down: float) -> object:
    """The colour at a place in parts of the picture's sides."""
    return image.getpixel((round(across * (image.width - 1)), round(down * (image.height - 1))))


def near(found: object, expected: tuple[int, int, int]) -> bool:
    assert isinstance(found, tuple)
    return all(abs(one - other) < 12 for one, other in zip(found, expected, strict=True))


def written(page: pages.Page) -> list[str]:
    return [word.text for word in page.words]


def test_the_matches_stand_in_their_order_below_the_faces_that_are_asked_for(tmp_path: Path) -> None:
    asked = photo(tmp_path / "q.png", box=Box(100, 100, 60, 80), colour=BLUE)
    matches = [
        photo(tmp_path / "z.png", box=Box(200, 100, 80, 80)),
        photo(tmp_path / "a.png", box=Box(10, 10, 80, 80), colour=GREEN),
    ]
    portrait = sheet.Portrait(Source(asked.path), Box(100, 100, 60, 80), label="with")
    page = drawn(*matches, question=QUESTION._replace(portraits=(portrait,)))
    margin, side = page.pixels(12), page.pixels(27)
    assert near(page.image.getpixel((margin + side // 2, margin + side // 2)), BLUE)
    first, second = (picture(page, 2, number) for number in range(2))
    assert near(at(first, 0.5, 0.42), RED)
    assert near(at(first, 0.1, 0.1), GREY)
    assert near(at(second, 0.2, 0.2), GREEN), "at the photo's edge"
    assert written(page)[:5] == ["with", "Anna", "with Ben", "3 photos", "asked on 2026-01-02"]
    assert written(page)[5:] == ["0.750", "z.png", "0.750", "a.png"]


def test_the_box_is_drawn_around_the_face(tmp_path: Path) -> None:
    page = drawn(photo(tmp_path / "a.png", size=(1000, 1000), box=Box(400, 400, 100, 100)))
    found = picture(page, 1, 0)  # 300 pixels of the photo, from 300, 324
    edges = [at(found, 100 / 300 + shift / found.width, 0.42) for shift in range(-2, 3)]
    assert any(near(edge, (0xFF, 0xD3, 0x4D)) for edge in edges)
    assert near(at(found, 150 / 300, 126 / 300), RED)


def test_of_several_people_every_face_is_shown(tmp_path: Path) -> None:
    match = photo(tmp_path / "a.png", size=(800, 600), box=Box(100, 100, 80, 80))
    other = Term(0.6, Box(500, 300, 60, 80), 0.9, 2)
    terms = (Term(0.7, match.box, 0.9, 1), other, Term(None, None, None, None))
    found = picture(drawn(match._replace(terms=terms)), 1, 0)
    region = scenes.region([Box(100, 100, 80, 80), Box(500, 300, 60, 80)], 800, 600)
    assert region is not None
    for box in (Box(100, 100, 80, 80), Box(500, 300, 60, 80)):
        x, y = ((place * found.width) // 529 for place in (box.x - region.left, box.y + box.h // 2 - region.top))
        assert any(near(found.getpixel((x + shift, y)), (0xFF, 0xD3, 0x4D)) for shift in range(-2, 3))


def test_the_caption_tells_what_differs() -> None:
    match = Match(b"/home/anna/Pictures/2019/a.jpg", 0.75, Box(0, 0, 9, 9), 0.9, 1)
    match = match._replace(person="Anna", taken="2019-06-30T12:00:00", verdict="sure")
    root = b"/home/anna/Pictures"
    tile = sheet.match_tile(match, root)
    assert tile == sheet.Tile(Source(match.path), (Box(0, 0, 9, 9),), "a.jpg", "2019", "sure", "0.750", face_id=1)
    tile = sheet.match_tile(match._replace(similar=(b"/b", b"/c"), taken_from="mtime"), root, named=True, dated=True)
    assert (tile.date, tile.notes) == ("2019-06-30~", "Anna · 2 more of its burst")
    tile = sheet.match_tile(match._replace(itself=True, copies=(b"/b",)), root + b"/2019", note="face 2")
    assert (tile.folder, tile.date, tile.notes) == ("", "", "face 2 · the query photo · 1 copy")
    tile = sheet.match_tile(match._replace(confirmed=True, similarity=1.0), root)
    assert (tile.verdict, tile.number) == ("confirmed", "")
    tile = sheet.match_tile(match._replace(similarity=None, box=None, confirmed=True), root)
    assert (tile.verdict, tile.number, tile.boxes) == ("confirmed", "", ())


@pytest.mark.parametrize(
    ("paths", "root"),
    [
        ([], b""),
        ([b"/a/b.jpg"], b"/a"),
        ([b"/a/b/1.jpg", b"/a/b/2.jpg"], b"/a/b"),
        ([b"/a/bc/1.jpg", b"/a/bd/2.jpg"], b"/a"),
        ([b"/a/1.jpg", b"/a/b/1.jpg"], b"/a"),
        ([b"/x.jpg", b"/a/b/1.jpg"], b"/"),
    ],
)
def test_the_directory_that_all_lie_below(paths: list[bytes], root: bytes) -> None:
    matches = [Match(path, 0.5, None, None, None) for path in paths]
    assert sheet.shared_directory(matches) == root
    for match, tile in zip(matches, tiles(*matches), strict=True):
        assert os.path.join(root, os.fsencode(tile.folder), os.fsencode(tile.name)) == match.path


def test_a_photo_is_cut_upright(tmp_path: Path) -> None:
    """Stored on its side with EXIF orientation 6; the box is that of the upright photo."""
    upright = Image.new("RGB", (300, 400), GREY)
    upright.paste(RED, (200, 300, 260, 360))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.png", exif=exif)
    found = picture(drawn(Match(os.fsencode(tmp_path / "a.png"), 0.5, Box(200, 300, 60, 60), 0.9, 1)), 1, 0)
    assert near(at(found, (230 - 84) / 216, (330 - 184) / 216), RED)
    assert near(at(found, 0.1, 0.1), GREY)


def test_a_face_that_is_asked_for_from_bytes_needs_no_file(tmp_path: Path) -> None:
    photo(tmp_path / "q.png", box=Box(100, 100, 80, 80), colour=BLUE)
    portrait = sheet.Portrait(Source(b"/nowhere/-", (tmp_path / "q.png").read_bytes()), Box(100, 100, 80, 80))
    page = drawn(question=QUESTION._replace(portraits=(portrait,) * 6))
    assert near(page.image.getpixel((page.pixels(12 + 13), page.pixels(12 + 13))), BLUE)
    assert "+2" in written(page)


def test_photos_that_cannot_be_shown_have_a_word_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 nothing more")
    os.mkfifo(tmp_path / "pipe.jpg")
    smaller = photo(tmp_path / "small.png", size=(50, 50), box=Box(0, 0, 9, 9))._replace(box=Box(40, 40, 30, 30))
    said: list[str] = []
    placeholder = scenes.placeholder
    monkeypatch.setattr(scenes, "placeholder", lambda reason, side: said.append(reason) or placeholder(reason, side))
    names = ("gone.jpg", "broken.jpg", "pipe.jpg")
    lost = [Match(os.fsencode(tmp_path / name), 0.5, Box(0, 0, 9, 9), 0.9, 1) for name in names]
    page = drawn(*lost, smaller)
    assert sorted(said) == ["changed", "missing", "unreadable", "unreadable"]
    for number in range(4):
        colours = picture(page, 4, number).getcolors(1 << 16)
        assert colours
        assert len(colours) > 1  # the background and the word


def test_what_cannot_be_read_here_is_had_from_the_daemon(tmp_path: Path) -> None:
    """Asked for the face in the size of the picture; a photo that can be read is not asked for."""
    file = io.BytesIO()
    Image.new("RGB", (60, 90), BLUE).save(file, "JPEG")
    asked: list[tuple[int, int]] = []

    def fetch(face_id: int, side: int) -> bytes | None:
        asked.append((face_id, side))
        return file.getvalue() if face_id == 7 else None

    here = photo(tmp_path / "a.png", box=Box(100, 100, 80, 80))._replace(face_id=6)
    gone = [Match(b"/gone.jpg", 0.5, Box(0, 0, 9, 9), 0.9, face_id) for face_id in (7, 8)]
    given_tiles = tiles(here, *gone)
    (page,) = sheet.draw(QUESTION, given_tiles, pages.SHOWN, fetch, as_pictures=True)
    side = page.pixels(sheet.layout(QUESTION, given_tiles).side)
    assert asked == [(7, side), (8, side)]
    assert near(at(picture(page, 3, 0), 0.5, 0.42), RED)
    assert near(at(picture(page, 3, 1), 0.5, 0.5), BLUE)
    assert not near(at(picture(page, 3, 2), 0.5, 0.1), BLUE)


def test_each_photo_is_decoded_once_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    two = photo(tmp_path / "b.png", box=Box(0, 0, 50, 50))
    decoded: list[int] = []
    decode = decoding.reduced

    def reduced(file: Any, least: Any) -> decoding.Reduced:
        decoded.append(file.seek(0, os.SEEK_END))
        return decode(file, least)

    monkeypatch.setattr(decoding, "reduced", reduced)
    seen: list[tuple[int, int]] = []
    given_tiles = tiles(one, two, one, two)
    list(sheet.draw(QUESTION, given_tiles, pages.SHOWN, None, lambda done, of: seen.append((done, of))))
    assert len(decoded) == 2
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("name", ["日本の写真.jpg", "שלום.png", "👩‍🚀.jpg", "bad\udcff\x1b[2J\n.jpg", "x" * 255, ""])
def test_any_name_can_be_written(name: str) -> None:
    page = drawn(Match(os.fsencode(f"/gone/{name}"), 0.5, Box(0, 0, 9, 9), 0.9, 1))
    assert page.words[-1].length <= page.pixels(60)


@given(count=st.integers(0, 400), folders=st.booleans(), notes=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_match_has_a_place_of_its_own_on_some_page(count: int, folders: bool, notes: bool) -> None:
    tile = sheet.Tile(Source(b"/a"), (), "a", "x" * folders, notes="y" * notes)
    shape = sheet.layout(QUESTION, [tile] * count)
    assert [index for page in shape.pages for index in page] == list(range(count))
    assert len(shape.pages) == 1 or all(shape.pages)
    for number, page in enumerate(shape.pages):
        places = [shape.place(number, index) for index in page]
        assert len(set(places)) == len(places)
        for left, top in places:
            assert left >= 12
            assert left + shape.side <= pages.A4[0] - 12 + 0.001
            assert top + shape.cell <= pages.A4[1] - 12
            assert top >= 12 + (shape.head if number == 0 else 0)


@pytest.mark.parametrize(
    ("suffix", "format_"), [(".png", "PNG"), (".JPG", "JPEG"), (".jpeg", "JPEG"), (".webp", "WEBP"), (".pdf", None)]
)
def test_the_suffix_says_the_format(tmp_path: Path, suffix: str, format_: str | None) -> None:
    target = tmp_path / f"sheet{suffix}"
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    assert sheet.write(target, QUESTION, tiles(match)) == sheet.Written([target], 0)
    if format_ is None:
        assert target.read_bytes().startswith(b"%PDF")
    else:
        with Image.open(target) as image:
            assert (image.format, image.size) == (format_, drawn(match).image.size)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.png", target.name])


def test_a_picture_is_as_large_as_what_is_on_it(tmp_path: Path) -> None:
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    few, row, rows = (drawn(*[match] * count) for count in (1, 3, 4))
    assert few.width < row.width == pages.A4[0]
    assert few.height == row.height < rows.height < pages.A4[1]


def test_many_matches_are_pages(tmp_path: Path) -> None:
    """With pictures each is a file; those that an earlier sheet had more are removed, and nothing else."""
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    target = tmp_path / "sheet.png"
    done = sheet.write(target, QUESTION, tiles(*[match] * 60))
    files = [target, tmp_path / "sheet-2.png", tmp_path / "sheet-3.png"]
    assert done == sheet.Written(files, 0)
    assert [sheet_mark.page_of(file) for file in files] == [1, 2, 3]
    (tmp_path / "sheet-4.png").write_bytes((tmp_path / "a.png").read_bytes())
    assert sheet.write(target, QUESTION, tiles(*[match] * 3)).files == [target]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "sheet-4.png", "sheet.png"]


@pytest.mark.parametrize("kind", ["photo", "a sheet of its own"])
def test_a_page_replaces_nothing_but_a_page(tmp_path: Path, kind: str) -> None:
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    if kind == "photo":
        photo(tmp_path / "sheet-2.png", box=Box(0, 0, 50, 50))
    else:
        sheet.write(tmp_path / "sheet-2.png", QUESTION, [])
    before = _snapshot(tmp_path)
    with pytest.raises(UsageError, match=r"sheet-2\.png is there"):
        sheet.write(tmp_path / "sheet.png", QUESTION, tiles(*[match] * 60))
    assert _snapshot(tmp_path) == before, "no other page either"


def test_more_pictures_than_pages_are_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    monkeypatch.setattr(sheet, "MOST_PICTURES", 1)
    first = len(sheet.layout(QUESTION, tiles(*[match] * 60)).pages[0])
    done = sheet.write(tmp_path / "sheet.png", QUESTION, tiles(*[match] * 60))
    assert done == sheet.Written([tmp_path / "sheet.png"], 60 - first)
    assert sheet.write(tmp_path / "sheet.pdf", QUESTION, tiles(*[match] * 60)).left_out == 0


def test_a_pdf_has_pages_of_a4_with_text_behind_the_pictures(tmp_path: Path) -> None:
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    name = "日本 שלום 👩‍🚀 and a name that is much too long for its picture.png"
    match = match._replace(path=os.fsencode(tmp_path / name))
    (tmp_path / "a.png").rename(os.fsdecode(match.path))
    target = tmp_path / "sheet.pdf"
    sheet.write(target, QUESTION._replace(title="Anna (\\ 日本)"), tiles(*[match] * 60))
    with target.open("rb") as file, PdfParser.PdfParser(f=file) as document:
        assert PdfParser.decode_text(document.info[b"Title"]) == "Anna (\\ 日本)"
        assert PdfParser.decode_text(document.info[b"Creator"]) == sheet_mark.SOFTWARE
        assert len(document.pages) == 3
        for reference in document.pages:
            page = document.read_indirect(reference)
            assert [round(float(side)) for side in page[b"MediaBox"]] == [0, 0, 595, 842]
            shown = document.read_indirect(page[b"Resources"][b"XObject"][b"P"])
            with Image.open(io.BytesIO(shown.buf)) as image:
                assert image.size == (1654, 2339)
            text = document.read_indirect(page[b"Contents"]).decode()
            lines = [
                bytes.fromhex(code.decode()).decode("utf-16-be") for code in re.findall(rb"<([0-9a-f]+)> Tj", text)
            ]
            assert name in lines, "whole, however little of it is seen"
            assert b"3 Tr" in text
    assert lines[0] == "page 3 of 3"


def test_a_pdf_of_many_pages_is_known_by_its_mark(tmp_path: Path) -> None:
    """Its table of objects is longer than what is read of the end; what an editor appends takes the mark away."""
    blank = [pages.Page(10, 10, 10) for _ in range(60)]
    target = tmp_path / "sheet.pdf"
    with target.open("wb") as file:
        pdf.write(file, blank, title="x" * 300)
    assert sheet_mark.is_sheet(target)
    end = target.read_bytes()[-200:]
    target.write_bytes(target.read_bytes() + b"% changed\n" * 300 + end.replace(b"startxref\n", b"startxref\n1"))
    assert not sheet_mark.is_sheet(target)


def test_a_sheet_is_replaced_whole_and_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("real.png")
    sheet.write(tmp_path / "real.png", QUESTION, [])
    before = (tmp_path / "real.png").read_bytes()
    sheet.write(tmp_path / "link.png", QUESTION, tiles(*[photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))] * 7))
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
    sheet.write(target, QUESTION, [])
    whole = target.read_bytes()
    target.write_bytes((target.parent / "photo.png").read_bytes() + whole)


def _edit_a_sheet(target: Path) -> None:
    sheet.write(target, QUESTION, [])
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
        sheet.write(target, QUESTION, [])
    assert _snapshot(tmp_path) == before


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_earlier_sheet_is_known_and_replaced(tmp_path: Path, suffix: str) -> None:
    first, renamed = tmp_path / f"sheet{suffix}", tmp_path / f"renamed{suffix}"
    sheet.write(first, QUESTION, [])
    first.rename(renamed)
    assert sheet_mark.is_sheet(renamed)
    targets.check(renamed)
    before = renamed.read_bytes()
    match = photo(tmp_path / "a.png", box=Box(0, 0, 50, 50))
    sheet.write(renamed, QUESTION, tiles(*[match] * 9))
    assert renamed.read_bytes() != before
    assert sheet_mark.is_sheet(renamed)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_query_photo_is_not_replaced_although_it_is_a_sheet(tmp_path: Path, suffix: str) -> None:
    target, alias = tmp_path / f"sheet{suffix}", tmp_path / f"alias{suffix}"
    sheet.write(target, QUESTION, [])
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
        sheet.write(target, QUESTION, [])
    if way != "renameat2":
        monkeypatch.setattr(atomic_files, "_rename", _refused)
        monkeypatch.setattr(os, "link", _refused)
    sheet.write(target, QUESTION, [])
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
        sheet.write(target, QUESTION, [])
    assert target.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def _refused(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_a_photo_that_comes_at_the_very_last_moment_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "sheet.png"
    sheet.write(target, QUESTION, [])
    photo(tmp_path / "photo.png", box=Box(0, 0, 50, 50))
    data = (tmp_path / "photo.png").read_bytes()
    rename = atomic_files._rename

    def raced(source: Path, place: Path, flags: int) -> None:
        if flags == atomic_files._EXCHANGE and (tmp_path / "photo.png").exists():
            (tmp_path / "photo.png").replace(target)
        rename(source, place, flags)

    monkeypatch.setattr(atomic_files, "_rename", raced)
    with pytest.raises(UsageError, match="only an earlier sheet is replaced"):
        sheet.write(target, QUESTION, [])
    assert target.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


@given(st.binary(max_size=200), st.sampled_from(SUFFIXES), st.integers(0, 60), st.integers(0, 255))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_can_be_looked_at(tmp_path: Path, tail: bytes, suffix: str, at: int, value: int) -> None:
    """Headers that lie about their lengths neither raise nor take long."""
    whole = tmp_path / f"whole{suffix}"
    if not whole.exists():
        sheet.write(whole, QUESTION, [])
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
            sheet.write(tmp_path / target, QUESTION, [])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UsageError, match="No space left"):
        sheet.write(tmp_path / "sheet.png", QUESTION, [])
    assert [path.name for path in tmp_path.iterdir()] == ["directory.png"]


def test_a_photo_of_another_machine_is_not_looked_for_here(tmp_path: Path) -> None:
    """The same path leads to another photo here."""
    here = photo(tmp_path / "a.png", box=Box(100, 100, 80, 80))
    there = here._replace(host="nas", face_id=None, size=(400, 300))
    asked: list[int] = []
    given_tiles = tiles(there, here, there._replace(host="old"))
    (page,) = sheet.draw(
        QUESTION, given_tiles, pages.SHOWN, lambda face_id, side: asked.append(face_id), as_pictures=True
    )
    assert asked == []
    assert near(at(picture(page, 3, 1), 0.5, 0.42), RED)
    for number in (0, 2):
        colours = picture(page, 3, number).getcolors(1 << 18) or []
        assert not any(near(colour, RED) for count, colour in colours if count > 50)
    folders = [text for text in written(page) if ":" in text]
    assert folders == [f"nas:{tmp_path}", f"old:{tmp_path}"]


def test_copies_on_other_machines_are_told() -> None:
    there = (Place("nas", b"/a"), Place("nas", b"/b"), Place("old", b"/a"))
    match = Match(b"/p/a.jpg", 0.75, None, None, 1, copies=(b"/p/b.jpg",), elsewhere=there)
    assert sheet.match_tile(match, b"/p").notes == "1 copy · also on nas and old"
    tile = sheet.match_tile(match._replace(host="nas", copies=(), similar_elsewhere=there[:1]), b"/p")
    assert (tile.folder, tile.notes) == ("nas:/p", "1 more of its burst · 2 copies · also on old")


def test_the_directory_is_that_of_this_machines_photos() -> None:
    here, there = Match(b"/p/q/a.jpg", 0.5, None, None, None), Match(b"/srv/a.jpg", 0.5, None, None, None, host="nas")
    assert sheet.shared_directory([here, there]) == b"/p/q"
    assert sheet.shared_directory([there]) == b""


@pytest.mark.parametrize("path", [b"", b"/", b"a", b"/" + b"d" * 3000 + b"/a.jpg", b"/\xff\x1b[2J\n/a"])
@pytest.mark.parametrize("host", ["nas", "<script>", "\u202e\x1b[2J", "h" * 300, "שלום"])
def test_whatever_another_machine_says_is_drawn(host: str, path: bytes) -> None:
    drawn(Match(path, 0.5, Box(-5, 10**9, 0, 3), 0.9, None, host=host, size=(1, 10**9)))
