"""How often files are read, and how much memory that takes: copies, links, renamed directories, large files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.support.albums import shoot
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
