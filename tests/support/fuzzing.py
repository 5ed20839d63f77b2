"""Damaged photos: valid files of every supported format, and what is left of them after seeded mutations.

Each mutation knows the format: besides flipped bits and lost bytes there are lengths, counts and sizes that lie, parts
that come twice or not at all, and heads and tails of different files. PNG checksums are mended in most of them, so that
the damage comes further than the first check. The same count and seed give the same files.

By hand: ``python -m tests.support.fuzzing DIR COUNT [SEED]``
"""

from __future__ import annotations

import io
import random
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pillow_heif
from PIL import Image

from tests.support import drawn_faces, samples

pillow_heif.register_heif_opener()

WIDTH, HEIGHT = 160, 120
NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 4096, 15_800, 32_767, 32_768, 65_535, 1 << 24, 0x7FFF_FFFF, 0xFFFF_FFFF)
"""What readers of lengths and sizes are caught with; 15,800 squared is just below the limit of 250 megapixels."""


class Part(NamedTuple):
    """A chunk, segment, box, block or entry of a file."""

    start: int
    end: int


class Number(NamedTuple):
    """A length, count, size or offset in a file."""

    at: int
    size: int
    order: Any


# ---------------------------------------------------------------------------------------------------- valid files


def picture(person: int = 1) -> Image.Image:
    """A small photo of one person."""
    pixels = samples.noise(person, WIDTH, HEIGHT)
    drawn_faces.draw_face(pixels, (40, 20, 80, 80), person)
    return Image.fromarray(pixels)


@cache
def valid() -> dict[str, bytes]:
    """Valid files by what they are; the last word is the suffix."""
    return {**_jpegs(), **_pngs(), **_webps_and_gifs(), **_heifs(), **_tiffs(), **_bmps()}


def shows_face(name: str) -> bool:
    """Whether the face on a valid file can be seen: not where its colours are lost."""
    return name.split(".")[0] not in ("grey", "one-bit", "deep", "group3", "group4", "float")


