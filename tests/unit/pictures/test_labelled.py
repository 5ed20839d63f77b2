"""The photo with its faces' numbers and names, looked at by its pixels."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from facewatchd.errors import UnreadablePhotoError, UsageError
from facewatchd.matches import Box
from facewatchd.photos import sheet_mark
from facewatchd.pictures import labelled
from facewatchd.pictures.labelled import Labelled
from facewatchd.pictures.source import Source


def has(picture: Image.Image, area: tuple[int, int, int, int], colour: str) -> bool:
    wanted = tuple(bytes.fromhex(colour[1:]))
    colours = picture.crop(area).getcolors(1 << 20)
    assert colours
    return any(found == wanted for _, found in colours)


@pytest.mark.parametrize(
    ("size", "box", "drawn"),
    [
        ((40, 30), Box(10, 10, 20, 15), (1200, 900)),
        ((2000, 1000), Box(500, 300, 400, 400), (2000, 1000)),
        ((6000, 4000), Box(500, 300, 400, 400), (2400, 1600)),
        ((6000, 4000), Box(500, 300, 80, 80), (3600, 2400)),
        ((20000, 2000), Box(500, 300, 40, 40), (8000, 800)),
        ((100, 3000), Box(10, 300, 80, 80), (80, 2400)),
        ((1, 1), Box(0, 0, 1, 1), (1200, 1200)),
        ((8000, 1), Box(0, 0, 1, 1), (8000, 1)),
    ],
)
def test_every_size_is_shown_so_that_the_faces_can_be_seen(
    size: tuple[int, int], box: Box, drawn: tuple[int, int]
) -> None:
    scale = labelled.scale(size, [box])
    assert tuple(max(1, round(side * scale)) for side in size) == drawn
    if size[0] * size[1] < 10_000:
        assert labelled.draw(Image.new("RGB", size, "grey"), [Labelled(box, 0, "Anna")]).size == drawn


def test_each_face_has_its_box_and_its_label_in_one_colour() -> None:
    faces = [Labelled(Box(100, 200, 150, 200), 0, "Anna"), Labelled(Box(700, 300, 150, 200), 1)]
    picture = labelled.draw(Image.new("RGB", (1200, 800), "grey"), faces)
    for face, colour in zip(faces, labelled._COLOURS, strict=False):
        left, top, width, height = face.box
        assert has(picture, (left, top + 50, left + 1, top + 51), colour), "the box"
        assert has(picture, (left, top - 30, left + width, top - 10), colour), "the label above it"
        assert not has(picture, (left + 10, top + 10, left + width - 10, top + height - 10), colour), "the face is free"


def test_without_a_face_the_photo_is_drawn_as_it_is() -> None:
    picture = labelled.draw(Image.new("RGB", (1200, 800), "grey"), [])
    assert picture.getextrema() == ((128, 128),) * 3


def test_a_photo_is_drawn_upright_and_marked(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 300), "grey").save(tmp_path / "a.jpg", exif=exif)
    source = Source(os.fsencode(tmp_path / "a.jpg"))
    labelled.write(tmp_path / "s.png", source, [Labelled(Box(0, 0, 300, 400), 0)])
    labelled.write(tmp_path / "s.png", source, [])
    assert sheet_mark.is_sheet(tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.size == (900, 1200)


def test_nothing_is_written_for_a_photo_that_is_gone_or_over_another_file(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePhotoError, match="missing"):
        labelled.write(tmp_path / "s.png", Source(os.fsencode(tmp_path / "gone.jpg")), [])
    Image.new("RGB", (400, 300), "grey").save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(UsageError, match="no contact sheet"):
        labelled.write(tmp_path / "a.png", Source(os.fsencode(tmp_path / "a.png")), [])
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
