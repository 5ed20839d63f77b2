"""Photos that viewers show: odd metadata, missing ends, unusual samples; and what is told of the others."""

from __future__ import annotations

import io
import itertools
import struct
import time
import zlib
from functools import cache
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from facewatchd.errors import UnreadablePhotoError, UnsupportedPhotoError
from facewatchd.photos import decode as decoding
from facewatchd.photos.signatures import format_of
from tests.support.samples import PACKS, needs_packs

pytestmark = pytest.mark.filterwarnings(r"ignore:::(PIL|pillow_heif|tifffile)\b")

INPUTS = PACKS.parent / "inputs"
SIDE = 64


def decode(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return decoding.decode(io.BytesIO(data))


def picture(side: int = SIDE) -> Image.Image:
    """A gradient of colours with a dark square in a corner: every turn, shift and inversion shows."""
    down, across = np.mgrid[0:side, 0:side] * 255 // (side - 1)
    pixels = np.stack([across, down, 255 - across], axis=2).astype(np.uint8)
    pixels[: side // 4, : side // 4] = 20
    return Image.fromarray(pixels)


def saved(image: Image.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def assert_like(found: np.ndarray[Any, Any], expected: Any, tolerance: float = 3) -> None:
    wanted = np.asarray(expected, dtype=float)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() <= tolerance


# The borderline inputs, through a real model


FOUND = 0.57
EXPECTED = {
    "jpeg_12bit.jpg": "found", "phone_cfa.dng": "unsupported",
    **dict.fromkeys(
        [
            "gif_first_frame_black.gif", "heic_exif6_no_irot.heic", "heic_major_mif2.heic", "collage_20_faces.jpg",
            "jpeg_exif_orientation_as_byte.jpg", "jpeg_leading_bom.jpg", "jpeg_leading_newline.jpg",
            "jpeg_soi_twice.jpg",
            "jpeg_upright_xmp_orientation_6.jpg", "jpeg_without_eoi.jpg", "png_actl_short.png", "png_iccp_bad_crc.png",
            "png_phys_short.png", "png_text_bad_crc.png", "png_xmp_3MB.png", "png_ztxt_2MB.png",
            "samsung_panorama_no_eoi_plain_trailer_OK.jpg", "samsung_panorama_no_eoi_then_trailer.jpg",
            "tiff_16bit_white_is_zero.tif", "tiff_face_on_page_2.tif", "tiff_float_rgb.tif",
            "tiff_thumbnail_page_first.tif", "tiff_webp.tif",
        ],
        "found",
    ),
}  # fmt: skip


@cache
def _model() -> Any:
    from facewatchd.config import Faces
    from facewatchd.models import registry

    pack = registry.find("scrfd25g_mfn", PACKS)
    assert pack is not None
    return pack.load(1, Faces())


@cache
def _asked() -> Any:
    (face,) = _model().faces(decode((PACKS.parent / "photos" / "obama_1.jpg").read_bytes()))
    return face.embedding


@needs_packs
@pytest.mark.parametrize("name", EXPECTED)
def test_the_borderline_inputs(name: str) -> None:
    if name in ("jpeg_12bit.jpg", "tiff_webp.tif"):
        pytest.importorskip("imagecodecs")
    data = (INPUTS / name).read_bytes()
    if EXPECTED[name] == "unsupported":
        with pytest.raises(UnsupportedPhotoError):
            decode(data)
        return
    faces = _model().faces(decode(data))
    assert max(float(face.embedding @ _asked()) for face in faces) >= FOUND


# JPEG


JPEGS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "subsampled": {"subsampling": 2},
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"\xff",
        b"\0" * 50,
        b"SEFH trailer",
        b"text \xff\xd8\xff\xe0\0\x10JFIF" + b"x" * 40,
        b"\xff\xfe\0\x08abcdef",
    ],
    ids=["nothing", "half a marker", "zeros", "text", "another JPEG", "a comment"],
)
def test_a_jpeg_that_lacks_nothing_but_its_end_marker(kind: str, mode: str, end: bytes) -> None:
    options = {"subsampling": 0} if mode == "CMYK" else {}
    data = saved(picture().convert(mode), "JPEG", quality=95, **{**JPEGS[kind], **options})
    assert data.endswith(b"\xff\xd9")
    assert_like(decode(data[:-2] + end), decode(data), 0)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("end", [b"", b"trailer \xff\xd8\xff\xe0\0\x10JFIF" + b"x" * 40], ids=["nothing", "a trailer"])
def test_a_jpeg_whose_rows_are_missing_is_refused(kind: str, mode: str, end: bytes) -> None:
    data = saved(picture(128).convert(mode), "JPEG", quality=95, **JPEGS[kind])
    whole = decode(data)
    refused = 0
    for length in range(200, len(data) - 2 - 2 * len(end), max(1, len(data) // 40)):
        try:
            pixels = decode(data[:length] + end)
        except UnreadablePhotoError:
            refused += 1
        else:
            assert np.array_equal(pixels, whole), f"{length} of {len(data)} bytes"
    assert refused >= 25


def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused() -> None:
    data = saved(picture(), "JPEG", quality=95, progressive=True)
    starts = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(starts) > 3
    for start in starts[1:]:
        with pytest.raises(UnreadablePhotoError):
            decode(data[:start])


def segment(marker: int, body: bytes, *, length: int | None = None) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2 if length is None else length) + body


BESIDE = {
    "short JFIF": segment(0xE0, b"JFIF\0"),
    "short Adobe": segment(0xEE, b"Adobe\0"),
    "short profile": segment(0xE2, b"ICC_PROFILE\0"),
    "torn profile": segment(0xE2, b"ICC_PROFILE\0\1\5" + bytes(300)),
    "pictures": segment(0xE2, b"MPF\0II*\0garbage"),
    "resources": segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\xff\xff\xff"),
    "EXIF": segment(0xE1, b"Exif\0\0garbage"),
    "a length too long": segment(0xE1, b"Exif\0\0garbage", length=20) + segment(0xFE, b"a comment"),
    "no length": segment(0xE5, b"", length=0),
    "temporary": b"\xff\x01",
    "fill bytes": b"\xff" * 70_000,
    "garbage": b"garbage",
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("cut", [0, 2])
def test_segments_beside_the_picture_do_not_decide(beside: str, mode: str, cut: int) -> None:
    data = saved(picture().convert(mode), "JPEG", quality=95)
    assert data[2:4] == (b"\xff\xee" if mode == "CMYK" else b"\xff\xe0")
    place = 4 + int.from_bytes(data[4:6], "big")
    assert_like(decode(data[:place] + BESIDE[beside] + data[place : len(data) - cut]), decode(data), 0)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_was_never_finished_is_refused(kind: str, mode: str) -> None:
    """An end marker after some of the rows, or the zeros of a file that was made in full size at once."""
    options = {"subsampling": 0} if mode == "CMYK" else {}
    data = saved(picture(128).convert(mode), "JPEG", quality=95, **{**JPEGS[kind], **options})
    for kept in (len(data) - 200, len(data) - 60):
        for tail in (b"\xff\xd9", bytes(len(data) - kept), b"\xff" * (len(data) - kept)):
            with pytest.raises(UnreadablePhotoError, match="truncated"):
                decode(data[:kept] + tail)


def test_a_long_tail_takes_no_longer_than_it_is() -> None:
    data = saved(picture(), "JPEG")
    before = time.thread_time()
    for tail in (b"\xff" * 2_000_000, b"\0" * 2_000_000, b"\xff\xd8" * 1_000_000):
        assert_like(decode(data[:-2] + tail), decode(data), 0)
    assert time.thread_time() - before < 10


@pytest.mark.parametrize(
    "options", [{"bitspersample": 12}, {"bitspersample": 12, "lossless": True}, {"lossless": True}]
)
def test_a_jpeg_of_more_bits_or_without_loss(options: dict[str, Any]) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    samples = np.asarray(picture())
    if "bitspersample" in options:
        samples = samples.astype(np.uint16) << 4
    data = imagecodecs.jpeg8_encode(samples, level=95, **options)
    for good in (data, data + b"a trailer", data[:-2], data[:-2] + b"a trailer", data[:-2] + bytes(50)):
        assert_like(decode(good), picture(), 8)
    for bad in (data[: len(data) // 2], data[:-40], data[: len(data) // 2] + b"\xff\xd9"):
        with pytest.raises(UnreadablePhotoError, match="truncated"):
            decode(bad)


@pytest.mark.parametrize("frame", [0xF7, 0xC5, 0xCB])
def test_kinds_of_jpeg_that_nothing_reads_are_unsupported(frame: int) -> None:
    data = saved(picture(), "JPEG")
    with pytest.raises(UnsupportedPhotoError, match="JPEG"):
        decode(data.replace(b"\xff\xc0", bytes([0xFF, frame]), 1))


@pytest.mark.parametrize(
    "before", [b"\xef\xbb\xbf", b"\n", b"\r\n", b" \t", b"\0\0", b"\xff\xd8", b"\xff\xd8\xff\xd8", b"\n\xff\xd8"]
)
def test_what_some_programs_leave_before_a_jpeg(before: bytes) -> None:
    data = saved(picture(), "JPEG", quality=95)
    assert format_of(before + data[:64]) == "JPEG"
    assert_like(decode(before + data), decode(data), 0)
    assert_like(decode(before + data[:-2]), decode(data), 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "letter"), [(1, "B"), (3, "H"), (4, "L"), (7, "B"), (9, "l")])
@pytest.mark.parametrize(("value", "turns"), [(6, -1), (8, 1), (3, 2), (1, 0), (0, 0), (9, 0), (255, 0)])
def test_orientation_in_any_whole_number_type(order: str, kind: int, letter: str, value: int, turns: int) -> None:
    stored = struct.pack(order + letter, value if letter != "l" else min(value, 127)).ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "LHHHL", 8, 1, 0x0112, kind, 1)
    data = saved(picture(), "JPEG", quality=95, exif=b"Exif\0\0" + head + stored + bytes(4))
    assert np.array_equal(decode(data), np.rot90(decode(saved(picture(), "JPEG", quality=95)), turns))


@pytest.mark.parametrize("name", ["PNG", "WEBP", "HEIF", "AVIF"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "letter"), [(1, "B"), (3, "H"), (4, "L")])
def test_orientation_in_every_container(name: str, order: str, kind: int, letter: str) -> None:
    stored = struct.pack(order + letter, 6).ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "LHHHL", 8, 1, 0x0112, kind, 1)
    if name == "AVIF" and kind != 3:
        pytest.skip("Pillow's encoder turns by whole numbers of two bytes only")
    options: dict[str, Any] = {"PNG": {}, "WEBP": {"lossless": True}}.get(name, {"quality": 95})
    data = saved(picture(), name, exif=b"Exif\0\0" + head + stored + bytes(4), **options)
    assert_like(decode(data), np.rot90(np.asarray(picture()), -1), 8)


def test_xmp_turns_no_heif_that_has_other_exif_data() -> None:
    tags = Image.Exif()
    tags[0x010E] = "a description"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    data = saved(picture(), "HEIF", quality=95, exif=tags.tobytes(), xmp=xmp)
    found = [name for name in (b"irot", b"imir") if name in data]
    assert_like(decode(data), np.rot90(np.asarray(picture()), -1) if found else picture(), 8)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_xmp_turns_nothing(name: str) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    options: dict[str, Any] = {"pnginfo": _text("XML:com.adobe.xmp", xmp)} if name == "PNG" else {"xmp": xmp}
    if name == "TIFF":
        options = {"tiffinfo": {700: xmp}}
    assert_like(decode(saved(picture(), name, **options)), picture(), 12)


def _text(key: str, text: bytes) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(key, text.decode())
    return info


# PNG


def chunk(kind: bytes, body: bytes, *, right: bool = True) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ (not right))


ODD = {
    "iCCP crc": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(500)), right=False),
    "iCCP method": chunk(b"iCCP", b"icc\0\x01" + zlib.compress(bytes(500))),
    "iCCP large": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3 << 20))),
    "zTXt large": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (3 << 20))),
    "iTXt large": chunk(b"iTXt", b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(b"x" * (3 << 20))),
    "tEXt crc": chunk(b"tEXt", b"a\0b", right=False),
    "zTXt broken": chunk(b"zTXt", b"Comment\0\0no zlib"),
    **{f"{kind.decode()} short": chunk(kind, b"\0") for kind in (b"pHYs", b"cHRM", b"gAMA", b"acTL", b"sRGB")},
    "acTL crc": chunk(b"acTL", bytes(8), right=False),
    "fcTL short": chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", b"\0"),
    "eXIf broken": chunk(b"eXIf", b"garbage"),
    "unknown": chunk(b"prVt", b"x" * 100, right=False),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("at_end", [False, True])
