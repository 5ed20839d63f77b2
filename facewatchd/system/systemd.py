"""The protocols between a service and systemd: sd_notify(3), sd_listen_fds(3), and the levels of sd-daemon(3).

Without systemd no socket is passed, and messages are dropped. The variables are removed from the environment, so that
child processes do not take them for their own. systemd's own Python bindings must be compiled against its headers,
while these protocols are a line of text and a number; so they are written out here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time

from facewatchd.errors import FacewatchError

log = logging.getLogger(__name__)

FIRST_PASSED = 3
"""The number of the first descriptor that is passed."""
_SEND_SECONDS = 5.0


class ServiceManager:
    """The service manager that started this process, if one did."""

    def __init__(self) -> None:
        """Read the environment. Raises `FacewatchError` for a passed socket that cannot be used."""
        own = str(os.getpid())
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        usec, for_us = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", own) == own
        self.watchdog = int(usec) / 1e6 if usec.isdigit() and for_us else 0.0
        """Seconds within which it expects the next `ping_watchdog`; 0 where it expects none."""
        count, for_us = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "") == own
        os.environ.pop("LISTEN_FDNAMES", None)
        self.listener = _passed(int(count)) if count.isdigit() and int(count) and for_us else None
        """A listening socket that it made and passed; None without one."""
        self._status = ""

    @property
    def listens(self) -> bool:
        """Whether there is a service manager that receives messages."""
        return bool(self._address)

    def ready(self) -> None:
        """Say that the daemon has started, or has finished reloading."""
        self._say("READY=1")

    def status(self, text: str) -> None:
        """Say in one line what the daemon is doing. A line that was sent last is not sent again."""
        if text != self._status:
            self._status = text
            self._say(f"STATUS={text}")

    def ping_watchdog(self) -> None:
        """Say that no thread hangs."""
        self._say("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` says when that is done."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.settimeout(_SEND_SECONDS)
                end.sendto(text.encode(), address)
        except OSError as exc:
            log.warning("cannot tell systemd %s: %s", text, exc.strerror or exc)


def is_journal(descriptor: int) -> bool:
    """Whether a descriptor leads to the journal, which records times itself and reads levels."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    with contextlib.suppress(OSError, ValueError):
        status = os.fstat(descriptor)
        return (status.st_dev, status.st_ino) == (int(device), int(inode))
    return False


def _passed(count: int) -> socket.socket:
    hint = "its socket unit must have one ListenStream, a path"
    if count > 1:
        raise FacewatchError(f"systemd passed {count} sockets", hint)
    os.set_inheritable(FIRST_PASSED, False)
    try:
        listener = socket.socket(fileno=FIRST_PASSED)
    except OSError as exc:
        raise FacewatchError(f"what systemd passed is no socket ({exc.strerror})", hint) from exc
    problem = ""
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM:
        problem = "is no Unix stream socket"
    elif not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        problem = "does not listen"
    elif not str(listener.getsockname()).startswith("/"):
        problem = "has no path"
    if problem:
        listener.close()
        raise FacewatchError(f"the socket that systemd passed {problem}", hint)
    return listener
