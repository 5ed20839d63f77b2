"""Child processes that run a module of this package: how one is started, and how it tells its result.

What may crash, hang or take all memory (a compiled library, a model that was fetched) is tried in such a process. Its
last line on standard output is a JSON object; libraries may have written lines before that.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from facewatchd.errors import FacewatchError
from facewatchd.text import one_line

INSTALL_AGAIN: Final = "install facewatchd again"
_TEXT: Final = 500
"""Characters of a message that are taken over."""
_PACKAGES = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)


class ChildError(FacewatchError):
    """A child process gave no result. ``signal``: the one that ended it, if one did."""

    def __init__(self, message: str, signal_: signal.Signals | None = None) -> None:
        super().__init__(message)
        self.signal = signal_


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module: with this interpreter, and without the working directory in its path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """The environment that goes with `command`: this package is found first, also where it is not installed."""
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path}


def result_of(module: str, *arguments: str, seconds: float) -> Any:
    """Run a module whose main program is `tell`; return its result.

    Raises `ChildError` where there is none in so many seconds, and `FacewatchError` with what the child told.
    """
    try:
        done = subprocess.run(
            command(module, *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
            env=environment(),
        )
    except subprocess.TimeoutExpired as exc:
        raise ChildError(f"it did not end within {seconds:g} s") from exc
    except OSError as exc:
        raise ChildError(f"no process can be started to try it: {exc.strerror}") from exc
    if done.returncode < 0:
        number = signal.Signals(-done.returncode)
        raise ChildError(f"the process that tried it was ended by {number.name}", number)
    return told(done.stdout)


def told(output: bytes) -> Any:
    """The result on the last line of a child's output. Raises as `result_of` does."""
    try:
        answer = json.loads(output.splitlines()[-1])
        if "result" in answer:
            return answer["result"]
        message, hint = (one_line(text, _TEXT) if text else "" for text in (answer["error"], answer["hint"]))
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as exc:
        raise ChildError("the process that tried it printed no result") from exc
    raise FacewatchError(message, hint)


def tell(work: Callable[[], Any]) -> None:
    """In the child: print what ``work`` returns (what JSON can hold), or the error that it raises."""
    try:
        answer = {"result": work()}
    except FacewatchError as exc:
        answer = {"error": exc.message, "hint": exc.hint}
    except Exception as exc:  # noqa: BLE001 - a library that is broken can raise anything, and that is the answer
        text = str(exc) if isinstance(exc, ImportError) else f"{type(exc).__name__}: {exc}"
        answer = {"error": text, "hint": INSTALL_AGAIN}
    sys.stdout.write(json.dumps(answer) + "\n")


def end_with_parent() -> None:
    """Have the kernel kill the calling process when the thread that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
