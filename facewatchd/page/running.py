"""One page for each daemon: a file in the user's runtime directory says where it runs, and is locked while it does.

The file has the page's address with the code, so only its owner may read it (0600). The page is the process that holds
its lock; another call reads the address from it. The lock ends with its process, however that ends, so a file that a
killed page left behind stops nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from facewatchd import paths
from facewatchd.errors import FacewatchError
from facewatchd.server import socket_file

_PATIENCE = 10.0
"""Seconds for a page that starts at the same time to write its address."""
_EVERY = 0.05


class Address(NamedTuple):
    """Where a page is found."""

    url: str
    """With the code."""
    leads: str
    """A file that leads a browser there: see `opener`."""


class Place:
    """Where the page of one daemon leaves its address."""

    def __init__(self, socket: Path | None) -> None:
        """``socket``: the daemon's, None for the usual one. Raises `UsageError` without a runtime directory."""
        usual = paths.socket_path()
        self.directory = usual.parent
        self.name = "facewatchd-page"
        """Of files of this page, without a suffix."""
        if socket is not None and (own := os.path.abspath(socket)) != str(usual):
            self.name += "-" + hashlib.blake2b(os.fsencode(own), digest_size=6).hexdigest()
        self._file = self.directory / f"{self.name}.json"

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the place while the block runs, or yield False where another process holds it.

        Raises `FacewatchError` where the directory or the file is not the user's own.
        """
        descriptor = self._locked()
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    self._file.unlink(missing_ok=True)  # before the lock is given up
                os.close(descriptor)

    def tell(self, address: Address) -> None:
        """Write the address for other calls; this process holds the place. Raises OSError."""
        with open(self._file, "r+", encoding="ascii") as file:
            file.write(json.dumps(address._asdict()))

    def address(self) -> Address:
        """Return the address of the page that another process holds the place for.

        Raises `FacewatchError` where it does not say in time.
        """
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, TypeError):
                return Address(**json.loads(self._file.read_text("ascii")))
            time.sleep(_EVERY)
        raise FacewatchError("another call is starting the page, and takes long", "try again in a moment")

    def _locked(self) -> int | None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            socket_file.make_directory(self.directory)
            socket_file.check_directory(self.directory)
            while True:
                descriptor = os.open(self._file, flags, 0o600)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    return None
                if self._is_in_place(descriptor):
                    os.fchmod(descriptor, 0o600)
                    os.ftruncate(descriptor, 0)
                    return descriptor
                os.close(descriptor)  # the page before removed it between the opening and the lock
        except OSError as exc:
            raise FacewatchError(
                f"cannot write {self._file}: {exc.strerror or exc}", "check the directory, or set XDG_RUNTIME_DIR"
            ) from exc

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(self._file))
        except FileNotFoundError:
            return False
