"""The album: an answer as one HTML file that needs nothing else, for `facewatch-query --html`.

The file is read without a script and without a network. Its Content-Security-Policy allows the pictures that are in it,
and the one stylesheet and the one script whose digests the policy names. So a file name cannot run anything, even if it
were not escaped; Jinja escapes every value that is put into the template.

A match is a card with a picture of the face; its button opens the photo, which is a popover: the browser itself
closes it on Escape and gives the focus back. A photo of another machine is an outline (`outline`), with the machine's
name and the path there, and nothing that would open it. Boxes are SVG rectangles in per cent of the photo, since the
policy allows no style attributes. The script adds arrow keys, and buttons that it shows first.

The same values give the same file, byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes

import jinja2

from facewatchd.matches import CONFIRMED, MTIME, Box, Match, Place
from facewatchd.pictures.outline import svg
from facewatchd.pictures.target import ALBUM_HEAD, sealed
from facewatchd.text import counted, printable

_MOST_FILES: Final = 50
"""Copies, or frames of a burst, that are listed of a match; of the others the number is told."""
_LONGEST_LABEL: Final = 28
"""Characters of a name beside its box."""
_EDGE: Final = 12.0
"""Per cent of the photo's width within which a name would be cut by its edge: it then grows the other way."""
_LOW: Final = 93.0
"""Per cent of the photo's height from which on there is no room for a name below its box."""
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_VERDICTS: Final = {
    CONFIRMED: "by hand",
    "sure": "",
    "likely": "",
    "look": "look at it yourself",
}
"""In the order in which they are counted, with what a word means where it does not say so itself."""
NO_DATE: Final = "Without a date"


class Picture(NamedTuple):
    """A JPEG in base64, and its size in pixels."""

    jpeg: str
    width: int
    height: int


Shown = Picture | str
"""A picture, or in words why there is none."""


class AskedFace(NamedTuple):
    """A face that was asked for."""

    name: str
    detail: str
    picture: Shown

    @property
    def alt(self) -> str:
        """Text in place of the picture."""
        return f"The face that was asked for: {self.name}"


class SeenFace(NamedTuple):
    """A face on a photo."""

    box: Box
    name: str = ""
    """Empty where it is nobody with a name."""


class Crop(NamedTuple):
    """A face of a match."""

    picture: Shown
    alt: str


class Entry(NamedTuple):
    """A match and what is shown of it."""

    match: Match
    crops: tuple[Shown, ...]
    """Of its face; with others who are to be on the photo, of each person's."""
    photo: Shown = ""
    size: tuple[int, int] = (0, 0)
    """Pixels of the whole photo; zeros where that is not known."""
    faces: tuple[SeenFace, ...] = ()
    """All faces on it, left to right."""
    remarks: tuple[str, ...] = ()


class Album(NamedTuple):
    """All that the file says, but for stylesheet and script."""

    title: str
    leads: tuple[str, ...]
    """What else was asked for; how many photos there are, and their order."""
    asked: tuple[AskedFace, ...]
    notes: tuple[str, ...]
    """What is to be known of the answer as a whole."""
    entries: tuple[Entry, ...]
    about: str
    """How the answer came to be."""
    people: tuple[str, ...] = ("",)
    """Names of those who were asked for, in the order of a match's crops; empty where there is no name."""
    by_year: bool = False


class _Files(NamedTuple):
    heading: str
    files: tuple[_File, ...]
    more: int


class _File(NamedTuple):
    shown: str
    url: str
    """Empty for a file of another machine."""


class _Drawn(NamedTuple):
    """A box in per cent of the photo, and where its name stands."""

    x: str
    y: str
    width: str
    height: str
    is_match: bool
    label: str
    at: str
    base: str
    shift: str
    anchor: str


class _Card(NamedTuple):
    """A match as the template shows it."""

    number: int
    name: str
    path: str
    url: str
    shell: str
    verdict: str
    similarity: str
    day: str
    date: str
    is_file_date: bool
    crops: tuple[Crop, ...]
    photo: Shown
    photo_alt: str
    boxes: tuple[_Drawn, ...]
    people: str
    remarks: tuple[str, ...]
    host: str
    directory: str
    outline: str
    """The element for a photo of another machine."""
    folded: tuple[_Files, ...]


class _Chapter(NamedTuple):
    heading: str
    anchor: str
    cards: list[_Card]


def render(album: Album) -> bytes:
    """Return the file."""
    style, script = f"{_own('look.css')}{_own('album.css')}", _own("album.js")
    cards = [_card(number, entry, album.people) for number, entry in enumerate(album.entries, 1)]
    text = _template().render(
        head=ALBUM_HEAD.decode("ascii"),
        policy=_policy(style, script),
        style=style,
        script=script,
        album=album,
        counts=list(_counts(card.verdict for card in cards)),
        chapters=_chapters(cards, by_year=album.by_year),
    )
    return sealed(text.encode("utf-8"))


def file_url(path: bytes) -> str:
    """Return the URL of a file by its absolute path, whatever bytes that has (RFC 8089, RFC 3986)."""
    return f"file://{quote_from_bytes(path, safe='/')}"


def to_copy(path: bytes) -> str:
    """Return a path as it is, or where a part of it cannot be shown as bash, zsh and ksh take it: ``$'a\\nb'``."""
    text = path.decode("utf-8", "surrogateescape")
    if printable(text) == text:
        return text

    def escaped(character: str) -> str:
        if character in "\\'":
            return f"\\{character}"
        if printable(character) == character:
            return character
        return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))

    return f"$'{''.join(map(escaped, text))}'"


