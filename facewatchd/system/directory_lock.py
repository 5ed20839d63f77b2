"""A lock on a directory, by which processes that change its files take turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator


@contextlib.contextmanager
def alone(directory: str | bytes | os.PathLike[str]) -> Iterator[bool]:
    """Wait for the lock, and hold it until the block ends; it ends with the process.

    Yields whether it is held: some file systems have no locks. Raises OSError where the directory cannot be opened.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        is_held = False
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            is_held = True
        yield is_held
    finally:
        os.close(descriptor)
