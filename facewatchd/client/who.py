"""WHO: what a question names a person by, as text on the command line and as a parameter of the protocol.

``PHOTO`` is a photo's largest face, ``PHOTO#N`` its Nth from the left, ``@NAME`` a person with a name, ``face:ID`` a
face of the catalog, ``group:ID`` a group of unknown faces, and ``-`` a photo on standard input. A file that exists by
that very name wins, also ``a#1.jpg`` and ``@anna``; for a name that is none of these forms no file is looked for.
Standard library only.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from facewatchd.client.query import STDIN, QueryPhoto, local_path, photo_path
from facewatchd.errors import UsageError

MAX_ID = (1 << 63) - 1
"""The largest id that a face can have in the catalog."""
_FACE_OF_PHOTO = r"(.+)#([0-9]{1,9})"
_FACE_ID = "face:"
_GROUP = "group:"
_PERSON = "@"


class Who(NamedTuple):
    """What names a person: one of ``photo``, ``person``, ``face_id`` and ``group`` is not None."""

    text: str
    """As it was given."""
    photo: str | None = None
    """A path, or ``-``."""
    face: int | None = None
    """Which face of the photo, left to right from 0; None where ``--face`` says it."""
    person: str | None = None
    face_id: int | None = None
    group: int | None = None


class Asked:
    """A WHO that is sent, with its photo where it has one."""

    def __init__(self, who: Who) -> None:
        """Open the photo; raises what `QueryPhoto` does."""
        self.who = who
        self.photo = None if who.photo is None else QueryPhoto(who.photo)

    @property
    def name(self) -> str:
        """Its name in a message."""
        return self.who.text if self.photo is None else self.photo.name

    @property
    def is_plain(self) -> bool:
        """Whether it is a photo whose face ``--face`` names, as also daemons of earlier versions take it."""
        return self.photo is not None and self.who.face is None

    def param(self) -> dict[str, Any]:
        """Return it as a parameter of a request."""
        if self.photo is not None:
            return {**self.photo.param(), **({} if self.who.face is None else {"face": self.who.face})}
        if self.who.person is not None:
            return {"person": self.who.person}
        return {"face_id": self.who.face_id} if self.who.group is None else {"group": self.who.group}


def read_who(text: str) -> Who:
    """Read one argument.

    Raises `UsageError` for an empty one, a person without a name, ``face:`` or ``group:`` without a number, and a URL
    of another machine.
    """
    if text == STDIN:
        return Who(text, photo=STDIN)
    if text.startswith(_PERSON) and not os.path.lexists(text):
        return Who(text, person=_person(text))
    if text.startswith(_FACE_ID) and not os.path.lexists(text):
        return Who(text, face_id=_number(text, _FACE_ID, "--json shows them as face_id"))
    if text.startswith(_GROUP) and not os.path.lexists(text):
        return Who(text, group=_number(text, _GROUP, "see: facewatchd people unknown"))
    if (numbered := re.fullmatch(_FACE_OF_PHOTO, text, re.DOTALL)) and not os.path.lexists(local_path(text)):
        return Who(text, photo=photo_path(numbered[1]), face=int(numbered[2]))
    return Who(text, photo=photo_path(text))


def _person(text: str) -> str:
    name = text.removeprefix(_PERSON).strip()
    if not name:
        raise UsageError("'@' stands before a person's name", "see the names: facewatchd people")
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise UsageError(f"{text} is not UTF-8, as all names of persons are", "see: facewatchd people") from exc
    return name


def _number(text: str, prefix: str, hint: str) -> int:
    number = text.removeprefix(prefix)
    if not number.isascii() or not number.isdigit() or not 0 < len(number) < 20 or int(number) > MAX_ID:
        raise UsageError(f"{text} is neither a file nor '{prefix}' and a number", hint)
    return int(number)
