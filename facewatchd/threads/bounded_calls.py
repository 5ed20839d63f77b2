"""System calls on disks that may not answer, each on a thread of its own and waited for until a deadline.

A call on a dead disk (a server's share that is gone, a FUSE process that hangs, a failing drive) does not return, and
nothing ends it. So no thread that must go on makes one itself: `DiskCalls.run` has another thread make it, and leaves
that behind when the deadline is over.

- A call that was left behind is *late* until it returns. Meanwhile nothing else is called for its path, or for what
  lies below that: `NotAnsweringError` comes at once. What lies beside it may answer: it may be a link to a dead disk.
- The watcher's look at a watched directory is such a call, so a dead one costs the threads of the first seconds only.
  A thread that may hang makes its calls itself (`DiskCalls.made_here`), without a wakeup of another: late ones count.
- When the disk answers again, the late calls return, their results are given up, and calls are made again.
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
"""Late calls, and so threads, from which on no more are made, but vital ones."""
NOT_ANSWERING: Final = "is not answering"


class NotAnsweringError(DeadlineError):
    """A disk did not answer in time."""

    def __init__(self, path: bytes) -> None:
        super().__init__(f"{printable(path)} {NOT_ANSWERING}", "check its disk, or the server that it is on")
        self.path = path


class DiskCalls:
    """Shared by the threads that answer clients and those that look after the watched directories. Any may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._late: dict[object, tuple[bytes, float]] = {}
        """Calls that are late, or may be: each with its path, and the moment from which on it is late."""

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
            except BaseException as exc:  # noqa: BLE001 - it is raised where it was called
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
        """Yield what an iterator yields that looks at a disk: each step is a call with that much time.

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
        """Whether the call was late, which it is no more."""
        with self._lock:
            return self._late.pop(future, None) is not None
