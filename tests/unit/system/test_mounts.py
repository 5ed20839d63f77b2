"""The kernel's tables parsed, and what follows from them for a watched directory."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path

import pytest

from facewatchd.system import mounts
from facewatchd.values import RootState

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:31 / /srv/my\040photos rw,relatime shared:2 master:1 - nfs4 nas:/p rw
41 27 8:17 / /media/stick rw - vfat /dev/sdb1 rw
42 27 0:44 / /media/stick rw - fuse.sshfs host:/ rw
43 41 8:18 / /media/stick2 rw - exfat /dev/sdc1 rw
broken line
"""


def test_mountinfo_is_parsed_with_escapes_and_optional_fields() -> None:
    table = mounts.parse_mountinfo(TABLE)
    assert [(mount.id, mount.point, mount.fstype) for mount in table[1:3]] == [
        (27, b"/", "ext4"),
        (40, b"/srv/my photos", "nfs4"),
    ]
    assert len(table) == 6


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/home/u", ["ext4"]),
        (b"/srv/my photos/2020", ["nfs4"]),
        (b"/srv/my photos2", ["ext4"]),
        (b"/srv", ["ext4", "nfs4"]),
        (b"/media/stick/a", ["fuse.sshfs"]),  # the later mount covers the earlier one
        (b"/media/stick2", ["exfat"]),
        (b"/media", ["ext4", "vfat", "fuse.sshfs", "exfat"]),
    ],
)
def test_around_names_the_holding_mount_and_those_below(path: bytes, expected: list[str]) -> None:
    assert [mount.fstype for mount in mounts.around(mounts.parse_mountinfo(TABLE), path)] == expected


@pytest.mark.parametrize(
    ("fstype", "is_remote"),
    [
        *((local, False) for local in ("ext4", "btrfs", "tmpfs", "overlay")),
        *((other, True) for other in ("nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "fuseblk", "virtiofs")),
    ],
)
def test_remote_file_systems(fstype: str, is_remote: bool) -> None:
    mount = mounts.Mount(1, b"0:1", b"/x", fstype)
    assert mount.is_remote is is_remote
    assert mount.may_seem_empty is is_remote


def test_a_card_that_was_pulled_out_may_seem_empty() -> None:
    assert mounts.Mount(1, b"0:1", b"/x", "vfat").may_seem_empty


def test_watched_inodes_are_those_that_stat_shows(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init()
    try:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            assert libc.inotify_add_watch(descriptor, os.fsencode(tmp_path / name), 0x100) > 0
        inodes = {(tmp_path / name).stat().st_ino for name in ("a", "b")}
        assert set(mounts.watched_inodes(descriptor).values()) == inodes
    finally:
        os.close(descriptor)
    assert mounts.watched_inodes(descriptor) == {}


def test_mount_table_is_read_once_until_it_changes() -> None:
    table = mounts.Mounts()
    try:
        assert table.around(b"/proc/self")[0].fstype == "proc"
        assert not table.refresh()
    finally:
        table.close()
    assert not table.refresh()


def advised(advice: str) -> int:
    """The number in an advice, which is the same in both of its commands."""
    numbers = re.findall(r"fs\.inotify\.max_user_watches=(\d+)", advice)
    assert len(numbers) == 2
    assert numbers[0] == numbers[1]
    return int(numbers[0])


def test_advice_is_above_the_present_limit() -> None:
    now = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text(encoding="ascii"))
    assert advised(mounts.inotify_advice("max_user_watches")) >= 2 * now


def test_advice_is_enough_for_what_is_to_be_watched() -> None:
    assert advised(mounts.inotify_advice("max_user_watches", 3_000_000)) >= 6_000_000
    many = root(unwatched=3_000_000, is_limited=True)
    assert advised(many.problem) >= 6_000_000


def test_reach_of_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    here = mounts.reach(os.fsencode(tmp_path / "link"))
    status = (tmp_path / "real").stat()
    assert here == (RootState.WATCHING, os.fsencode(tmp_path / "real"), (status.st_dev, status.st_ino))
    for name in ("file", "gone", "loop"):
        assert mounts.reach(os.fsencode(tmp_path / name)).state is RootState.OFFLINE


def root(**facts: object) -> mounts.Root:
    """Build a root that is well, but for the facts given."""
    known = mounts.Root(b"/x", mounts.Reach(RootState.WATCHING, b"/x", (1, 2)), is_watched=True)
    for name, value in facts.items():
        setattr(known, name, value)
    return known


NFS_BELOW = (mounts.Mount(1, b"8:1", b"/", "ext4"), mounts.Mount(2, b"0:9", b"/x/nas", "nfs4"))


@pytest.mark.parametrize(
    ("known", "state", "words"),
    [
        (root(), RootState.WATCHING, ""),
        (
            root(unwatched=812, is_limited=True),
            RootState.POLLING,
            "812 directories under /x are polled; raise fs.inotify.max_user_watches",
        ),
        (root(unwatched=3), RootState.POLLING, "3 directories under /x could not be watched"),
        (
            root(is_watched=False, error=OSError(errno.ENOSPC, "limit")),
            RootState.POLLING,
            "inotify watch limit reached: /x is polled",
        ),
        (root(is_watched=False, error=OSError(errno.EIO, "broken")), RootState.POLLING, "broken"),
        (root(around=NFS_BELOW), RootState.POLLING, "on /x/nas (nfs4)"),
        (root(reach=mounts.Reach(RootState.OFFLINE, b"/x", (0, 0))), RootState.OFFLINE, "is not there"),
        (root(reach=mounts.Reach(RootState.UNREADABLE, b"/x", (0, 0))), RootState.UNREADABLE, "permissions"),
    ],
)
def test_state_and_problem_follow_from_the_facts(known: mounts.Root, state: RootState, words: str) -> None:
    assert known.state is state
    assert words in known.problem
    assert bool(known.problem) == bool(words)


def test_only_a_holding_remote_mount_makes_the_root_remote() -> None:
    assert not root(around=NFS_BELOW).is_remote
    assert root(around=(mounts.Mount(2, b"0:9", b"/", "nfs4"),)).is_remote
