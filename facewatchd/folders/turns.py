"""Calls that fill one directory take turns, and remove what one of them that was killed left there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from facewatchd.errors import UsageError
from facewatchd.system import atomic_files
from facewatchd.system.directory_lock import alone


@contextlib.contextmanager
def taking_turns(directory: bytes) -> Iterator[None]:
    """Wait until no other call is at work in the directory. Raises `UsageError`."""
    with contextlib.ExitStack() as stack:
        try:
            is_held = stack.enter_context(alone(directory))
        except OSError as exc:
            raise UsageError(f"cannot read {os.fsdecode(directory)}: {exc.strerror}", "name another directory") from exc
        if is_held:
            with contextlib.suppress(OSError):
                atomic_files.remove_left_behind(directory)
        yield
