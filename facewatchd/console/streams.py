"""The three standard streams of all commands: results to standard output, everything else to standard error.

Standard library only, because `facewatch-query` starts with it.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import Any, TextIO

from facewatchd.errors import UsageError

STDERR = 2
"""Its descriptor."""
NARROW = 40
"""Columns below which no bar is drawn."""


def open_standard_streams() -> None:
    """Open the null device for each closed standard stream: else the next file or socket would take its descriptor.

    Child processes inherit it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def is_attended() -> bool:
    """Whether a person is there to be asked."""
    return bool(sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty())


def agrees(question: str) -> bool:
    """Ask a person on the terminal; whether the answer is yes."""
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def wait_while_read(seconds: float) -> bool:
    """Sleep, or return False as soon as the other end of standard output's pipe is closed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # POLLERR is always reported
    return not poll.poll(seconds * 1000)


def write_json(document: object, *, indented: bool | None = None) -> bool:
    """Write a document as `write` does: on one line, or indented for a person, unless told which.

    Plain ASCII: no character of a file name can steer a terminal or break a reader.
    """
    text = json.dumps(document, indent=2 if (on_terminal() if indented is None else indented) else None)
    return write(f"{text}\n")


def write(results: str | bytes) -> bool:
    """Write to standard output; False where the reader is gone (``| head``), which is no error.

    Raises `UsageError` where the results cannot be written.
    """
    if not results:
        return True
    if sys.stdout is None:
        raise UsageError("standard output is closed", "send the results somewhere")
    if isinstance(results, str):
        results = results.encode(sys.stdout.encoding, "backslashreplace")
    try:
        _write_all(results)
    except BrokenPipeError:
        _discard_output()
        return False
    except OSError as exc:
        _discard_output()
        raise UsageError(f"cannot write the results: {exc.strerror}", "make room, or send them elsewhere") from exc
    return True


def _write_all(data: bytes) -> None:
    """Write everything, also to a non-blocking pipe, to which the buffered stream would write only a part.

    Raises OSError.
    """
    stream: Any = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
    rest = memoryview(data)
    while rest:
        if (written := stream.write(rest)) is None:  # the pipe is full
            room = select.poll()
            room.register(stream.fileno(), select.POLLOUT)
            room.poll()
        else:
            rest = rest[written:]


def _discard_output() -> None:
    """Lead standard output to the null device: else Python would report what is still buffered once more at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def takes_colour(stream: TextIO | None) -> bool:
    """Whether colour may be written: to a terminal that has it, without ``NO_COLOR`` (https://no-color.org)."""
    return (
        stream is not None and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def takes_drawing(stream: TextIO | None) -> bool:
    """Whether a line may be overwritten: on a terminal that can, with at least `NARROW` columns."""
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return True
    return columns == 0 or columns >= NARROW  # 0: the terminal has no size


def say(text: str) -> None:
    """Write one line to standard error. A stream that cannot be written to is no error."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):  # ValueError: closed since
        pass
