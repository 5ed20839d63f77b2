"""A function that runs in a copy of this process, which the kernel makes in milliseconds, whatever its size.

What must not change while the function takes its time does not change there, and what holds the interpreter's lock
holds the copy's: nobody here waits for it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from facewatchd.errors import StorageError
from facewatchd.system import child_process

LOOK_EVERY = 0.5
"""Seconds between two looks at whether the result is still wanted."""


class ForkedCopy:
    """One run. Make it and then ask for its `result`, on the same thread: the copy ends with that thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        """Begin. ``function`` returns what JSON can carry, and must touch no lock, and no file that was open before.

        Raises OSError where no process can be made.
        """
        self._answer, theirs = os.pipe()
        try:
            self._pid = os.fork()
            if not self._pid:
                _run(function, theirs)
        except OSError:
            os.close(self._answer)
            raise
        finally:
            os.close(theirs)

    def result(self, keep_on: Callable[[], bool] = lambda: True) -> Any:
        """Wait for what the function returns. Raises `StorageError` for whatever it raised, or ended it.

        It is ended when ``keep_on`` says so.
        """
        try:
            data = self._receive(keep_on)
        finally:
            os.close(self._answer)
            os.kill(self._pid, signal.SIGKILL)  # it has said all, or is not to go on
            _, status = os.waitpid(self._pid, 0)
        if not data:
            raise StorageError(f"the process that was to do it ended ({_fate(status)})", "free some memory")
        answer = json.loads(data)
        if "error" in answer:
            raise StorageError(answer["error"], answer["hint"])
        return answer["result"]

    def _receive(self, keep_on: Callable[[], bool]) -> bytes:
        poll = select.poll()
        poll.register(self._answer, select.POLLIN)
        data = b""
        while keep_on():
            if poll.poll(LOOK_EVERY * 1000):
                part = os.read(self._answer, 65536)
                if not part:
                    return data
                data += part
        return b""


def _fate(status: int) -> str:
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"


def _run(function: Callable[[], Any], pipe: int) -> NoReturn:
    try:
        gc.disable()  # objects that own files must not close their numbers, which are new files' here
        child_process.end_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # they are meant for the daemon, which ends this one as well
        os.closerange(3, pipe)  # or clients would wait for the end of connections that the daemon closed
        os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
        answer = _answer(function)
        os.write(pipe, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _answer(function: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": function()}
    except Exception as exc:  # noqa: BLE001 - whatever it is, it is to be said over there
        return {"error": str(getattr(exc, "message", exc)), "hint": getattr(exc, "hint", "free some disk space")}
