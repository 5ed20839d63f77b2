"""Reads regions from bytes that anybody may have made, in the process that decodes photos.

- ``mwg``: `mwg-rs:Regions` of the Metadata Working Group's guidelines (2.0, section 5.9), which digiKam, Lightroom,
  Picasa, Apple's Photos and others write: a centre, a width and a height, as parts of the picture.
- ``microsoft``: `MP:RegionInfo` of Windows Photo Gallery: "x, y, width, height", the upper left corner first.
- ``picasa``: the ``.picasa.ini`` of a directory. A ``rect64`` has four numbers of 16 bits: left, top, right, bottom.
- ``takeout``: the JSON files that Google Takeout lays beside photos. They name people without a place, which Windows
  Photo Gallery can do too.

A region that makes no sense (a side that is negative, NaN, a centre beside the picture) is left out and its reason
noted, and so is a name of more than `MOST_NAME` characters. Regions of pets, of the focus and of bar codes, and those
without a name, are nothing to report.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

from facewatchd.photos import packets
from facewatchd.photos.regions import (
    MICROSOFT,
    MOST,
    MOST_NAME,
    MWG,
    PICASA,
    TAKEOUT,
    XMP,
    Area,
    Named,
    Region,
    clean_name,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MOST_BYTES: Final = 16 << 20
"""Bytes of a ``.picasa.ini`` or a JSON file: photos with two faces each take 150 bytes, so 100,000 of them."""
MOST_TEXT: Final = 20 * MOST
"""Characters of all names of a file together: an answer to the daemon has 4 MiB, and JSON writes some in 12 bytes."""
MOST_FILE_NAME: Final = 255
"""Characters of the name of a photo: no file system has longer ones."""

_MWG: Final = "{http://www.metadataworkinggroup.com/schemas/regions/}"
_AREA, _AREA_AS_PRINTED = "{http://ns.adobe.com/xmp/sType/Area#}", "{http:ns.adobe.com/xmp/sType/Area#}"
"""The guidelines lack two slashes, and so does what some programs write."""
_AREA_KEYS: Final = ("x", "y", "w", "h", "d", "unit")
_DIMENSIONS: Final = "{http://ns.adobe.com/xap/1.0/sType/Dimensions#}"
_MP: Final = "{http://ns.microsoft.com/photo/1.2/}"
_MPRI: Final = "{http://ns.microsoft.com/photo/1.2/t/RegionInfo#}"
_MPREG: Final = "{http://ns.microsoft.com/photo/1.2/t/Region#}"
_BOM: Final = b"\xef\xbb\xbf"
_RECT64: Final = re.compile(r"rect64\(([0-9a-fA-F]{1,16})\),([0-9a-fA-F]{1,16})")
_UNKNOWN_CONTACT: Final = "f" * 16


@dataclass(slots=True)
class Found:
    """The regions that are found in a file, while it is read."""

    regions: list[Region] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    """See `Named.aside`."""
    room: int = MOST_TEXT
    """Characters that names may still have."""

    @property
    def named(self) -> Named:
        """The regions that were found, when the file is read."""
        return Named(tuple(self.regions), tuple(self.aside))

    def leave_out(self, reason: str) -> None:
        """Note a reason."""
        if reason not in self.aside:
            self.aside.append(reason)

    def add(self, region: Region) -> None:
        """Add a region, unless there are `MOST`."""
        self.room -= len(region.name) + len(region.photo)
        if len(self.regions) >= MOST or self.room < 0:
            self.leave_out("it has more regions than are read")
        elif region not in self.regions[-100:]:
            self.regions.append(region)


class _OddRegionError(ValueError):
    """A region that makes no sense; the message says why."""


# XMP


def from_xmp(found_packets: list[bytes]) -> Found:
    """Read the regions of XMP packets: MWG's and Microsoft's."""
    found = Found()
    for packet in found_packets:
        try:
            root = packets.parse(packet)
        except packets.InvalidXmpError as exc:
            found.leave_out(str(exc))
            continue
        for regions in root.iter(f"{_MWG}Regions"):
            _read_mwg(regions, found)
        for regions in root.iter(f"{_MP}RegionInfo"):
            _read_microsoft(regions, found)
    return found


def _read_mwg(regions: Element, found: Found) -> None:
    dimensions = next(iter(_children(regions, f"{_MWG}AppliedToDimensions")), None)
    applied = (0.0, 0.0)
    if dimensions is not None:
        sides = [_number(_text(dimensions, f"{_DIMENSIONS}{side}")) for side in "wh"]
        if all(math.isfinite(side) and 0 < side <= 1e9 for side in sides):
            applied = sides[0], sides[1]
    for entry in _entries(regions, f"{_MWG}RegionList"):
        if (_text(entry, f"{_MWG}Type") or "Face").strip().lower() == "face":
            _add(found, _text(entry, f"{_MWG}Name"), MWG, partial(_mwg_area, entry, applied), applied)


def _mwg_area(entry: Element, applied: tuple[float, float]) -> Area:
    area = next(iter(_children(entry, f"{_MWG}Area")), None)
    if area is None:
        raise _OddRegionError("a region without an area")
    texts = {key: _text(area, f"{_AREA}{key}") or _text(area, f"{_AREA_AS_PRINTED}{key}") for key in _AREA_KEYS}
    if not (texts["x"] and texts["y"]):
        raise _OddRegionError("a region without a place")
    x, y, w, h, d = (_number(texts[key], default=0.0) for key in _AREA_KEYS[:5])
    if texts["unit"].strip().lower() == "pixel":
        if not all(applied):
            raise _OddRegionError("a region in pixels of a picture whose sides are not said")
        x, w, d, y, h = x / applied[0], w / applied[0], d / min(applied), y / applied[1], h / applied[1]
    if d and not (w or h):  # a circle, whose diameter is a part of the shorter side
        shorter = min(applied) if all(applied) else 1.0
        w, h = (d * shorter / (side or 1.0) for side in applied)
    return Area(x - w / 2, y - h / 2, w, h)


def _read_microsoft(regions: Element, found: Found) -> None:
    for entry in _entries(regions, f"{_MPRI}Regions"):
        name, place = _text(entry, f"{_MPREG}PersonDisplayName"), _text(entry, f"{_MPREG}Rectangle")
        _add(found, name, MICROSOFT, partial(_microsoft_area, place))


def _microsoft_area(text: str) -> Area | None:
    if not text:  # a person may be named without a place
        return None
    numbers = [_number(part) for part in text.split(",", 4)]
    if len(numbers) != 4:
        raise _OddRegionError("a region without four numbers")
    return Area(*numbers)


def _entries(regions: Element, tag: str) -> Iterator[Element]:
    """The entries of an RDF list."""
    for listed in _children(regions, tag):
        for container in listed:
            yield from container.iterfind(f"{packets.RDF}li")


def _inner(element: Element) -> Iterator[Element]:
    """An RDF structure as it may be written: in the element itself, and in descriptions inside it."""
    yield element
    yield from element.iterfind(f"{packets.RDF}Description")


def _children(element: Element, tag: str) -> Iterator[Element]:
    for node in _inner(element):
        yield from node.iterfind(tag)


def _text(element: Element, tag: str) -> str:
    """A property of an RDF structure, written as an attribute or as an element; empty where there is none."""
    for node in _inner(element):
        if (value := node.get(tag)) is not None:
            return value
        if (child := node.find(tag)) is not None:
            return child.text or ""
    return ""


def _number(text: str, default: float = math.nan) -> float:
    if not text:
        return default
    try:
        return float(text.strip()) if len(text) <= 40 else math.nan
    except ValueError:
        return math.nan


# Picasa


def from_picasa(data: bytes) -> Found:
    """Read a ``.picasa.ini``. Each region says which photo of the directory it is about.

    A line is ``faces=rect64(HEX),CONTACT;rect64(...),CONTACT``, leading zeros left out, in the section of the photo's
    name. Names are in ``[Contacts2]``, as ``CONTACT=NAME;...``; the older ``[Contacts]`` has numbers of accounts only.
    """
    found = Found()
    if len(data) > MOST_BYTES:
        found.leave_out(f"it has more than {MOST_BYTES >> 20} MiB")
        return found
    names: dict[str, str] = {}
    faces: list[tuple[str, str]] = []
    for section, key, value in _ini_lines(data):
        if section.lower() == "contacts2":
            names.setdefault(_contact(key), value.split(";")[0])
        elif key.lower() == "faces":
            faces += [(section, face) for face in value.split(";")]
    for photo, face in faces:
        match = _RECT64.fullmatch(face.strip())
        if match is None or len(photo) > MOST_FILE_NAME or _contact(match[2]) == _UNKNOWN_CONTACT:
            continue
        if not (name := names.get(_contact(match[2]), "")):
            found.leave_out("a face of a contact that is not named in it")
            continue
        _add(found, name, PICASA, partial(_rect64_area, match[1]), photo=photo)
    return found


def _ini_lines(data: bytes) -> Iterator[tuple[str, str, str]]:
    """The section, key and value of each line that has a value."""
    section = ""
    for line in data.removeprefix(_BOM).decode("utf-8", "replace").splitlines():
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line:
            key, _, value = line.partition("=")
            yield section, key.strip(), value


def _contact(text: str) -> str:
    return text.strip().lower().zfill(16)


def _rect64_area(digits: str) -> Area:
    digits = digits.zfill(16)
    left, top, right, bottom = (int(digits[at : at + 4], 16) / 65535 for at in range(0, 16, 4))
    return Area(left, top, right - left, bottom - top)


# Google Takeout


def from_takeout(data: bytes) -> Found:
    """Read a JSON file of Google Takeout: the names in its ``people``, without places."""
    found = Found()
    if len(data) > MOST_BYTES:
        found.leave_out(f"it has more than {MOST_BYTES >> 20} MiB")
        return found
    try:
        document = json.loads(data)
    except (ValueError, RecursionError, OSError):  # OSError: in an encoding that is not loaded, and cannot be any more
        found.leave_out("it is no JSON that can be read")
        return found
    people = document.get("people") if isinstance(document, dict) else None
    for person in people if isinstance(people, list) else ():
        if isinstance(person, dict) and isinstance(name := person.get("name"), str):
            _add(found, name, TAKEOUT, lambda: None)
    return found


# All of them


def read(file: BinaryIO, kind: str) -> Named:
    """Read a file of one of the kinds `SIDECARS`, from its beginning, whatever its position."""
    file.seek(0)
    data = file.read(MOST_BYTES + 1)
    readers = {XMP: lambda data: from_xmp([data]), PICASA: from_picasa, TAKEOUT: from_takeout}
    return readers[kind](data).named


def _add(
    found: Found,
    name: str,
    source: str,
    place: Callable[[], Area | None],
    applied: tuple[float, float] = (0.0, 0.0),
    photo: str = "",
) -> None:
    """Add a region with a name; where it makes no sense, note why."""
    name = clean_name(name[: 4 * MOST_NAME])
    if not name:
        return
    if len(name) > MOST_NAME:
        found.leave_out(f"a name of more than {MOST_NAME} characters")
        return
    try:
        area = place()
        found.add(Region(name, source, None if area is None else _inside(area), applied, photo))
    except _OddRegionError as exc:
        found.leave_out(str(exc))


def _inside(area: Area) -> Area:
    """The part of an area that lies on the picture. Raises `_OddRegionError` for one that makes no sense."""
    if not all(map(math.isfinite, area)):
        raise _OddRegionError("a region whose place is no number")
    if area.w < 0 or area.h < 0:
        raise _OddRegionError("a region with a negative side")
    x, y = area.x + area.w / 2, area.y + area.h / 2
    if not (0 <= x <= 1 and 0 <= y <= 1) or area.w > 2 or area.h > 2:
        raise _OddRegionError("a region that does not lie on the picture")
    left, top = max(area.x, 0.0), max(area.y, 0.0)
    return Area(left, top, min(area.x + area.w, 1.0) - left, min(area.y + area.h, 1.0) - top)
