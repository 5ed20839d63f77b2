"""Progress bars on standard error, and log lines that do not break them: the one module that imports tqdm.

Bars are drawn on terminals only. A line is written to a terminal inside `bars_hidden`, from any thread; a bar belongs
to one thread. tqdm takes 50 ms to import: it is imported with the first bar.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from facewatchd.console.streams import say, takes_drawing
from facewatchd.text import counted

LINES_EVERY = 10.0
"""Seconds between two lines where no bar can be drawn."""

_lock = threading.RLock()
_bar_class: Any = None


class Progress:
    """The progress of indexing: a bar while photos are pending, removed when none are."""

    def __init__(self, *, enabled: bool) -> None:
        """``enabled`` False: nothing is ever drawn."""
        self._enabled = enabled
        self._bar: Any = None
        self._start = 0
        self._lines: _Lines | None = None if takes_drawing(sys.stderr) else _Lines()

    def show(self, done: int, pending: int, waits: str = "") -> None:
        """Draw the bar, or in its place the reason why the photos wait.

        ``done`` may count photos from any moment on: the bar shows by how much it grew since the bar was first drawn.
        A terminal that is gone is no error.
        """
        if not self._enabled:
            return
        if not pending or done < self._start:
            self.close()
        if not pending:
            return
        if self._lines is not None:
            self._start = self._start or done
            advanced = done - self._start
            cause = f"; {waits}" if waits else ""
            self._lines.say(f"indexing: {advanced} of {counted(advanced + pending, 'photo')}{cause}")
            return
        if self._bar is None:
            self._start = done
            self._bar = _bar(total=pending, desc="indexing", unit=" photos")
        advanced = done - self._start
        self._bar.total = advanced + pending
        self._bar.bar_format = f"indexing: {{n_fmt}}/{{total_fmt}} photos; {waits}" if waits else None
        with contextlib.suppress(OSError):
            self._bar.update(advanced - self._bar.n)
            if waits:  # a number that does not grow is not drawn again by itself
                self._bar.refresh()

    def close(self) -> None:
        """Remove the bar."""
        self._start = 0
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()
            self._bar = None


class _Lines:
    """Progress as a line every `LINES_EVERY` seconds, for a terminal on which no bar can be drawn."""

    def __init__(self) -> None:
        self._next = 0.0

    def say(self, text: str) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + LINES_EVERY
            say(text)


def downloading(name: str) -> contextlib.AbstractContextManager[Callable[[int, int], None] | None]:
    """Draw a download, as `advancing` does: in bytes."""
    return advancing(name, "B")


@contextlib.contextmanager
def advancing(name: str, unit: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield a callable that draws how far something is: it takes what is done so far, and all (0: not known).

    ``unit``: "B" for bytes, or a noun after a space. None where standard error is no terminal. The bar is removed when
    the block ends.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    bar: Any = None

    def draw(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            scale: dict[str, Any] = {"unit_scale": True, "unit_divisor": 1024} if unit == "B" else {}
            bar = _bar(total=total or None, desc=name, unit=unit, **scale)
        bar.total = total or None  # another source may have more
        bar.update(done - bar.n)

    lines = _Lines()

    def tell(done: int, total: int) -> None:
        done, total, noun = (done >> 20, total >> 20, " MiB") if unit == "B" else (done, total, unit)
        lines.say(f"{name}: {done} of {total}{noun}" if total else f"{name}: {done}{noun}")

    try:
        yield draw if takes_drawing(sys.stderr) else tell
    finally:
        if bar is not None:
            bar.close()


@contextlib.contextmanager
def bars_hidden() -> Iterator[None]:
    """Remove every bar from the terminal while the block writes to it."""
    with _lock:
        if _bar_class is None:
            yield
            return
        with _bar_class.external_write_mode(file=sys.stderr):
            yield


class TerminalHandler(logging.Handler):
    """Writes log lines to standard error, above the bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            line = self.format(record)
            with bars_hidden():
                say(line)
        except Exception:  # noqa: BLE001 - as logging asks of handlers
            self.handleError(record)


def _bar(**options: Any) -> Any:
    global _bar_class
    with _lock:
        if _bar_class is None:
            from tqdm import tqdm

            # Without tqdm's monitor thread: bars are drawn often enough by the thread that they belong to.
            _bar_class = type("_Bar", (tqdm,), {"monitor_interval": 0})
            _bar_class.set_lock(_lock)
    return _bar_class(file=sys.stderr, leave=False, mininterval=0.1, **_size(), **options)


def _size() -> dict[str, Any]:
    """Follow the terminal's size; a terminal without one (a serial line) is taken for 80 by 24."""
    with contextlib.suppress(OSError):
        if not os.get_terminal_size(sys.stderr.fileno()).columns:
            return {"ncols": 80, "nrows": 24}
    return {"dynamic_ncols": True}
