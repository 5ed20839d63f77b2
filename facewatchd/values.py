"""The frozen values that cross module boundaries.

Units are in the names: pixels for boxes, seconds for times, ``_ns`` for nanoseconds. Paths are bytes, as the
file system has them (``os.fsencode``), and absolute.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING, NamedTuple

from facewatchd.matches import Box

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Embedding = NDArray[np.float32]
    """Shape (dim,), unit length."""
    Landmarks = NDArray[np.float32]
    """Shape (5, 2): x and y in pixels of the eyes, the nose and the corners of the mouth, the left one of two first,
    as it is seen where the face is upright."""
    Pixels = NDArray[np.uint8]
    """Shape (height, width, 3), RGB, upright."""
    Norms = NDArray[np.float64]
    """Shape (n,): `Face.norm` of each face, infinite where it is not known."""


class Stamp(NamedTuple):
    """What the file system says of a file's bytes: equal stamps mean that they need not be read again."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """Take the stamp from ``os.stat``, each number wrapped into SQLite's signed 64 bits (times after 2262 too)."""
        return cls(
            _signed(status.st_dev),
            _signed(status.st_ino),
            _signed(status.st_size),
            _signed(status.st_mtime_ns),
            _signed(status.st_ctime_ns),
        )

    def same_bytes(self, other: Stamp | None) -> bool:
        """Whether the bytes are those of ``other``.

        The device is left out: its number may change between boots and mounts, and inode, size, mtime and
        ctime (in nanoseconds) together do not repeat on another disk.
        """
        return other is not None and self[1:] == other[1:]


class Identity(NamedTuple):
    """Which directory a path leads to."""

    device: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        return cls(_signed(status.st_dev), _signed(status.st_ino))


def _signed(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether the path is the directory or lies below it."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")


class Look(StrEnum):
    """How a photo was shown to the model when a face was found on it: turned is clockwise, by so many degrees."""

    FIRST = "first"
    """Whole and upright, as every photo is at first."""
    TURNED_90 = "turned-90"
    TURNED_180 = "turned-180"
    TURNED_270 = "turned-270"
    TILE = "tile"
    """A part of it, upright and larger than the detector saw it in the whole photo."""


class Ways(IntFlag):
    """The ways in which a photo is worth a second look."""

    NONE = 0
    TURNED = 1
    TILES = 2
    BOTH = 3

    @property
    def looks(self) -> frozenset[Look]:
        """The looks that such a second look consists of."""
        turned = {Look.TURNED_90, Look.TURNED_180, Look.TURNED_270} if self & Ways.TURNED else set()
        return frozenset(turned | ({Look.TILE} if self & Ways.TILES else set()))


class TakenFrom(StrEnum):
    """Where the date of a photo is from, the best first."""

    EXIF = "exif"
    """When it was taken, or else digitized, in EXIF data."""
    XMP = "xmp"
    """When it was created, in XMP data."""
    NAME = "name"
    """A date in the name of its file."""
    EXIF_MODIFIED = "exif-modified"
    """When it was last changed, in EXIF data: nothing else is there. Users are told `EXIF`."""
    MTIME = "mtime"
    """When its file was last written to."""

    @property
    def told(self) -> str:
        """As users are told: ``exif``, ``xmp``, ``name`` or ``mtime``."""
        return str(TakenFrom.EXIF if self is TakenFrom.EXIF_MODIFIED else self)


class Taken(NamedTuple):
    """When a photo was taken, as a clock on the wall showed it there."""

    at: float
    """Seconds from 1970-01-01 00:00:00 to then on that clock, whatever the time zone. Where only the day is known, its
    begin; midnight as a time of day is a little later (`photos.taken`)."""
    offset: int | None
    """Minutes by which that clock was ahead of UTC; None where that is not known."""
    source: TakenFrom

    @property
    def text(self) -> str:
        """Like 2019-06-30T12:00:00, and +02:00 behind it where the offset is known."""
        moment = datetime(1970, 1, 1) + timedelta(seconds=math.floor(self.at))  # noqa: DTZ001 - a clock on a wall
        if self.offset is None:
            return moment.isoformat()
        hours, minutes = divmod(abs(self.offset), 60)
        return f"{moment.isoformat()}{'-' if self.offset < 0 else '+'}{hours:02}:{minutes:02}"

    @property
    def day(self) -> str:
        """Like 2019-06-30."""
        return self.text[:10]

    @property
    def has_time(self) -> bool:
        """Whether the time of day is known."""
        return self.at % 86400 > 0


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face with its embedding."""

    box: Box
    score: float
    landmarks: Landmarks
    embedding: Embedding
    norm: float | None = None
    """Length of the embedding as the recogniser gave it: the less, the less the recogniser saw. None where it is not
    known: the face was recorded by an earlier version, or the recogniser scales its embeddings itself."""
    look: Look = Look.FIRST
    sharpness: float | None = None
    """How much detail the aligned face has: `models.pipeline.sharpness_of`. None where it is not known."""