def test_ancillary_chunks_do_not_decide(odd: str, at_end: bool) -> None:
    data = saved(picture(), "PNG")
    place = len(data) - 12 if at_end else 33
    assert_like(decode(data[:place] + ODD[odd] + data[place:]), picture(), 0)


@pytest.mark.parametrize("part", [bytes(400), b"\xff" * 400, b"\xa5" * 30])
@pytest.mark.parametrize("beside", [b"", ODD["tEXt crc"]])
def test_a_png_whose_pixels_are_overwritten_is_refused(part: bytes, beside: bytes) -> None:
    grain = np.random.default_rng(3).integers(0, 30, (SIDE, SIDE, 3), np.uint8)
    data = saved(Image.fromarray(np.asarray(picture()) // 2 + grain), "PNG")
    place = len(data) - 12 - len(part)
    for written in (part, part + bytes(12)):
        torn = data[:place] + written + data[place + len(written) :]
        with pytest.raises(UnreadablePhotoError, match="the PNG image is"):
            decode(torn[:33] + beside + torn[33:])


def test_a_wrong_checksum_of_whole_pixels_does_not_decide() -> None:
    data = saved(picture(), "PNG")
    assert_like(decode(data[:-16] + b"\0\1\2\3" + data[-12:]), picture(), 0)


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_transparency_that_is_too_short_is_none(mode: str) -> None:
    image = picture().quantize(16) if mode == "P" else picture().convert(mode)
    data = saved(image, "PNG")
    place = data.index(b"IDAT") - 4
    assert_like(decode(data[:place] + chunk(b"tRNS", b"") + data[place:]), image.convert("RGB"), 0)


def test_a_png_for_iphones_is_unsupported() -> None:
    data = saved(picture(), "PNG")
    with pytest.raises(UnsupportedPhotoError, match="iPhone"):
        decode(data[:8] + chunk(b"CgBI", b"P\0 \2") + data[8:])


def test_a_png_keeps_the_orientation_in_a_text() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    text = b"Raw profile type exif\0\nexif\n      26\n" + tags.tobytes().hex().encode()
    data = saved(picture(), "PNG")
    turned = data[:33] + chunk(b"tEXt", text) + data[33:]
    assert_like(decode(turned), np.rot90(np.asarray(picture()), -1), 0)
    assert_like(decode(turned[:33] + ODD["tEXt crc"] + turned[33:]), np.rot90(np.asarray(picture()), -1), 0)


@pytest.mark.parametrize("cut", [12, 8, 4, 1])
def test_a_png_whose_end_is_missing(cut: int) -> None:
    assert_like(decode(saved(picture(), "PNG")[:-cut]), picture(), 0)


def test_a_png_keeps_its_transparency_palette_and_orientation() -> None:
    palette = picture().quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(palette, "PNG", transparency=3, exif=exif)
    assert np.array_equal(decode(data[:33] + ODD["tEXt crc"] + data[33:]), decode(data))


# TIFF: what is stored is known, and so is what is to come out


def _tiff(samples: np.ndarray[Any, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(
        file, bigtiff=options.pop("bigtiff", False), byteorder=options.pop("byteorder", "<")
    ) as writer:
        writer.write(samples, metadata=None, **options)
    return file.getvalue()


LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 16)},
    "big": {"bigtiff": True, "byteorder": ">"},
    "deflate": {"compression": "zlib", "predictor": True},
    "deflate plain": {"compression": "zlib"},
}
DEPTHS = {"u1": 255, "u2": 65535, "f4": 1.0, "f2": 1.0, "f8": 1.0, "u4": 65535, "i4": 65535}


def _scaled(pixels: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    return (pixels / 255 * DEPTHS[kind]).astype(kind)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", DEPTHS)
@pytest.mark.parametrize(
    "photometric", ["minisblack", "miniswhite", "rgb", "rgb planar", "grey alpha", "rgba", "rgb extra"]
)
def test_every_photometric_depth_and_layout_of_tiff(photometric: str, kind: str, layout: str) -> None:
    options = dict(LAYOUTS[layout])
    if "predictor" in options and not _has_imagecodecs():
        options.pop("predictor")
    if kind == "f2" and "predictor" in options:
        options.pop("predictor")
    grey, colours = np.asarray(picture().convert("L")), np.asarray(picture())
    expected: np.ndarray[Any, Any] = np.repeat(grey[:, :, None], 3, axis=2)
    opaque = np.full((SIDE, SIDE, 1), 255)
    if photometric == "minisblack":
        data = _tiff(_scaled(grey, kind), photometric="minisblack", **options)
    elif photometric == "miniswhite":
        data = _tiff(_scaled(255 - grey, kind), photometric="miniswhite", **options)
    elif photometric == "grey alpha":
        both = np.dstack([grey, opaque])
        data = _tiff(_scaled(both, kind), photometric="minisblack", planarconfig="contig", extrasamples=[2], **options)
    elif photometric == "rgb planar":
        expected = colours
        data = _tiff(_scaled(np.moveaxis(colours, 2, 0), kind), photometric="rgb", planarconfig="separate", **options)
    else:
        expected = colours
        extra = {"rgb": None, "rgba": 2, "rgb extra": 0}[photometric]
        samples = colours if extra is None else np.dstack([colours, opaque])
        more: dict[str, Any] = {} if extra is None else {"extrasamples": [extra]}
        data = _tiff(_scaled(samples, kind), photometric="rgb", planarconfig="contig", **more, **options)
    assert_like(decode(data), expected, 1)


def _has_imagecodecs() -> bool:
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        return False
    return True


def _wide(samples: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """8-bit samples in the whole range of an unsigned type."""
    return samples.astype(kind) * np.array(np.iinfo(kind).max // 255, kind)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["u1", "u2", "u4"])
@pytest.mark.parametrize("colours", ["grey", "negative", "rgb", "cmyk", "cmyk alpha"])
def test_unsigned_samples_of_full_range(colours: str, kind: str, layout: str) -> None:
    options = dict(LAYOUTS[layout])
    if "predictor" in options and not _has_imagecodecs():
        options.pop("predictor")
    grey, inks = np.asarray(picture().convert("L")), np.asarray(picture()) ^ 255
    black = np.full((SIDE, SIDE, 1), 51)  # a fifth of the light is taken
    expected: np.ndarray[Any, Any] = np.repeat(grey[:, :, None], 3, axis=2)
    if colours == "grey":
        data = _tiff(_wide(grey, kind), photometric="minisblack", **options)
    elif colours == "negative":
        data = _tiff(_wide(grey ^ 255, kind), photometric="miniswhite", **options)
    elif colours == "rgb":
        expected = np.asarray(picture())
        data = _tiff(_wide(expected, kind), photometric="rgb", **options)
    else:
        expected = np.asarray(picture()) * 0.8
        samples = np.dstack([inks, black])
        more: dict[str, Any] = {}
        if colours == "cmyk alpha":
            samples, more = np.dstack([samples, np.full((SIDE, SIDE, 1), 102)]), {"extrasamples": [2]}
            expected = expected * 0.4 + 255 * 0.6
        data = _tiff(_wide(samples, kind), photometric="separated", planarconfig="contig", **more, **options)
    assert_like(decode(data), expected, 2)


@pytest.mark.parametrize(
    ("photometric", "bits"),
    [(kind, bits) for kind in ("minisblack", "miniswhite", "rgb", "separated") for bits in range(1, 16)]
    + [("palette", bits) for bits in range(1, 9)],
)
def test_samples_of_few_bits(photometric: str, bits: int) -> None:
    pytest.importorskip("imagecodecs")
    top, kind = (1 << bits) - 1, "u1" if bits <= 8 else "u2"
    ramp = np.tile(np.linspace(0, top, SIDE).round().astype(kind), (SIDE, 1))
    shown = np.repeat((ramp / top * 255)[:, :, None], 3, axis=2)
    options: dict[str, Any] = {"photometric": photometric, "bitspersample": bits}
    samples: np.ndarray[Any, Any] = ramp
    if photometric == "miniswhite":
        samples = top - ramp
    elif photometric == "rgb":
        samples = np.dstack([ramp] * 3)
    elif photometric == "separated":
        samples = np.dstack([top - ramp] * 3 + [np.zeros_like(ramp)])
    elif photometric == "palette":
        options["colormap"] = np.tile((np.arange(256) * 65535 // top).clip(0, 65535).astype("u2"), (3, 1))
    assert_like(decode(_tiff(samples, planarconfig="contig" if samples.ndim == 3 else None, **options)), shown, 2)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_palette_with_alpha(kind: int) -> None:
    indices = np.tile(np.arange(SIDE, dtype="u1"), (SIDE, 1))
    colours = np.tile(np.arange(256, dtype="u2") * 257, (3, 1))
    samples = np.dstack([indices, np.full_like(indices, 51)])
    tags = [(320, 3, colours.size, colours.ravel(), True)]
    file = io.BytesIO(
        _tiff(samples, photometric="minisblack", extrasamples=[kind], planarconfig="contig", extratags=tags)
    )
    with tifffile.TiffFile(file, mode="r+b") as document:  # tifffile writes no such file
        document.pages.first.tags[262].overwrite(3)
    assert_like(decode(file.getvalue()), np.repeat(indices[:, :, None] * 0.2 + 204, 3, axis=2), 2)


@pytest.mark.parametrize("sampling", [(1, 1), (2, 1), (2, 2)])
def test_chroma_in_tiff(sampling: tuple[int, int]) -> None:
    pytest.importorskip("imagecodecs")
    stored = np.asarray(picture().convert("YCbCr"))
    data = _tiff(stored, photometric="ycbcr", compression="jpeg", subsampling=sampling)
    assert_like(decode(data), picture(), 8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_every_mode_that_pillow_writes(mode: str, compression: str | None) -> None:
    file = io.BytesIO()
    image = picture().convert(mode)
    image.save(file, "TIFF", compression=compression)
    assert_like(decode(file.getvalue()), image.convert("RGB"), 3)


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zstd", "lzma", "webp", "jpeg"])
def test_compressions_of_tiff(compression: str) -> None:
    pytest.importorskip("imagecodecs")
    data = _tiff(np.asarray(picture()), photometric="rgb", compression=compression)
    assert_like(decode(data), picture(), 8)


def _pages(*pages: tuple[Image.Image, int], sub: Image.Image | None = None) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number, (page, kind) in enumerate(pages):
            beside = 1 if sub is not None and number == 0 else None
            writer.write(np.asarray(page), photometric="rgb", subfiletype=kind, subifds=beside, metadata=None)
            if beside:
                writer.write(np.asarray(sub), photometric="rgb", subfiletype=0, metadata=None)
    return file.getvalue()


def test_pages_of_tiff() -> None:
    small, blank = picture(16), Image.new("RGB", (SIDE, SIDE), "white")
    other = picture().rotate(180)
    for data in (
        _pages((small, 1), (picture(), 0)),
        _pages((picture(), 0), (small, 1)),
        _pages((picture(), 0), (other, 0)),
        _pages((blank, 0), (blank, 2), (picture(), 2), (other, 0)),
        _pages((small, 1), sub=picture()),
        _pages((picture(), 0), sub=other),
        _pages((picture(), 1)),
    ):
        assert_like(decode(data), picture(), 0)
    assert_like(decode(_pages((blank, 0), (blank, 0))), blank, 0)


# Animations


@pytest.mark.parametrize(
    ("name", "options"),
    [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 95}), ("TIFF", {})],
)
def test_the_first_frame_that_is_not_blank(name: str, options: dict[str, Any]) -> None:
    black, dark = Image.new("RGB", (SIDE, SIDE)), picture().point(lambda value: value // 12)
    for before in ([black], [black, dark], [Image.new("RGB", (SIDE, SIDE), "white")] * 2, []):
        frames = [*before, picture(), picture().rotate(180)]
        data = saved(frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert_like(decode(data), picture(), 14)


@pytest.mark.parametrize(
    ("name", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"quality": 95})]
)
def test_of_frames_that_are_all_nearly_blank_the_one_with_most_contrast(name: str, options: dict[str, Any]) -> None:
    fades = [picture().point(lambda value, by=by: value // by) for by in (60, 9, 30)]
    for frames in (fades, fades[1:], [fades[0], fades[2], fades[1]]):
        data = saved(frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert_like(decode(data), fades[1], 6)


@pytest.mark.parametrize("name", ["GIF", "PNG"])
def test_a_later_frame_that_is_damaged_ends_an_animation(name: str) -> None:
    dark, fade = picture().point(lambda value: value // 9), picture().point(lambda value: value // 60)
    data = saved(fade, name, save_all=True, append_images=[dark, picture()])
    assert_like(decode(data[: len(data) * 9 // 10]), dark, 6)


def test_a_blank_animation_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_FRAMES", 5)
    frames = [Image.new("RGB", (SIDE, SIDE), (number, 0, 0)) for number in range(30)]
    data = saved(frames[0], "GIF", save_all=True, append_images=[*frames[1:], picture()])
    assert decode(data).max() < 10


# What is told of what is not read


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"8BPS\0\1" + bytes(100), "Photoshop"), (b"%PDF-1.7\n", "PDF"), (b"<svg xmlns='x'></svg>", "drawing"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg width="1">', "drawing"), (b"\xff\x0a" + bytes(50), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"), (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "film"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw"), (b"\x1aE\xdf\xa3" + bytes(50), "film"),
        (b"FUJIFILMCCD-RAW 0201", "raw"), (b"IIRS\x08\0\0\0", "raw"), (b"RIFF\0\0\0\0AVI LIST", "film"),
    ],
)  # fmt: skip
def test_other_formats_are_unsupported(data: bytes, words: str) -> None:
    with pytest.raises(UnsupportedPhotoError, match=words):
        decode(data)


@pytest.mark.parametrize("data", [b"some text", b"<html><body>404</body></html>", bytes(4096), b"\xff\xd8", b"{}"])
def test_garbage_is_not_unsupported(data: bytes) -> None:
    with pytest.raises(UnreadablePhotoError) as caught:
        decode(data)
    assert not isinstance(caught.value, UnsupportedPhotoError)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF"])
def test_no_reason_has_a_librarys_words(name: str) -> None:
    data = saved(picture(), name)
    reasons = set()
    for length, hole in itertools.product(range(30, len(data), max(1, len(data) // 12)), (0, 20, 200)):
        try:
            decode(data[:length] + b"\xa5" * hole + data[length + hole : len(data) - 30])
        except UnreadablePhotoError as exc:
            reasons.add(exc.message)
    assert reasons
    assert reasons <= {
        f"the {name} image is truncated",
        f"the {name} image is damaged or truncated",
        f"the {name} image has no pixels",
        "not an image that facewatchd reads",
        "the image has more than 250 megapixels",
        "a TIFF image of a kind that facewatchd does not read",
    }, reasons
