"""What the kernel says of inotify: which inodes are watched, proc_pid_fdinfo(5), and the limits, inotify(7)."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_LIMITS = Path("/proc/sys/fs/inotify")
_WATCHED = re.compile(rb"^inotify wd:([0-9a-f]+) ino:([0-9a-f]+) ", re.MULTILINE)


def watched_inodes(descriptor: int) -> dict[int, int]:
    """The inodes that an inotify descriptor of this process watches: ``st_ino`` by watch descriptor."""
    try:
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_bytes()
    except OSError:
        return {}
    return parse_fdinfo(text)


def parse_fdinfo(text: bytes) -> dict[int, int]:
    """Parse ``/proc/PID/fdinfo`` of an inotify descriptor: inodes by watch descriptor, both hexadecimal there."""
    return {int(watch, 16): int(inode, 16) for watch, inode in _WATCHED.findall(text)}


def inode(path: bytes) -> int:
    """``st_ino`` of a path, links not followed; 0 where there is nothing."""
    try:
        return os.lstat(path).st_ino
    except OSError:
        return 0


def limits() -> dict[str, int]:
    """The limits of inotify(7), by name; those that cannot be read are left out."""
    found = {}
    for name in ("max_user_watches", "max_user_instances", "max_queued_events"):
        with contextlib.suppress(OSError, ValueError):
            found[name] = int((_LIMITS / name).read_text(encoding="ascii"))
    return found


def advice(limit: str, count: int = 0) -> str:
    """The commands that raise a limit of inotify, ``max_user_watches`` or ``max_user_instances``, well above its value.

    ``count`` is what is to be watched: other programs of the user have their share of the same limit.
    """
    wanted = max({"max_user_watches": 524288, "max_user_instances": 512}[limit], 2 * limits().get(limit, 0))
    while wanted < 2 * count:
        wanted *= 2
    line = f"fs.inotify.{limit}={wanted}"
    lasting = f"echo {line} | sudo tee /etc/sysctl.d/90-inotify.conf"
    return f"raise fs.inotify.{limit} with `sudo sysctl {line}`, and for good with `{lasting}`"
