"""Commands on a pseudo-terminal, read as a person would see them."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path

DEADLINE = 60.0


class Terminal:
    """A command whose every stream is a pseudo-terminal."""

    def __init__(self, arguments: Sequence[str | bytes | Path], columns: int = 100) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24 if columns else 0, columns))
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
        self.process = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.written = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.close()

    def until(self, pattern: bytes) -> re.Match[bytes]:
        """Read until the pattern is there, and forget what comes before its end."""
        deadline = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.written)):
            assert select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0], self.written
            self.written += os.read(self._ours, 65536)
        self.written = self.written[found.end() :]
        return found

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._ours, keys)

    def close(self) -> int:
        """Wait for the end and return the exit status."""
        deadline = time.monotonic() + DEADLINE
        try:
            while select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
                if not (data := os.read(self._ours, 65536)):
                    break
                self.written += data
        except OSError:  # EIO: the other end is closed
            pass
        os.close(self._ours)
        return self.process.wait(DEADLINE)
