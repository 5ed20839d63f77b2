"""Every way to write a photo: it is found whole, once, and by events alone, however its bytes came to the disk."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import invariant
from tests.support.albums import album, shoot
from tests.support.mounting import obedient
from tests.support.processes import Daemon, until
from tests.support.upheaval import asking, begin, check, follow, linked

Amount = Callable[[int, int], int]
FICLONE = 0x40049409
"""`linux/fs.h`: have one file share another's blocks."""


def state(daemon: Daemon, path: Path) -> str:
    return str(daemon.call("why", path=str(path))["state"])


def alike(directory: Path, *persons: int) -> list[bytes]:
    """A photo of each person, all of one length: what follows a JPEG's end is nobody's business."""
    photos = [shoot(directory / f"alike {n}.jpg", [n], 900 + n).read_bytes() for n in persons]
    return [data.ljust(max(map(len, photos)), b"\0") for data in photos]


# Several names and shared blocks


def test_hard_links_are_written_to_and_removed(tmp_path: Path, tiny_root: Path) -> None:
    """An event names the one link that was used; the stamp of all changes, even by a link that comes or goes."""
    root = tmp_path / "photos"
    one = shoot(root / "one.jpg", [1], 1)
    (root / "sub").mkdir()
    first, second = alike(tmp_path, 2, 3)
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        other, third = root / "sub" / "other.jpg", root / "third.jpg"
        other.hardlink_to(one)
        follow(daemon)
        until(lambda: (state(daemon, one), state(daemon, other)) == ("indexed", "indexed"))
        other.write_bytes(first)
        follow(daemon)
        third.hardlink_to(one)
        with one.open("r+b") as file:
            file.write(second)
        follow(daemon)
        other.unlink()
        follow(daemon)
        until(lambda: (state(daemon, one), state(daemon, third)) == ("indexed", "indexed"))
        check(daemon)


def test_a_link_that_is_out_of_reach_is_not_looked_at_for_ever(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    one = shoot(root / "one.jpg", [1], 1)
    (root / "sub").mkdir()
    (root / "sub" / "other.jpg").hardlink_to(one)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.prefix = obedient()
    with daemon:
        daemon.start()
        daemon.settle()
        (root / "sub").chmod(0)
        try:
            before = daemon.status()["rates"]["examined"]
            os.utime(one, (1, 1))
            until(lambda: state(daemon, one) == "indexed" and daemon.status()["state"] == "idle")
            assert daemon.status()["rates"]["examined"] - before < 20
        finally:
            (root / "sub").chmod(0o700)
        daemon.settle()
        invariant.check(daemon)


def test_a_hard_link_outside_is_written_to(tmp_path: Path, tiny_root: Path) -> None:
    """No event tells, so only a walk does: that of a rescan, of `scan`, or of `wait`."""
    root = tmp_path / "photos"
    (outside := tmp_path / "outside.jpg").hardlink_to(shoot(root / "one.jpg", [1], 1))
    with begin(tmp_path / "home", tiny_root, root, watch="settle = 0.2\nrescan = 2") as daemon:
        outside.write_bytes(alike(tmp_path, 2)[0])
        follow(daemon)
        check(daemon)


@contextmanager
def sharing(path: Path) -> Iterator[Path]:
    """A directory on a file system whose files can share blocks; skip where none can be had."""
    path.mkdir()
    try:
        shutil.copyfile(__file__, path / ".probe")
        clone(path / ".probe", path / ".clone")
        yield path
        return
    except OSError as exc:
        if exc.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOTTY):
            raise
    image = path.with_name("image")
    with image.open("wb") as file:
        file.truncate(512 << 20)
    for kind in ("btrfs", "xfs"):
        if shutil.which(f"mkfs.{kind}") is None:
            continue
        subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
        if subprocess.run(["mount", "-o", "loop", str(image), str(path)], capture_output=True, check=False).returncode:
            continue
        try:
            yield path
        finally:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
        return
    pytest.skip("reflinks need btrfs or XFS: neither is here, nor mkfs and the right to mount one")


def clone(source: Path, target: Path) -> None:
    """Have ``target`` share the blocks of ``source``."""
    with source.open("rb") as whence, target.open("wb") as whither:
        fcntl.ioctl(whither, FICLONE, whence.fileno())


