"""What a terminal can show, and how large it is: asked of the terminal itself. Standard library only.

Theory of operation. A terminal answers a question on the input that its keys also come from. So the questions are
asked while the terminal neither echoes nor waits for a line, the answers are read, and then its settings are put back,
whatever happens meanwhile: an error, Ctrl-C, SIGTERM or SIGHUP. The last question is "what are you?" (DA1), which every
terminal answers, and answers come in the order of the questions: once DA1 is answered, nothing more will come. A
terminal that does not understand a question is silent on it. GNU screen and tmux answer for themselves, so what they do
not show is not offered; they are asked only what they know, as tmux 3.3 takes kitty's question for a new title, and
screen 4.9 sends the question about colours to a terminal that may print it.

Where DA1 is not answered within `DEADLINE`, pictures are drawn from characters. The answer may still be on its way, as
over a slow line, and must not be taken for input of the shell: the settings are put back only after the drawing, at
least `LATE` seconds after the questions, and what has come by then is thrown away.

Nothing is asked where keys were pressed before (reading the answers would swallow them), by a process in the background
(which would be stopped), and of a Linux console, which may print a question that it does not know.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import struct
import sys
import time
from collections.abc import Iterator
from enum import Enum
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn

DEADLINE: Final = 1.0
"""Seconds for the answers: some ten times the way to another continent and back."""
LATE: Final = 2.0
"""Seconds after the questions until which late answers are thrown away."""
_LATE_AFTER_ERROR: Final = 0.3
"""The same, counted from an error or Ctrl-C."""
_USUAL_CELL: Final = (8, 16)
"""Width and height of a character in pixels where nothing tells them."""
_CELLS: Final = range(2, 201)
"""Pixels that a side of a character can have: other answers are not believed."""
_MOST: Final = 1 << 16
"""Bytes that are read as answers."""

_CAN_DRAW: Final = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
"""Kitty's graphics protocol: would you show this pixel?"""
_ANY_COLOUR: Final = b"\x1b[48:2:1:2:3m\x1bP$qm\x1b\\\x1b[m"
"""Sets a colour, and asks which one is set (DECRQSS): a terminal of 256 colours answers with another one."""
_AREA: Final = b"\x1b[14t"
_CELL: Final = b"\x1b[16t"
_DA1: Final = b"\x1b[c"
_REGISTERS: Final = b"\x1b[?1;1;0S"
_CLEAN: Final = b"\r\x1b[K"
"""Clears the line: a terminal may have printed a question that it does not know."""
_ENDING: Final = b"\x18\x1b\\\x1b[m\r\n"
"""Ends a sequence of any kind that was begun (CAN, ST), takes colours back, and begins a line."""

_CSI: Final = rb"(?:\x1b\[|\x9b)"
_CAN_DRAW_REPLY: Final = re.compile(rb"\x1b_Gi=31;OK\x1b\\")
_ANY_COLOUR_REPLY: Final = re.compile(rb"\x1bP1\$r[\d:;]{0,99}48[:;]2[:;]{1,2}1[:;]2[:;]3")
_AREA_REPLY: Final = re.compile(_CSI + rb"4;(\d{1,6});(\d{1,6})t")
_CELL_REPLY: Final = re.compile(_CSI + rb"6;(\d{1,6});(\d{1,6})t")
_DA1_REPLY: Final = re.compile(_CSI + rb"\?([\d;]{1,200})c")
_REGISTERS_REPLY: Final = re.compile(_CSI + rb"\?1;0;(\d{1,9})S")
_SIXEL: Final = b"4"
"""What a terminal that draws sixels lists among the things that it can do."""
_FEWEST_COLOURS: Final = 2
MOST_COLOURS: Final = 256
"""Of a sixel picture: what most terminals have registers for."""


_FEW_COLOURS: Final = ("screen", "screen.linux", "screen.xterm")
"""What GNU screen is called where it shows 16 colours."""


