"""How often files are read, and how much memory that takes: copies, links, renamed directories, large files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facewatchd.errors import UnreadablePhotoError
from facewatchd.indexing.digest_lookup import DigestLookup
from facewatchd.indexing.in_flight import InFlight
from facewatchd.photos import contents
from facewatchd.photos import files as photos
from facewatchd.scan.work_queue import Depth, Item, WorkQueue
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import Stamp
from tests.support.albums import shoot
from tests.support.galleries import DIM, photo
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]

MB = 1 << 20
SLACK = 8 * MB
"""Bytes that a daemon reads beside photos and modules: the first few of each file, its catalog, events, and `/proc`. A
read of each link would be 60."""
COPIES, LINKS = 6, 20


def padded(path: Path, person: int, size: int = MB) -> Path:
    """A photo of one person with a file of some size, which is a hole but for its beginning."""
    shoot(path, [person], person)
    os.truncate(path, size)
    return path


def read(daemon: Daemon) -> int:
    """How many files were read since the start."""
    return int(daemon.status()["rates"]["read"])


def bytes_read(daemon: Daemon) -> int:
    """What the daemon's own process read since it started, in bytes, of proc_pid_io(5)."""
    assert daemon.process is not None
    io = Path(f"/proc/{daemon.process.pid}/io").read_text()
    return int(dict(line.split(": ") for line in io.splitlines())["rchar"])


def multiply(first: Sequence[Path]) -> tuple[list[Path], int]:
    """Copies of each photo, and hard links of each copy and photo in turn; returns all paths, and how many files."""
    paths = list(first)
    for path in first:
        copies = [path.with_name(f"{path.stem} copy {n}.jpg") for n in range(COPIES)]
        for copy in copies:
            shutil.copyfile(path, copy)
        links = [path.with_name(f"{path.stem} link {n}.jpg") for n in range(LINKS)]
        for number, link in enumerate(links):
            link.hardlink_to([path, *copies][number % (COPIES + 1)])
        paths += copies + links
    return paths, len(first) * (1 + COPIES)


@pytest.mark.parametrize("live", [False, True], ids=["at the start", "while it runs"])
def test_copies_and_links_are_read_once_a_file(start: Start, tmp_path: Path, tiny_root: Path, *, live: bool) -> None:
    root, staged = tmp_path / "photos", tmp_path / "staged"
    root.mkdir()
    paths, files = multiply([padded(staged / f"{person}.jpg", person) for person in range(3)])
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    if not live:  # compare with a start that finds nothing new; the first one also tries hnswlib in a child process
        assert daemon.stop() == 0
        daemon.start()
        daemon.settle()
    before = bytes_read(daemon)
    if not live:
        assert daemon.stop() == 0
    staged.rename(root / "new")
    if live:
        until(lambda: daemon.status()["photos"] == len(paths))
    else:
        daemon.start()
    assert daemon.settle()["photos"] == len(paths)
    assert daemon.embedded() == 3
    assert read(daemon) <= files
    assert bytes_read(daemon) - before <= (files + 3) * MB + SLACK  # what is embedded may be too new to trust its stamp


