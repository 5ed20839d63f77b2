"""Photos: every format and mode upright in RGB, bad input told apart, and files read without harm or tearing."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import stat
import struct
import subprocess
import sys
import textwrap
import threading
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from facewatchd.errors import FacewatchError, TooLargeError, UnreadablePhotoError, UnsupportedPhotoError
from facewatchd.photos import contents, upright
from facewatchd.photos import decode as decoding
from facewatchd.photos import files as photos
from facewatchd.photos.signatures import format_of
from facewatchd.values import Stamp

if TYPE_CHECKING:
    from facewatchd.values import Pixels

# pytest resets the filters for every test, and with them the one that photos.py sets when it is imported.
pytestmark = pytest.mark.filterwarnings(r"ignore:::(PIL|pillow_heif)\b")

RED, GREEN, BLUE, WHITE, BLACK = (220, 30, 30), (30, 180, 40), (30, 40, 210), (255, 255, 255), (0, 0, 0)
WIDTH, HEIGHT = 96, 64
ORIENTATION = 0x0112
# How a camera that is held so stores an upright picture: the inverse of what the orientation asks of a reader.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
SAVING: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {"quality": 95}),
    "progressive": ("JPEG", {"quality": 95, "progressive": True}),
    "mpo": ("MPO", {"quality": 95, "save_all": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"quality": 95}),
    "webp-lossless": ("WEBP", {"lossless": True}),
    "avif": ("AVIF", {"quality": 95}),
    "heic": ("HEIF", {"quality": 95}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-jpeg": ("TIFF", {"compression": "jpeg", "quality": 95}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
}
WITH_ORIENTATION = [name for name in SAVING if name not in ("bmp", "gif")]


def corners(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Red, green, blue and white quarters, in reading order."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def encoded(image: Image.Image, how: str, **more: Any) -> bytes:
    name, options = SAVING[how]
    if how == "mpo":
        more["append_images"] = [Image.new("RGB", image.size, "black")]
    return saved(image, name, **options, **more)


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def decode(data: bytes) -> Pixels:
    return decoding.decode(io.BytesIO(data))


def pixels_of(data: bytes) -> int:
    return decoding.pixels_of(io.BytesIO(data))


def assert_corners(
    pixels: Pixels, colours: tuple[tuple[int, ...], ...] = (RED, GREEN, BLUE, WHITE), tolerance: int = 12
) -> None:
    height, width = pixels.shape[:2]
    assert pixels.dtype == np.uint8
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    found = [pixels[y, x].astype(int) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    assert np.abs(np.array(found) - np.array(colours)).max() <= tolerance, f"{found} for {colours}"


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes | None) -> bytes:
    """Write a PNG by hand: 16-bit colour, or a header and no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows)) if rows is not None else b""
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def tiff(width: int, height: int, bits: tuple[int, ...], strip: bytes, **tags: int) -> bytes:
    """Write a TIFF by hand, uncompressed and little-endian: depths and tags that Pillow does not write."""
    numbers = {"subfile": 254, "photometric": 262, "extra_samples": 338, "sample_format": 339}
    numbers |= {"tile_width": 322, "tile_height": 323}
    ifd_size = 2 + 12 * (8 + len(tags)) + 4
    bits_at = 8 + ifd_size
    strip_at = bits_at + 8
    entries = {
        256: (4, 1, width),
        257: (4, 1, height),
        258: (3, len(bits), bits[0] if len(bits) == 1 else bits_at),
        259: (3, 1, 1),
        262: (3, 1, 1 if len(bits) == 1 else 2),
        273: (4, 1, strip_at),
        277: (3, 1, len(bits)),
        279: (4, 1, len(strip)),
    }
    entries |= {numbers[name]: (3, 1, value) for name, value in tags.items()}
    body = b"".join(struct.pack("<HHII", tag, *entry) for tag, entry in sorted(entries.items()))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0)
    return head.ljust(bits_at, b"\0") + struct.pack("<4H", *bits, *([0] * (4 - len(bits)))) + strip


