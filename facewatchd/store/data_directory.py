"""The data directory: its lock, what the last run was started with, and room that is kept free for the next start.

Each model has a directory of its own below it, with a catalog and an index.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from facewatchd.errors import DamagedError, LockedError, StorageError, UsageError
from facewatchd.store import recovery
from facewatchd.store.catalog import Catalog
from facewatchd.system import atomic_files, ownership
from facewatchd.threads.bounded_calls import DiskCalls, NotAnsweringError
from facewatchd.values import ModelInfo

log = logging.getLogger(__name__)

MACHINE = "machine"
"""Name of the file with the id of this machine."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """What the daemon was last started with in a data directory."""

    pack: str | None = None
    """The name or the directory of the model."""
    directories: tuple[str, ...] = ()

    @classmethod
    def of(cls, data_dir: Path) -> LastRun:
        """Read what `remember` wrote; empty where there is none, or it cannot be read."""
        try:
            document = json.loads(atomic_files.read(data_dir / "last-run.json"))
            return cls(str(document["pack"]), tuple(map(str, document["directories"])))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def remember(self, data_dir: Path) -> None:
        """Write it for the next run. Raises OSError."""
        document = json.dumps({"pack": self.pack, "directories": self.directories}) + "\n"
        atomic_files.write(data_dir / "last-run.json", document.encode("ascii"))

    def expect(self, directories: Sequence[Path]) -> None:
        """Raise `UsageError` for a directory that does not exist and that the last run did not have: a misspelt one."""
        for directory in directories:
            if str(directory) not in self.directories and not _may_be_there(directory):
                raise UsageError(f"there is no directory {directory}", "check its name, or mount its disk")


def machine_id(data_dir: Path) -> str:
    """The id under which a shared engine knows this data directory, as 32 hexadecimal digits; made at the first call.

    It is one for all models, and stays when a catalog is made anew. Raises `StorageError`.
    """
    path = data_dir / MACHINE
    try:
        if known := known_machine_id(data_dir):
            return known
        if os.path.lexists(path):
            log.warning(
                "%s holds no id of a machine: a new one is made; what a shared engine has under the old one stays "
                "there until it is removed (facewatchd shared machines)",
                path,
            )
        made = uuid.uuid4().hex
        atomic_files.write(path, f"{made}\n".encode("ascii"))
    except OSError as exc:
        raise unusable(path.parent, exc) from exc
    return made


def known_machine_id(data_dir: Path) -> str:
    """What `machine_id` made; empty where there is none. Raises OSError for a file that cannot be read."""
    with contextlib.suppress(FileNotFoundError):
        found = atomic_files.read(data_dir / MACHINE).strip()
        if re.fullmatch(rb"[0-9a-f]{32}", found):
            return found.decode("ascii")
    return ""


def told_of_removed_model(data_dir: Path, name: str, now: str) -> str:
    """One line on the data of a model that this version has no more, and that nothing will read or delete."""
    size = 0
    with contextlib.suppress(OSError):
        size = sum(path.stat().st_size for path in data_dir.glob(f"{name}-*/*") if path.is_file())
    return (
        f"the model {name} is not part of facewatchd any more: all photos are indexed again with {now}; its data, "
        f"{data_dir}/{name}-* ({size / 1e6:.0f} MB), is not used and can be deleted"
    )


def _may_be_there(path: Path) -> bool:
    """Whether a path exists, or its disk does not answer."""
    try:
        return DiskCalls().run(os.fsencode(path), lambda: os.path.lexists(path))
    except NotAnsweringError:
        return True


class Reserve:
    """A file that takes 2 MB, and is deleted when the disk is full, so that the daemon can start and answer."""

    SIZE = 2 << 20

    def __init__(self, path: Path) -> None:
        self._path = path

    def fill(self) -> None:
        """Write the file, where it is missing and four times its size is free."""
        with contextlib.suppress(OSError):
            if os.path.lexists(self._path) or shutil.disk_usage(self._path.parent).free < 4 * self.SIZE:
                return
            with open(atomic_files.create(self._path), "wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, self.SIZE)
                except OSError:  # an empty file would count as the reserve
                    self._path.unlink()

    def release_if_full(self) -> None:
        """Delete the file where less than its size is free."""
        with contextlib.suppress(OSError):
            if shutil.disk_usage(self._path.parent).free < self.SIZE:
                self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Make the directory where it is missing, and hold its lock.

    Raises `LockedError` where another daemon holds it, and `StorageError` where other users may change its files.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        ownership.check_directory(data_dir)
        ownership.check_files(data_dir, ("lock", "last-run.json", "reserve", MACHINE))
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(data_dir / "lock", flags, 0o600)
    except OSError as exc:
        raise unusable(data_dir, exc) from exc
    try:
        _lock(descriptor, data_dir)
        yield
    finally:
        os.close(descriptor)


def unusable(directory: Path, exc: OSError) -> StorageError:
    """The error for a directory that could not be made, or used for data."""
    if not isinstance(exc, FileExistsError):
        return StorageError(
            f"cannot use {directory} for data: {exc.strerror}", "check it and its disk, or name another --data-dir"
        )
    place = Path(exc.filename or directory)
    try:
        what = atomic_files.kind(os.stat(place).st_mode) or "a file"
    except OSError:
        what = f"a link to {os.path.realpath(place)}, which is not there"
    return StorageError(f"{place} is {what}: a directory should be there", "move it away, or name another --data-dir")


def check_model_directory(directory: Path) -> None:
    """Raise `StorageError` where other users may change the data of a model, or it is no regular files."""
    ownership.check_directory(directory)
    databases = [f"{name}.sqlite3{suffix}" for name in ("catalog", "thumbnails") for suffix in ("", "-wal", "-shm")]
    ownership.check_files(directory, (*databases, "index.hnsw", "index.json", "heartbeat"))


def _lock(descriptor: int, data_dir: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise LockedError(f"another daemon holds {data_dir}", "stop it first, or name another --data-dir") from exc
    except OSError as exc:
        raise StorageError(f"cannot lock {data_dir}: {exc.strerror}", "keep the data on a local disk") from exc


def open_catalog(path: Path, model: ModelInfo, *, sends: bool = False) -> Catalog:
    """Open the catalog; one that is damaged is set aside, never overwritten, and a new one begun.

    ``sends``: as `Catalog` has it.
    """
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        check_model_directory(path.parent)
        return Catalog(path, model.id, model.dim, sends=sends)
    except OSError as exc:
        raise unusable(path.parent, exc) from exc
    except DamagedError as exc:
        aside = recovery.spare_name(path, "damaged")
        log.error("%s; it is kept as %s, and everything is indexed anew", exc.message, aside)
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return Catalog(path, model.id, model.dim, sends=sends)
