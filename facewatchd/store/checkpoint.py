"""A checkpoint of the index: two files, and whether they may be used.

``index.hnsw`` is hnswlib's file. ``index.json`` is its manifest: from which catalog the index was made, up to which
face id, of how many dimensions, the digest of the file, which of its nodes are deleted, and which stand for several
faces. The manifest holds a digest of itself.

Saving renames the manifest into place first, then the index. So that a crash between the two leaves a pair that fits,
the manifest also describes the index that it replaces, but only one that this very process has loaded and found right,
or saved: an index that was refused must not be accepted under the manifest of the one that was to replace it.

hnswlib's file is written by a `ForkedCopy` of this process, so that no thread waits for hnswlib, which holds the
interpreter's lock, nor for the disk.

A file that is refused is deleted at once. It stays wrong, but may look right later: a catalog that was restored from a
backup gives the ids of the faces that it lost to others, and then no id is missing any more.
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

from facewatchd.errors import DamagedError, StorageError
from facewatchd.store.graph import Graph
from facewatchd.store.index import KeepOn, always
from facewatchd.store.stored import Labels, StoredVectors
from facewatchd.system import atomic_files
from facewatchd.system.forked import ForkedCopy

FORMAT = 4


@dataclass(frozen=True, slots=True)
class Origin:
    """The catalog, and the state of it, that a checkpoint was made from."""

    catalog: str
    last_face_id: int


class Checkpoint:
    """The files in a directory. One thread uses them."""

    def __init__(self, directory: Path) -> None:
        self._index = directory / "index.hnsw"
        self._manifest = directory / "index.json"
        self._in_place: dict[str, Any] | None = None
        """The manifest's entry of the index that lies there; None unless this process opened or saved it."""

    def save(
        self, graph: Graph, origin: Origin, keep_on: KeepOn = always, at_rest: Callable[[], object] = lambda: None
    ) -> None:
        """Write the index and rename it into place. Raises `StorageError`; the one before stays then.

        It also stays where ``keep_on`` ends the writing. ``at_rest`` is called at the moment whose state is written.
        """
        temporary = atomic_files.aside(self._index)
        try:
            with graph.at_rest() as labels:
                at_rest()
                # What was recorded since `origin` was read is in the catalog, and may be in the graph.
                last_face_id = max(origin.last_face_id, graph.last_id)
                unsaved, copy = graph.unsaved, ForkedCopy(lambda: _written(graph, temporary))
            entry = {**copy.result(keep_on), "tombstones": labels.tombstones, "groups": labels.groups}
            entry["clean_at"] = int(labels.clean_at)  # the digest is of the text that is read: each digit counts
            manifest = {
                "format": FORMAT,
                "dim": graph.dim,
                "catalog": origin.catalog,
                "last_face_id": last_face_id,
                "entries": [entry, self._in_place] if self._in_place else [entry],
            }
            atomic_files.write(self._manifest, _sealed(manifest))
            atomic_files.put(temporary, self._index)
            self._in_place = entry
            graph.unsaved -= unsaved
        except OSError as exc:
            raise StorageError(f"cannot write the index: {exc}", "free some disk space") from exc
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def open(self, dim: int, origin: Origin) -> StoredVectors:
        """Open the index's file once its digest is found right. Raises `DamagedError`, with the reason, where it is not
        to be used.

        ``origin`` is the catalog as it is now: a checkpoint of another catalog does not fit, nor does one that knows
        ids that the catalog has yet to give (the catalog was restored from a backup). Whether the embeddings are those
        of the catalog the caller must compare, and `discard` the files where they are not.
        """
        self._remove_unfinished()
        manifest = self._read_manifest()
        if (manifest["format"], manifest["dim"]) != (FORMAT, dim):
            raise DamagedError("the index is of another format or dimension")
        if manifest["catalog"] != origin.catalog or manifest["last_face_id"] > origin.last_face_id:
            raise DamagedError("the index was made from another catalog, or from a later state of this one")
        with _translated():
            self._in_place = self._entry_of_index(manifest["entries"])
        return self.stored(dim)

    def stored(self, dim: int) -> StoredVectors:
        """Open the file that was opened before, or saved. Raises `DamagedError`."""
        assert self._in_place is not None
        with _translated():
            return StoredVectors(self._index, dim, _labels(self._in_place))

    def load(self, dim: int) -> Graph:
        """Load the graph from the file that was opened, or saved. Raises `DamagedError`."""
        assert self._in_place is not None
        with _translated():
            return Graph.read(self._index, dim, _labels(self._in_place))

    def discard(self) -> None:
        """Delete the files, the manifest first; what cannot be deleted stays."""
        self._in_place = None
        for path in (self._manifest, self._index):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                atomic_files.sync(path.parent)

    def _remove_unfinished(self) -> None:
        """Delete what a killed process left half written: it may hold faces that were deleted since."""
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


def _labels(entry: dict[str, Any]) -> Labels:
    return Labels(entry["tombstones"], entry["groups"], entry["clean_at"])


def _written(graph: Graph, path: Path) -> dict[str, Any]:
    """Write the graph to a new file. hnswlib opens a name: that of the descriptor, which is sure to be this file."""
    descriptor = atomic_files.create(path)
    try:
        name = Path(f"/proc/self/fd/{descriptor}")
        size = graph.write(name)
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
