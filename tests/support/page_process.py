"""``facewatchd page`` as a process, on a daemon of a test."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from urllib.parse import urlsplit

from tests.support.processes import DEADLINE, Daemon


class PageProcess:
    """`start` it; it is killed at the end of the test if it still lives."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.log = daemon.home / "page.log"
        self.url = ""
        """What the command printed: the address with the secret."""
        self.process: subprocess.Popen[str] | None = None
        self.opens = False
        """Whether it is to open the desktop's browser."""

    @property
    def environment(self) -> dict[str, str]:
        """Of the command, with a runtime directory that is the user's alone."""
        runtime = self.daemon.home / "runtime"
        runtime.mkdir(mode=0o700, exist_ok=True)
        return {**self.daemon.environment, "XDG_RUNTIME_DIR": str(runtime)}

    def again(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call the command while it may be running."""
        if not self.is_alive:
            self._forget()
        command = [sys.executable, "-m", "facewatchd", "page", "--socket", str(self.daemon.socket), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=self.environment, timeout=DEADLINE, check=False
        )

    @property
    def origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, *arguments: str) -> None:
        """Start it, and wait until it says where it is."""
        if not self.is_alive:
            self._forget()
        command = [sys.executable, "-m", "facewatchd", "page", "--socket", str(self.daemon.socket)]
        command += [] if self.opens else ["--no-open"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, env=self.environment
            )
        assert self.process.stdout is not None
        late = threading.Timer(DEADLINE, self.process.kill)
        late.start()
        try:
            for line in self.process.stdout:
                if found := re.search(r"http://\S+", line):
                    self.url = found[0]
                    return
        finally:
            late.cancel()
        raise AssertionError(f"the page ended with {self.process.wait()}:\n{self.log.read_text()}")

    def stop(self) -> None:
        """Ask it to end, and end it where it does not."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._forget()

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self._forget()

    def _forget(self) -> None:
        """Wait for the end of a process, and close what was read from it."""
        if self.process is not None:
            assert self.process.stdout is not None
            self.process.wait(DEADLINE)
            self.process.stdout.close()
            self.process = None

    def __enter__(self) -> PageProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
