"""A checkpoint of the index: two files, and the question whether they may be believed.

``index.hnsw`` is hnswlib's, ``index.json`` the manifest that says what it is: from which catalog, up to which face id,
of how many dimensions, with which digest, which of its nodes are deleted, and which stand for several faces. The
manifest bears a digest of itself.

Saving renames the manifest first. So that a crash before the index is renamed too leaves a pair that fits, the manifest
also describes the index that it finds in place, but only one that was loaded and found right, or saved, by this very
process: an index that was refused must not come back under the name of the one that was to take its place.

The index is written by a `ForkedCopy` of this process, so that nobody waits for hnswlib, nor for the disk.

What is refused is deleted at once. It stays wrong, but may look right later: a catalog from a backup gives the ids of
the faces that it lost to others, and then no id is missing any more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import DamagedError, StorageError
from facewatchd.store import graph
from facewatchd.store.graph import Graph, Labels
from facewatchd.system import atomic_files
from facewatchd.system.forked import ForkedCopy

FORMAT = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """Which catalog, and which state of it, a checkpoint was made from."""

    catalog: str
    last_face_id: int


class Checkpoint:
    """The files in a directory. One thread uses it."""

    def __init__(self, directory: Path) -> None:
        self._index = directory / "index.hnsw"
        self._manifest = directory / "index.json"
        self._in_place: dict[str, Any] | None = None
        """The manifest's entry of the index that lies there; None unless this process trusts it."""

    def save(self, index: Graph, origin: Origin, keep_on: Callable[[], bool] = lambda: True) -> None:
        """Write the index and rename it into place. Raises `StorageError`; the one before then stays.

        So it does when ``keep_on`` says that it is not wanted any more.
        """
        temporary = atomic_files.aside(self._index)
        try:
            with index.at_rest() as labels:
                # What was recorded since `origin` was asked for is in the catalog, and may be in the index.
                last_face_id = max(origin.last_face_id, index.last_id)
                unsaved, copy = index.unsaved, ForkedCopy(lambda: _written(index, temporary))
            entry = {**copy.result(keep_on), "tombstones": labels.tombstones, "groups": labels.groups}
            entry["clean_at"] = int(labels.clean_at)  # the seal is of what is read: each digit counts
            manifest = {
                "format": FORMAT,
                "dim": index.dim,
                "catalog": origin.catalog,
                "last_face_id": last_face_id,
                "entries": [entry, self._in_place] if self._in_place else [entry],
            }
            atomic_files.write(self._manifest, _sealed(manifest))
            atomic_files.put(temporary, self._index)
            self._in_place = entry
            index.unsaved -= unsaved
        except OSError as exc:
            raise StorageError(f"cannot write the index: {exc}", "free some disk space") from exc
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def load(self, dim: int, origin: Origin) -> Graph:
        """Read the index. Raises `DamagedError`, with the reason, for one that is not to be trusted.

        ``origin`` is the catalog as it is now: a checkpoint of another catalog does not fit, nor does one that
        knows ids which the catalog has yet to give (the catalog was restored from a backup). Whether the vectors are
        the catalog's is for the caller to see, by `stored`, and to `discard` it where they are not.
        """
        self._remove_unfinished()
        manifest = self._read_manifest()
        if (manifest["format"], manifest["dim"]) != (FORMAT, dim):
            raise DamagedError("the index is of another format or dimension")
        if manifest["catalog"] != origin.catalog or manifest["last_face_id"] > origin.last_face_id:
            raise DamagedError("the index was made from another catalog, or from a later state of this one")
        with _translated():
            entry = self._entry_of_index(manifest["entries"])
            index = Graph.read(self._index, dim, Labels(entry["tombstones"], entry["groups"], entry["clean_at"]))
        self._in_place = entry
        return index

    def stored(self, dim: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """What lies in the index's file, as `graph.stored` gives it. Raises `DamagedError`."""
        with _translated():
            yield from graph.stored(self._index, dim)

    def discard(self) -> None:
        """Delete the files, the manifest first, as well as it goes."""
        self._in_place = None
        for path in (self._manifest, self._index):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                atomic_files.sync(path.parent)

    def _remove_unfinished(self) -> None:
        """Delete what a process that was killed left half written: it may hold faces that were deleted since."""
        for path in (self._manifest, self._index):
            with contextlib.suppress(OSError):
                atomic_files.aside(path).unlink(missing_ok=True)

    def _read_manifest(self) -> dict[str, Any]:
        try:
            document = json.loads(atomic_files.read(self._manifest))
            manifest = document["manifest"]
            whole = isinstance(manifest, dict) and document["digest"] == _seal(manifest)
        except FileNotFoundError as exc:
            raise DamagedError("there is no index yet") from exc
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
            raise DamagedError(f"the index's manifest cannot be read ({exc})") from exc
        if not whole:
            raise DamagedError("the index's manifest is damaged")
        return dict(manifest)

    def _entry_of_index(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        """The entry that describes the file in place. Raises OSError, and `DamagedError` where there is none."""
        status = self._index.lstat()
        if odd := atomic_files.kind(status.st_mode):
            raise DamagedError(f"the index is {odd}")
        size = status.st_size
        candidates = [entry for entry in entries if entry["size"] == size]
        digest = _digest(self._index) if candidates else ""
        for entry in candidates:
            if entry["digest"] == digest:
                return entry
        raise DamagedError("the index is not the one that its manifest describes")


def _written(index: Graph, path: Path) -> dict[str, Any]:
    """Write the index to a new file. hnswlib opens it by name: by the descriptor's, which leads nowhere else."""
    descriptor = atomic_files.create(path)
    try:
        name = Path(f"/proc/self/fd/{descriptor}")
        size = index.write(name)
        digest = _digest(name)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return {"digest": digest, "size": size}


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise DamagedError(f"the index cannot be read ({exc.strerror})") from exc


def _sealed(manifest: dict[str, Any]) -> bytes:
    return json.dumps({"manifest": manifest, "digest": _seal(manifest)}).encode()


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(manifest, sort_keys=True).encode(), digest_size=32).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
