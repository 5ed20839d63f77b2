"""Thumbnails: a square around a face, or the whole photo, of every kind of photo that is read, upright and bare."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facewatchd.errors import UnreadablePhotoError
from facewatchd.inference import validation
from facewatchd.matches import Box
from facewatchd.photos import crops, decode, thumbnail
from facewatchd.photos.crops import Crop
from facewatchd.photos.samples import SPECIMENS
from facewatchd.photos.upright import turned
from tests.support import samples
from tests.support.paths import SHARED

INPUTS = SHARED / "inputs"
MOST = 2**63 - 1
"""Largest number of a request."""


@st.composite
def faces(draw: st.DrawFn) -> tuple[int, int, Box]:
    """Width and height of a photo, and a box on it."""
    width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return width, height, Box(x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))


@given(faces(), st.integers(crops.LEAST, crops.MOST))
def test_a_face_is_inside_of_a_square_that_is_inside_of_the_photo(drawn: tuple[int, int, Box], size: int) -> None:
    width, height, (x, y, w, h) = drawn
    crop = Crop(size, Box(x, y, w, h))
    left, upper, right, lower = crop.part(width, height)
    side = right - left
    assert side == lower - upper >= max(w, h)
    if side <= min(width, height):
        assert 0 <= left < right <= width
        assert 0 <= upper < lower <= height
    else:
        assert side == max(w, h), "it goes beyond the photo for the face alone"
    assert left <= x
    assert right >= x + w
    assert upper <= y
    assert lower >= y + h
    scale = crop.least_scale(width, height)
    assert 0 < scale <= 1
    assert scale * side >= min(size, side) - 1e-6


@pytest.mark.parametrize("box", [None, Box(700, 300, 1500, 1500), Box(0, 0, 2300, 1700)])
def test_rows_that_are_left_out_of_a_large_picture_change_little(
    box: Box | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is moved: against an edge, half a pixel would be as much as is allowed here in all."""
    rows, columns = np.mgrid[0:2000, 0:3000]
    waves = 128 + 100 * np.sin(rows / 40) * np.cos(columns / 55) * ((rows // 200 + columns // 300) % 2)
    pixels = np.repeat(waves.astype(np.uint8)[..., None], 3, axis=2)
    crop = Crop(200, box)

    def made() -> Any:
        with Image.open(io.BytesIO(thumbnail.of_pixels(pixels, crop, 3000, 2000).jpeg)) as image:
            return np.asarray(image, np.float64)

    few = made()
    monkeypatch.setattr(thumbnail, "_ROWS", 1000)
    assert np.abs(few - made()).mean() < 1.0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("box", [None, Box(30, 70, 90, 60)])
def test_what_is_turned_is_scaled_as_if_it_were_stored_so(orientation: int, box: Box | None) -> None:
    pixels = turned(np.asarray(landscape().resize((400, 300))), orientation)
    height, width = pixels.shape[:2]
    made, expected = (
        thumbnail.of_pixels(each, Crop(50, box), width, height) for each in (pixels, np.ascontiguousarray(pixels))
    )
    assert np.abs(shown(made).astype(float) - shown(expected)).mean() < 3


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.integers(0, MOST),
    st.integers(0, MOST),
    st.integers(1, MOST),
    st.integers(1, MOST),
)
def test_no_box_asks_for_more_than_the_photo_has(width: int, height: int, x: int, y: int, w: int, h: int) -> None:
    crop = Crop(crops.FACE, Box(x, y, w, h))
    left, upper, right, lower = crop.part(width, height)
    assert 1 <= right - left == lower - upper <= max(width, height)
    assert crop.is_inside(width, height) == (x + w <= width and y + h <= height)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.data())
