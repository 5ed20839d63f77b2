"""The promise, held from outside: the catalog equals a walk of the disk, the index equals the catalog, and every
distinct content went through the model once.

Nothing here is the daemon's own code: the walk is `os.walk`, the photos are told by Pillow, the digests by hashlib, the
catalog is read with bare SQL and the index with bare hnswlib. What counts as a photo is said here again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import hnswlib
import numpy as np
from PIL import Image

from tests.support.processes import Daemon

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs", ".heic", ".heics"),
    *(".heif", ".heifs", ".hif", ".tif", ".tiff", ".bmp", ".dib", ".gif"),
)
FORMATS = {"JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF"}
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload", ".tmp", "~")
LEFT_ALONE = {b"@eadir", b"#recycle", b"@recycle", b"$recycle.bin", b"recycler", b"lost+found", b"#snapshot"}


def photos_on_disk(*roots: Path) -> dict[bytes, bytes | None]:
    """Every photo below the roots with the digest of its bytes; None where there is nothing to be read."""
    return {path: digest for root in roots for path, digest in _walk(os.fsencode(root))}


def _walk(root: bytes) -> Iterator[tuple[bytes, bytes | None]]:
    for directory, names, files in os.walk(root):
        if os.path.lexists(os.path.join(directory, b".nomedia")):
            names.clear()
            continue
        names[:] = [name for name in names if not name.startswith(b".") and name.lower() not in LEFT_ALONE]
        left_links = b".facewatch-links" in files
        for name in filter(_is_wanted, files):
            path = os.path.join(directory, name)
            if left_links and os.path.islink(path):
                continue
            if os.path.exists(path) and _is_photo(path):
                yield path, digest(path)


def _is_wanted(name: bytes) -> bool:
    text = os.fsdecode(name).lower()
    return not text.startswith(".") and not text.endswith(UNFINISHED)


def _is_photo(path: bytes) -> bool:
    if os.fsdecode(path).lower().endswith(SUFFIXES):
        return True
    if not stat.S_ISREG(os.stat(path).st_mode):
        return False
    try:
        with Image.open(os.fsdecode(path)) as image:
            return image.format in FORMATS
    except Exception:  # noqa: BLE001 - whatever Pillow says of it
        return False


def digest(path: bytes | Path) -> bytes | None:
    """The digest of a file's bytes; None for what is no file, is empty, or cannot be read."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        return None
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).digest()
    except OSError:
        return None


@dataclass(frozen=True)
class Recorded:
    """What the catalog says."""

    photos: dict[bytes, bytes | None]
    """Path to digest, where the content is known."""
    failed: set[bytes]
    faces: dict[int, bytes]
    """Id to embedding."""


def catalog_of(daemon: Daemon) -> Path:
    """The one catalog of a daemon."""
    (path,) = daemon.data.glob("*/catalog.sqlite3")
    return path


def recorded(catalog: Path) -> Recorded:
    """Read a catalog, while it is written or not."""
    with closing(sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT path, digest, coalesce(photo.error, content.error) FROM photo LEFT JOIN content"
            " ON content.id = content_id WHERE content_id IS NOT NULL OR photo.error IS NOT NULL"
        ).fetchall()
        faces = dict(db.execute("SELECT id, embedding FROM face").fetchall())
    return Recorded({path: known for path, known, _ in rows}, {path for path, _, error in rows if error}, faces)


def check_catalog(daemon: Daemon, *, failed: Iterable[Path] = ()) -> None:
    """Once all is settled, the catalog equals the disk, and just these photos failed."""
    status = daemon.settle(120)
    disk, known = photos_on_disk(*daemon.roots), recorded(catalog_of(daemon))
    _expect_equal("photos", disk.keys(), known.photos.keys())
    stale = [path for path, content in disk.items() if known.photos[path] != content]
    assert not stale, f"{len(stale)} photos have other bytes than the catalog says, {stale[:3]} among them"
    _expect_equal("failures", {os.fsencode(path) for path in failed}, known.failed)
    assert status["index"]["faces"] == len(known.faces)
    assert status["photos"] == len(disk)


def check_index(daemon: Daemon) -> None:
    """The checkpoint of a daemon that was stopped holds the catalog's faces, alive, and no others."""
    catalog = catalog_of(daemon)
    faces = recorded(catalog).faces
    path = catalog.parent / "index.hnsw"
    if not faces and not path.exists():
        return
    index = hnswlib.Index(space="cosine", dim=len(next(iter(faces.values()), b"\0" * 256)) // 4)
    index.load_index(str(path))
    alive = sorted(label for label in index.get_ids_list() if _is_alive(index, label))
    _expect_equal("nodes", set(faces) & set(alive), alive)
    if alive:
        nodes = np.array(index.get_items(alive), np.float32)
        truth = _embeddings(faces, alive)
        assert np.allclose(nodes, truth, atol=1e-3), "the index holds other embeddings than the catalog"
        _check_covered(nodes, _embeddings(faces, sorted(set(faces) - set(alive))))
    else:
        assert not faces, f"{len(faces)} faces are lost"


def _embeddings(faces: dict[int, bytes], ids: list[int]) -> np.ndarray:
    return np.array([np.frombuffer(faces[face_id], np.float32) for face_id in ids])


def _check_covered(nodes: np.ndarray, faces: np.ndarray) -> None:
    """Each face that has no node of its own has the embedding of one that there is."""
    for start in range(0, len(faces), 512):
        lost = np.count_nonzero((faces[start : start + 512] @ nodes.T).max(axis=1) < 1 - 2e-6)
        assert not lost, f"{lost} faces are lost"


def _is_alive(index: hnswlib.Index, label: int) -> bool:
    try:
        index.get_items([label])
    except RuntimeError:  # "Label not found": marked as deleted
        return False
    return True


def check(daemon: Daemon, *, failed: Iterable[Path] = ()) -> None:
    """The whole promise. The daemon is stopped at the end, in order: only then the index is on the disk."""
    check_catalog(daemon, failed=failed)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log.read_text()
    check_index(daemon)


def check_embedded_once(daemon: Daemon, spare: int = 0) -> None:
    """No content was decoded for the index more than once, but for ``spare`` repetitions and `Daemon.discarded`.

    The daemon must have been told to `Daemon.count_embeddings` before it was started.
    """
    counts = daemon.embeddings()
    repeated = sum(count - 1 for count in counts.values())
    assert repeated <= spare + daemon.discarded(), f"{repeated} contents were embedded again: {_most(counts)}"


def _most(counts: Counter[str]) -> str:
    return ", ".join(f"{name[:12]} {count} times" for name, count in counts.most_common(3))


def _expect_equal(what: str, expected: Iterable[object], found: Iterable[object]) -> None:
    missing, extra = set(expected) - set(found), set(found) - set(expected)
    assert not missing, f"{len(missing)} {what} are lost, {list(missing)[:3]} among them"
    assert not extra, f"{len(extra)} {what} are invented, {list(extra)[:3]} among them"
