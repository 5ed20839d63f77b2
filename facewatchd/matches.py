"""The matches of a query.

Named tuples, in a module without other imports: importing `dataclasses` would delay each start of facewatch-query.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in whole pixels of the full-size upright image, clipped to it."""

    x: int
    y: int
    w: int
    h: int


def overlap(one: Box, other: Box) -> float:
    """The area that two boxes share, as a part of the area that they cover together."""
    wide = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    tall = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    shared = max(wide, 0) * max(tall, 0)
    return shared / max(one.w * one.h + other.w * other.h - shared, 1)


MTIME = "mtime"
"""Said of a date that only the file's modification time gives."""
TOO_BLURRED = "too blurred to tell"
"""Said of a face that matches nothing, unless it was asked for."""


CONFIRMED = "confirmed"
"""The verdict of the user, who said whose face it is."""


class Name(NamedTuple):
    """Who a face is, of the people that have names."""

    name: str
    """Empty where it is nobody with a name."""
    similarity: float | None
    """None where only the user's word tells it, or nobody is."""
    verdict: str
    """How sure it is, in a word."""
    confirmed: bool
    """Whether the user said so."""
    runner_up: str = ""
    """The next person, or of a face that is nobody's the nearest; empty where there is none."""
    runner_up_similarity: float | None = None


class Place(NamedTuple):
    """Where a photo is; one of another machine can only be named here."""

    host: str
    """The machine's name; empty: this one."""
    path: bytes

    @property
    def name(self) -> bytes:
        """As it is written: its path, and of another machine ``nas:/srv/x.jpg``."""
        return self.host.encode("utf-8", "replace") + b":" + self.path if self.host else self.path

    @classmethod
    def named(cls, name: bytes) -> Place:
        """Read `name`: a path begins with a slash, and the name of a machine has none."""
        if name.startswith(b"/"):
            return cls("", name)
        host, _, path = name.partition(b":")
        return cls(host.decode(), path)


class PhotoFace(NamedTuple):
    """A face on a photo that was only looked at."""

    box: Box
    score: float
    quality: str = ""
    """What can be said against it, in words."""
    who: Name | None = None
    """None where that was not asked for."""


class Also(NamedTuple):
    """The face on a photo that is most similar to one of the query faces."""

    of: int
    """Index of that query face."""
    similarity: float
    box: Box
    score: float
    face_id: int | None
    """None on a photo of another machine."""
    norm: float | None = None
    """See `values.Face.norm`."""


class Term(NamedTuple):
    """What a photo has for one of several people who are asked for together.

    A person who stands on the photo without a face has no similarity, box, score and face. A face on a photo of another
    machine has no id.
    """

    similarity: float | None
    box: Box | None
    score: float | None
    face_id: int | None
    of: int | None = 0
    """Index of the query face of that person that it matches; None without a face."""
    norm: float | None = None
    """See `values.Face.norm`."""
    person: str = ""
    """The name of the person who is asked for, else of the one whose face the user said that it is."""
    confirmed: bool = False
    """Whether the user said that it is the person who is asked for."""


class Match(NamedTuple):
    """A photo that answers a query, with its best face.

    Of a person who stands on the photo without a face there is no similarity, box, score and face. A face has no id
    where no photo of this machine shows it.
    """

    path: bytes
    similarity: float | None
    """Of several people who are asked for together, the least one's."""
    box: Box | None
    score: float | None
    face_id: int | None
    of: int | None = 0
    """Index of the query face that this one matches; None for a query by embedding."""
    itself: bool = False
    """Whether it has the bytes of a query photo."""
    copies: tuple[bytes, ...] = ()
    """Other photos with the same bytes, by name."""
    also: tuple[Also, ...] = ()
    """With ``--face all``: the faces on it that match other query faces."""
    norm: float | None = None
    """See `values.Face.norm`."""
    verdict: str = ""
    """How sure it is that it shows the person, in a word; empty where that was not asked for."""
    reasons: tuple[str, ...] = ()
    """Why it may be wrong, a few words each."""
    person: str = ""
    """As `Term.person`, of the person who is asked for first."""
    confirmed: bool = False
    """Whether the user said that it is everyone who is asked for."""
    terms: tuple[Term, ...] = ()
    """With others who are to be on the photo: each person's own face, in the order in which they were asked for."""
    taken: str = ""
    """When the photo was taken: `values.Taken.text`."""
    taken_from: str = ""
    """What says so: one of `values.TakenFrom`."""
    similar: tuple[bytes, ...] = ()
    """The other frames of its burst, by name."""
    host: str = ""
    """The machine that has the photo; empty: this one."""
    elsewhere: tuple[Place, ...] = ()
    """Photos of other machines with the same bytes,"""
    similar_elsewhere: tuple[Place, ...] = ()
    """and the frames of its burst that only other machines have."""
    size: tuple[int, int] = (0, 0)
    """Pixels of a photo of another machine, upright; zeros where that is not known."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The machines beside its own that have a photo with the same bytes; this one is not among them."""
        return tuple(dict.fromkeys(each.host for each in self.elsewhere if each.host != self.host))

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes of all its faces that answer: of everyone who was asked for together, or its own; empty without."""
        return tuple(face.box for face in (self.terms or (self,)) if face.box is not None)

    @property
    def name(self) -> bytes:
        """The photo as it is written: its path, and of another machine ``nas:/srv/x.jpg``.

        It tells photos apart: two machines may have different ones at one path.
        """
        return Place(self.host, self.path).name

    @property
    def day(self) -> str:
        """The day on which it was taken; ``~`` stands behind one that only the file's modification time says."""
        return self.taken[:10] + ("~" if self.taken_from == MTIME else "")


def any_date(matches: Iterable[Match]) -> bool:
    """Whether a photo, its name or a file beside it says when it was taken."""
    return any(match.taken and match.taken_from != MTIME for match in matches)


def any_other_person(matches: Iterable[Match], asked: Collection[str]) -> bool:
    """Whether there are names beside those that were asked for, which say nothing."""
    return bool({match.person for match in matches} - {"", *asked})