def test_any_part_of_any_picture_becomes_a_picture_of_the_size(width: int, height: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    part = data.draw(st.sampled_from([1, 2, 8]))  # the pixels may be of a scale of the decoder
    pixels = np.full((-(-height // part), -(-width // part), 3), 200, np.uint8)
    for crop in (Crop(40, box), Crop(40)):
        made = thumbnail.of_pixels(pixels, crop, width, height)
        validation.jpeg(made.jpeg, made.width, made.height)
        left, upper, right, lower = crop.part(width, height)
        assert max(made.width, made.height) == min(40, max(right - left, lower - upper))
        assert abs(shown(made).astype(int) - 200).max() <= 2, "what is beyond the photo is as its edge"


def shown(made: crops.Thumbnail) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(made.jpeg)) as image:
        assert image.size == (made.width, made.height)
        return np.asarray(image)


def expect_like_the_photo(data: bytes) -> None:
    """The thumbnail of a photo, and a part of it, look as its pixels do."""
    try:
        pixels = decode.decode(io.BytesIO(data))
    except UnreadablePhotoError as exc:
        with pytest.raises(type(exc), match="^" + exc.message.split(":")[0][:30].replace("(", r"\\(")):
            thumbnail.of_file(io.BytesIO(data), Crop(64))
        return
    height, width = pixels.shape[:2]
    side = max(1, min(width, height) // 5)
    box = Box(width // 4, height // 3, side, side)
    for crop in (Crop(64), Crop(48, box)):
        made, *size = thumbnail.of_file(io.BytesIO(data), crop)
        assert size == [width, height]
        assert validation.jpeg(made.jpeg, made.width, made.height)
        part = Image.fromarray(np.ascontiguousarray(pixels)).crop(crop.part(width, height))
        expected = np.asarray(part.resize((made.width, made.height), Image.Resampling.LANCZOS), np.float64)
        assert np.abs(shown(made) - expected).mean() < 12


@pytest.mark.parametrize("kind", sorted(SPECIMENS))
def test_every_format_is_pictured(kind: str) -> None:
    expect_like_the_photo(SPECIMENS[kind])


@pytest.mark.skipif(not INPUTS.is_dir(), reason="the files of ../shared are not here")
@pytest.mark.parametrize("path", sorted(INPUTS.glob("*")) if INPUTS.is_dir() else [], ids=lambda path: path.name)
def test_what_users_disks_hold_is_pictured_as_it_is_read(path: Path) -> None:
    expect_like_the_photo(path.read_bytes())


def landscape(width: int = 400, height: int = 300) -> Image.Image:
    """A picture of which each corner has a colour of its own."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, np.full_like(across, 90)], axis=2).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_it_is_upright_by_every_orientation(kind: str, orientation: int) -> None:
    upright = landscape()
    undone = {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE}
    undone |= {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    undone |= {8: Image.Transpose.ROTATE_270}
    stored = upright if orientation == 1 else upright.transpose(undone[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "at home"
    buffer = io.BytesIO()
    stored.save(buffer, kind, exif=exif)
    made, width, height = thumbnail.of_file(io.BytesIO(buffer.getvalue()), Crop(100))
    assert (width, height, made.width, made.height) == (400, 300, 100, 75)
    small = np.asarray(upright.resize((100, 75)), np.float64)
    assert np.abs(shown(made) - small).mean() < 12
    assert b"at home" not in made.jpeg


def test_metadata_and_profiles_of_a_photo_are_not_in_its_picture() -> None:
    exif = Image.Exif()
    exif[0x010E] = "at home"
    exif.get_ifd(0x8825)[1] = "N"
    buffer = io.BytesIO()
    landscape().save(
        buffer, "JPEG", exif=exif, xmp=b"<x:xmpmeta>at home</x:xmpmeta>", comment=b"at home", icc_profile=b"at home"
    )
    for crop in (Crop(64), Crop(2048), Crop(64, Box(10, 10, 50, 50))):
        made, *_ = thumbnail.of_file(io.BytesIO(buffer.getvalue()), crop)
        assert validation.jpeg(made.jpeg, made.width, made.height)
        assert b"at home" not in made.jpeg


@pytest.mark.parametrize("mode", ["CMYK", "L", "I;16", "P", "RGBA", "LA", "1"])
def test_every_kind_of_pixels_is_pictured(mode: str) -> None:
    buffer = io.BytesIO()
    picture = landscape()
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    elif mode != "RGB":
        picture = picture.convert(mode)
    picture.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    expect_like_the_photo(buffer.getvalue())


def test_a_large_jpeg_is_decoded_at_a_smaller_scale() -> None:
    """Of a photo only as many pixels come as its thumbnail needs, and the face is where it is in full size."""
    buffer = io.BytesIO()
    big = Image.open(samples.astronaut()).convert("RGB").resize((4032, 3024))
    big.save(buffer, "JPEG", quality=90)
    asked: list[tuple[int, int]] = []

    def least(width: int, height: int) -> float:
        asked.append((width, height))
        return 160 / 1300

    photo = decode.reduced(io.BytesIO(buffer.getvalue()), least)
    assert asked == [(4032, 3024)]
    assert (photo.width, photo.height) == (4032, 3024)
    assert photo.pixels.shape == (378, 504, 3)
    expect_like_the_photo(buffer.getvalue())


@pytest.mark.parametrize(("least", "part"), [(0.1, 8), (0.125, 8), (0.13, 4), (0.3, 2), (0.5, 2), (0.51, 1), (1.0, 1)])
def test_only_scales_that_are_fast_are_used(least: float, part: int) -> None:
    buffer = io.BytesIO()
    landscape(403, 301).save(buffer, "JPEG")
    photo = decode.reduced(io.BytesIO(buffer.getvalue()), lambda width, height: least)
    assert photo.pixels.shape == (-(-301 // part), -(-403 // part), 3)
