"""The index as a crash, a backup or a bad disk may leave it: it is a cache, and never believed more than the catalog.

Queries are answered from the first moment on, and what the catalog knows is not embedded again.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facewatchd.store.checkpoint import Checkpoint, Origin
from facewatchd.store.graph import Graph
from facewatchd.store.stored import Labels
from tests.support import invariant
from tests.support.library import NO_CHECKPOINT, Library, asked, committed, embeddings, expect_not_embedded, files_of
from tests.support.processes import Daemon

Resumed = Callable[..., Daemon]


def cut(directory: Path) -> None:
    data = (directory / "index.hnsw").read_bytes()
    (directory / "index.hnsw").write_bytes(data[: len(data) // 2])


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def of_another_dimension(directory: Path) -> None:
    """An index of half the dimension, and a manifest that vouches for it."""
    small = Graph(32)
    small.add(np.arange(1, 101), np.eye(100, 32, dtype=np.float32))
    small.dim = 64
    Checkpoint(directory).save(small, origin(directory))


def with_faces_of(other: Path) -> Callable[[Path], None]:
    """Another catalog's index, with a manifest that says that it is this one's."""

    def forged(directory: Path) -> None:
        foreign = Graph.read(other / "index.hnsw", 64, Labels())
        Checkpoint(directory).save(foreign, origin(directory))

    return forged


def origin(directory: Path) -> Origin:
    manifest = json.loads((directory / "index.json").read_text())["manifest"]
    return Origin(manifest["catalog"], manifest["last_face_id"])


def copied(other: Path, *names: str) -> Callable[[Path], None]:
    def copy(directory: Path) -> None:
        for name in names:
            shutil.copy(other / name, directory / name)

    return copy


BOTH = ("index.hnsw", "index.json")
DAMAGES: dict[str, Callable[[Library], Callable[[Path], None]]] = {
    "truncated": lambda _: cut,
    "empty": lambda _: lambda directory: (directory / "index.hnsw").write_bytes(b"") and None,
    "gone": lambda _: lambda directory: (directory / "index.hnsw").unlink(),
    "a byte flipped in a vector": lambda _: lambda directory: flip(directory / "index.hnsw", 0.4),
    "a byte flipped in its header": lambda _: lambda directory: flip(directory / "index.hnsw", 0.0002),
    "a byte flipped in its manifest": lambda _: lambda directory: flip(directory / "index.json", 0.5),
    "its manifest gone": lambda _: lambda directory: (directory / "index.json").unlink(),
    "of another dimension": lambda _: of_another_dimension,
    "from another catalog": lambda library: copied(files_of(library.other), *BOTH),
    "another catalog's under its name": lambda library: with_faces_of(files_of(library.other)),
    "the index of one and the manifest of another": lambda library: copied(files_of(library.other), "index.hnsw"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_index_that_is_not_the_catalogs_is_built_again(library: Library, resumed: Resumed, damage: str) -> None:
    daemon = resumed(library.late)
    directory = files_of(daemon.data)
    DAMAGES[damage](library)(directory)
    with asked(daemon, library.photo):
        daemon.start()
        daemon.settle()
        assert daemon.status()["problems"] == []
    assert "built again from the catalog" in daemon.log.read_text()
    invariant.check(daemon)
    expect_not_embedded(daemon, committed(directory))


def test_an_index_that_is_older_than_the_catalog_is_brought_level(library: Library, resumed: Resumed) -> None:
    daemon = resumed(library.late)
    directory = files_of(daemon.data)
    copied(files_of(library.early), *BOTH)(directory)
    with asked(daemon, library.photo):
        daemon.start()
        status = daemon.settle()
    assert status["index"]["faces"] == len(invariant.recorded(directory / "catalog.sqlite3").faces)
    assert "built again" not in daemon.log.read_text()
    invariant.check(daemon)
    expect_not_embedded(daemon, committed(directory))


@pytest.mark.parametrize("file", ["index.hnsw.new", "index.json.new", "index.json", "index.hnsw"])
def test_killed_during_a_checkpoint(library: Library, resumed: Resumed, file: str) -> None:
    """The process dies when it, or its copy, would sync this file, or the directory after renaming it."""
    daemon = resumed(library.early)
    daemon.hook(KILLED_AT_SYNC.format(file=file))
    with asked(daemon, library.photo):
        assert daemon.launch().wait(60) == -signal.SIGKILL
        known = committed(files_of(daemon.data))
        assert len(known) >= 105, "the checkpoint is made when all is recorded"
        before = embeddings(daemon)
        daemon.unhook()
        daemon.start()
        daemon.settle()
    assert daemon.embedded() == 0
    assert embeddings(daemon) == before
    assert "built again" not in daemon.log.read_text()
    invariant.check(daemon)


KILLED_AT_SYNC = """
import os, pathlib, sys
if "run" in sys.argv:
    from facewatchd.indexing import maintenance
    maintenance.LOOK_EVERY = 0.4
    daemon = os.getpid()
    replace = pathlib.Path.replace
    fsync = os.fsync
    renamed = []
    def replaced(self, target):
        result = replace(self, target)
        renamed.append(pathlib.Path(target).name)
        return result
    def deadly(descriptor):
        name = os.path.basename(os.readlink(f"/proc/self/fd/{{descriptor}}"))
        if name == "{file}" or renamed[-1:] == ["{file}"]:
            os.kill(daemon, 9)
        return fsync(descriptor)
    pathlib.Path.replace, os.fsync = replaced, deadly
"""


def test_half_a_checkpoint_beside_the_old_one_is_not_looked_at(library: Library, resumed: Resumed) -> None:
    daemon = resumed(library.late)
    directory = files_of(daemon.data)
    (directory / "index.hnsw.new").write_bytes((directory / "index.hnsw").read_bytes()[:1000])
    (directory / "index.json.new").write_bytes((directory / "index.json").read_bytes()[:30])
    with asked(daemon, library.photo):
        daemon.start()
    assert "built again" not in daemon.log.read_text()
    invariant.check(daemon)
    expect_not_embedded(daemon, committed(directory))


@pytest.mark.parametrize("first", [True, False], ids=["the first", "a later one"])
def test_killed_between_commit_and_checkpoint(library: Library, resumed: Resumed, tmp_path: Path, first: bool) -> None:
    """Everything is in the catalog, nothing new in the index's files."""
    daemon = resumed(library.early)
    directory = files_of(daemon.data)
    if first:
        shutil.rmtree(directory)
    daemon.hook(NO_CHECKPOINT)
    before = stamps(directory)
    with asked(daemon, library.photo):
        daemon.start()
        daemon.settle()
        daemon.kill()
        assert stamps(directory) == before, "there was no checkpoint"
        known, counts = committed(directory), embeddings(daemon)
        assert len(known) >= 105
        daemon.start()
        daemon.settle()
        assert daemon.embedded() == 0
    assert embeddings(daemon) == counts
    invariant.check(daemon)


def stamps(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.glob("index.*")}