def _saved(image: Image.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def _with_alpha(image: Image.Image) -> Image.Image:
    """Nearly opaque, more so at the top."""
    image.putalpha(Image.linear_gradient("L").resize(image.size).point([255 - value // 16 for value in range(256)]))
    return image


def _turned() -> Image.Image:
    """As a camera stores it that was held as `_exif` says."""
    return picture().transpose(Image.Transpose.ROTATE_90)


def _exif() -> bytes:
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x010F] = "a maker of cameras"
    tags.get_ifd(0x8825)[2] = (48.0, 12.0, 30.0)
    tags.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    return tags.tobytes()


def _jpegs() -> dict[str, bytes]:
    image, more = picture(), [picture(2)]
    packets: dict[str, Any] = {"exif": _exif(), "icc_profile": bytes(700), "comment": b"x" * 90, "xmp": b"<x/>"}
    return {
        "baseline.jpg": _saved(image, "JPEG"),
        "restarts.jpg": _saved(image, "JPEG", restart_marker_blocks=4),
        "progressive.jpg": _saved(image, "JPEG", progressive=True, subsampling="4:4:4"),
        "cmyk.jpg": _saved(image.convert("CMYK"), "JPEG"),
        "grey.jpg": _saved(image.convert("L"), "JPEG", optimize=True),
        "exif.jpg": _saved(_turned(), "JPEG", **packets),
        "two.mpo": _saved(_turned(), "MPO", save_all=True, append_images=more, exif=_exif()),
    }


def _pngs() -> dict[str, bytes]:
    image, deep = picture(), np.asarray(picture().convert("L")).astype("<u2") * 256
    return {
        "rgb.png": _saved(image, "PNG"),
        "rgba.png": _saved(_with_alpha(_turned()), "PNG", exif=_exif(), icc_profile=bytes(300)),
        "palette.png": _saved(image.quantize(16), "PNG", transparency=bytes(range(240, 256))),
        "one-bit.png": _saved(image.convert("1"), "PNG"),
        "deep.png": _saved(Image.fromarray(deep), "PNG"),
        "animated.apng": _saved(image, "PNG", save_all=True, append_images=[picture(2)], duration=90),
    }


def _webps_and_gifs() -> dict[str, bytes]:
    image, more = picture(), [picture(2), picture(3)]
    palette = image.quantize(64)
    return {
        "lossy.webp": _saved(image, "WEBP"),
        "lossless.webp": _saved(image, "WEBP", lossless=True),
        "alpha.webp": _saved(_with_alpha(_turned()), "WEBP", exif=_exif(), icc_profile=bytes(300)),
        "animated.webp": _saved(image, "WEBP", save_all=True, append_images=more, duration=90),
        "interlaced.gif": _saved(palette, "GIF"),
        "transparent.gif": _saved(palette, "GIF", interlace=0, transparency=0),
        "animated.gif": _saved(image, "GIF", save_all=True, append_images=more, duration=90, disposal=2, loop=0),
    }


def _heifs() -> dict[str, bytes]:
    image, more = picture(), [picture(2)]
    grey = Image.fromarray(np.asarray(image.convert("L")).astype("<u2") * 256)
    return {
        "colour.heic": _saved(image, "HEIF"),
        "alpha.heic": _saved(_with_alpha(_turned()), "HEIF", exif=_exif(), xmp=b"<x/>"),
        "two.heic": _saved(image, "HEIF", save_all=True, append_images=more),
        "deep.heif": _saved(grey, "HEIF"),
        "colour.avif": _saved(image, "AVIF", speed=9),
        "alpha.avif": _saved(_with_alpha(_turned()), "AVIF", speed=9, exif=_exif(), xmp=b"<x/>", subsampling="4:4:4"),
        "animated.avif": _saved(image, "AVIF", speed=9, save_all=True, append_images=more, duration=90),
    }


def _tiffs() -> dict[str, bytes]:
    image, grey = picture(), picture().convert("L")
    ways = ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma")
    files = {f"{way.replace('tiff_', '')}.tif": _saved(image, "TIFF", compression=way) for way in ways}
    one_bit = {way: _saved(image.convert("1"), "TIFF", compression=way) for way in ("group3", "group4")}
    return {
        **files,
        **{f"{way}.tif": data for way, data in one_bit.items()},
        "deep.tif": _saved(Image.fromarray(np.asarray(grey).astype("<u2") * 256), "TIFF", compression="tiff_lzw"),
        "float.tif": _saved(grey.convert("F"), "TIFF"),
        "cmyk.tif": _saved(image.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "alpha.tif": _saved(_with_alpha(_turned()), "TIFF", exif=_exif()),
        "pages.tiff": _saved(image, "TIFF", save_all=True, append_images=[picture(2)], compression="tiff_lzw"),
        "big.tiff": _saved(image, "TIFF", big_tiff=True, compression="tiff_adobe_deflate"),
    }


def _bmps() -> dict[str, bytes]:
    image = picture()
    palette = _saved(image.quantize(32), "BMP")
    return {
        "colour.bmp": _saved(image, "BMP"),
        "alpha.bmp": _saved(_with_alpha(image.copy()), "BMP"),
        "one-bit.bmp": _saved(image.convert("1"), "BMP"),
        "palette.bmp": palette,
        "run-length.bmp": _run_length(palette),
        "old.bmp": _with_old_header(_saved(image, "BMP")),
    }


def _run_length(bmp: bytes) -> bytes:
    """The same as BI_RLE8, which Pillow reads and does not write: runs of a byte, rows and the end marked."""
    offset, width = struct.unpack_from("<I4xi", bmp, 10)
    rows = (bmp[at : at + width] for at in range(offset, len(bmp), -(-width // 4) * 4))
    packed = b"".join(b"".join(b"\1" + row[at : at + 1] for at in range(width)) + b"\0\0" for row in rows) + b"\0\1"
    head = bmp[:30] + struct.pack("<II", 1, len(packed)) + bmp[38:offset]
    return head + packed


def _with_old_header(bmp: bytes) -> bytes:
    """The same with OS/2's header of 12 bytes."""
    (offset,) = struct.unpack_from("<I", bmp, 10)
    width, height, planes, bits = struct.unpack_from("<iiHH", bmp, 18)
    head = struct.pack("<IHHHH", 12, width, height, planes, bits)
    return b"BM" + struct.pack("<IHHI", 26 + len(bmp) - offset, 0, 0, 26) + head + bmp[offset:]


# ------------------------------------------------------------------------------------- what a file is made of


def anatomy(data: bytes) -> tuple[list[Part], list[Number]]:
    """The parts of a valid file, and the numbers in it that readers trust."""
    for magic, take_apart in _ANATOMY:
        if data.startswith(magic):
            return take_apart(data)
    return _boxes(data, 0, len(data))


def _segments(data: bytes) -> tuple[list[Part], list[Number]]:
    """JPEG: markers up to the first scan, with the numbers of frame and scan headers."""
    parts, numbers, at = [], [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        parts.append(Part(at, end))
        numbers.append(Number(at + 2, 2, "big"))
        if data[at + 1] in (0xC0, 0xC1, 0xC2):
            numbers += [Number(at + 5, 2, "big"), Number(at + 7, 2, "big"), Number(at + 9, 1, "big")]
        if data[at + 1] == 0xDA:
            numbers += [Number(place, 1, "big") for place in range(at + 4, end)]
            break
        at = end
    return parts, numbers


def _png_chunks(data: bytes) -> tuple[list[Part], list[Number]]:
    parts, numbers, at = [], [Number(16, 4, "big"), Number(20, 4, "big")], 8
    numbers += [Number(place, 1, "big") for place in range(24, 29)]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        parts.append(Part(at, end))
        numbers.append(Number(at, 4, "big"))
        if data[at + 4 : at + 8] in (b"acTL", b"fcTL"):
            numbers += [Number(place, 4, "big") for place in range(at + 8, end - 8, 4)]
        at = end
    return parts, numbers


def _riff_chunks(data: bytes) -> tuple[list[Part], list[Number]]:
    parts, numbers, at = [], [Number(4, 4, "little")], 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        parts.append(Part(at, end))
        numbers += [Number(at + 4, 4, "little")] + [Number(at + 8 + n, 3, "little") for n in (0, 3, 4, 6, 7, 9)]
        at = end
    return parts, numbers


def _blocks(data: bytes) -> tuple[list[Part], list[Number]]:
    """GIF: screen and image descriptors, extensions, and the sub-blocks of everything."""
    parts, numbers = [], [Number(at, 2, "little") for at in (6, 8)] + [Number(10, 1, "little")]
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at < len(data) and data[at] in (0x21, 0x2C):
        start = at
        if data[at] == 0x2C:
            numbers += [Number(at + n, 2, "little") for n in (1, 3, 5, 7)] + [Number(at + 9, 1, "little")]
            at += 11 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0)
        else:
            at += 2
        while at < len(data) and data[at]:
            numbers.append(Number(at, 1, "little"))
            at += 1 + data[at]
        at += 1
        parts.append(Part(start, at))
    return parts, numbers


def _entries(data: bytes) -> tuple[list[Part], list[Number]]:
    """TIFF and BigTIFF: the entries of the first directory."""
    order: Any = "little" if data[:1] == b"I" else "big"
    wide = int.from_bytes(data[2:4], order) == 43
    word, count, entry = (8, 8, 20) if wide else (4, 2, 12)
    first = int.from_bytes(data[word : 2 * word], order)
    number = int.from_bytes(data[first : first + count], order)
    parts, numbers = [], [Number(word, word, order), Number(first, count, order)]
    for at in range(first + count, first + count + number * entry, entry):
        parts.append(Part(at, at + entry))
        numbers += [Number(at, 2, order), Number(at + 2, 2, order), Number(at + 4, word, order)]
        numbers += [Number(at + 4 + word, 2, order), Number(at + 4 + word, word, order)] * 2
    return parts, numbers


def _bitmap_fields(data: bytes) -> tuple[list[Part], list[Number]]:
    fields = [(2, 4), (10, 4), (14, 4), (18, 2), (18, 4), (20, 2), (22, 4), (24, 2), (26, 2), (28, 2), (30, 4), (46, 4)]
    start = int.from_bytes(data[10:14], "little")
    return [Part(14, start), Part(start, len(data))], [Number(at, size, "little") for at, size in fields]


_NESTED = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0, b"mdia": 0, b"minf": 0, b"stbl": 0, b"iref": 4}
"""Boxes of ISO/IEC 14496-12 that hold boxes, and the bytes before these."""


def _boxes(data: bytes, start: int, end: int) -> tuple[list[Part], list[Number]]:
    """HEIF and AVIF: the boxes, with every aligned number in the small ones."""
    parts, numbers, at = [], [], start
    while at + 8 <= end:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size < 8:
            break
        parts.append(Part(at, at + size))
        numbers += [Number(at, 4, "big")] * 4
        if kind in _NESTED:
            inner = _boxes(data, at + 8 + _NESTED[kind], at + size)
            parts += inner[0]
            numbers += inner[1]
        elif size < 300:
            numbers += [Number(place, 4, "big") for place in range(at + 8, at + size - 3, 2)]
        at += size
    return parts, numbers


_ANATOMY: tuple[tuple[bytes, Callable[[bytes], tuple[list[Part], list[Number]]]], ...] = (
    (b"\xff\xd8", _segments),
    (b"\x89PNG", _png_chunks),
    (b"RIFF", _riff_chunks),
    (b"GIF8", _blocks),
    (b"II", _entries),
    (b"MM", _entries),
    (b"BM", _bitmap_fields),
)


# ------------------------------------------------------------------------------------------------------ mutations


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    """A few bits anywhere, or many."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 4, 16, len(data) // 50 + 1))):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def tamper_with_head(data: bytes, chance: random.Random) -> bytes:
    """Bytes of the head, where most of what steers a decoder stands."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        changed[chance.randrange(2, min(chance.choice((32, 64, 400)), len(data)))] = chance.randrange(256)
    return bytes(changed)


def truncate(data: bytes, chance: random.Random) -> bytes:
    """The end is missing: a byte, or nearly all."""
    return data[: chance.choice((len(data) - chance.randint(1, 16), chance.randrange(len(data))))]


def lose(data: bytes, chance: random.Random) -> bytes:
    """Some bytes are missing, zero, or noise."""
    start = chance.randrange(len(data))
    length = chance.choice((1, 2, 3, 16, 512, 4096))
    new = chance.choice((b"", bytes(length), chance.randbytes(length)))
    return data[:start] + new + data[start + length :]


def splice(data: bytes, chance: random.Random) -> bytes:
    """The head of one file and the tail of another."""
    other = chance.choice(list(valid().values()))
    return data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]


def lie(data: bytes, chance: random.Random) -> bytes:
    """A length, count, size or offset that is not true."""
    changed = bytearray(data)
    numbers = anatomy(data)[1]
    for _ in range(chance.choice((1, 1, 2, 3))):
        at, size, order = chance.choice(numbers)
        value = int.from_bytes(data[at : at + size], order)
        near = (value - 1, value + 1, value * 2, value // 2, -value)
        wrong = chance.choice((*near, *chance.sample(NUMBERS, 5), chance.getrandbits(8 * size)))
        changed[at : at + size] = (wrong % (1 << 8 * size)).to_bytes(size, order)
    return bytes(changed)


def repeat_part(data: bytes, chance: random.Random) -> bytes:
    """A chunk, segment, box or entry comes twice, or very often."""
    start, end = chance.choice(anatomy(data)[0])
    return data[:end] + data[start:end] * chance.choice((1, 1, 5, 300)) + data[end:]


def drop_part(data: bytes, chance: random.Random) -> bytes:
    """A part is not there."""
    start, end = chance.choice(anatomy(data)[0])
    return data[:start] + data[end:]


def swap_parts(data: bytes, chance: random.Random) -> bytes:
    """Two parts have changed places."""
    first, second = sorted(chance.choices(anatomy(data)[0], k=2))
    if first.end > second.start:
        return data[: first.start] + data[second.start : second.end] + data[first.end :]
    between = data[first.end : second.start]
    head, tail = data[: first.start], data[second.end :]
    return head + data[second.start : second.end] + between + data[first.start : first.end] + tail


MUTATIONS = (flip_bits, tamper_with_head, truncate, lose, splice, lie, lie, lie, repeat_part, drop_part, swap_parts)


def mend_checksums(png: bytes) -> bytes:
    """Write the true checksum after every chunk, so that what was changed in it is looked at."""
    mended, at = bytearray(png), 8
    while at + 12 <= len(mended):
        end = at + 8 + int.from_bytes(mended[at : at + 4], "big")
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)


def corpus(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of damaged files; every format has its turn."""
    chance = random.Random(seed)
    kinds = list(valid().items())
    for number in range(count):
        name, data = kinds[number % len(kinds)]
        mutation = chance.choice(MUTATIONS)
        changed = mutation(data, chance)
        if changed.startswith(b"\x89PNG") and chance.random() < 0.8:
            changed = mend_checksums(changed)
        yield f"{number:05d} {mutation.__name__.replace('_', '-')} {name}", changed


def main() -> None:
    """Write the files."""
    directory, count, *seed = sys.argv[1:]
    Path(directory).mkdir(parents=True, exist_ok=True)
    for name, data in corpus(int(count), *map(int, seed)):
        (Path(directory) / name).write_bytes(data)


if __name__ == "__main__":
    main()
