"""Checks of what an inference process answers: every length, type and range, before any of it is used.

The process decodes arbitrary bytes, and a decoder in it may be wrong or taken over. An answer that breaks a rule is a
`InvalidAnswerError`: the process is ended, because the channel may be out of step, and the photo is to blame, not the
disk.

The same rules hold for contents that come from elsewhere (`shared.forms`), which are kept in the same places.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Collection
from typing import Any, NamedTuple, NoReturn

import numpy as np

from facewatchd import errors
from facewatchd.matches import Box
from facewatchd.models import second_look
from facewatchd.models.base import MOST_NORM, is_norm, is_unit
from facewatchd.photos import likeness
from facewatchd.photos.files import MAX_PIXELS, DiskError
from facewatchd.photos.regions import MOST as MOST_REGIONS
from facewatchd.photos.regions import MOST_NAME, SOURCES_OF, Area, Named, Region, clean_name
from facewatchd.photos.taken import IN_BYTES, MOST_OFFSET, is_possible, is_stated
from facewatchd.values import Face, Look, Taken, TakenFrom

MOST_JSON = 4 << 20
"""Bytes of a JSON frame: a face takes some 400 of them."""
MOST_FACES = 5000
"""On one photo; a detector that sees 640 pixels finds a few hundred at most."""
MOST_FACES_AGAIN = second_look.MOST_FACES
"""That a second look may find."""
MOST_DIMENSIONS = 1 << 14
MOST_REASONS = 20
"""Why something in a file was left out; there are not so many."""
_PIXEL, _LEAST_JPEG = 4, 4096
"""Bytes of a JPEG for each pixel and beside them, at most: noise of the best quality takes three for each."""
MOST_TEXT = 4000
"""Characters of a message."""
_JFIF, _FRAME, _SCAN = 0xE0, 0xC0, 0xDA
_JPEG_SEGMENTS = frozenset({_JFIF, 0xDB, _FRAME, 0xC4, 0xDD, _SCAN})
"""Markers of the segments that a thumbnail may have: also tables of quantisation and of codes, and restarts."""
_SCAN_TO_THE_END = re.compile(rb"(?:[^\xff]++|\xff[\x00\xd0-\xd7])*+\xff\xd9")
ERRORS: dict[str, type[errors.FacewatchError]] = {
    kind.__name__: kind
    for kind in (
        errors.UnreadablePhotoError,
        errors.UnsupportedPhotoError,
        DiskError,
        errors.OutOfMemoryError,
        errors.TooLargeError,
        errors.ModelError,
        errors.FacewatchError,
    )
}


class InvalidAnswerError(Exception):
    """An answer that breaks a rule; the message says which."""


def document(data: bytes) -> dict[str, Any]:
    """Read a JSON object. NaN and Infinity are not JSON."""
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise InvalidAnswerError("the frame is not JSON") from exc
    if not isinstance(value, dict):
        raise InvalidAnswerError("the frame is not a JSON object")
    return value


def _no_constant(name: str) -> NoReturn:
    raise InvalidAnswerError(f"{name} is no number")


def expect_no_error(answer: dict[str, Any]) -> None:
    """Raise the error that an answer reports, if it reports one."""
    if "error" not in answer:
        return
    kind = ERRORS.get(text(answer, "error"))
    if kind is None:
        raise InvalidAnswerError("an error of no known kind")
    raise kind(text(answer, "message"), text(answer, "hint"))


def text(answer: dict[str, Any], key: str) -> str:
    """A short string of an answer, on one line and encodable as UTF-8."""
    value = answer.get(key)
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise InvalidAnswerError(f"its {key} is no short text")
    return " ".join(value.encode("utf-8", "replace").decode().split())


def whole(value: object, what: str, least: int, most: int) -> int:
    """An integer in a range; True and False are none."""
    if type(value) is not int or not least <= value <= most:
        raise InvalidAnswerError(f"{what} is no whole number from {least} to {most}")
    return value


def number(value: object, what: str, most: float = 1e9) -> float:
    """A finite number of at most this size; True and False are none."""
    if type(value) not in (int, float) or not abs(value) <= most or not math.isfinite(value):  # type: ignore[arg-type]
        raise InvalidAnswerError(f"{what} is no finite number")
    return float(value)  # type: ignore[arg-type]


def size(answer: dict[str, Any]) -> tuple[int, int]:
    """Width and height of the upright photo in pixels."""
    width = whole(answer.get("width"), "the width", 1, MAX_PIXELS)
    return width, whole(answer.get("height"), "the height", 1, MAX_PIXELS // width)


def thumbnail_size(value: object, most: int) -> tuple[int, int, int]:
    """Width and height of a thumbnail of at most so many pixels a side, and its bytes."""
    width, height, length = _numbers(value, 3, "the size of a thumbnail")
    width, height = whole(width, "its width", 1, most), whole(height, "its height", 1, most)
    return width, height, whole(length, "its bytes", 1, _LEAST_JPEG + _PIXEL * width * height)


def jpeg(data: bytes, width: int, height: int) -> bytes:
    """A JPEG of this size: one baseline frame of three components of 8 bits, in one scan, and nothing beside it.

    No metadata, no comment, no other picture. The data of the scan are not decoded.
    """
    if data[:2] != b"\xff\xd8":
        raise InvalidAnswerError("the thumbnail is no JPEG")
    frames, at = 0, 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] in _JPEG_SEGMENTS:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _FRAME:
            frames += 1
            if data[at + 4 : at + 10] != struct.pack("!BHHB", 8, height, width, 3):
                raise InvalidAnswerError(f"the thumbnail is no JPEG of {width} x {height} pixels")
        elif marker == _JFIF and data[at + 4 : at + 9] != b"JFIF\0":
            raise InvalidAnswerError("the thumbnail has metadata")
        at += 2 + length
        if marker == _SCAN:
            break
    else:
        raise InvalidAnswerError("the thumbnail has a segment that does not belong there")
    if frames != 1 or _SCAN_TO_THE_END.fullmatch(data, at) is None:
        raise InvalidAnswerError("the thumbnail is no JPEG of one scan")
    return data


def taken(answer: dict[str, Any]) -> Taken | None:
    """The date in a photo: one that is possible, with an offset or null, and from its bytes; null where none is."""
    found = answer.get("taken")
    if found is None:
        return None
    if not isinstance(found, dict) or found.keys() != set(Taken._fields):
        raise InvalidAnswerError("the date is no JSON object of its three parts")
    return date(*(found[part] for part in Taken._fields))


def date(at: object, offset: object, source: object) -> Taken:
    """The parts of a date that the bytes of a photo state."""
    moment = number(at, "a time", most=1e12)
    minutes = None if offset is None else whole(offset, "an offset", -MOST_OFFSET, MOST_OFFSET)
    if not isinstance(source, str) or source not in IN_BYTES:
        raise InvalidAnswerError("a date of no known source")
    if not is_possible(moment) or not is_stated(moment, minutes, source):
        raise InvalidAnswerError("a date at which no photo was taken")
    return Taken(moment, minutes, TakenFrom(source))


def named(found: object, kind: str) -> Named:
    """What a file of one of the kinds `regions.SIDECARS` says about people: names as they are kept, each of a source of
    that kind, with an area on the picture or null."""
    if not isinstance(found, dict):
        raise InvalidAnswerError("the names are no JSON object")
    regions, aside = found.get("regions"), found.get("aside")
    if not isinstance(regions, list) or len(regions) > MOST_REGIONS:
        raise InvalidAnswerError(f"the regions are no list of at most {MOST_REGIONS}")
    if not isinstance(aside, list) or len(aside) > MOST_REASONS:
        raise InvalidAnswerError(f"the reasons are no list of at most {MOST_REASONS}")
    return Named(
        tuple(_region(entry, SOURCES_OF[kind]) for entry in regions),
        tuple(text({"reason": reason}, "reason") for reason in aside),
    )


def _region(entry: object, sources: Collection[str]) -> Region:
    name, source, area, applied, photo = _numbers(entry, 5, "a region")
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME or clean_name(name) != name:
        raise InvalidAnswerError("a region has no name")
    if source not in sources:
        raise InvalidAnswerError("a region of another source")
    if not isinstance(photo, str) or len(photo) > MOST_TEXT:
        raise InvalidAnswerError("a region of no file")
    sides = [number(side, "a side") for side in _numbers(applied, 2, "the sides")]
    if any(side < 0 for side in sides):
        raise InvalidAnswerError("a side is negative")
    return Region(name, source, None if area is None else _area(area), (sides[0], sides[1]), photo)


def _area(value: object) -> Area:
    x, y, w, h = (number(part, "an area") for part in _numbers(value, 4, "an area"))
    if min(x, y, w, h) < 0 or max(x + w, y + h) > 1 + 1e-6:
        raise InvalidAnswerError("an area that is not on the picture")
    return Area(x, y, w, h)


def picture(answer: dict[str, Any]) -> bytes | None:
    """The fingerprint of a picture, in hexadecimal digits; or null."""
    found = answer.get("picture")
    if found is None:
        return None
    if not isinstance(found, str) or re.fullmatch("([0-9a-f]{2})*", found) is None:
        raise InvalidAnswerError("the fingerprint of the picture is not in hexadecimal digits")
    return fingerprint(bytes.fromhex(found))


def fingerprint(data: bytes) -> bytes:
    """The fingerprint of a picture."""
    if len(data) != likeness.BYTES:
        raise InvalidAnswerError(f"the fingerprint of the picture is not {likeness.BYTES} bytes")
    return data


def listed(answer: dict[str, Any], name: str, most: int) -> list[Any]:
    """A list of at most so many items, which are not checked yet."""
    items = answer.get(name)
    if not isinstance(items, list) or len(items) > most:
        raise InvalidAnswerError(f"the {name} are no list of at most {most}")
    return items


def face(
    entry: object,
    embedding: np.ndarray[Any, np.dtype[np.float32]],
    width: int,
    height: int,
    looks: Collection[Look],
) -> Face:
    """One face: a box inside the photo, a score from 0 to 1, five landmarks, a unit embedding, a norm and a
    sharpness or null, and one of the ``looks`` that were asked for."""
    if not isinstance(entry, dict):
        raise InvalidAnswerError("a face is no JSON object")
    box, score, norm, look, sharpness = measures_of_face(entry, width, height, looks)
    points = [[number(each, "a landmark") for each in _numbers(point, 2, "a landmark")]
              for point in _numbers(entry.get("landmarks"), 5, "the landmarks")]  # fmt: skip
    if not is_unit(embedding, embedding.size):
        raise InvalidAnswerError("an embedding is not of unit length")
    return Face(box, score, np.array(points, np.float32), embedding, norm, look, sharpness)


class Measures(NamedTuple):
    """What is told of a face beside its landmarks and its embedding: see `values.Face`."""

    box: Box
    score: float
    norm: float | None
    look: Look
    sharpness: float | None


def measures_of_face(entry: dict[str, Any], width: int, height: int, looks: Collection[Look]) -> Measures:
    """A box inside the photo, a score from 0 to 1, a norm and a sharpness or null, and one of the ``looks``."""
    x, y, w, h = _numbers(entry.get("box"), 4, "a box")
    whole(x, "a box's left edge", 0, width - 1)
    whole(y, "a box's upper edge", 0, height - 1)
    whole(w, "a box's width", 1, width - x)
    whole(h, "a box's height", 1, height - y)
    score = number(entry.get("score"), "a score")
    if not 0.0 <= score <= 1.0:
        raise InvalidAnswerError("a score is not from 0 to 1")
    norm = None if entry.get("norm") is None else number(entry["norm"], "a norm")
    if norm is not None and not is_norm(norm):
        raise InvalidAnswerError(f"a norm is not more than 0 and at most {MOST_NORM:.0f}")
    sharpness = None if entry.get("sharpness") is None else number(entry["sharpness"], "a sharpness")
    if sharpness is not None and sharpness < 0:
        raise InvalidAnswerError("a sharpness below 0")
    look = entry.get("look")
    if not isinstance(look, str) or look not in looks:
        raise InvalidAnswerError("a face of a look that was not asked for")
    return Measures(Box(x, y, w, h), score, norm, Look(look), sharpness)


def _numbers(value: object, count: int, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) != count:
        raise InvalidAnswerError(f"{what} has not {count} parts")
    return value
