"""Signals that the main thread takes one by one, so that none interrupts anything."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signals:
    """Keeps `SIGNALS` until `wait` asks for them: blocked in this thread and in those that are started meanwhile.

    `wait` unblocks them for as long as it waits, and CPython's own handler writes the number of a signal that comes
    into a socket. `signal.sigtimedwait` is not used: in CPython it returns garbage after the process was stopped beyond
    the deadline (SIGSTOP, Ctrl-Z, a container's pause).
    """

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    @classmethod
    @contextmanager
    def kept(cls) -> Iterator[Signals]:
        """Keep them until the end of the block, where those that were not asked for are dropped."""
        signals = cls()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        handlers = {number: signal.signal(number, _note) for number in SIGNALS}
        wakeup = signal.set_wakeup_fd(signals._sender.fileno(), warn_on_full_buffer=False)
        try:
            yield signals
        finally:
            # A pending signal goes to `_note`: a second Ctrl-C does not cut the stop short. `signal.sigwait` would not
            # return if a thread that does not block the signal took it after `signal.sigpending`.
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            signal.set_wakeup_fd(wakeup)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signals._receiver.close()
            signals._sender.close()

    def wait(self, seconds: float) -> signal.Signals | None:
        """Wait for a signal, at most so long, and return it; None where none came. One call returns one signal."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            ready, _, _ = select.select([self._receiver], [], [], max(0.0, seconds))
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        number = self._receiver.recv(1) if ready else b""
        return signal.Signals(number[0]) if number and number[0] in SIGNALS else None


def _note(_number: int, _frame: object) -> None:
    """CPython writes the number of a signal only where a handler is set."""
