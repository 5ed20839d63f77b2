"""Confinement of a process that decodes photos: rights that it gives up before it reads bytes of unknown origin.

Photos arrive as descriptors and answers leave over a socket pair, so the process needs no file, no network and no other
process. It gives up its rights in two steps, so that a model or a photo that takes it over gains nothing:

1. `before_loading`, before the model is loaded. From then on it can only read files: those of the model, of Python and
   of the system's libraries. It can write and send nothing, start no program, and reach no other process.
2. `before_photos`, before the first photo. From then on it can open nothing, and make no memory executable.

Landlock holds for the thread that asks and for those that it starts, which is why the first step comes before the
model's threads; the filter of system calls holds for all threads. Either alone keeps files from being written. What
remains possible: to learn whether a file exists, its size and its times; to write to standard error, which is opened
for writing only; to use the processor and as much memory as the process may have; and to answer the daemon, which
checks each answer.

After the second step no module can be imported: so `MODULES` are, and every decoder is tried, before. For the same
reason a backend reads all of its files when it is loaded.

A model on a graphics card needs device files, whose commands are not known here: then no right is given up. OpenVINO
makes code for each new size of its input, and computes nonsense, without an error, where the memory for that is denied:
with it, memory may become code also after the second step. Where the
kernel has no Landlock or no filters, or a container forbids them, the process runs without them and reports that.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from facewatchd.errors import FacewatchError
from facewatchd.inference import landlock, seccomp
from facewatchd.inference.seccomp import Bits, Check, Null, OneOf
from facewatchd.inference.wire import FULLY_CONFINED
from facewatchd.models.devices import Placement
from facewatchd.photos import crops, decode, thumbnail
from facewatchd.photos.crops import Crop
from facewatchd.photos.samples import SPECIMENS

MODULES = (
    "PIL.ImageCms",
    "simplejpeg",
    "traceback",
    "xml.etree.ElementTree",
    "encodings.idna",
    "encodings.utf_16",
)
"""Modules that decoders and the standard library import only when they are needed."""
SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/sys/vm",
          "/sys/devices/system", "/sys/fs/cgroup", "/dev/null", "/dev/urandom", "/nix/store", "/gnu/store")  # fmt: skip
"""Files and directories that libraries read when they are loaded; none of them is the user's."""
MODEL_FILES = 1000
"""Files of a model's directory that are allowed by name, as any may be a link; a pack has no more than these."""

_EVERY_CALL = {
    # Descriptors that are there.
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "preadv": (295, 69), "preadv2": (327, 286),
    "lseek": (8, 62), "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "fcntl": (72, 25), "ioctl": (16, 29),
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212), "shutdown": (48, 210),
    "getsockopt": (55, 209), "getsockname": (51, 204), "fadvise64": (221, 223),
    # Memory.
    "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "madvise": (28, 233),
    "brk": (12, 214), "mincore": (27, 232),
    # Threads, its own signals, and its end.
    "futex": (202, 98), "futex_waitv": (449, 449), "set_robust_list": (273, 99), "get_robust_list": (274, 100),
    "rseq": (334, 293), "set_tid_address": (218, 96), "membarrier": (324, 283), "clone": (56, 220), "exit": (60, 93),
    "exit_group": (231, 94), "gettid": (186, 178), "getpid": (39, 172), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "sched_getparam": (143, 121), "sched_getscheduler": (145, 120),
    "getcpu": (309, 168), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "restart_syscall": (219, 128), "kill": (62, 129), "tgkill": (234, 131),
    # Times, limits and other questions.
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "getrusage": (98, 165),
    "getrandom": (318, 278), "prctl": (157, 167), "prlimit64": (302, 261), "getrlimit": (97, 163),
    "sysinfo": (99, 179), "uname": (63, 160), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177), "getppid": (110, 173), "arch_prctl": (158, None),
}  # fmt: skip
"""System calls that are allowed in both steps, by their numbers on x86_64 and aarch64."""
_WHILE_LOADING = {
    "open": (2, None), "openat": (257, 56), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "stat": (4, None), "lstat": (6, None), "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61),
    "getcwd": (79, 17), "statfs": (137, 43), "fstatfs": (138, 44),
    "landlock_create_ruleset": (444, 444), "landlock_restrict_self": (446, 446), "seccomp": (317, 277),
}  # fmt: skip
"""System calls that are also allowed in the first step."""
_CLONE3 = 435
_MACHINES = ("x86_64", "aarch64")

_WRITABLE = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
_PROT_EXEC = 0x4
_THREAD, _TRACED_OR_APART = 0x10000, 0x2000 | 0x7E020000
"""CLONE_THREAD; CLONE_PTRACE and the flags for new namespaces."""
_F_DUPFD_CLOEXEC = 1030
_COMMANDS = (0, 1, 2, 3, 4, _F_DUPFD_CLOEXEC)
"""Of fcntl(2): copies and flags of descriptors. Not F_SETOWN, by which other processes could be sent signals."""
_REQUESTS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5451)
"""Of ioctl(2): is it a terminal, of what size, how much can be read, do not wait, close on exec. Not TIOCSTI."""
_NAMES, _NO_NEW_PRIVILEGES = (15, 16, 0x53564D41), 38
"""Of prctl(2): the names of threads, and of memory; and what the second step begins with."""


