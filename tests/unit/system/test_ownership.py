"""A data directory that others may change, and files of ours that are something else: one line, and no hang."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facewatchd.errors import StorageError
from facewatchd.store.checkpoint import Checkpoint, Origin
from facewatchd.store.data_directory import LastRun, Reserve, check_model_directory, locked, open_catalog
from facewatchd.store.graph import Graph
from facewatchd.system import atomic_files, ownership
from facewatchd.values import ModelInfo
from tests.support.galleries import unit

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    (path / "something").mkdir(parents=True)


def link(path: Path) -> None:
    target = path.parent.parent / "victim"
    target.write_bytes(b"precious")
    path.symlink_to(target)


def dangling(path: Path) -> None:
    path.symlink_to(path.parent.parent / "nowhere")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


ODD = [fifo, directory, link, dangling, unix_socket, device]
IN_DATA = ["lock", "last-run.json", "reserve", "machine"]
IN_MODEL = ["catalog.sqlite3", "catalog.sqlite3-wal", "index.hnsw", "index.json", "heartbeat"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


def hold(path: Path) -> None:
    with locked(path):
        pass


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", IN_DATA + IN_MODEL)
def test_what_is_no_file_is_named(data: Path, name: str, make: Callable[[Path], None]) -> None:
    make(data / name)
    check = hold if name in IN_DATA else check_model_directory
    with pytest.raises(StorageError, match=rf"{name} is a .*, where a file should be; move it away: mv "):
        check(data)
    assert not (data.parent / "nowhere").exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722, 0o1777])
def test_a_data_directory_that_others_may_write_to_is_refused(data: Path, mode: int) -> None:
    data.chmod(mode)
    with pytest.raises(StorageError, match=f"others may write to {data} .* run: chmod go-w {data}$"):
        hold(data)


@pytest.mark.parametrize("name", IN_DATA)
def test_a_file_that_others_may_write_to_is_refused(data: Path, name: str) -> None:
    (data / name).touch()
    (data / name).chmod(0o666)
    with pytest.raises(StorageError, match=f"chmod go-w {data / name}$"):
        hold(data)


def test_a_directory_above_is_as_good_as_its_weakest(tmp_path: Path) -> None:
    above = tmp_path / "above"
    inner = above / "between" / "data"
    inner.mkdir(parents=True, mode=0o700)
    above.chmod(0o777)
    with pytest.raises(StorageError, match=f"others may write to {above} "):
        hold(inner)
    above.chmod(0o1777)
    hold(inner)
    above.chmod(0o755)
    hold(inner)


def test_a_link_to_the_data_is_looked_at_from_both_sides(tmp_path: Path) -> None:
    real, beside = tmp_path / "real", tmp_path / "beside"
    (real / "data").mkdir(parents=True, mode=0o700)
    beside.mkdir()
    (beside / "link").symlink_to(real / "data")
    hold(beside / "link")
    for loose in (real, beside):
        loose.chmod(0o777)
        with pytest.raises(StorageError, match=f"others may write to {loose} "):
            hold(beside / "link")
        loose.chmod(0o755)


@needs_root
def test_what_belongs_to_another_user_is_refused(data: Path) -> None:
    for path in (data, data.parent):
        os.chown(path, 12345, -1)
        with pytest.raises(StorageError, match=rf"{path} belongs to another user \(12345\).*chown root {path}$"):
            hold(data)
        os.chown(path, 0, -1)
    (data / "last-run.json").touch()
    os.chown(data / "last-run.json", 12345, -1)
    with pytest.raises(StorageError, match=r"last-run.json belongs to another user"):
        hold(data)


@pytest.mark.parametrize(
    ("uid_map", "known"),
    [("0 0 4294967295\n", (0,)), ("1000 1000 1\n", (0, 65534)), ("0 0 1\n1000 1000 1\n", (0,)), ("", (0,))],
)
def test_root_is_known_where_it_has_no_number(
    monkeypatch: pytest.MonkeyPatch, uid_map: str, known: tuple[int, ...]
) -> None:
    """As in a service of a user's manager with PrivateUsers=."""
    texts = {"/proc/self/uid_map": uid_map, "/proc/sys/kernel/overflowuid": "65534\n"}
    monkeypatch.setattr(Path, "read_text", lambda path: texts[str(path)])
    assert ownership._roots() == known


def test_what_is_written_aside_follows_no_link_and_waits_for_no_reader(data: Path) -> None:
    victim = data / "victim"
    victim.write_bytes(b"precious")
    for make in (lambda path: path.symlink_to(victim), os.mkfifo, lambda path: os.link(victim, path)):
        make(data / "file.new")
        atomic_files.write(data / "file", b"ours")
        assert atomic_files.read(data / "file") == b"ours"
        assert victim.read_bytes() == b"precious"
        assert stat.S_IMODE((data / "file").stat().st_mode) == 0o600
        assert sorted(path.name for path in data.iterdir()) == ["file", "victim"]


def test_an_index_is_not_written_through_a_link(data: Path) -> None:
    victim = data / "victim"
    victim.write_bytes(b"precious")
    vectors = Graph(8)
    vectors.add(np.arange(1, 21), unit(np.random.default_rng(1).normal(size=(20, 8))))
    for name in ("index.hnsw.new", "index.json.new"):
        (data / name).symlink_to(victim)
    Checkpoint(data).save(vectors, Origin("a catalog", 20))
    assert victim.read_bytes() == b"precious"
    again = Checkpoint(data)
    assert len(again.open(8, Origin("a catalog", 20)).live_ids()) == 20
    assert len(again.load(8)) == 20


@pytest.mark.parametrize("make", ODD)
def test_a_note_of_the_last_run_that_is_no_file_is_none(data: Path, make: Callable[[Path], None]) -> None:
    make(data / "last-run.json")
    assert LastRun.of(data) == LastRun()
    if make is not directory:
        LastRun("tiny", ()).remember(data)
        assert LastRun.of(data).pack == "tiny"


def test_the_reserve_is_not_made_through_a_link(data: Path) -> None:
    (data / "reserve").symlink_to(data / "elsewhere")
    Reserve(data / "reserve").fill()
    assert not (data / "elsewhere").exists()


@pytest.mark.parametrize(
    ("make", "what"),
    [(fifo, "a named pipe"), (link, "a file"), (dangling, "a link to "), (Path.touch, "a file")],
)
@pytest.mark.parametrize("below", ["", "data"])
def test_something_else_where_the_data_directory_should_be_is_named(
    tmp_path: Path, make: Callable[[Path], object], what: str, below: str
) -> None:
    place = tmp_path / "here" / "place"
    place.parent.mkdir(mode=0o700)
    make(place)
    with pytest.raises(StorageError) as refused, locked(place / below):
        pass
    if below and make is not dangling:
        assert str(refused.value).startswith(f"cannot use {place}/data for data: Not a directory")
    else:
        assert str(refused.value).startswith(f"{place} is {what}")
    assert refused.value.hint.endswith("or name another --data-dir")


@pytest.mark.parametrize("make", [fifo, dangling, Path.touch])
def test_something_else_where_the_data_of_a_model_should_be_is_named(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    (tmp_path / "here").mkdir()
    place = tmp_path / "here" / "model-0123"
    make(place)
    with pytest.raises(StorageError, match=f"^{place} is a .*a directory should be there"):
        open_catalog(place / "catalog.sqlite3", ModelInfo("model-0123", "model", 2, 0.5))