CANNOT_READ = "the file cannot be read"
"""How the error of a photo begins for which disk or permissions are to blame, not what is in the file."""


class PhotoState(StrEnum):
    """The state of one file, in the words of facewatchd-protocol(7)."""

    INDEXED = "indexed"
    PENDING = "pending"
    NO_FACE = "no-face"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"
    EXCLUDED = "excluded"
    UNKNOWN = "unknown"


LISTED_STATES = tuple(state for state in PhotoState if state is not PhotoState.UNKNOWN)
"""The states whose files can be listed: an unknown file has not been noticed."""


class RootState(StrEnum):
    """How a watched directory is followed, or why it is not."""

    WATCHING = "watching"
    POLLING = "polling"
    OFFLINE = "offline"
    UNREADABLE = "unreadable"


class DaemonState(StrEnum):
    """What the daemon is doing."""

    STARTING = "starting"
    INDEXING = "indexing"
    IDLE = "idle"
    PAUSED = "paused"
    DEGRADED = "degraded"


SMALL_SIDE = 32
"""Pixels of a box's shorter side below which a face is small: 17 faces, sharp and of 100 pixels or more, were scaled
down, and the median similarity to themselves was 0.97 at 40 pixels, 0.94 at 32, 0.85 at 24 and 0.75 at 20 (SCRFD 2.5G
with MobileFaceNet)."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What the norms of a recogniser's embeddings tell: how much more similarity is asked for, the less it saw.

    Two faces match from the model's threshold on, and as much above it as the two of them together are blurred
    (`extra`). `python -m tests.benchmarks.thresholds` measures the three numbers. A norm that is not known is infinite.
    """

    clear: float
    """Norm from which on a face needs nothing more."""
    slope: float
    """What each unit of norm below that adds to the threshold."""
    floor: float
    """Norm below which a face cannot be told from others. It adds what the floor does."""

    def extra(self, norm: float | None) -> float:
        """Return what a face adds to the threshold."""
        return 0.0 if norm is None else self.slope * max(0.0, self.clear - max(norm, self.floor))

    def extras(self, norms: Norms) -> Norms:
        """Return the same for many. Shape (n,)."""
        return self.slope * (self.clear - norms.clip(min=self.floor)).clip(min=0.0)

    def is_too_blurred(self, norm: float | None) -> bool:
        """Whether a face cannot be told from others."""
        return norm is not None and norm < self.floor


SAME_FACE = 0.8
"""Where between a model's threshold and 1 faces begin to be nearly the same: `python -m tests.benchmarks bursts`."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What names a model and tells its embeddings from another's."""

    id: str
    """The pack's name and a short digest of its weights: the name of its data directory."""
    name: str
    dim: int
    threshold: float
    """Cosine similarity from which a match counts, unless the user says otherwise."""
    quality: Quality | None = None
    """None where the norms of its embeddings were not measured: they then mean nothing."""

    @property
    def same_face(self) -> float:
        """Similarity from which two faces are nearly the same, as on two frames of one burst: see `store.bursts`."""
        return self.threshold + SAME_FACE * (1 - self.threshold)

    def quality_at(self, threshold: float) -> Quality | None:
        """The `quality` that counts in a question with this threshold.

        None below the model's own threshold: such a question also wants faces that can hardly be told.
        """
        return self.quality if threshold >= self.threshold else None