class Way(Enum):
    """How pictures are shown."""

    KITTY = "kitty"
    SIXEL = "sixel"
    BLOCKS = "blocks"


class Screen(NamedTuple):
    """A terminal's window."""

    columns: int
    rows: int
    way: Way
    cell: tuple[int, int]
    """Width and height of a character in pixels."""
    is_cell_known: bool = True
    """Whether the terminal told the size of a character."""
    colours: int = MOST_COLOURS
    """How many colours a sixel picture may have."""
    has_any_colour: bool = False
    """Whether characters can have any colour, and not one of 256."""
    has_few_colours: bool = False
    """Whether it turns all colours into the 16 of old terminals, in which greys are truer than skin."""
    has_quarters: bool = True
    """Whether it has letters for quarters of a character."""


class _Ended(BaseException):
    """A signal asks the process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def asked() -> Iterator[Screen]:
    """Yield what standard output, a terminal, can show. Inside of the block, pictures may be written to it."""
    columns, rows, width, height = _window(sys.stdout.fileno())
    with _dialogue() as dialogue:
        more = b"" if _is_multiplexed() else _CAN_DRAW + _ANY_COLOUR
        replies = dialogue.ask(more + _AREA + _CELL) if dialogue else b""
        attributes = _attributes(replies)
        way, colours = Way.BLOCKS, MOST_COLOURS
        if dialogue and _CAN_DRAW_REPLY.search(replies):
            way = Way.KITTY
        elif dialogue and _SIXEL in attributes:
            way = Way.SIXEL
            if found := _REGISTERS_REPLY.search(dialogue.ask(_REGISTERS)):
                colours = max(_FEWEST_COLOURS, min(int(found[1]), MOST_COLOURS))
        if dialogue:
            dialogue.end_if_answered()
        cell = _cell(replies, (columns, rows), (width, height))
        any_colour = bool(_ANY_COLOUR_REPLY.search(replies)) or _takes_any_colour()
        yield Screen(
            columns,
            rows,
            way,
            cell or _USUAL_CELL,
            is_cell_known=cell is not None,
            colours=colours,
            has_any_colour=any_colour,
            has_few_colours=_is_linux_console() or os.environ.get("TERM", "") in _FEW_COLOURS,
            has_quarters=not _is_linux_console(),
        )


@contextlib.contextmanager
def ended_in_sequence() -> Iterator[None]:
    """End what was begun where the block, which writes, is left by Ctrl-C or a signal.

    Else the terminal would take what comes next, a shell's prompt, for a part of a picture, or keep the last colour.
    """
    try:
        yield
    except (KeyboardInterrupt, _Ended):
        descriptor = sys.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if poll.poll(_LATE_AFTER_ERROR * 1000):  # not to a terminal that is stopped, or gone
            with contextlib.suppress(OSError):
                os.write(descriptor, _ENDING)
        raise


def _takes_any_colour() -> bool:
    """Whether the environment says so; tmux turns every colour into one that its terminal has."""
    term = os.environ.get("TERM", "")
    if "STY" in os.environ or term.startswith("screen."):
        return False
    return os.environ.get("COLORTERM") in ("truecolor", "24bit") or "TMUX" in os.environ or term.startswith("tmux")


def _is_multiplexed() -> bool:
    """Whether screen or tmux stands between, here or on the machine that this session comes from."""
    return "TMUX" in os.environ or "STY" in os.environ or os.environ.get("TERM", "").startswith(("screen", "tmux"))


def _is_linux_console() -> bool:
    return os.environ.get("TERM") == "linux"


def _attributes(replies: bytes) -> list[bytes]:
    """What the terminal says that it can do, behind the number of its class."""
    found = _DA1_REPLY.search(replies)
    return found[1].split(b";")[1:] if found else []


def _cell(replies: bytes, cells: tuple[int, int], area: tuple[int, int]) -> tuple[int, int] | None:
    """Width and height of a character: as the terminal or the kernel tells it; None where neither does."""
    told = []
    if found := _CELL_REPLY.search(replies):
        told.append((int(found[2]), int(found[1])))
    areas = [area]
    if found := _AREA_REPLY.search(replies):
        areas.append((int(found[2]), int(found[1])))
    told += [(wide // cells[0], high // cells[1]) for wide, high in areas]
    return next((cell for cell in told if cell[0] in _CELLS and cell[1] in _CELLS), None)


def _window(descriptor: int) -> tuple[int, int, int, int]:
    """Columns, rows, and the window's width and height in pixels, 0 where they are not known."""
    import fcntl
    import termios

    rows, columns, width, height = 0, 0, 0, 0
    with contextlib.suppress(OSError):
        answer = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
        rows, columns, width, height = struct.unpack("HHHH", answer)
    return columns or 80, rows or 24, width, height