class Confinement:
    """The two steps, which are called in order; `state` says how far they took effect."""

    def __init__(self) -> None:
        self._missing: dict[str, str] = {}
        self._makes_code = ""
        """The device that makes code while it computes, if one does."""
        self._without = ""

    @property
    def state(self) -> str:
        """`FULLY_CONFINED`, or "partial: " or "none: " and the reasons."""
        if self._without:
            return f"none: {self._without}"
        reasons = [f"no {what} ({reason})" for what, reason in self._missing.items()]
        if self._makes_code:
            reasons.append(f"memory may become code ({self._makes_code})")
        return f"{'none' if len(self._missing) > 1 else 'partial'}: {'; '.join(reasons)}" if reasons else FULLY_CONFINED

    def before_loading(self, model: Path | None, placement: Placement) -> None:
        """Keep the rights that loading a model needs, which is computed as ``placement`` says."""
        _import_the_rest()
        if placement.cards:
            self._without = f"{placement.cards[0]} needs device files"
            return
        if placement.devices:
            self._makes_code = placement.devices[0]
        _open_for_writing_only(sys.__stderr__.fileno() if sys.__stderr__ else 2)
        self._try("Landlock", lambda: landlock.restrict(_needed_for_loading(model)))
        self._try("filter of system calls", lambda: seccomp.install(_filter(loading=True, code=True)))

    def before_photos(self) -> None:
        """Keep the rights that decoding, inference and answers need."""
        if self._without:
            return
        self._try("Landlock", landlock.restrict)
        code = bool(self._makes_code)
        self._try("filter of system calls", lambda: seccomp.install(_filter(loading=False, code=code)))
        if len(self._missing) < 2 and _can_open():
            self._without = "files can still be opened although the kernel took what was asked"

    def _try(self, what: str, take: Callable[[], None]) -> None:
        try:
            take()
        except OSError as exc:
            self._missing[what] = exc.strerror or str(exc)


def _import_the_rest() -> None:
    decode.load()
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for specimen in SPECIMENS.values():
        with contextlib.suppress(FacewatchError):  # a broken decoder reports that for its first photo
            decode.decode(io.BytesIO(specimen))
            thumbnail.of_file(io.BytesIO(specimen), Crop(crops.LEAST))


def _can_open() -> bool:
    """Whether a file can still be opened, so that what was installed has no effect."""
    try:
        os.close(os.open(sys.executable, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _needed_for_loading(model: Path | None) -> Iterable[Path]:
    ours = [sys.prefix, sys.base_prefix, sys.exec_prefix, *filter(None, sys.path), *SYSTEM]
    yield from map(Path, dict.fromkeys(ours))
    if model is not None:
        yield model
        yield from itertools.islice(model.rglob("*"), MODEL_FILES)


def _filter(*, loading: bool, code: bool) -> bytes:
    """``code``: whether memory may become code."""
    machine = seccomp.machine()
    column = _MACHINES.index(machine)
    calls = _EVERY_CALL | (_WHILE_LOADING if loading else {})
    checks = _checks(loading=loading, code=code)
    allowed = {
        number: checks.get(name, ()) for name, numbers in calls.items() if (number := numbers[column]) is not None
    }
    return seccomp.program(allowed, [_CLONE3], machine)


def _checks(*, loading: bool, code: bool) -> dict[str, tuple[Check, ...]]:
    """Checks of arguments, by the name of the system call."""
    itself = OneOf(0, (os.getpid(),))
    checks: dict[str, tuple[Check, ...]] = {
        "kill": (itself,),
        "tgkill": (itself,),
        "clone": (Bits(0, _THREAD | _TRACED_OR_APART, _THREAD),),
        "fcntl": (OneOf(1, _COMMANDS),),
        "ioctl": (OneOf(1, _REQUESTS),),
        "prctl": (OneOf(0, (*_NAMES, _NO_NEW_PRIVILEGES) if loading else _NAMES),),
        "prlimit64": (OneOf(0, (0, os.getpid())), Null(2)),
        "open": (Bits(1, _WRITABLE, os.O_RDONLY),),
        "openat": (Bits(2, _WRITABLE, os.O_RDONLY),),
    }
    if not code:
        checks |= dict.fromkeys(("mmap", "mprotect"), (Bits(2, _PROT_EXEC, 0),))
    return checks


def _open_for_writing_only(descriptor: int) -> None:
    """Open a descriptor again for writing only, if possible: an inherited terminal could be read from."""
    import fcntl

    with contextlib.suppress(OSError):
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
        if flags & os.O_ACCMODE != os.O_RDWR:
            return
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC | flags & os.O_APPEND)
        os.dup2(again, descriptor)
        os.close(again)
