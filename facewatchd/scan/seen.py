"""What can be at a path (`facewatchd.scan.roots.Roots.look`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from facewatchd.scan.missing_disk import Surroundings
from facewatchd.values import Stamp


@dataclass(frozen=True, slots=True)
class Excluded:
    """The path is left alone, and is no directory."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The path could not be looked at, which says nothing about whether it exists."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing is at the path."""

    around: Surroundings | None
    """None where no record depends on it, and for a path in no watched directory."""


@dataclass(frozen=True, slots=True)
class Directory:
    is_link: bool
    """Whether the path itself is a symbolic link."""


@dataclass(frozen=True, slots=True)
class File:
    """Anything but a directory; symbolic links are followed."""

    stamp: Stamp
    links: int
    """Hard links: names of the same inode."""


Seen: TypeAlias = Excluded | Unreachable | Absent | Directory | File