# ------------------------------------------------------------------------------------------ formats and orientation


@pytest.mark.parametrize("how", SAVING)
def test_every_format_is_found_by_content_and_decoded(how: str) -> None:
    data = encoded(corners(), how)
    assert format_of(data[:32])
    assert_corners(decode(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("how", WITH_ORIENTATION)
def test_orientation_is_applied_exactly_once(how: str, orientation: int) -> None:
    method = STORED[orientation]
    stored = corners() if method is None else corners().transpose(method)
    assert_corners(decode(encoded(stored, how, exif=exif(orientation).tobytes())))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_bands_join_without_a_seam(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = textured().resize((61, 43))
    method = STORED[orientation]
    stored = image if method is None else image.transpose(method)
    data = saved(stored, "PNG", exif=exif(orientation).tobytes())
    for band in (1, 7 * 43, 20 * 61):
        monkeypatch.setattr(upright, "_BAND_PIXELS", band)
        pixels = decode(data)
        assert np.array_equal(pixels, np.asarray(image))
        assert pixels.flags.c_contiguous
        assert not pixels.flags.writeable


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "I", "F"])
def test_bands_are_converted_as_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image, samples = textured(), np.asarray(textured().convert("L"))
    if mode in ("I;16", "I", "F"):
        image = Image.fromarray(samples.astype({"I;16": "u2", "I": "i4", "F": "f4"}[mode]))
    elif mode in ("LA", "RGBA"):
        image = image.convert(mode)
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = saved(image.convert(mode), "TIFF" if mode in ("CMYK", "I", "F") else "PNG")
    whole = decode(data)
    monkeypatch.setattr(upright, "_BAND_PIXELS", 100)
    assert np.array_equal(decode(data), whole)


@pytest.mark.parametrize("how", ["heic", "avif"])
def test_exif_orients_heif_where_the_container_says_nothing_and_avif_never(how: str) -> None:
    """The encoders move an orientation from EXIF to the container; some cameras write it nowhere but in EXIF."""
    tag = struct.Struct("<HHII")
    before, after = tag.pack(ORIENTATION + 1, 3, 1, 6), tag.pack(ORIENTATION, 3, 1, 6)
    data = encoded(corners(), how, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + before + bytes(4))
    assert data.count(before) == 1
    sideways = decode(data.replace(before, after))
    if how == "heic":
        assert np.array_equal(sideways, np.rot90(decode(data), -1))
    else:
        assert_corners(sideways)


def test_xmp_does_not_orient_avif() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    assert_corners(decode(encoded(corners(), "avif", xmp=xmp)))


@pytest.mark.parametrize("how", ["jpeg", "png", "webp"])
@pytest.mark.parametrize(
    "broken", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_exif_is_no_reason_not_to_read_a_photo(how: str, broken: bytes) -> None:
    assert_corners(decode(encoded(corners(), how, exif=broken)))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    assert_corners(decode(encoded(corners(), "jpeg", exif=exif(orientation))))


def test_a_jpeg_is_decoded_in_full_size_whatever_its_thumbnail() -> None:
    assert decode(encoded(corners(1600, 1200), "jpeg")).shape == (1200, 1600, 3)


def test_first_frame_of_animations_and_pages() -> None:
    second = Image.new("RGB", (WIDTH, HEIGHT), "black")
    for name, options in {
        "GIF": {},
        "WEBP": {"lossless": True},
        "TIFF": {},
        "AVIF": {"quality": 95},
        "PNG": {},
    }.items():
        data = saved(corners(), name, save_all=True, append_images=[second], **options)
        assert_corners(decode(data))


def test_extreme_aspect_ratios() -> None:
    for size in ((1, 100_000), (100_000, 1)):
        data = saved(Image.new("RGB", size, RED), "PNG", exif=exif(6))
        assert decode(data).shape == (*size, 3)


# ----------------------------------------------------------------------------------------------------------- modes


def alpha_corners() -> Image.Image:
    """The lower half is transparent, and arbitrary colours hide there."""
    image = corners().convert("RGBA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, HEIGHT // 2, WIDTH, HEIGHT))
    image.putalpha(alpha)
    return image


def levels(kind: str, *quarters: float) -> np.ndarray[Any, Any]:
    values = np.zeros((HEIGHT, WIDTH), kind)
    values[: HEIGHT // 2, : WIDTH // 2], values[: HEIGHT // 2, WIDTH // 2 :] = quarters[:2]
    values[HEIGHT // 2 :, : WIDTH // 2], values[HEIGHT // 2 :, WIDTH // 2 :] = quarters[2:]
    return values


def grey(*values: int) -> tuple[tuple[int, int, int], ...]:
    return tuple((value, value, value) for value in values)


@pytest.mark.parametrize(("name", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("AVIF", {})])
def test_transparent_is_white(name: str, options: dict[str, Any]) -> None:
    pixels = decode(saved(alpha_corners(), name, **options))
    assert_corners(pixels, (RED, GREEN, WHITE, WHITE))


@pytest.mark.parametrize(("name", "options"), [("PNG", {}), ("HEIF", {"quality": -1})])
def test_grey_with_alpha(name: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(levels("u1", 10, 100, 200, 30)).convert("LA")
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (WIDTH // 2, HEIGHT // 2, WIDTH, HEIGHT))
    image.putalpha(alpha)
    assert_corners(decode(saved(image, name, **options)), grey(10, 100, 200, 255))


def test_opaque_alpha_leaves_the_colours_alone() -> None:
    assert_corners(decode(saved(corners().convert("RGBA"), "PNG")), tolerance=0)


def test_half_transparent_is_mixed_with_white() -> None:
    image = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 128))
    assert_corners(decode(saved(image, "PNG")), grey(127, 127, 127, 127), tolerance=1)


def test_palette_with_transparency() -> None:
    palette = corners().quantize(8)
    blue = int(np.asarray(palette)[-1, 0])
    assert_corners(decode(saved(palette, "PNG")))
    assert_corners(decode(saved(palette, "PNG", transparency=blue)), (RED, GREEN, WHITE, WHITE))
    assert_corners(decode(saved(palette, "GIF", transparency=blue)), (RED, GREEN, WHITE, WHITE))
    some = bytes(0 if index == blue else 255 for index in range(8))
    assert_corners(decode(saved(palette, "PNG", transparency=some)), (RED, GREEN, WHITE, WHITE))


def test_one_colour_that_stands_for_transparent() -> None:
    assert_corners(decode(saved(corners(), "PNG", transparency=BLUE)), (RED, GREEN, WHITE, WHITE))
    image = Image.fromarray(levels("u1", 10, 100, 200, 30))
    assert_corners(decode(saved(image, "PNG", transparency=100)), grey(10, 255, 200, 30))


@pytest.mark.parametrize(("name", "options"), [("JPEG", {"quality": 95}), ("TIFF", {})])
def test_cmyk_is_not_inverted(name: str, options: dict[str, Any]) -> None:
    assert_corners(decode(saved(corners().convert("CMYK"), name, **options)))


def test_ycbcr_and_lab_tiffs() -> None:
    assert_corners(decode(saved(corners().convert("YCbCr"), "TIFF")))
    lab = Image.new("LAB", (WIDTH, HEIGHT), (0, 128, 128))  # a and b are signed: 128 is no colour
    lab.paste((255, 128, 128), (0, 0, WIDTH, HEIGHT // 2))
    assert_corners(decode(saved(lab, "TIFF")), (WHITE, WHITE, BLACK, BLACK))


def test_one_bit() -> None:
    image = Image.fromarray(levels("u1", 0, 255, 255, 0)).convert("1")
    for data in (saved(image, "PNG"), saved(image, "BMP"), saved(image, "TIFF", compression="group4")):
        assert_corners(decode(data), grey(0, 255, 255, 0), tolerance=0)


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_sixteen_bit_grey(kind: str) -> None:
    image = Image.fromarray(levels(kind, 0, 1000, 32768, 65535))
    for data in (saved(image, "PNG"), saved(image, "TIFF")):
        assert_corners(decode(data), grey(0, 3, 128, 255), tolerance=1)


def test_sixteen_bit_grey_heif() -> None:
    image = Image.fromarray(levels("<u2", 0, 16384, 32768, 65535))
    assert_corners(decode(saved(image, "HEIF", quality=-1)), grey(0, 64, 128, 255), tolerance=2)


def test_sixteen_bit_colour() -> None:
    rows = np.full((HEIGHT, WIDTH, 3), (51400, 25700, 257), ">u2")
    data = png(WIDTH, HEIGHT, 16, 2, b"".join(b"\0" + row.tobytes() for row in rows))
    assert_corners(decode(data), ((200, 100, 1),) * 4, tolerance=1)


def test_twelve_bit_tiff_uses_its_whole_range() -> None:
    samples = levels("u2", 0, 1024, 2048, 4095)
    even, odd = samples[:, ::2].astype(int), samples[:, 1::2].astype(int)
    packed = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], axis=2).astype(np.uint8)
    data = tiff(WIDTH, HEIGHT, (12,), packed.tobytes())
    assert_corners(decode(data), grey(0, 64, 128, 255), tolerance=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (levels("<i4", 0, 64, 128, 255), (0, 64, 128, 255)),
        (levels("<i4", -5, 16384, 32768, 65535), (0, 64, 128, 255)),
        (levels("<i4", 0, 250_000, 500_000, 1_000_000), (0, 64, 128, 255)),
        (levels("<f4", 0, 0.25, 0.5, 1), (0, 64, 128, 255)),
        (levels("<f4", 0, 0.25, 0.5, 1.5), (0, 64, 128, 255)),
        (levels("<f4", 0, 64, 128, 255), (0, 64, 128, 255)),
        (levels("<f4", 0, 16384, 32768, 65535), (0, 64, 128, 255)),
        (levels("<f4", np.nan, np.inf, -1, 1), (0, 0, 0, 255)),
        (levels("<i4", 0, 0, 0, 0), (0, 0, 0, 0)),
    ],
)
def test_wide_samples_are_scaled_not_clipped(values: np.ndarray[Any, Any], expected: tuple[int, ...]) -> None:
    data = saved(Image.fromarray(values), "TIFF")
    assert_corners(decode(data), grey(*expected), tolerance=1)


def test_premultiplied_alpha_tiff() -> None:
    strip = np.full((HEIGHT, WIDTH, 4), (100, 0, 0, 128), np.uint8).tobytes()
    pixels = decode(tiff(WIDTH, HEIGHT, (8, 8, 8, 8), strip, extra_samples=1))
    assert_corners(pixels, ((227, 127, 127),) * 4, tolerance=2)


def test_a_raw_file_is_not_taken_for_its_thumbnail() -> None:
    strip = bytes(WIDTH * HEIGHT)
    for subfile in (0, 1):  # a reduced image without another is a picture
        assert decode(tiff(WIDTH, HEIGHT, (8,), strip, subfile=subfile)).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(UnsupportedPhotoError, match="raw"):
        decode(tiff(WIDTH, HEIGHT, (8,), strip, photometric=32803))


# ------------------------------------------------------------------------------------------------------- bad bytes


def textured() -> Image.Image:
    """An image that does not compress to nothing, so that a cut hits its pixels."""
    noise = np.random.default_rng(7).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@pytest.mark.parametrize("how", SAVING)
def test_truncated_anywhere_is_unreadable_never_half_a_picture(how: str) -> None:
    data = encoded(textured(), how)
    whole = decode(data)
    refused = 0
    for length in range(0, len(data), max(1, len(data) // 60)):
        try:
            pixels = decode(data[:length])
        except UnreadablePhotoError as exc:
            refused += not isinstance(exc, TooLargeError)
        else:
            assert np.array_equal(pixels, whole), f"part of a picture from {length} of {len(data)} bytes"
    assert refused >= (20 if how == "mpo" else 55)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, this is no image at all, but it is long enough", "not an image"),
        (b"\0" * 4096, "not an image"),
        (b"%PDF-1.7 and so on", "not an image"),
        (b"BM is how this text begins, not a bitmap", "not an image"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "not an image"),
        (b"\xff\xd8\xff" + b"x" * 500, "JPEG image is damaged"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"x" * 500, "HEIF image is damaged"),
        (encoded(corners(), "jpeg")[:-50], "JPEG image is truncated"),
        (encoded(corners(), "png")[:150], "PNG image is truncated"),
    ],
)
def test_the_reason_is_for_people(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadablePhotoError, match=reason) as info:
        decode(data)
    assert "0x" not in str(info.value)
    assert "\n" not in str(info.value)


def test_formats_of_pillow_that_are_not_ours_are_refused() -> None:
    for name in ("ICO", "PPM", "TGA", "JPEG2000", "PCX"):
        data = saved(corners(), name)
        assert format_of(data) is None
        with pytest.raises(UnreadablePhotoError, match="not an image that facewatchd reads"):
            decode(data)


@pytest.mark.parametrize(
    "error",
    [
        OSError,
        SyntaxError,
        ValueError,
        struct.error,
        EOFError,
        MemoryError,
        ZeroDivisionError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        RuntimeError,
        OverflowError,
        AssertionError,
        RecursionError,
        UserWarning,
    ],
)
def test_whatever_a_decoder_raises_is_translated(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Any) -> None:
        raise error("broken")

    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", fail)
    with pytest.raises(UnreadablePhotoError) as info:
        decode(saved(corners().convert("CMYK"), "JPEG"))
    assert isinstance(info.value.__cause__, error)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def claiming(how: str, side: int) -> bytes:
    """A small file whose header claims a square of ``side`` pixels."""
    data = encoded(corners(), how)
    if how == "jpeg":
        return patched(data, data.index(b"\xff\xc0") + 5, struct.pack(">HH", side, side))
    if how == "png":
        return png(side, side, 8, 2, b"")
    if how == "gif":
        return patched(data, 6, struct.pack("<HH", side, side))
    if how == "bmp":
        return patched(data, 18, struct.pack("<ii", side, side))
    if how == "tiff":
        return tiff(side, side, (8,), b"")
    if how == "webp-lossless":
        canvas = (side - 1).to_bytes(3, "little") * 2
        chunk = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
        body = b"WEBP" + chunk + data[12:]
        return b"RIFF" + struct.pack("<I", len(body)) + body
    return patched(data, data.index(b"ispe") + 8, struct.pack(">II", side, side))


@pytest.mark.parametrize("side", [15_900, 60_000])
@pytest.mark.parametrize("how", ["jpeg", "png", "gif", "bmp", "tiff", "webp-lossless", "avif", "heic"])
def test_a_huge_header_is_refused_before_decoding(how: str, side: int) -> None:
    with pytest.raises(TooLargeError, match="250 megapixels"):
        decode(claiming(how, side))


def test_a_tile_counts_as_well_as_the_image() -> None:
    """It is decoded whole: 8 x 8 pixels could ask for gigabytes."""
    image = tiff(8, 8, (8,), zlib.compress(bytes(1 << 20)), tile_width=60_000, tile_height=60_000)
    with pytest.raises(TooLargeError, match="250 megapixels"):
        decode(image)


@pytest.mark.parametrize("name", ["WEBP", "AVIF", "PNG", "GIF"])
def test_no_decoder_outlives_its_picture(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """WebP's and AVIF's hold further copies of all pixels."""
    files: list[weakref.ref[Image.Image]] = []
    alive: list[bool] = []
    opened, cut = Image.open, Image.Image.crop

    def watched_open(*args: Any, **options: Any) -> Any:
        image = opened(*args, **options)
        files.append(weakref.ref(image))
        return image

    def watched_crop(self: Image.Image, *args: Any) -> Image.Image:
        alive.append(files[0]() is not None)
        return cut(self, *args)

    monkeypatch.setattr(Image, "open", watched_open)
    monkeypatch.setattr(Image.Image, "crop", watched_crop)
    decode(saved(corners(), name))
    assert alive == [False]


@pytest.mark.parametrize("how", SAVING)
def test_the_pixels_are_known_before_they_are_decoded(how: str) -> None:
    data = encoded(corners(), how)
    assert pixels_of(data) == WIDTH * HEIGHT
    assert pixels_of(data[:20]) == pixels_of(b"") == pixels_of(b"no image") == 0


def test_the_limit_is_250_megapixels() -> None:
    with pytest.raises(TooLargeError):
        decode(png(25_001, 10_000, 8, 0, b""))
    with pytest.raises(UnreadablePhotoError) as info:
        decode(png(25_000, 10_000, 1, 0, b""))
    assert not isinstance(info.value, TooLargeError)


def test_pillow_is_left_strict() -> None:
    assert Image.MAX_IMAGE_PIXELS == 125_000_000
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_nothing_is_written_to_standard_error(tmp_path: Path) -> None:
    """Not by Python's warnings, not by Pillow's log and not by the C libraries."""
    (tmp_path / "a").write_bytes(encoded(corners(), "tiff-lzw").replace(b"\x80", b"\xff"))
    (tmp_path / "b").write_bytes(saved(corners().convert("1"), "TIFF", compression="group4")[:-250] + bytes(250))
    (tmp_path / "c").write_bytes(patched(encoded(corners(), "tiff"), 4, b"\xf0\xff\xff\xff"))
    (tmp_path / "d").write_bytes(encoded(corners(), "jpeg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff"))
    (tmp_path / "e").write_bytes(png(12_000, 12_000, 1, 0, b""))
    (tmp_path / "f").write_bytes(
        tiff(8, 8, (8,), bytes(64)).replace(b"\x15\x01\x03\0\1\0\0\0\1", b"\x15\x01\x03\0\1\0\0\0\xff")
    )
    code = """
        import io, pathlib, sys
        from facewatchd.photos import decode, upright
        from facewatchd.errors import FacewatchError
        for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
            try:
                decode.decode(io.BytesIO(path.read_bytes()))
                print(path.name, "read")
            except FacewatchError as exc:
                print(path.name, "failed")
    """
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.split() == [
        "a",
        "failed",
        "b",
        "failed",
        "c",
        "failed",
        "d",
        "read",
        "e",
        "failed",
        "f",
        "failed",
    ]


MUTABLE = {how: encoded(textured().resize((16, 12)), how) for how in SAVING}


@pytest.mark.parametrize("how", SAVING)
def test_mutated_bytes_never_raise_anything_else(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)  # time, not truth: a mutated size costs its pixels
    data = MUTABLE[how]
    positions = st.one_of(st.integers(0, min(400, len(data) - 1)), st.integers(0, len(data) - 1))
    changes = st.lists(st.tuples(positions, st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)), max_size=8)
    outcomes = set()

    @settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(changes, st.integers(0, len(data)) | st.just(len(data)))
    def check(replacements: list[tuple[int, int]], length: int) -> None:
        mutated = bytearray(data)
        for at, value in replacements:
            mutated[at] = value
        try:
            pixels = decode(bytes(mutated[:length]))
        except FacewatchError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3

    check()
    assert outcomes == {"refused", "read"}


def test_decoding_in_several_threads_gives_the_same() -> None:
    files = [encoded(textured(), how) for how in SAVING]
    expected = [decode(data) for data in files]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(5):
            for number, data in enumerate(files):
                if not np.array_equal(decode(data), expected[number]):
                    wrong.append(number)

    threads = [threading.Thread(target=work, name=f"decoder-{number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


# ------------------------------------------------------------------------------------------------ names, signatures


def test_photo_names() -> None:
    for name in (b"/a/b.jpg", b"/a/IMG_1.JPG", b"x.Heic", b"y.HIF", b"z.tiff", b"\xff\xfe.avif", b"a.b.webp"):
        assert photos.is_photo_name(name), name
    for name in (b"/a.jpg/b", b"notes.txt", b"jpg", b"", b"a.jpg.part", b"movie.mp4", b"raw.nef"):
        assert not photos.is_photo_name(name), name


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", True),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", True),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc", True),
        (b"\0\0\0\x1cftypheix\0\0\0\0mif1heix", True),
        (b"\0\0\0\x20ftypqt  \0\0\0\0qt  ", False),
        (b"MM\0*\0\0\0\x08", True),
        (b"II+\0\x08\0\0\0", True),
        (b"RIFF\x10\0\0\0WAVEfmt ", False),
        (b"", False),
        (b"\xff\xd8", False),
    ],
)
def test_signatures(head: bytes, expected: bool) -> None:
    assert (format_of(head.ljust(40 if head else 0, b"\0")) is not None) is expected


def test_heif_and_avif_under_the_common_brand_go_to_their_own_decoder() -> None:
    for how in ("heic", "avif"):
        data = patched(encoded(corners(), how), 8, b"mif1")
        assert_corners(decode(data))


def test_a_passed_descriptor_is_read_whatever_its_position(tmp_path: Path) -> None:
    """The daemon digests a file while a decoding process reads it, through one open file with one position."""
    for how in SAVING:
        path = tmp_path / how
        path.write_bytes(encoded(corners(), how))
        with path.open("rb") as shared, photos.opened(os.dup(shared.fileno())) as file:
            shared.seek(0, os.SEEK_END)
            assert decoding.pixels_of(file) == WIDTH * HEIGHT
            assert_corners(decoding.decode(file))
            assert shared.tell() == path.stat().st_size


def test_digest_is_of_the_content() -> None:
    assert photos.digest(b"abc") == hashlib.blake2b(b"abc", digest_size=32).digest()
    assert len(photos.digest(b"")) == 32
    assert photos.digest(b"abc") != photos.digest(b"abd")


# --------------------------------------------------------------------------------------------------------- reading


def read(path: bytes) -> tuple[bytes, Stamp]:
    """The bytes of a file and their stamp, read as its photo is."""
    with contents.opened(path) as content, photos.opened(os.dup(content.descriptor)) as file:
        data = file.read()
        content.confirm()
        return data, content.stamp


def test_the_bytes_that_are_read_have_the_stamp(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc" * 1000)
    link = tmp_path / "link.jpg"
    link.symlink_to(path)
    for name in (path, link):
        assert read(os.fsencode(name)) == (b"abc" * 1000, Stamp.of(path.stat()))


def test_what_is_gone_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nothing")
    for name in ("missing.jpg", "broken.jpg", "file/inside.jpg"):
        with pytest.raises(FileNotFoundError):
            read(os.fsencode(tmp_path / name))
        assert not photos.sniff(os.fsencode(tmp_path / name))


def special_files(directory: Path) -> dict[str, bytes]:
    (directory / "d.jpg").mkdir()
    os.mkfifo(directory / "p.jpg")
    here = Path.cwd()
    os.chdir(directory)  # a socket's path is limited to 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s.jpg")
    finally:
        os.chdir(here)
    (directory / "n.jpg").symlink_to("/dev/null")
    (directory / "z.jpg").symlink_to("/dev/zero")
    names = {"d": "a directory", "p": "a named pipe", "s": "a socket", "n": "a device", "z": "a device"}
    return {words: os.fsencode(directory / f"{name}.jpg") for name, words in names.items()}


def test_only_regular_files_are_read_and_nothing_blocks(tmp_path: Path) -> None:
    for words, path in special_files(tmp_path).items():
        with pytest.raises(UnreadablePhotoError, match=f"not a file but {words}"):
            read(path)
        assert not photos.sniff(path)


def test_a_pipes_writer_does_not_notice_us(tmp_path: Path) -> None:
    """Opening a pipe, even without blocking, would let its waiting writer go and then break it."""
    pipe = tmp_path / "p.jpg"
    os.mkfifo(pipe)
    with pytest.raises(UnreadablePhotoError):
        read(os.fsencode(pipe))
    with pytest.raises(OSError, match="No such device or address"):  # ENXIO: nobody reads
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)


def test_a_pipe_that_takes_a_files_place_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")
    real_open = os.open

    def replace_then_open(name: bytes, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return real_open(name, flags)

    monkeypatch.setattr(photos.os, "open", replace_then_open)
    with pytest.raises(UnreadablePhotoError, match="a named pipe"):
        read(os.fsencode(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"y" * 3000),
        lambda path: os.truncate(path, 5000),
        lambda path: os.truncate(path, 10),
    ],
    ids=["rewritten", "grown", "cut"],
)
def test_a_file_that_changes_while_it_is_read(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x" * 3000)
    os.utime(path, ns=(5, 5))
    real_opened = photos.opened

    def change_then_open(descriptor: int) -> Any:
        change(path)
        return real_opened(descriptor)

    monkeypatch.setattr(photos, "opened", change_then_open)
    with pytest.raises(photos.ChangedWhileReadError):
        read(os.fsencode(path))
    monkeypatch.undo()
    assert read(os.fsencode(path))[0] == path.read_bytes()


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    path.touch()
    os.truncate(path, photos.MAX_BYTES + 1)
    with pytest.raises(TooLargeError, match="1 GiB"):
        read(os.fsencode(path))


@pytest.mark.parametrize(
    ("number", "expected"),
    [(13, UnreadablePhotoError), (5, photos.DiskError), (107, photos.DiskError), (24, photos.ChangedWhileReadError),
     (116, photos.ChangedWhileReadError), (11, photos.ChangedWhileReadError)],
)  # fmt: skip
def test_errors_of_the_file_and_errors_that_pass(
    number: int, expected: type[FacewatchError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"abc")

    def fail(*_args: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(photos.os, "open", fail)
    with pytest.raises(expected, match=os.strerror(number)) as info:
        read(os.fsencode(path))
    assert info.type is expected
    assert info.value.kind == "unreadable-photo"
    assert not photos.sniff(os.fsencode(path))


@pytest.mark.parametrize("name", [b"/tmp/a\0b.jpg", b"/" + b"x" * 300, b"/x" * 3000])
def test_impossible_paths(name: bytes) -> None:
    with pytest.raises(UnreadablePhotoError):
        read(name)


def test_no_descriptor_is_leaked(tmp_path: Path) -> None:
    special = special_files(tmp_path)
    (tmp_path / "ok.jpg").write_bytes(encoded(corners(), "jpeg"))
    before = len(os.listdir("/proc/self/fd"))
    for path in [*special.values(), os.fsencode(tmp_path / "ok.jpg")]:
        photos.sniff(path)
        try:
            data, _ = read(path)
        except UnreadablePhotoError:
            continue
        decode(data)
    assert len(os.listdir("/proc/self/fd")) == before


def test_sniff_goes_by_content(tmp_path: Path) -> None:
    for how in SAVING:
        path = tmp_path / f"no-suffix-{how}"
        path.write_bytes(encoded(corners(), how))
        assert photos.sniff(os.fsencode(path)), how
    (tmp_path / "text.jpg").write_text("no image")
    assert stat.S_ISREG((tmp_path / "text.jpg").stat().st_mode)
    assert not photos.sniff(os.fsencode(tmp_path / "text.jpg"))
    odd = os.fsencode(tmp_path) + b"/\xff\xfe\xe4"
    with open(odd, "wb") as file:
        file.write(encoded(corners(), "png"))
    assert photos.sniff(odd)
    assert_corners(decode(read(odd)[0]))
