"""Landlock, landlock(7): a thread gives up files, ports and processes, for itself and for every thread that it starts.

The kernel has it since 5.13, where it is not switched off. What one version (ABI) cannot take away, `restrict` leaves
out: moves between directories before 2, truncation before 3, TCP before 4, commands to devices before 5, signals and
abstract sockets of others before 6. `seccomp` takes most of that away too.

What was opened before stays open. There are packages for Landlock on PyPI, but none beyond ABI 5, and none finished.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same for x86_64 and aarch64."""
_VERSION = 1
_PATH_BENEATH = 1
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights to files each ABI knows, the lowest bits; later ones know `_MOST_FILE_RIGHTS`."""
_MOST_FILE_RIGHTS = 16
_TCP_SINCE, _TCP = 4, 0b11
_SCOPES_SINCE, _SCOPES = 6, 0b11
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def restrict(readable: Iterable[Path] = ()) -> None:
    """Allow the calling thread nothing in the file system but to read, and execute, files below some paths.

    Paths that do not exist are left out. A second call removes more rights and restores none. Raises OSError where
    the kernel has no Landlock (ENOSYS), or has it switched off (EOPNOTSUPP).
    """
    abi = _call(_CREATE_RULESET, None, 0, _VERSION)
    rights = (1 << _FILE_RIGHTS.get(abi, _MOST_FILE_RIGHTS)) - 1
    attributes = [rights, _TCP if abi >= _TCP_SINCE else 0, _SCOPES if abi >= _SCOPES_SINCE else 0]
    known = 3 if abi >= _SCOPES_SINCE else 2 if abi >= _TCP_SINCE else 1
    packed = struct.pack(f"={known}Q", *attributes[:known])
    ruleset = _call(_CREATE_RULESET, packed, len(packed), 0)
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        give_up_privileges()
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def give_up_privileges() -> None:
    """Set no_new_privs for this thread: no program that it starts gets new rights. Landlock and filters need it."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _error()


def _allow_reading(ruleset: int, path: Path) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | _EXECUTE | (_READ_DIR if stat.S_ISDIR(os.fstat(place).st_mode) else 0)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _call(number: int, *arguments: bytes | int | None) -> int:
    result: int = _libc.syscall(number, *(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments))
    if result < 0:
        raise _error()
    return result


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
