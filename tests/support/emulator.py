"""A small terminal emulator on a real pseudo-terminal: it answers questions and draws what a command writes.

It knows what `facewatch-query --show` writes, and fails on anything else that begins with an escape character. Text
stands on lines of characters; pictures of all three kinds are drawn on a canvas of pixels, from which a test can cut
them out again. Both scroll together.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DEADLINE = 60.0
_SEQUENCE = re.compile(
    rb"\x1b_G(?P<kitty>[^\x1b]*)\x1b\\"
    rb"|\x1bP(?P<sixel>0;1;0q[^\x1b]*)\x1b\\"
    rb"|\x1bP(?P<request>\$qm)\x1b\\"
    rb"|\x1b\[(?P<private>[?]?)(?P<numbers>[\d;:]*)(?P<final>[A-Za-z])"
    rb"|\x1b(?P<cursor>[78])"
    rb"|\x1b(?P<end>\\)",
    re.DOTALL,
)
_CANCELLED = re.compile(rb"(\x1b[^\x1b\x18]*|[\x80-\xff]*)\x18")
"""CAN ends a sequence that was begun, or a letter of which only the first bytes came."""
_QUARTERS = " ▘▝▀▖▌▞▛"
_LEVELS = (0, 95, 135, 175, 215, 255)
BACKGROUND = (10, 20, 30)


class Emulator:
    """A window with what it can do."""

    def __init__(
        self,
        columns: int = 80,
        rows: int = 40,
        *,
        cell: tuple[int, int] = (8, 16),
        kitty: bool = False,
        sixel: bool = False,
        any_colour: bool = True,
        registers: int = 256,
        answers_after: float | None = 0.0,
        tells_kernel: bool = True,
    ) -> None:
        """``answers_after``: seconds; None: it answers nothing. ``tells_kernel``: the size of the window in pixels."""
        self.columns, self.rows, self.cell = columns, rows, cell
        self.kitty, self.sixel, self.any_colour, self.registers = kitty, sixel, any_colour, registers
        self.answers_after = answers_after
        self.ours, self.theirs = pty.openpty()
        wide, high = (columns * cell[0], rows * cell[1]) if tells_kernel else (0, 0)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, wide, high))
        self.settings = termios.tcgetattr(self.theirs)
        self.canvas = np.full((rows * cell[1], columns * cell[0], 3), BACKGROUND, np.uint8)
        self.lines = [[" "] * columns for _ in range(rows)]
        self.pictures: list[tuple[int, int, Image.Image]] = []
        """Each with the column and the line, counted from the first that was ever written, of its upper left corner."""
        self.scrolled = 0
        self.wraps = 0
        """How often a line was longer than the window."""
        self.asked: list[str] = []
        self._at = self._kept = (0, 0)
        self._colours: list[tuple[int, int, int] | None] = [None, None]
        self._pieces = b""
        self._place: dict[str, int] = {}
        self._replies: list[tuple[float, bytes]] = []
        self._rest = b""
        self._hooks: list[tuple[bytes, Callable[[], None]]] = []
        self.written = b""

    def when(self, written: bytes, act: Callable[[], None]) -> None:
        """Call something once these bytes were written."""
        self._hooks.append((written, act))

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self.ours, keys)

    def run(self, command: Sequence[str | Path], *, stdin: Any = None, **environment: str | None) -> tuple[int, str]:
        """Run a command in the window; return its status and standard error."""
        variables = {**os.environ, "TERM": "xterm-256color", "COLORTERM": None, "NO_COLOR": None, **environment}
        kept = {name: value for name, value in variables.items() if value is not None}

        def control() -> None:
            fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            stdin=self.theirs if stdin is None else stdin,
            stdout=self.theirs,
            stderr=subprocess.PIPE,
            env=kept,
            start_new_session=True,
            preexec_fn=control,
        )
        with self.process as process:
            try:
                self._serve(process)
            except BaseException:
                process.kill()
                raise
            assert process.stderr is not None
            return process.wait(), process.stderr.read().decode()

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + DEADLINE
        while process.poll() is None or select.select([self.ours], [], [], 0)[0]:
            assert time.monotonic() < deadline, self.written[-2000:]
            self._reply()
            if select.select([self.ours], [], [], 0.02)[0]:
                self._take(os.read(self.ours, 65536))

    def close(self) -> None:
        for descriptor in (self.ours, self.theirs):
            os.close(descriptor)

    def is_as_before(self) -> bool:
        """Whether the terminal's settings are those from before the command."""
        return termios.tcgetattr(self.theirs) == self.settings

    def left_input(self) -> bytes:
        """What the next reader of the terminal would read, once late answers have come."""
        end = time.monotonic() + (self.answers_after or 0)
        while self._replies and time.monotonic() < end + 1:
            self._reply()
            time.sleep(0.01)
        settings = termios.tcgetattr(self.theirs)
        settings[3] &= ~termios.ICANON
        termios.tcsetattr(self.theirs, termios.TCSANOW, settings)
        found = os.read(self.theirs, 65536) if select.select([self.theirs], [], [], 0.05)[0] else b""
        termios.tcsetattr(self.theirs, termios.TCSANOW, self.settings)
        return found

    def text(self) -> list[str]:
        """The lines of text, without what scrolled away."""
        return ["".join(line).rstrip() for line in self.lines]

    def image(self) -> Image.Image:
        return Image.fromarray(self.canvas)

    def cut(self, column: int, line: int, columns: int, rows: int) -> Image.Image:
        """What is drawn in a part of the window."""
        wide, high = self.cell
        box = (column * wide, line * high, (column + columns) * wide, (line + rows) * high)
        return self.image().crop(box)

    def _reply(self) -> None:
        now = time.monotonic()
        while self._replies and self._replies[0][0] <= now:
            os.write(self.ours, self._replies.pop(0)[1])

    def _answer(self, question: str, answer: bytes) -> None:
        self.asked.append(question)
        if self.answers_after is not None and answer:
            self._replies.append((time.monotonic() + self.answers_after, answer))

    def _take(self, data: bytes) -> None:
        self.written += data
        for written, act in [each for each in self._hooks if each[0] in self.written]:
            self._hooks.remove((written, act))
            act()
        self._rest += data
        while self._rest:
            if cancelled := _CANCELLED.match(self._rest):
                self._rest = self._rest[cancelled.end() :]
            elif self._rest[:1] == b"\x1b":
                found = _SEQUENCE.match(self._rest)
                if found is None:
                    ends = b"\x1b\\" in self._rest[1:] if self._rest[1:2] in (b"_", b"P") else len(self._rest) > 80
                    assert not ends, self._rest[:80]
                    return
                self._rest = self._rest[found.end() :]
                self._act(found)
            else:
                end = self._rest.find(b"\x1b")
                words = self._rest if end < 0 else self._rest[:end]
                whole = words.decode("utf-8", "ignore")
                used = len(whole.encode())
                if end >= 0:
                    used = len(words)
                elif not whole:
                    return
                self._rest = self._rest[used:]
                for character in whole:
                    self._print(character)

    def _act(self, found: re.Match[bytes]) -> None:
        if (kitty := found["kitty"]) is not None:
            self._take_kitty(kitty)
        elif (sixel := found["sixel"]) is not None:
            assert self.sixel
            self._draw(sixel_picture(sixel, self.registers))
        elif found["request"] is not None:
            self._answer("colour", b"\x1bP1$r0;48:2::1:2:3m\x1b\\" if self.any_colour else b"\x1bP1$r0;48:5:16m\x1b\\")
        elif found["end"] is not None:
            pass  # of a sequence that was cancelled
        elif (cursor := found["cursor"]) is not None:
            if cursor == b"7":
                self._kept = self._at
            else:
                self._at = self._kept
        else:
            self._control(found["private"] + found["final"], found["numbers"])

    def _control(self, final: bytes, numbers: bytes) -> None:
        column, line = self._at
        count = int(numbers) if numbers.isdigit() else 1
        if final == b"m":
            self._colour(numbers)
        elif final == b"A":
            self._at = column, max(0, line - count)
        elif final == b"B":
            self._at = column, min(self.rows - 1, line + count)
        elif final == b"C":
            self._at = min(self.columns - 1, column + count), line
        elif final == b"K":
            self.lines[line][column:] = [" "] * (self.columns - column)
        elif final == b"c":
            self._answer("DA1", b"\x1b[?62;%s22c" % (b"4;" if self.sixel else b""))
        elif final == b"t" and numbers == b"14":
            self._answer("area", b"\x1b[4;%d;%dt" % (self.rows * self.cell[1], self.columns * self.cell[0]))
        elif final == b"t" and numbers == b"16":
            self._answer("cell", b"\x1b[6;%d;%dt" % (self.cell[1], self.cell[0]))
        elif final == b"?S":
            self._answer("registers", b"\x1b[?1;0;%dS" % self.registers if self.sixel else b"")
        else:
            raise AssertionError((final, numbers))

    def _colour(self, numbers: bytes) -> None:
        words = [int(each or 0) for each in re.split(rb"[;:]", numbers)]
        while words:
            word = words.pop(0)
            if word == 0:
                self._colours = [None, None]
            elif word in (38, 48):
                kind = words.pop(0)
                colour = of_256(words.pop(0)) if kind == 5 else (words.pop(0), words.pop(0), words.pop(0))
                self._colours[word == 48] = colour

    def _print(self, character: str) -> None:
        column, line = self._at
        if character == "\r":
            self._at = 0, line
        elif character == "\n":
            self._at = column, line + 1
            if line + 1 == self.rows:
                self._scroll()
        else:
            assert character.isprintable(), repr(character)
            if column == self.columns:
                self.wraps += 1
                self._print("\r")
                self._print("\n")
                column, line = self._at
            self.lines[line][column] = character
            if self._colours[1] is not None:
                self._letter(character, column, line)
            self._at = column + 1, line

    def _letter(self, character: str, column: int, line: int) -> None:
        wide, high = self.cell
        front, back = (colour or BACKGROUND for colour in self._colours)
        number = _QUARTERS.index(character)
        for quarter in range(4):
            top, left = line * high + (quarter // 2) * high // 2, column * wide + (quarter % 2) * wide // 2
            area = self.canvas[top : top + high // 2, left : left + wide // 2]
            area[:] = front if number >> quarter & 1 else back

    def _scroll(self) -> None:
        high = self.cell[1]
        self.canvas = np.concatenate([self.canvas[high:], np.full_like(self.canvas[:high], BACKGROUND)])
        self.lines = [*self.lines[1:], [" "] * self.columns]
        self.scrolled += 1
        self._at = self._at[0], self.rows - 1

    def _take_kitty(self, command: bytes) -> None:
        control, _, data = command.partition(b";")
        keys = dict(pair.split("=") for pair in control.decode().split(","))
        if keys.get("a") == "q":
            self._answer("kitty", b"\x1b_Gi=31;OK\x1b\\" if self.kitty else b"")
            return
        assert self.kitty
        assert len(data) <= 4096
        if "a" in keys:
            assert (keys["a"], keys["f"], keys["q"], keys["C"]) == ("T", "100", "2", "1")
            self._pieces = b""
            self._place = {name: int(keys[name]) for name in ("c", "r") if name in keys}
        self._pieces += data
        if keys["m"] == "0":
            picture = Image.open(io.BytesIO(base64.b64decode(self._pieces, validate=True)))
            if self._place:
                wide, high = self.cell
                picture = picture.resize((self._place["c"] * wide, self._place["r"] * high))
            self._draw(picture)

    def _draw(self, picture: Image.Image) -> None:
        column, line = self._at
        self.pictures.append((column, line + self.scrolled, picture))
        left, top = column * self.cell[0], line * self.cell[1]
        assert left + picture.width <= self.canvas.shape[1], "a picture is wider than the window"
        assert top + picture.height <= self.canvas.shape[0], "a picture is higher than the room below the cursor"
        whole = self.image()
        whole.paste(picture, (left, top), picture if picture.mode == "RGBA" else None)
        self.canvas = np.asarray(whole).copy()
        self._at = 0, min(self.rows - 1, line + 1)  # anywhere: terminals differ


def of_256(number: int) -> tuple[int, int, int]:
    """A colour of xterm's 256, as red, green and blue."""
    assert 16 <= number <= 255
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    number -= 16
    return _LEVELS[number // 36], _LEVELS[number // 6 % 6], _LEVELS[number % 6]


def sixel_picture(data: bytes, registers: int = 256) -> Image.Image:
    """Decode what stands between ``ESC P`` and ``ESC \\``, as `img2sixel` writes it and terminals read it."""
    found = re.match(rb'0;1;0q"1;1;(\d+);(\d+)', data)
    assert found
    width, height = int(found[1]), int(found[2])
    pixels = np.zeros((-(-height // 6) * 6, width, 4), np.uint8)
    palette: dict[int, tuple[int, ...]] = {}
    colour, across, top = 0, 0, 0
    for token in re.finditer(
        rb"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|([$-])|(.)", data[found.end() :]
    ):
        if token[1]:
            palette[int(token[1])] = tuple(round(int(token[part]) * 255 / 100) for part in (2, 3, 4))
            assert int(token[1]) < registers
        elif token[5]:
            colour = int(token[5])
        elif token[9]:
            across = 0
            top += 6 * (token[9] == b"-")
        else:
            assert token[10] is None, token[0]
            count, letter = (int(token[6]), token[7]) if token[6] else (1, token[8])
            bits = letter[0] - 63
            for row in range(6):
                if bits >> row & 1:
                    pixels[top + row, across : across + count] = (*palette[colour], 255)
            across += count
            assert across <= width
    return Image.fromarray(pixels[:height])


def terminate(emulator: Emulator, number: int) -> Callable[[], None]:
    """What sends a signal to the command in the window."""

    def send() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(emulator.process.pid, number)

    return send
