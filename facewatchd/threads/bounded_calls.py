"""System calls on disks that may not answer, each on a thread of its own and waited for until a deadline.

A call on a dead disk (a server's share that is gone, a FUSE process that hangs, a failing drive) does not return, and
cannot be ended. So a thread that must go on does not make such a call itself: `DiskCalls.run` has another thread make
it, and leaves that thread behind when the deadline has passed.

- A call that was left behind is *late* until it returns. Until then no call is made for its path or for a path below
  it, and `NotAnsweringError` is raised at once. Paths beside it may answer: the path may be a link to a dead disk.
- The watcher's check of a watched directory is such a call. So when a disk dies, threads are only left behind in the
  seconds until the watcher's own call is late.
- A thread that may hang makes its calls itself (`DiskCalls.made_here`), which saves the wakeup of another thread. Such
  a call counts as late in the same way.
- When the disk answers again, late calls return, their results are discarded, and new calls are made.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Final, TypeVar

from facewatchd.errors import DeadlineError
from facewatchd.text import printable
from facewatchd.values import is_within

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds that a call may take which a healthy disk answers in milliseconds; a disk that spins up takes some more."""
READING: Final = 30.0
"""Seconds for a whole photo to be read, or a directory to be listed."""
MOST_LATE: Final = 256
"""Late calls, and so threads, from which on only vital calls are made."""
NOT_ANSWERING: Final = "is not answering"


class NotAnsweringError(DeadlineError):
    """A disk did not answer in time."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{printable(path)} {NOT_ANSWERING}", "check its disk, or the server that it is on")
        self.path = path


class DiskCalls:
    """Shared by the threads that answer clients and those that follow the watched directories. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._late: dict[object, tuple[bytes, float]] = {}
        """Calls that are late or may become so: the path of each, and the moment from which it is late."""

    def run(
        self,
        path: bytes,
        call: Callable[[], T],
        patience: float = PATIENCE,
        give_up: Callable[[T], object] = lambda _: None,
        *,
        vital: bool = False,
    ) -> T:
        """Return what the call returns, or raise what it raises.

        ``path``: the file or directory that it is for. ``give_up`` is called, on the other thread, with a result that
        comes too late. ``vital``: made however many are late. Raises `NotAnsweringError` after ``patience`` seconds,
        and at once where a call for the path, or for a directory above it, is late.
        """
        if (late := self.late(path)) is not None:
            raise NotAnsweringError(late)
        if len(self._late) >= MOST_LATE and not vital:
            raise NotAnsweringError(path)
        future: Future[T] = Future()

        def work() -> None:
            try:
                result = call()
            except BaseException as exc:  # noqa: BLE001 - it is raised in the calling thread
                future.set_exception(exc)
                self._forget(future)
            else:
                future.set_result(result)
                if self._forget(future):
                    give_up(result)

        threading.Thread(target=work, name=f"disk {printable(path)}", daemon=True).start()
        try:
            return future.result(patience)
        except TimeoutError:
            with self._lock:
                if not future.done():
                    self._late[future] = path, time.monotonic()
                    raise NotAnsweringError(path) from None
            return future.result()

    def each(self, directory: bytes, items: Iterator[T], patience: float = READING) -> Iterator[T]:
        """Yield the items of an iterator that reads from a disk: each step is a call with that deadline.

        Raises `NotAnsweringError`; the iterator is of no more use then.
        """
        end = object()
        while (item := self.run(directory, lambda: next(items, end), patience)) is not end:
            yield item  # type: ignore[misc]

    def real(self, directory: bytes) -> bytes:
        """`os.path.realpath`; the path as it is where the disk does not answer."""
        try:
            return self.run(directory, lambda: os.path.realpath(directory))
        except NotAnsweringError:
            return directory

    @contextlib.contextmanager
    def made_here(self, path: bytes, patience: float) -> Iterator[None]:
        """The calling thread itself makes a call in the block, which is late after ``patience`` seconds."""
        call = object()
        with self._lock:
            self._late[call] = path, time.monotonic() + patience
        try:
            yield
        finally:
            with self._lock:
                del self._late[call]

    def late(self, path: bytes) -> bytes | None:
        """The path of a late call: this one, or one above it."""
        now = time.monotonic()
        with self._lock:
            return next((late for late, at in self._late.values() if at <= now and is_within(path, late)), None)

    def _forget(self, future: Future[T]) -> bool:
        """Remove a call that has returned; return whether it was late."""
        with self._lock:
            return self._late.pop(future, None) is not None
