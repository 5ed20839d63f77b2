"""What the kernel says of inotify: watched inodes, and limits."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

from facewatchd.system import inotify


def test_watched_inodes_are_those_that_stat_shows(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init()
    try:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            assert libc.inotify_add_watch(descriptor, os.fsencode(tmp_path / name), 0x100) > 0
        inodes = {(tmp_path / name).stat().st_ino for name in ("a", "b")}
        assert set(inotify.watched_inodes(descriptor).values()) == inodes
    finally:
        os.close(descriptor)
    assert inotify.watched_inodes(descriptor) == {}


def advised(advice: str) -> int:
    """The number in an advice, which is the same in both of its commands."""
    numbers = re.findall(r"fs\.inotify\.max_user_watches=(\d+)", advice)
    assert len(numbers) == 2
    assert numbers[0] == numbers[1]
    return int(numbers[0])


def test_advice_is_above_the_present_limit() -> None:
    now = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text(encoding="ascii"))
    assert advised(inotify.advice("max_user_watches")) >= 2 * now


def test_advice_is_enough_for_what_is_to_be_watched() -> None:
    assert advised(inotify.advice("max_user_watches", 3_000_000)) >= 6_000_000
