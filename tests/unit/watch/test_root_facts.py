"""What follows from the facts of a watched directory."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from facewatchd.system.mounts import Mount
from facewatchd.values import RootState
from facewatchd.watch.root_facts import Reach, RootFacts, reach_of


def test_reach_of_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    here = reach_of(os.fsencode(tmp_path / "link"))
    status = (tmp_path / "real").stat()
    assert here == (RootState.WATCHING, os.fsencode(tmp_path / "real"), (status.st_dev, status.st_ino))
    for name in ("file", "gone", "loop"):
        assert reach_of(os.fsencode(tmp_path / name)).state is RootState.OFFLINE


def root(**facts: object) -> RootFacts:
    """Build a root that is well, but for the facts given."""
    known = RootFacts(b"/x", Reach(RootState.WATCHING, b"/x", (1, 2)), is_watched=True)
    for name, value in facts.items():
        setattr(known, name, value)
    return known


NFS_BELOW = (Mount(1, b"8:1", b"/", "ext4"), Mount(2, b"0:9", b"/x/nas", "nfs4"))


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
        (root(reach=Reach(RootState.OFFLINE, b"/x", (0, 0))), RootState.OFFLINE, "is not there"),
        (root(reach=Reach(RootState.UNREADABLE, b"/x", (0, 0))), RootState.UNREADABLE, "permissions"),
    ],
)
def test_state_and_problem_follow_from_the_facts(known: RootFacts, state: RootState, words: str) -> None:
    assert known.state is state
    assert words in known.problem
    assert bool(known.problem) == bool(words)


def test_only_a_holding_remote_mount_makes_the_root_remote() -> None:
    assert not root(around=NFS_BELOW).is_remote
    assert root(around=(Mount(2, b"0:9", b"/", "nfs4"),)).is_remote


def test_the_advice_of_a_root_is_enough_for_its_directories() -> None:
    numbers = re.findall(r"max_user_watches=(\d+)", root(unwatched=3_000_000, is_limited=True).problem)
    assert numbers
    assert all(int(number) >= 6_000_000 for number in numbers)
