"""What goes to the shared engine and what comes back from it.

Every row of the engine has one owner, the machine that sent it. A machine sends what is true of a content now, not what
was done to it: so sending the same again changes nothing, and what was lost on the way is made up for by the next time.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from facewatchd.matches import Box
from facewatchd.values import Look, Taken

if TYPE_CHECKING:
    from facewatchd.store.embedded import Embedded
    from facewatchd.values import Embedding

FINGERPRINT_BYTES: Final = 16
AWAY: Final = 600.0
"""Seconds after which a machine that was not heard of counts as switched off."""
_OTHER_NAME: Final = "choose another [shared] name"


def name_taken(name: str, as_of_s: float) -> tuple[str, str]:
    """Return what is the matter where another machine has this one's name, and what to do.

    One that runs is not to be removed: all would take this machine for it. ``as_of_s``: seconds since it was heard of.
    """
    if as_of_s < AWAY:
        minutes = round(AWAY / 60)
        return f"another machine is called {name}, and runs: heard of in the last {minutes} minutes", _OTHER_NAME
    return f"another machine is called {name}", f"{_OTHER_NAME}; or, if it is gone, `facewatchd shared remove {name}`"


@dataclass(frozen=True, eq=False)
class SharedContent:
    """What is true of one content on the machine that sends it."""

    digest: bytes
    embedded: Embedded | None = None
    """None: the content is gone, as it is without ``paths``."""
    face_ids: tuple[int, ...] = ()
    """The ids in the catalog of the machine, in the order of ``embedded.faces``."""
    paths: tuple[bytes, ...] = ()
    """The photos that show it, by name."""
    written: int = 0
    """When the earliest of them was last written to: `Stamp.mtime_ns`. Others date the content by it where no date is
    in its bytes; else it is 0."""

    @property
    def is_gone(self) -> bool:
        return self.embedded is None or not self.paths

    @cached_property
    def fingerprint(self) -> bytes:
        """The same for contents that differ in nothing but the paths: `FINGERPRINT_BYTES`. Empty of one that is gone.

        The engine keeps it, so a content that was only renamed or copied is not written again.
        """
        if self.embedded is None:
            return b""
        known = blake2b(digest_size=FINGERPRINT_BYTES)
        one, taken = self.embedded, self.embedded.taken
        known.update(struct.pack("<qqq?q", one.width, one.height, one.second_look, one.is_dated, self.written))
        for part in (one.picture, None if taken is None else repr(tuple(taken)).encode()):
            known.update(b"-" if part is None else struct.pack("<I", len(part)) + part)
        for face_id, face in zip(self.face_ids, one.faces, strict=True):
            known.update(struct.pack("<qqqqqd", face_id, *face.box, face.score))
            known.update(f"{face.norm!r} {face.look} {face.sharpness!r} ".encode())
            known.update(np.asarray(face.landmarks, "<f4").tobytes())
            known.update(np.asarray(face.embedding, "<f4").tobytes())
        return known.digest()


@dataclass(frozen=True, slots=True)
class Attached:
    """That a machine sends from now on, and no other process in its name."""

    epoch: int
    """Counts how often that was said. What is sent with an earlier one is refused."""
    is_known: bool
    """Whether the engine has what this catalog sent last. Where not, it or the catalog was restored from a backup, or
    nothing was sent yet: the digests are to be compared (`engine.Engine.digests`)."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push changed in the engine."""

    written: int = 0
    """Contents whose faces were written."""
    deleted: int = 0
    """Contents that were deleted."""
    renamed: int = 0
    """Paths that were written or deleted of contents whose faces stayed."""


@dataclass(frozen=True, slots=True)
class MachineState:
    """A machine that sends to the engine, as the engine knows it."""

    key: int
    """What `FoundContent.machine` says."""
    name: str
    faces: int
    photos: int
    backlog: int
    """Contents that still were to be sent after its last push,"""
    pending: int
    """and files that still were to be looked at."""
    as_of_s: float
    """Seconds since its last push, by the engine's clock."""
    is_self: bool

    @property
    def is_late(self) -> bool:
        """Whether it runs, and has photos that are not in the engine yet: nobody waits for one that is switched off."""
        return bool(self.backlog or self.pending) and self.as_of_s < AWAY


class Whose(StrEnum):
    """The faces that are asked for. The rest counts as little as if it were not there."""

    OTHERS = "others"
    """Of all machines but this one."""
    OWN = "own"
    ALL = "all"


class Detail(StrEnum):
    """What is told of the contents on which the faces are."""

    HITS = "hits"
    """Nothing: only the faces' ids and similarities."""
    CONTENTS = "contents"
    """Everything but embeddings and landmarks."""
    EMBEDDINGS = "embeddings"
    """The embeddings of the faces that were found too; those of the others on these contents `Whole` has."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """A face on a content that was found."""

    face_id: int
    """In the catalog of the machine."""
    box: Box
    score: float
    norm: float | None
    look: Look
    sharpness: float | None
    embedding: Embedding | None = None
    """None unless it was asked for and the face was found. Half precision: a similarity errs by up to 0.00017."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundContent:
    """A content of one machine; another machine may have the same digest."""

    machine: int
    """`MachineState.key`."""
    digest: bytes
    paths: tuple[bytes, ...]
    """One or more, by name."""
    width: int
    height: int
    second_look: int
    taken: Taken | None
    is_dated: bool
    picture: bytes | None
    faces: tuple[FoundFace, ...]
    written: int = 0
    """`SharedContent.written`."""


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """The faces from a threshold on, the most alike first. Arrays of shape (n,)."""

    contents: NDArray[np.int64]
    """Indices into `Near.contents`, -1 with `Detail.HITS`,"""
    faces: NDArray[np.int64]
    """and into the content's faces."""
    face_ids: NDArray[np.int64]
    """`FoundFace.face_id`."""
    similarities: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """What the engine knows of faces that are alike to some."""

    machines: tuple[MachineState, ...] = ()
    """All that send to it, by name."""
    contents: tuple[FoundContent, ...] = ()
    hits: tuple[Hits, ...] = ()
    """One for each embedding."""
    cut: bool = False
    """Whether there are more faces from a threshold on than were asked for."""
    exact: bool = False
    """Whether every face was compared."""
    left_out: int = 0
    """Contents that are not among them because what their machine wrote cannot be true."""
    lineage: str = ""
    """Of this machine's last push, where its own faces were asked for; empty where there was none."""


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """Contents with all that another machine knows of them, to be recorded here."""

    contents: Sequence[Embedded] = field(default_factory=tuple)
    left_out: int = 0
    """As `Near.left_out`."""