def test_reflinks(tmp_path: Path, tiny_root: Path) -> None:
    with sharing(tmp_path / "disk") as disk:
        root = disk / "photos"
        one, other = shoot(root / "one.jpg", [1], 1), shoot(root / "other.jpg", [2], 2)
        with begin(tmp_path / "home", tiny_root, root) as daemon:
            clone(one, root / "clone.jpg")
            follow(daemon)
            clone(other, one)  # over a photo that is known
            follow(daemon)
            assert daemon.paths(other) == {one, other}
            with (root / "clone.jpg").open("ab") as file:  # its last block is its own from here on
                file.write(b"\0")
            follow(daemon)
            check(daemon)


# Writes that leave few traces


def test_a_mapping_that_is_written_twice_leaves_the_second_photo(tmp_path: Path, tiny_root: Path) -> None:
    """The second write finds its pages dirty already, so that neither an event nor a stamp tells of it."""
    root = tmp_path / "photos"
    root.mkdir()
    first, second = alike(tmp_path, 1, 2)
    photo = root / "mapped.jpg"
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        with photo.open("w+b") as file:
            file.truncate(len(first))
            with mmap.mmap(file.fileno(), len(first)) as pages:
                pages[:] = first
                follow(daemon)
                pages[:] = second
        follow(daemon)
        with photo.open("r+b") as file, mmap.mmap(file.fileno(), len(first)) as pages:
            pages[:] = first
        follow(daemon)
        check(daemon)


def test_files_without_a_name_are_written_and_linked(tmp_path: Path, tiny_root: Path) -> None:
    """The kernel names the events of an O_TMPFILE by a number, also once the file has a name: the second one's end."""
    root = tmp_path / "photos"
    root.mkdir()
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        for data, whole in zip(alike(tmp_path, 1, 2), (True, False), strict=True):
            photo = root / f"whole {whole}.jpg"
            cut = len(data) if whole else len(data) // 3
            descriptor = os.open(root, os.O_TMPFILE | os.O_RDWR)
            try:
                os.write(descriptor, data[:cut])
                linked(descriptor, photo)
                until(lambda photo=photo: state(daemon, photo) in ("indexed", "failed"))
                os.write(descriptor, data[cut:])
            finally:
                os.close(descriptor)
            follow(daemon)
            assert state(daemon, photo) == "indexed"
        check(daemon)


@pytest.mark.parametrize("running", [True, False])
def test_other_photos_of_the_same_size_and_mtime(tmp_path: Path, tiny_root: Path, running: bool) -> None:
    root = tmp_path / "photos"
    first, second, third = alike(tmp_path, 1, 2, 3)
    photos = [root / "in place.jpg", root / "renamed over.jpg"]
    known = [shoot(root / f"known {n}.jpg", [n], 5) for n in (2, 3)]
    for photo in photos:
        photo.write_bytes(first)
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        if not running:
            assert daemon.stop() == 0
        for photo, data in zip(photos, (second, third), strict=True):
            before = photo.stat()
            aside = photo if photo is photos[0] else photo.with_name(".aside")
            with aside.open("r+b" if aside is photo else "wb") as file:
                file.write(data)
            os.utime(aside, ns=(before.st_atime_ns, before.st_mtime_ns))
            aside.rename(photo)
            after = photo.stat()
            assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        if not running:
            daemon.start()
        follow(daemon)
        for one, photo in zip(known, photos, strict=True):
            assert daemon.paths(one) == {one, photo}
        check(daemon)


# Writers that take their time


