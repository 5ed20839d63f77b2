"""Random changes to photos, of which an account is kept: what is on the disk is known without a look at it.

A `Churner` owns some persons of the pack ``tiny`` and directories of its own in each root; only it writes
photos of these persons. So what a query for one of them must answer is known at every moment, whatever the others do.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.albums import shoot

NOBODY = 0
ALIKE = 0.6
"""A threshold for queries: of a thousand photos one is, by the noise around the face, above the pack's for another."""
SIZE = 32 << 10
"""Bytes of every photo, so that one can take another's place without a change in size: zeros follow the picture."""
CUT = 3 << 10
"""Where a photo that is half written ends: before the picture does."""
SUFFIXES = (".jpg", ".jpg", ".jpg", ".JPG", ".png", "")
"""What a photo's name may end with: a photo is told by what is in it."""
MOST = 40
"""Photos of one churner, about."""


@dataclass(frozen=True)
class Written:
    """A file with a photo's name."""

    person: int | None
    """The person whose face it shows; None where it is no picture, or not yet."""
    rest: bytes = b""
    """Bytes that are still to be written."""
    becomes: int = NOBODY
    """The person on it once they are written."""


class Churner:
    """Changes files, one `step` after the other. Not for several threads."""

    def __init__(self, number: int, roots: Sequence[Path], outside: Path, persons: Sequence[int], seed: int) -> None:
        """``outside``: a directory of its own on the same file system, that is not watched."""
        self.persons = persons
        self.files: dict[Path, Written] = {}
        self._random = random.Random(f"{seed} {number}")
        self._number = number
        self._count = itertools.count()
        self._outside = outside
        self._homes = [place for root in roots for place in (root / f"of {number}", root / "shared", root)]
        for place in (outside, *self._homes):
            place.mkdir(parents=True, exist_ok=True)
        self._directories: list[Path] = []
        """Directories that this churner made; no other writes there."""
        self._original = outside / "original.jpg"
        self._original.write_bytes(self._picture(persons[0]))
        steps = [self._create, self._copy, self._replace, self._replace_in_place, self._rename, self._delete]
        rarely = [self._swap, self._link, self._symlink, self._touch, self._chmod, self._spoil, self._begin, self._end]
        directories = [self._make_directory, self._bring_directory, self._move_directory, self._delete_directory]
        self._steps: list[Callable[[], object]] = [*3 * steps, *rarely, *directories, self._take_directory]

    def step(self) -> str:
        """Change something; return what was done."""
        if len(self.files) > MOST:
            step: Callable[[], object] = self._random.choice([self._delete, self._delete_directory])
        else:
            step = self._random.choice(self._steps) if len(self.files) > 1 else self._create
        step()
        return step.__name__.strip("_").replace("_", " ")

    def photos_of(self, person: int) -> set[Path]:
        """The photos that show a person just now."""
        return {path for path, file in self.files.items() if file.person == person}

    def failed(self) -> set[Path]:
        """The files that no decoder reads just now."""
        return {path for path, file in self.files.items() if file.person is None and (path.suffix or file.rest)}

    def complete(self) -> None:
        """End what was only begun."""
        for path, file in list(self.files.items()):
            if self.files[path].rest:
                self._append(path, file)

    # What the steps are made of

    def _picture(self, person: int) -> bytes:
        """A new picture: no two are the same."""
        seed = 1_000_000 * self._number + next(self._count)
        data = shoot(self._outside / "new.jpg", [person] if person else [], seed).read_bytes()
        assert CUT < len(data) < SIZE, len(data)
        return data.ljust(SIZE, b"\0")

    def _anybody(self) -> int:
        return self._random.choice([*self.persons, *self.persons, NOBODY])

    def _name(self) -> str:
        return f"{self._number} {next(self._count)}{self._random.choice(SUFFIXES)}"

    def _new_path(self) -> Path:
        return self._random.choice([*self._homes, *self._directories]) / self._name()

    def _any_file(self) -> Path:
        return self._random.choice(sorted(self.files))

    def _same_file(self, path: Path) -> list[Path]:
        """Every name of the file."""
        inode = path.lstat().st_ino
        return [other for other in self.files if other.lstat().st_ino == inode]

    def _note(self, paths: Iterable[Path], written: Written) -> None:
        self.files.update(dict.fromkeys(paths, written))

    # Files

    def _create(self) -> None:
        person, path = self._anybody(), self._new_path()
        path.write_bytes(self._picture(person))
        self.files[path] = Written(person)

    def _copy(self) -> None:
        source, path = self._any_file(), self._new_path()
        shutil.copyfile(source, path)
        self.files[path] = self.files[source]

    def _replace(self) -> None:
        """By a file written under another name, of the same size, and half the time with the same mtime."""
        path, person = self._any_file(), self._anybody()
        before = path.stat()
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_bytes(self._picture(person))
        if self._random.random() < 0.5:
            os.utime(temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
        temporary.replace(path)
        self.files[path] = Written(person)

    def _replace_in_place(self) -> None:
        path, person = self._any_file(), self._anybody()
        if path.is_symlink():
            return self._replace()
        before = path.stat()
        names = self._same_file(path)
        path.write_bytes(self._picture(person))
        if self._random.random() < 0.5:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return self._note(names, Written(person))

    def _rename(self) -> None:
        source, path = self._any_file(), self._new_path()
        source.rename(path)
        self.files[path] = self.files.pop(source)

    def _swap(self) -> None:
        one, other = self._any_file(), self._any_file()
        if one != other:
            aside = one.with_name(f".{one.name}.tmp")
            one.rename(aside)
            other.rename(one)
            aside.rename(other)
            self.files[one], self.files[other] = self.files[other], self.files[one]

    def _delete(self) -> None:
        path = self._any_file()
        path.unlink()
        del self.files[path]

    def _link(self) -> None:
        source, path = self._any_file(), self._new_path()
        if source.is_symlink():
            return self._symlink()
        path.hardlink_to(source)
        self.files[path] = self.files[source]
        return None

    def _symlink(self) -> None:
        path = self._new_path()
        path.symlink_to(self._original)
        self.files[path] = Written(self.persons[0])

    def _touch(self) -> None:
        """To now, long ago, or far ahead."""
        moment = time.time() + self._random.choice([0.0, -1e9, 1e9])
        os.utime(self._any_file(), (moment, moment))

    def _chmod(self) -> None:
        path = self._any_file()
        if not path.is_symlink():
            path.chmod(self._random.choice([0o600, 0o640, 0o644]))

    def _spoil(self) -> None:
        """A file that is no picture, whatever it is called."""
        path = self._new_path().with_suffix(".jpg")
        path.write_bytes(self._random.randbytes(self._random.choice([0, 10, 5000])))
        self.files[path] = Written(None)

    def _begin(self) -> None:
        """Half a photo."""
        path, person = self._new_path(), self._anybody()
        data = self._picture(person)
        path.write_bytes(data[:CUT])
        self.files[path] = Written(None, data[CUT:], person)

    def _end(self) -> None:
        """The rest of one."""
        for path, file in self.files.items():
            if file.rest:
                return self._append(path, file)
        return self._begin()

    def _append(self, path: Path, file: Written) -> None:
        names = self._same_file(path)
        with path.open("ab") as stream:
            stream.write(file.rest)
        self._note(names, Written(file.becomes))

    # Directories

    def _fill(self, directory: Path) -> None:
        for _ in range(self._random.randint(1, 4)):
            path = directory / self._name()
            person = self._anybody()
            path.write_bytes(self._picture(person))
            self.files[path] = Written(person)

    def _new_directory(self, below: Sequence[Path]) -> Path:
        return self._random.choice(below) / f"{self._number} {next(self._count)}"

    def _make_directory(self) -> None:
        """Three levels at once, with photos in the lowest."""
        top = self._new_directory(self._homes)
        bottom = top / "a" / "b"
        bottom.mkdir(parents=True)
        self._directories.append(top)
        self._fill(bottom)

    def _bring_directory(self) -> None:
        """One that was filled elsewhere, all at once."""
        elsewhere = self._new_directory([self._outside])
        (elsewhere / "below").mkdir(parents=True)
        self._fill(elsewhere / "below")
        self._fill(elsewhere)
        self._directories.append(elsewhere)
        self._shift(elsewhere, self._new_directory(self._homes))

    def _move_directory(self) -> None:
        if self._directories:
            self._shift(self._random.choice(self._directories), self._new_directory(self._homes))

    def _take_directory(self) -> None:
        """Out of the roots, and back with more in it under another name, or not."""
        if self._directories:
            away = self._new_directory([self._outside])
            self._shift(self._random.choice(self._directories), away)
            self._fill(away)
            if self._random.random() < 0.5:
                self._shift(away, self._new_directory(self._homes))
            else:
                self._remove(away)

    def _delete_directory(self) -> None:
        if self._directories:
            self._remove(self._random.choice(self._directories))

    def _remove(self, directory: Path) -> None:
        self._directories.remove(directory)
        for path in self._inside(directory):
            del self.files[path]
        shutil.rmtree(directory)

    def _shift(self, source: Path, target: Path) -> None:
        source.rename(target)
        self._directories[self._directories.index(source)] = target
        for path in self._inside(source):
            self.files[target / path.relative_to(source)] = self.files.pop(path)

    def _inside(self, directory: Path) -> list[Path]:
        return [path for path in self.files if path.is_relative_to(directory)]


def tree(*roots: Path) -> dict[Path, tuple[object, ...]]:
    """Every file and directory below the roots: its type and mode, size, links, times of change, and its bytes."""
    return {path: _facts(path) for root in roots for path in (root, *root.rglob("*"))}


def _facts(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    content = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
    return status.st_mode, status.st_size, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns, content
