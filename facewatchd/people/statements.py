"""What a user said about a face: it is, or it is not, a person. Pure values and rules.

A statement names its face by the digest of the photo's bytes and by a box in parts of the photo's width and height. So
it holds for every model, and whatever the file is called. Two boxes on one photo are the same face from an overlap of
`SAME_FACE` on. A statement without a box says that the person is on the photo, where no face was found.

Statements are never changed. A later one takes the place of an earlier one where both cannot be true (`replaces`):

- about the same person and the same face, whatever each of them says;
- where both say who one face is, as a face is one person's: the face moves to the later one;
- a rejection without a box, of all that puts the person on the photo; and a confirmation, of such a rejection.

Merging two people is one more thing that happens in this order: it finds what counts of both until then. So what counts
is a function of all that was said in its order (`Ledger`), and taking back the last part needs nothing else.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from facewatchd.errors import BadNameError
from facewatchd.matches import Box

SAME_FACE = 0.5
"""Overlap from which on two boxes on one photo are the same face. `python -m tests.benchmarks.statements` measures how
many faces of one model another finds again with it."""
LONGEST = 200
"""Characters of a name."""
USER = "user"
"""The source of what a user said of a face that was found."""
DRAWN = "drawn"
"""The source of what a user said of a box that the user drew, because no face was found there."""


class RelativeBox(NamedTuple):
    """A rectangle in parts of the upright photo's width and height."""

    x: float
    y: float
    w: float
    h: float

    @classmethod
    def of(cls, box: Box, width: int, height: int) -> RelativeBox:
        """Return the parts of a photo of that size, in pixels, that a box covers."""
        return cls(box.x / width, box.y / height, box.w / width, box.h / height)

    def pixels(self, width: int, height: int) -> Box:
        """Return the box on a photo of that size, in whole pixels, clipped to it; it has at least one pixel."""
        left, top = (
            min(max(round(edge), 0), side - 1) for edge, side in ((self.x * width, width), (self.y * height, height))
        )
        right, bottom = round((self.x + self.w) * width), round((self.y + self.h) * height)
        return Box(left, top, max(min(right, width) - left, 1), max(min(bottom, height) - top, 1))

    def overlap(self, other: RelativeBox) -> float:
        """Return the intersection over the union, 0 to 1. The photo's proportions do not change it."""
        width = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        height = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        union = self.w * self.h + other.w * other.h - shared
        return shared / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Person:
    """A person that a user named."""

    id: int
    """Never used twice."""
    name: str
    born: str | None = None
    """A date, or the first part of one: 2019, 2019-06, 2019-06-30."""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class NewStatement:
    """What is to be said of a person."""

    is_person: bool
    """Whether the face is the person; False: it is not."""
    digest: bytes
    """Of the photo's bytes (`photos.files.digest`)."""
    box: RelativeBox | None
    """None: no face is named, the person stands on the photo."""
    source: str | None = None
    """A word for what it comes from; None: that of the call. It never holds a name."""
    at: float | None = None
    """When it was first said, as Unix time; None: now. An earlier one takes the place of no later one."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What was said of a person."""

    id: int
    """The later, the higher. Never used twice."""
    person: int
    is_person: bool
    digest: bytes
    box: RelativeBox | None
    source: str
    at: float
    """Unix time."""

    @property
    def at_as_exported(self) -> float:
        """`at` to a thousandth of a second, as an export has it."""
        return round(self.at, 3)

    def says(self, new: NewStatement, person: int) -> bool:
        """Whether it says of that person what the new one would say."""
        return (self.person, self.is_person) == (person, new.is_person) and same_face(self.box, new.box)

    def replaces(self, other: Statement) -> bool:
        """Whether an ``other`` one on the same photo, which was said before, counts no more."""
        if self.person != other.person:
            boxes = self.box is not None and other.box is not None
            return boxes and self.is_person and other.is_person and same_face(self.box, other.box)
        if self.box is None and not self.is_person:
            return other.is_person or other.box is None
        if other.box is None and not other.is_person:
            return self.is_person
        return same_face(self.box, other.box)


@dataclass(frozen=True, slots=True)
class Ignored:
    """That the user does not care about a face, which is a stranger's; or does again. It is said of no person."""

    digest: bytes
    box: RelativeBox
    in_group: bool
    """Whether that was said of its whole group: a face that joins an ignored group is ignored too."""
    at: float | None = None
    """When that was said, as Unix time; None of what is to be said now."""
    is_ignored: bool = True
    """False: it is not ignored any more, even where its group is."""

    def contradicts(self, other: Ignored) -> bool:
        """Whether this and another are about one face of a photo, and only one of them says that it is ignored."""
        return self.is_ignored != other.is_ignored and same_face(self.box, other.box)


def same_face(one: RelativeBox | None, other: RelativeBox | None) -> bool:
    """Whether two boxes on one photo are of one face, or both name no face."""
    if one is None or other is None:
        return one is other
    return one.overlap(other) >= SAME_FACE


def added(said: Iterable[Statement], new: Statement) -> tuple[Statement, ...]:
    """Return what counts of one photo once a new statement is said after the others."""
    return (*(statement for statement in said if not new.replaces(statement)), new)


class Ledger:
    """What counts, while statements are made and people are merged one after another."""

    def __init__(self, known: Mapping[int, Statement] | None = None) -> None:
        """``known``: statements of an earlier ledger, by id; those that are the same again are the same objects."""
        self.by_digest: dict[bytes, tuple[Statement, ...]] = {}
        """In the order of their ids."""
        self._digests: dict[int, set[bytes]] = {}
        """The photos on which something was said, by person."""
        self._known = known or {}

    def say(self, statement: Statement) -> None:
        """Add a statement, which is later than all before."""
        digest = statement.digest
        self.by_digest[digest] = added(self.by_digest.get(digest, ()), statement)
        self._digests.setdefault(statement.person, set()).add(digest)

    def merge(self, person: int, into: int) -> None:
        """Have everything that counts of one person be of another. Where that contradicts, the later counts."""
        digests = self._digests.pop(person, set())
        for digest in digests:
            said, self.by_digest[digest] = self.by_digest[digest], ()
            for statement in said:
                self.say(self._of(statement, into) if statement.person == person else statement)

    def _of(self, statement: Statement, person: int) -> Statement:
        known = self._known.get(statement.id)
        return known if known is not None and known.person == person else replace(statement, person=person)


def proper_name(text: str) -> str:
    """Return a name as it is kept: in Unicode's form NFC, without spaces around it. Raises `BadNameError`."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise BadNameError("a name is text in UTF-8") from exc
    name = unicodedata.normalize("NFC", text).strip()
    if not name:
        raise BadNameError("a name may not be empty")
    if len(name) > LONGEST:
        raise BadNameError(f"a name has at most {LONGEST} characters, not {len(name)}")
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in name):
        raise BadNameError("a name has no control characters and no line breaks")
    return name


def name_key(name: str) -> str:
    """Return what is equal of two names that are the same: Unicode's form NFC, without regard to case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def by_name(people: Iterable[Person]) -> Sequence[Person]:
    """Return people in the order of their names."""
    return sorted(people, key=lambda person: (name_key(person.name), person.id))
