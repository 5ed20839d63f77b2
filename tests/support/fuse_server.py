"""A file system that a process of its own serves, by the kernel's FUSE protocol, without a library.

It shows a directory elsewhere, for reading only. A server that is stopped (SIGSTOP) is a disk that does not answer:
every system call on it hangs until the server goes on, or is killed; the kernel ends the calls then. Nothing is kept in
the kernel's caches, so that every call asks the server.

Run as a program (the server): ``fuse_server.py SOURCE PLACE``; it writes a line once the file system is mounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Numbers and layouts of include/uapi/linux/fuse.h.
LOOKUP, FORGET, GETATTR, READLINK, OPEN, READ, RELEASE = 1, 2, 3, 5, 14, 15, 18
INIT, OPENDIR, READDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 26, 27, 28, 29, 36, 42
_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
_INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
_REQUEST = 1 << 18
_ROOT = 1


class Server:
    """Answers the kernel's requests on one mount."""

    def __init__(self, source: bytes, device: int) -> None:
        self._device = device
        self._paths = {_ROOT: source}
        self._nodes = {source: _ROOT}

    def serve(self) -> None:
        """Answer until it is unmounted."""
        with contextlib.suppress(OSError):
            while True:
                self._answer(os.read(self._device, _REQUEST))

    def _answer(self, request: bytes) -> None:
        _, operation, unique, node, *_ = _IN.unpack_from(request)
        if operation in (FORGET, BATCH_FORGET, INTERRUPT):  # these have no reply
            return
        try:
            error, reply = 0, self._carry_out(operation, node, request[_IN.size :])
        except OSError as exc:
            error, reply = exc.errno or errno.EIO, b""
        os.write(self._device, _OUT.pack(_OUT.size + len(reply), -error, unique) + reply)

    def _carry_out(self, operation: int, node: int, body: bytes) -> bytes:
        if operation == INIT:
            return _INIT_OUT.pack(7, 31, 1 << 17, 0, 12, 9, 1 << 17, 1, 0, 0, 0)
        path = self._paths[node]
        if operation == LOOKUP:
            child = os.path.join(path, body.rstrip(b"\0"))
            return struct.pack("<QQQQII", self._node(child), 0, 0, 0, 0, 0) + _attributes(child)
        if operation == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + _attributes(path)
        if operation == READLINK:
            return os.readlink(path)
        if operation in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, 0, 0)
        if operation in (RELEASE, RELEASEDIR):
            return b""
        if operation not in (READ, READDIR):
            raise OSError(errno.ENOSYS, "not served")
        _, offset, size = struct.unpack_from("<QQI", body)
        if operation == READ:
            with open(path, "rb") as file:
                return os.pread(file.fileno(), size, offset)
        return _entries(path, offset, size)

    def _node(self, path: bytes) -> int:
        os.lstat(path)
        node = self._nodes.setdefault(path, len(self._nodes) + 1)
        self._paths[node] = path
        return node


def _attributes(path: bytes) -> bytes:
    status = os.lstat(path)
    times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
    seconds, nanoseconds = zip(*(divmod(time, 10**9) for time in times), strict=True)
    sizes = (status.st_ino, status.st_size, status.st_blocks)
    rest = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0)
    return _ATTR.pack(*sizes, *seconds, *nanoseconds, *rest)


def _entries(path: bytes, offset: int, size: int) -> bytes:
    found = b""
    for number, name in enumerate([b".", b"..", *sorted(os.listdir(path))][offset:], offset + 1):
        entry = struct.pack("<QQII", 1, number, len(name), 0) + name
        entry += bytes(-len(entry) % 8)
        if len(found) + len(entry) > size:
            break
        found += entry
    return found


def _mount(place: str, device: int) -> None:
    """Mount a file system that is asked on an open ``/dev/fuse``. Raises OSError where this user may not."""
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"server", os.fsencode(place), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Served:
    """A file system with its server."""

    def __init__(self, server: subprocess.Popen[bytes]) -> None:
        self._server = server

    def hang(self) -> None:
        """Answer no call from now on."""
        self._server.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again, first the calls that came meanwhile."""
        self._server.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def served(source: Path, place: Path) -> Iterator[Served | None]:
    """Show a directory at a place by a server; None where this user may mount no such file system."""
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, str(source), str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        try:
            yield Served(server) if server.stdout.readline() else None
        finally:
            server.kill()
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


if __name__ == "__main__":
    opened = os.open("/dev/fuse", os.O_RDWR)
    _mount(sys.argv[2], opened)
    os.write(1, b"\n")
    Server(os.fsencode(sys.argv[1]), opened).serve()
