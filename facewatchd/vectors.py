"""The hnswlib index: a disposable cache of the catalog's embeddings that finds the most alike ones quickly.

Labels are face ids, space is cosine. hnswlib asks for care (version 0.8):

- Adding, searching and resizing at the same time is unsafe: one lock is held around every call.
- A label is added once and never again; a face that is gone is a tombstone until the next rebuild.
- `knn_query` raises when it cannot reach ``k`` live elements: callers keep ``k`` well below `len`, and what is
  raised all the same is an `UnreachableError`, to which the exact scan is the answer.
- `save_index` truncates in place and does not notice a full disk, `load_index` believes whatever it reads: a
  checkpoint is written aside, measured, digested and renamed, and one that does not fit its manifest is not loaded.

A checkpoint is two files. The manifest is renamed first and names two digests, that of the index to come and that of
the one it replaces, so that a crash between the two renames leaves a pair that fits.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

from facewatchd.errors import BadEmbeddingError, DamagedError, FacewatchError, StorageError

FORMAT = 1
M = 16
EF_CONSTRUCTION = 200
EF = 200
"""Breadth of a search. At 512 dimensions and 100,000 faces M=16 and ef_construction=200 insert 2,300 faces a second."""
FIRST_CAPACITY = 1024


class UnreachableError(FacewatchError):
    """The graph does not reach as many live elements as were asked for."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Which catalog, and which state of it, a checkpoint was made from."""

    catalog: str
    last_face_id: int


class Vectors:
    """An index in memory. Shapes: ids (n,) int64, embeddings (n, dim) float32, unit length."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._lock = threading.Lock()
        self._index = _new_index(dim)
        self._index.init_index(FIRST_CAPACITY, M=M, ef_construction=EF_CONSTRUCTION)
        self._index.set_ef(EF)
        self._labels: set[int] = set()
        self._live: set[int] = set()

    def __len__(self) -> int:
        """Live elements."""
        return len(self._live)

    @property
    def tombstones(self) -> int:
        return len(self._labels) - len(self._live)

    def live_ids(self) -> set[int]:
        """A copy of the ids that a search can answer with."""
        with self._lock:
            return set(self._live)

    def labels(self) -> set[int]:
        """Live ids and tombstones."""
        with self._lock:
            return set(self._labels)

    def add(self, ids: NDArray[np.int64], embeddings: NDArray[np.float32]) -> None:
        """Add faces that were never in this index; raises `BadEmbeddingError` and adds none if one is not finite."""
        if len(ids) == 0:
            return
        if embeddings.shape != (len(ids), self.dim) or not np.isfinite(embeddings).all():
            raise BadEmbeddingError(f"embeddings must be finite and of {self.dim} dimensions")
        new = ids.tolist()
        with self._lock:
            if not self._labels.isdisjoint(new):
                raise ValueError("an id was in the index before")
            needed = len(self._labels) + len(ids)
            if needed > self._index.get_max_elements():
                self._index.resize_index(max(needed, self._index.get_max_elements() * 3 // 2))
            self._index.add_items(embeddings, ids, num_threads=1)
            self._labels.update(new)
            self._live.update(new)

    def delete(self, ids: Iterable[int]) -> None:
        """Turn faces into tombstones; ids that are not live are passed over."""
        with self._lock:
            for face_id in ids:
                if face_id in self._live:
                    self._index.mark_deleted(face_id)
                    self._live.discard(face_id)

    def nearest(self, embedding: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The ids of the ``k`` most alike and their cosine similarities, most alike first."""
        with self._lock:
            try:
                ids, distances = self._index.knn_query(embedding, k=k, num_threads=1)
            except RuntimeError as exc:
                raise UnreachableError(f"the index does not reach {k} faces") from exc
        return ids[0].astype(np.int64), np.clip(1.0 - distances[0], -1.0, 1.0)

    def get(self, ids: Iterable[int]) -> NDArray[np.float32]:
        """The stored embeddings of live ids. Shape (n, dim)."""
        with self._lock:
            return np.asarray(self._index.get_items(list(ids)), np.float32).reshape(-1, self.dim)

    # Checkpoints

    def save(self, index_path: Path, manifest_path: Path, origin: Origin) -> None:
        """Write a checkpoint and rename it into place. Raises `StorageError`; the one before then stays."""
        temporary = index_path.with_name(index_path.name + ".new")
        try:
            with self._lock:
                self._index.save_index(str(temporary))
                expected = self._index.index_file_size()
                tombstones = sorted(self._labels - self._live)
            if temporary.stat().st_size != expected:
                raise StorageError("the index was written short", "free some disk space")
            entry = {"digest": _digest(temporary), "size": expected, "tombstones": tombstones}
            _sync(temporary)
            manifest = {
                "format": FORMAT,
                "dim": self.dim,
                "catalog": origin.catalog,
                "last_face_id": origin.last_face_id,
                "entries": [entry, *_entries(manifest_path)[:1]],
            }
            _write_atomically(manifest_path, json.dumps(manifest).encode())
            temporary.replace(index_path)
            _sync(index_path.parent)
        except (OSError, RuntimeError) as exc:
            raise StorageError(f"cannot write the index: {exc}", "free some disk space") from exc
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, index_path: Path, manifest_path: Path, dim: int, origin: Origin) -> Vectors:
        """Read the checkpoint. Raises `DamagedError`, with the reason, for one that is not to be trusted.

        ``origin`` is the catalog as it is now: a checkpoint of another catalog does not fit, nor does one that
        knows ids which the catalog has yet to give (the catalog was restored from a backup).
        """
        try:
            manifest = json.loads(manifest_path.read_bytes())
            saved = Origin(manifest["catalog"], manifest["last_face_id"])
            if (manifest["format"], manifest["dim"]) != (FORMAT, dim):
                raise DamagedError("the index is of another format or dimension")
            entries = manifest["entries"]
            size = index_path.stat().st_size
        except FileNotFoundError as exc:
            raise DamagedError("there is no index yet") from exc
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise DamagedError(f"the index's manifest cannot be read ({exc})") from exc
        if saved.catalog != origin.catalog or saved.last_face_id > origin.last_face_id:
            raise DamagedError("the index was made from another catalog, or from a later state of this one")
        candidates = [entry for entry in entries if entry["size"] == size]
        digest = _digest(index_path) if candidates else ""
        for entry in candidates:
            if entry["digest"] == digest:
                return cls._load(index_path, dim, entry["tombstones"])
        raise DamagedError("the index is not the one that its manifest describes")

    @classmethod
    def _load(cls, path: Path, dim: int, tombstones: list[int]) -> Vectors:
        vectors = cls(dim)
        index = _new_index(dim)
        try:
            index.load_index(str(path))
        except RuntimeError as exc:
            raise DamagedError(f"the index cannot be loaded ({exc})") from exc
        index.set_ef(EF)
        vectors._index = index
        vectors._labels = set(index.get_ids_list())
        vectors._live = vectors._labels.difference(tombstones)
        return vectors


def _new_index(dim: int) -> Any:
    return hnswlib.Index(space="cosine", dim=dim)


def _entries(manifest_path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(manifest_path.read_bytes())["entries"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return list(entries)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(data)
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
