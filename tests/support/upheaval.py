"""What the tests of events do to a disk and to a daemon, and how they see that the daemon follows by itself.

`wait` and `scan` walk the directories, and so would find what no event told. `follow` asks neither: it reads the
catalog until that equals the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import invariant
from tests.support.processes import DEADLINE, Daemon, until

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
RENAME_EXCHANGE = 2


def begin(home: Path, tiny_root: Path, *roots: Path, hook: str = "", **config: str) -> Daemon:
    """Start a daemon and wait until it knows all. It is to be used as a context."""
    daemon = Daemon(home, *roots, model="tiny", model_root=tiny_root, **config)
    daemon.count_embeddings()
    daemon.hook(hook)
    try:
        daemon.start()
        daemon.settle()
    except BaseException:
        daemon.__exit__()
        raise
    return daemon


def check(daemon: Daemon) -> None:
    """The whole promise; the daemon is stopped."""
    invariant.check(daemon)
    invariant.check_embedded_once(daemon)


def follow(daemon: Daemon, *, deadline: float = DEADLINE) -> None:
    """Wait until the catalog equals the disk, told by events alone."""
    catalog = invariant.catalog_of(daemon)

    def difference() -> list[bytes]:
        disk, known = invariant.photos_on_disk(*daemon.roots), invariant.recorded(catalog).photos
        return [path for path in disk.keys() | known.keys() if disk.get(path, 0) != known.get(path, 0)]

    until(lambda: not (paths := difference()) or _Unequal(paths), deadline=deadline, every=0.1)


class _Unequal(list[bytes]):
    """Paths that differ: false, and shown by `until` where it gives up."""

    def __bool__(self) -> bool:
        return False


@contextlib.contextmanager
def asking(daemon: Daemon) -> Iterator[None]:
    """Ask from another thread, all the while, for a face that the catalog has now: every query is answered."""
    embedding = next(iter(invariant.recorded(invariant.catalog_of(daemon)).faces.values()))
    question = {"embedding": np.frombuffer(embedding, np.float32).tolist()}
    done = threading.Event()
    failures: list[Exception] = []
    answers: list[int] = []

    def ask() -> None:
        while not done.is_set():
            try:
                answers.append(len(daemon.call("query", **question)["matches"]))
            except Exception as exc:  # noqa: BLE001 - told below
                failures.append(exc)
            done.wait(0.05)

    thread = threading.Thread(target=ask, name="asking")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not failures, f"{len(failures)} queries of {len(failures) + len(answers)} failed: {failures[0]!r}"
    assert answers


@contextlib.contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """The daemon's process does not run: it hears nothing meanwhile."""
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, daemon.process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


def overfill(directory: Path) -> None:
    """Make more events than the queue holds: a hidden file is renamed to and fro, so no two in a row are the same."""
    here, there = directory / ".here", directory / ".there"
    here.touch()
    for _ in range(int(QUEUE.read_text()) // 4 + 1):  # a rename is two events
        here.rename(there)
        there.rename(here)
    here.unlink()


def overflows(daemon: Daemon) -> int:
    """How many overflows of its queue a daemon has noticed."""
    return daemon.log.read_text().count("queue of file system events overflowed")


def exchange(one: Path, other: Path) -> None:
    """Let two names change places at once; skip where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        pytest.skip("this file system cannot exchange two names")
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def swap(one: Path, other: Path) -> None:
    """Let two names change places by three renames."""
    aside = one.with_name(f"{one.name}.aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def linked(descriptor: int, path: Path) -> None:
    """Give an open file without a name (O_TMPFILE) this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    source = os.fsencode(f"/proc/self/fd/{descriptor}")
    if libc.linkat(AT_FDCWD, source, AT_FDCWD, os.fsencode(path), AT_SYMLINK_FOLLOW) != 0:
        raise OSError(ctypes.get_errno(), "cannot link", str(path))
