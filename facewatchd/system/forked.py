"""A function that runs in a forked copy of this process, which the kernel makes in milliseconds, whatever its size.

The copy's memory does not change while the function runs, and a library that holds the interpreter's lock for seconds
holds that of the copy: no thread of this process waits for it.
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
"""Seconds between two calls of ``keep_on``."""


class ForkedCopy:
    """One run. The thread that makes it must call `result`: the copy is killed when that thread ends."""

    def __init__(self, function: Callable[[], Any]) -> None:
        """Fork. ``function`` returns what JSON can hold, and uses no lock and no file that was open before.

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
        """Wait for the result of the function. The copy is killed as soon as ``keep_on`` returns False.

        Raises `StorageError` for an exception of the function, and for a copy that was ended.
        """
        try:
            data = self._receive(keep_on)
        finally:
            os.close(self._answer)
            os.kill(self._pid, signal.SIGKILL)  # it has sent its answer, or is not wanted any more
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
        gc.disable()  # a collected object would close its descriptor's number, which may be another file here
        child_process.end_with_parent()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # they are meant for the daemon, which kills this copy itself
        os.closerange(3, pipe)  # else connections that the daemon closes would stay open here
        os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
        answer = _answer(function)
        os.write(pipe, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _answer(function: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"result": function()}
    except Exception as exc:  # noqa: BLE001 - it is raised again by `result`
        return {"error": str(getattr(exc, "message", exc)), "hint": getattr(exc, "hint", "free some disk space")}