def _policy(style: str, script: str) -> str:
    """Return a policy that allows nothing but what is in the file (Content Security Policy Level 3)."""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _own(name: str) -> str:
    return resources.files("facewatchd.pictures").joinpath(name).read_text("utf-8")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(_own("album.html"))


def _counts(verdicts: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    every = list(verdicts)
    for word, meaning in _VERDICTS.items():
        if word in every:
            yield word, every.count(word), meaning


def _chapters(cards: Sequence[_Card], *, by_year: bool) -> list[_Chapter]:
    """Return the cards by the year in which the photos were taken, or all in one chapter; none without cards."""
    chapters: list[_Chapter] = []
    for card in cards:
        heading = (card.day[:4] or NO_DATE) if by_year else "Matches"
        if not chapters or chapters[-1].heading != heading:
            chapters.append(_Chapter(heading, f"y{card.day[:4]}" if by_year else "all", []))
        chapters[-1].cards.append(card)
    return chapters


def _card(number: int, entry: Entry, people: Sequence[str]) -> _Card:
    match = entry.match
    name = printable(match.path.rpartition(b"/")[2]) or "without a name"
    day = match.taken[:10]
    return _Card(
        number=number,
        name=name,
        path=printable(match.path),
        url=file_url(match.path),
        shell=to_copy(match.path),
        verdict=CONFIRMED if match.confirmed else match.verdict,
        similarity="" if match.similarity is None else f"{match.similarity:.3f}",
        day=day,
        date=_in_words(day),
        is_file_date=match.taken_from == MTIME,
        crops=tuple(_crops(entry, name, people)),
        photo=entry.photo,
        photo_alt=f"The photo {name}",
        boxes=tuple(_boxes(entry)),
        people=_people(entry.faces),
        remarks=tuple(map(printable, entry.remarks)),
        host=printable(match.host),
        directory=printable(match.path.rpartition(b"/")[0]),
        outline=svg(entry.size, match.boxes) if match.host else "",
        folded=tuple(_folded(match)),
    )


def _in_words(day: str) -> str:
    """Word a day: ``2019-06-30`` as ``30 June 2019``; anything else stays as it is."""
    found = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])-([0-3][0-9])", day)
    return f"{int(found[3])} {_MONTHS[int(found[2]) - 1]} {found[1]}" if found else day


def _crops(entry: Entry, name: str, people: Sequence[str]) -> Iterator[Crop]:
    for position, crop in enumerate(entry.crops):
        person = people[position] if position < len(people) else ""
        yield Crop(crop, f"{printable(person) or 'Face'} on {name}")


def _folded(match: Match) -> Iterator[_Files]:
    copies = [*(_here(path) for path in match.copies), *map(_there, match.elsewhere)]
    burst = [*(_here(path) for path in match.similar), *map(_there, match.similar_elsewhere)]
    for found, heading in (
        (copies, counted(len(copies), "copy", "copies")),
        (burst, f"{len(burst)} more in its burst"),
    ):
        if found:
            files = tuple(found[:_MOST_FILES])
            yield _Files(heading, files, len(found) - len(files))


def _here(path: bytes) -> _File:
    return _File(printable(path), file_url(path))


def _there(place: Place) -> _File:
    return _File(printable(place.name), "")


def _people(faces: Sequence[SeenFace]) -> str:
    """Word who is on a photo."""
    if not faces:
        return ""
    names = [printable(face.name) for face in faces if face.name]
    rest = len(faces) - len(names)
    words = [*names, counted(rest, "face") + " without a name"] if names and rest else names
    return f"{counted(len(faces), 'face')}: {', '.join(words)}" if words else counted(len(faces), "face")


def _boxes(entry: Entry) -> Iterator[_Drawn]:
    """The boxes of all faces, those that match last and so above the others."""
    width, height = entry.size
    if not width or not height:
        return
    match = entry.match
    boxes = [match.box, *(term.box for term in match.terms), *(also.box for also in match.also)]
    own = {box for box in boxes if box is not None}
    known = {face.box for face in entry.faces}
    faces = [*entry.faces, *(SeenFace(box) for box in own - known)]
    for face in sorted(faces, key=lambda face: (face.box in own, face.box)):
        yield _drawn(face, width, height, is_match=face.box in own)


def _drawn(face: SeenFace, width: int, height: int, *, is_match: bool) -> _Drawn:
    left, top = 100 * face.box.x / width, 100 * face.box.y / height
    wide, tall = 100 * face.box.w / width, 100 * face.box.h / height
    label = printable(face.name)
    middle, bottom = left + wide / 2, top + tall
    at, anchor = middle, ""
    if middle < _EDGE:
        at, anchor = left, " name-start"
    elif middle > 100 - _EDGE:
        at, anchor = left + wide, " name-end"
    base, shift = (bottom, "1.15em") if bottom < _LOW else (top, "-0.4em") if top > 100 - _LOW else (bottom, "-0.5em")
    return _Drawn(
        x=f"{left:.2f}",
        y=f"{top:.2f}",
        width=f"{wide:.2f}",
        height=f"{tall:.2f}",
        is_match=is_match,
        label=label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…",
        at=f"{at:.2f}",
        base=f"{base:.2f}",
        shift=shift,
        anchor=anchor,
    )