def test_photos_written_to_a_temporary_and_renamed(tmp_path: Path, tiny_root: Path, amount: Amount) -> None:
    root = tmp_path / "photos"
    photos = list(album(root, 5))
    contents = [shoot(tmp_path / "pool" / f"{n}.jpg", [1 + n % 5], 100 + n).read_bytes() for n in range(20)]
    temporaries = [".{}.aBc1", "{}.part", "{}~", "{}.new.jpg"]
    with begin(tmp_path / "home", tiny_root, root) as daemon:
        with asking(daemon):
            for number in range(amount(800, 20000)):
                photo = photos[number % 5]
                aside = photo.with_name(temporaries[number % 4].format(photo.name))
                aside.write_bytes(contents[number // 5 % 20])
                aside.rename(photo)
            follow(daemon)
        assert daemon.status()["photos"] == 5
        check(daemon)


@pytest.mark.parametrize("settle", [0.2, 2.0])
def test_a_slow_writer_is_never_indexed_half(tmp_path: Path, tiny_root: Path, amount: Amount, settle: float) -> None:
    """A kilobyte a second: files settle in each rest, or in none and at full size the queue waits no longer."""
    root = tmp_path / "photos"
    size, rest = ((800, 600), 1.0) if amount(0, 1) else ((140, 140), 0.5)
    data = shoot(tmp_path / "slow.jpg", [1], 1, size=size).read_bytes()
    known, photo, pace = shoot(root / "known.jpg", [1], 2), root / "slow.jpg", threading.Event()
    with begin(tmp_path / "home", tiny_root, root, watch=f"settle = {settle}") as daemon:
        with photo.open("wb", buffering=0) as file:
            for start in range(0, len(data), 1024):
                file.write(data[start : start + 1024])
                pace.wait(rest)
                if start + 1024 < len(data):
                    assert state(daemon, photo) in ("pending", "failed")
                    assert daemon.paths(known) == {known}
        until(lambda: state_of_the_whole(daemon, photo) == "indexed", every=0.01)
        assert daemon.paths(known) == {known, photo}
        follow(daemon)
        check(daemon)


def state_of_the_whole(daemon: Daemon, photo: Path) -> str:
    """The state of a photo that is complete: no failure may show."""
    now = state(daemon, photo)
    assert now in ("pending", "indexed")
    return now


def test_a_writer_that_never_closes(tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    first, second, third = alike(tmp_path, 1, 2, 3)
    with begin(tmp_path / "home", tiny_root, root) as daemon, (root / "open.jpg").open("wb", buffering=0) as file:
        for data in (first, second, first + third):
            file.seek(0)
            file.write(data)
            follow(daemon)
            assert state(daemon, root / "open.jpg") == "indexed"
        file.write(b"\0")
        check(daemon)


HOWS = ("renamed over", "in place", "same size and mtime", "moved", "deleted", "a directory")


def test_photos_replaced_while_they_are_decoded(tmp_path: Path, tiny_root: Path) -> None:
    root, hold = tmp_path / "photos", tmp_path / "hold"
    one, other = shoot(root / "one.jpg", [1], 1), shoot(root / "other.jpg", [2], 2)
    ones, others = {one}, {other}
    hook = HELD_DECODE.format(hold=str(hold))
    with begin(tmp_path / "home", tiny_root, root, hook=hook) as daemon:
        for number, how in enumerate(HOWS):
            first, second = (data + bytes([number]) for data in alike(tmp_path, 1, 2))
            photo = root / f"{how}.jpg"
            before = daemon.log.read_text().count("a photo is held")
            hold.touch()
            photo.write_bytes(first)
            until(lambda before=before: daemon.log.read_text().count("a photo is held") > before)
            replace(photo, second, how)
            assert daemon.status()["state"] == "indexing"
            hold.unlink()
            follow(daemon)
            ones |= {path for path in [photo.with_name("moved away.jpg")] if path.exists()}
            others |= {photo} if photo.is_file() else set()
            assert (daemon.paths(one), daemon.paths(other)) == (ones, others), how
        check(daemon)


def replace(photo: Path, data: bytes, how: str) -> None:
    """Put something else, or nothing, in a photo's place."""
    before = photo.stat()
    if how == "in place":
        photo.write_bytes(data)
    elif how == "moved":
        photo.rename(photo.with_name("moved away.jpg"))
    else:
        photo.unlink()
    if how == "renamed over":
        photo.with_name(".new").write_bytes(data)
        photo.with_name(".new").rename(photo)
    elif how == "same size and mtime":
        photo.write_bytes(data)
        os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "a directory":
        photo.mkdir()


HELD_DECODE = """
import sys
if {{"run", "indexing"}} & set(sys.argv):
    import os, threading
    from facewatchd.photos import decode as photos
    def held_decode(file, decode=photos.decode):
        in_line = threading.current_thread() is not threading.main_thread()  # which tries the decoders at the start
        while in_line and os.path.exists({hold!r}):
            os.write(2, b"a photo is held\\n")
            threading.Event().wait(0.01)
        return decode(file)
    photos.decode = held_decode
"""