class _Dialogue:
    """Questions to a terminal that does not echo, and its answers."""

    def __init__(self, descriptor: int, settings: list[Any]) -> None:
        self._descriptor = descriptor
        self._settings: list[Any] | None = settings
        """What the terminal was set to; None once it is again."""
        self._asked = 0.0
        self._is_answered = True

    def ask(self, questions: bytes) -> bytes:
        """Return the answers, or what came of them within `DEADLINE`."""
        self._asked = time.monotonic()
        self._is_answered = False
        os.write(self._descriptor, questions + _DA1)
        replies = self._read(self._asked + DEADLINE)
        os.write(self._descriptor, _CLEAN)
        return replies

    def _read(self, end: float) -> bytes:
        replies = b""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not self._is_answered and (left := end - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                break
            if not (data := os.read(self._descriptor, 4096)):
                break  # the terminal is gone
            replies = (replies + data)[-_MOST:]
            self._is_answered = _DA1_REPLY.search(replies) is not None
        return replies

    def end_if_answered(self) -> None:
        """Put the terminal's settings back, unless something may still come."""
        if self._is_answered:
            self._restore()

    def end(self, *, failed: bool) -> None:
        """Put the settings back, after late answers have come."""
        if self._settings is None:
            return
        try:
            late = time.monotonic() + _LATE_AFTER_ERROR if failed else self._asked + LATE
            self._read(late)
        finally:
            self._restore()

    def _restore(self) -> None:
        import termios

        settings, self._settings = self._settings, None
        if settings is None:
            return
        when = termios.TCSADRAIN if self._is_answered else termios.TCSAFLUSH  # which throws input away
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._descriptor, when, settings)


@contextlib.contextmanager
def _dialogue() -> Iterator[_Dialogue | None]:
    """Have the terminal neither echo nor wait for a line inside of the block; None where it cannot be asked."""
    import termios

    with contextlib.ExitStack() as stack:
        descriptor = _opened(stack)
        if descriptor is None or _is_linux_console() or not _in_foreground(descriptor):
            yield None
            return
        try:
            settings = termios.tcgetattr(descriptor)
        except termios.error:
            yield None
            return
        dialogue = _Dialogue(descriptor, settings)
        with _ended_by_signals():
            failed = True
            try:
                quiet = [*settings]
                quiet[3] = settings[3] & ~(termios.ICANON | termios.ECHO)
                quiet[6] = [*settings[6]]
                quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 0, 0
                termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
                if _has_input(descriptor):
                    dialogue.end_if_answered()
                    yield None
                else:
                    yield dialogue
                failed = False
            finally:
                dialogue.end(failed=failed)


def _opened(stack: contextlib.ExitStack) -> int | None:
    """The terminal on standard output, opened for reading too."""
    try:
        descriptor = os.open(os.ttyname(sys.stdout.fileno()), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor


def _in_foreground(descriptor: int) -> bool:
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # not the terminal that controls this process: no input of it stops the process
        return True


def _has_input(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP leave the block as an error does, and end the process after it."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise _Ended(number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except _Ended as ended:
        signal.signal(ended.number, signal.SIG_DFL)
        os.kill(os.getpid(), ended.number)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