def test_broken_copies_are_read_once_a_file(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    whole = shoot(tmp_path / "whole.jpg", [1], 1).read_bytes()
    root.mkdir()
    (root / "0.jpg").write_bytes(whole[: len(whole) // 8])
    for number in range(1, 30):
        shutil.copyfile(root / "0.jpg", root / f"{number}.jpg")
    daemon = start(root, model="tiny", model_root=tiny_root)
    assert daemon.settle()["failed"] == 30
    assert read(daemon) <= 30


def test_a_renamed_directory_is_not_read(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    count = 12
    for person in range(count):
        padded(root / "a" / "deep" / f"{person}.jpg", person)
    query = shoot(tmp_path / "query.png", [5], 99)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    read_before, bytes_before = read(daemon), bytes_read(daemon)
    (root / "a").rename(root / "b")
    until(lambda: root / "b" / "deep" / "5.jpg" in daemon.paths(query))
    assert daemon.settle()["photos"] == count
    assert read(daemon) == read_before
    assert bytes_read(daemon) - bytes_before < count * MB


def test_one_touch_among_many_links_reads_once(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    first = padded(root / "first.jpg", 1)
    links = 150
    for number in range(links):
        (root / f"{number}.jpg").hardlink_to(first)
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    rates = daemon.status()["rates"]
    os.utime(root / "77.jpg", (1, 1))
    until(lambda: daemon.status()["rates"]["examined"] > rates["examined"])
    assert daemon.settle()["photos"] == links + 1
    now = daemon.status()["rates"]
    assert now["read"] - rates["read"] <= 1
    assert now["examined"] - rates["examined"] <= 3 * links
    assert now["embedded"] == rates["embedded"] == 1


# ------------------------------------------------------------------------------------------------------ large files


def peak(pid: int) -> int:
    """The most memory that a process had so far, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def tiff(path: Path, side: int, size: int = 0) -> Path:
    """An uncompressed black picture, and a hole up to the size."""
    Image.new("RGB", (1, 1)).save(path)
    with Image.new("RGB", (side, side)) as image:
        image.save(path, compression="raw")
    os.truncate(path, max(size, path.stat().st_size))
    return path


def assert_small(start: Start, root: Path, tiny_root: Path) -> None:
    """The daemon takes hardly more memory for what is in the directory ``large`` than it took for a small photo."""
    shoot(root / "small.jpg", [1], 1)
    large = (root / "large").rename(root.parent / "large")
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    assert daemon.process is not None
    before, count = peak(daemon.process.pid), len(list(large.iterdir()))
    large.rename(root / "large")
    until(lambda: daemon.status()["photos"] == 1 + count, deadline=300.0)
    assert daemon.settle(300.0)["failed"] == 0
    assert peak(daemon.process.pid) - before < 64 * MB


def test_large_files_take_the_daemon_no_memory(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    (root / "large").mkdir(parents=True)
    for number in range(3):
        tiff(root / "large" / f"{number}.tif", 100 + number, 200 * MB)
    assert_small(start, root, tiny_root)


@pytest.mark.full
def test_pictures_of_600_mb_take_the_daemon_no_memory(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    (root / "large").mkdir(parents=True)
    for number in range(2):
        tiff(root / "large" / f"{number}.tif", 14000 + number)
    assert_small(start, root, tiny_root)


# --------------------------------------------------------------------------------------------------------- contents


def test_an_empty_file_is_given_to_no_decoder(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UnreadablePhotoError, match="the file is empty"), contents.opened(bytes(tmp_path / "empty.jpg")):
        pass


def test_a_content_is_the_digest_of_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(os.urandom(3 * contents.CHUNK + 17))
    with contents.opened(os.fsencode(path)) as content:
        assert content.digest == photos.digest(path.read_bytes())
        assert content.stamp == Stamp.of(path.stat())
        content.confirm()
        path.unlink()
        assert os.pread(content.descriptor, 5, 0)


@pytest.mark.parametrize("same_stamp", [False, True])
def test_bytes_that_change_before_they_are_decoded_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, same_stamp: bool
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")
    first = Stamp.of(path.stat())
    if same_stamp:  # the second write comes within the same tick of the file system's clock
        monkeypatch.setattr(contents.Stamp, "of", lambda _: first)
    with contents.opened(os.fsencode(path)) as content:
        path.write_bytes(b"after!")
        with pytest.raises(photos.ChangedWhileReadError):
            content.confirm()


# ---------------------------------------------------------------------------- known digests and files in flight


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    yield catalog
    catalog.close()


NOW = Stamp(1, 5, 100, 1_700_000_000_123_456_789, 1_700_000_000_123_456_789)


def recorded(catalog: Catalog, path: bytes, digest: bytes, stamp: Stamp = NOW) -> None:
    known = photo(path, digest, [])
    catalog.record([Outcome(path, stamp, digest, known.width, known.height, [])])


def test_a_file_is_known_by_another_name_with_its_stamp(catalog: Catalog) -> None:
    queue = WorkQueue(0.0)
    digests = DigestLookup(catalog, queue)
    recorded(catalog, b"/p/a", b"d1")
    assert digests.digest(b"/p/b", NOW) == b"d1"
    for number in range(len(NOW)):
        other = Stamp(*(value + (place == number) for place, value in enumerate(NOW)))
        assert digests.digest(b"/p/b", other) is None


def test_a_file_that_was_forgotten_is_known_by_its_stamp(catalog: Catalog) -> None:
    digests = DigestLookup(catalog, WorkQueue(0.0))
    recorded(catalog, b"/p/a", b"d1")
    digests.forgotten(b"/p/a", NOW, Depth.STAMP)
    catalog.record([Outcome(b"/p/a", None)])
    assert digests.digest(b"/p/b", NOW) == b"d1"
    recorded(catalog, b"/p/c", b"d2")
    assert digests.digest(b"/p/b", NOW) is None  # two contents with one stamp


def test_a_name_that_was_written_to_does_not_count(catalog: Catalog) -> None:
    queue = WorkQueue(0.0)
    digests = DigestLookup(catalog, queue)
    recorded(catalog, b"/p/a", b"d1")
    queue.touch(b"/p/a", settle=False, depth=Depth.BYTES)
    assert digests.digest(b"/p/b", NOW) is None
    (item,) = queue.take(1)
    assert digests.digest(b"/p/b", NOW) is None
    queue.done(item.path)
    assert digests.digest(b"/p/b", NOW) == b"d1"
    digests.forgotten(b"/p/a", NOW, Depth.BYTES)
    catalog.record([Outcome(b"/p/a", None)])
    assert digests.digest(b"/p/b", NOW) is None


def test_a_coarse_clock_tells_nothing(catalog: Catalog) -> None:
    coarse = NOW._replace(mtime_ns=1_700_000_000_000_000_000, ctime_ns=1_700_000_000_010_000_000)
    recorded(catalog, b"/p/a", b"d1", coarse)
    assert DigestLookup(catalog, WorkQueue(0.0)).digest(b"/p/b", coarse) is None


def test_a_path_that_waited_is_told_what_it_held_and_how_the_other_failed() -> None:
    in_flight = InFlight()
    first, second = Item(b"/a", Depth.BYTES), Item(b"/b", Depth.FACES)
    assert in_flight.claim(b"d1", first, NOW)
    assert not in_flight.claim(b"d1", second, NOW)
    failure = Outcome(b"/a", NOW, b"d1", error="damaged")
    assert in_flight.release(b"/a", failure) == [Item(b"/b", Depth.STAMP)]
    told = in_flight.digested(b"/b")
    assert told is not None
    assert (told.stamp, told.digest, told.failure) == (NOW, b"d1", failure)
    assert in_flight.digested(b"/b") is None


def test_faces_that_were_not_embedded_again_still_are_to_be() -> None:
    in_flight = InFlight()
    assert in_flight.claim(b"d1", Item(b"/a", Depth.STAMP), NOW)
    assert not in_flight.claim(b"d1", Item(b"/b", Depth.FACES), NOW)
    assert in_flight.release(b"/a", Outcome(b"/a", NOW, b"d1")) == [Item(b"/b", Depth.FACES)]
    assert in_flight.digested(b"/b") is None


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(0, 1), min_size=6, max_size=6))
def test_every_path_that_waits_gets_its_turn(order: list[int], contents_of: list[int]) -> None:
    """Six names of three files claim their file, then its content, and release both; each step may come at any time."""
    in_flight = InFlight()
    left = {number: ["file", "content", "release"] for number in range(6)}
    waiting: set[int] = set()

    def step(number: int) -> None:
        item = Item(b"%d" % number, Depth.STAMP)
        if not left[number] or number in waiting:
            return
        key = {"file": number % 3, "content": b"%d" % contents_of[number % 3]}.get(left[number][0])
        if key is None:
            waiting.difference_update(int(woken.path) for woken in in_flight.release(item.path))
        elif not in_flight.claim(key, item, NOW):
            waiting.add(number)
            return
        left[number].pop(0)

    for number in order:
        step(number)
    for _ in range(100):
        for number in left:
            step(number)
    assert not any(left.values())
    assert not waiting
