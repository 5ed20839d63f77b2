"""Filters of system calls, seccomp(2): a program for the kernel that decides on each call of every thread.

A filter names what may be called, and with which arguments; everything else fails. The assembler knows what such
filters need: compare the number, then compare arguments by value or by bits. Pointers are compared with null alone, as
what they point to may change after the filter has looked.

A call that is not allowed fails with EPERM and does not end the process: libraries that call more than they need go on
without it, and an attacker gains nothing by calling again. There are two exceptions:

* Calls that are newer than the filter fail with ENOSYS, as on an older kernel: the C library then uses what it used
  before them. So does clone3, whose arguments a filter cannot see.
* Calls of another architecture, and of x32, kill the process: nothing here makes them.

libseccomp has bindings for Python, but none that bring the library along.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from facewatchd.inference import landlock

_SECCOMP = {"x86_64": 317, "aarch64": 277}
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64."""
_X32 = 0x40000000
_NEWEST = 462
"""mseal, of Linux 6.10. Calls with higher numbers were not considered here."""
_SET_MODE_FILTER, _TSYNC = 1, 1
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_GREATER = 0x15, 0x25
_ALLOW, _KILL_PROCESS, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
"""Offsets in seccomp_data."""

Instruction = tuple[int, int, int, int]
"""Code, how many to skip where true, and where false, and the operand."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The lower 32 bits of an argument are one of some values."""

    argument: int
    values: tuple[int, ...]

    def code(self) -> list[Instruction]:
        compared = [(_JUMP_EQUAL, len(self.values) - place, 0, value) for place, value in enumerate(self.values)]
        return [(_LOAD, 0, 0, _low(self.argument)), *compared, _fail(errno.EPERM)]


@dataclass(frozen=True, slots=True)
class Bits:
    """Of the lower 32 bits of an argument, those in the mask are these."""

    argument: int
    mask: int
    value: int

    def code(self) -> list[Instruction]:
        masked = [(_LOAD, 0, 0, _low(self.argument)), (_AND, 0, 0, self.mask)]
        return [*masked, (_JUMP_EQUAL, 1, 0, self.value), _fail(errno.EPERM)]


@dataclass(frozen=True, slots=True)
class Null:
    """An argument is a null pointer."""

    argument: int

    def code(self) -> list[Instruction]:
        low, high = _low(self.argument), _low(self.argument) + 4
        return [
            (_LOAD, 0, 0, low),
            (_JUMP_EQUAL, 0, 2, 0),
            (_LOAD, 0, 0, high),
            (_JUMP_EQUAL, 1, 0, 0),
            _fail(errno.EPERM),
        ]


Check = OneOf | Bits | Null


def machine() -> str:
    """What this process's calls are numbered by: "x86_64" or "aarch64". Raises OSError for any other."""
    name = platform.machine()
    if name not in _SECCOMP or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no filter is known for {name}")
    return name


def program(allowed: Mapping[int, Iterable[Check]], missing: Iterable[int], machine: str) -> bytes:
    """Assemble a filter. ``allowed``: by number, what must be true of the arguments. ``missing``: fail with ENOSYS."""
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURE[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_GREATER, 0, 1, _X32 - 1),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_JUMP_GREATER, 0, 1, _NEWEST),
        _fail(errno.ENOSYS),
    ]
    for number in missing:
        code += [(_JUMP_EQUAL, 0, 1, number), _fail(errno.ENOSYS)]
    for number, checks in allowed.items():
        block = [*(line for check in checks for line in check.code()), (_RETURN, 0, 0, _ALLOW)]
        code += [(_JUMP_EQUAL, 0, len(block), number), *block]
    return b"".join(struct.pack("=HBBI", *line) for line in (*code, _fail(errno.EPERM)))


def install(filter_: bytes) -> None:
    """Install a filter for all threads of this process, in addition to earlier ones. Raises OSError."""
    landlock.give_up_privileges()
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(filter_, len(filter_))
    described = struct.pack("@HP", len(filter_) // 8, ctypes.addressof(code))
    call = ctypes.c_long(_SECCOMP[machine()])
    result = libc.syscall(call, ctypes.c_long(_SET_MODE_FILTER), ctypes.c_long(_TSYNC), described)
    if result:  # above 0: the thread that has other filters
        number = ctypes.get_errno() if result < 0 else errno.ESRCH
        raise OSError(number, os.strerror(number))


def _low(argument: int) -> int:
    return _ARGUMENTS_AT + 8 * argument  # both machines are little-endian


def _fail(error: int) -> Instruction:
    return (_RETURN, 0, 0, _FAIL | error)
