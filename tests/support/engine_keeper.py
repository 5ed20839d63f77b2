"""Keeps a server for as long as a process uses it: ``python engine_keeper.py DIRECTORY UID COMMAND ...``.

Each process that uses the server holds a shared lock on the file ``users`` in the directory. The kernel releases it
when that process ends, in whatever way. So the keeper waits until it gets the lock for itself, then ends the server and
deletes the directory. When the keeper itself is killed, the kernel has the server end.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def ends_with_its_parent() -> None:
    """Have the kernel send this process SIGQUIT, at which PostgreSQL ends at once, when its parent ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def identity(uid: int) -> dict[str, Any]:
    """The arguments with which `subprocess` starts a process of this user, which only root may say of another."""
    return {} if uid == os.geteuid() else {"user": uid, "group": uid, "extra_groups": []}


def main(directory: Path, uid: int, *command: str) -> None:
    with (directory / "users").open("rb") as users, (directory / "log").open("ab") as log:
        _leave()
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            preexec_fn=ends_with_its_parent,
            **identity(uid),
        )
        fcntl.flock(users, fcntl.LOCK_EX)
        server.send_signal(signal.SIGQUIT)
        server.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _leave() -> None:
    """Go on in the background: no child of the process that started this one, and without its terminal and pipes."""
    if os.fork():
        os._exit(0)
    os.setsid()
    with open(os.devnull, "r+b") as nothing:
        for descriptor in range(3):
            os.dup2(nothing.fileno(), descriptor)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
