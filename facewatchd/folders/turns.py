"""Calls that fill one directory take turns, and remove what one of them that was killed left there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from facewatchd.errors import UsageError
from facewatchd.system import atomic_files


@contextlib.contextmanager
def taking_turns(directory: bytes) -> Iterator[None]:
    """Wait until no other call is at work in the directory. Raises `UsageError`."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise UsageError(f"cannot read {os.fsdecode(directory)}: {exc.strerror}", "name another directory") from exc
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            atomic_files.remove_left_behind(directory)
        yield
    finally:
        os.close(descriptor)
