"""The socket file: where it may stand, which users may open it, and what is done with a file that is there already.

- Its directory is made with mode 0700, or must be one where no other user can put a socket in its place.
- The file has mode 0600 from its first moment: Linux gives a bound file the mode of the unbound socket.
- A socket that is there is connected to. If a process answers, the socket is left alone; if none does, it is replaced.
  A file that is no socket is never deleted. A lock on the directory, held from the look to the listening, keeps two
  daemons apart that start at once.
- The file is removed before the listening ends, and only if it is still this process's own, never a successor's.
- A socket that systemd made and passed is used as it is, and its file is systemd's: it is never removed or made again.
- While the daemon runs, `ListeningSocket.look` is called now and then. Where the file was removed (by a cleaner of
  temporary files, or a careless rm), it is made again by the rules above: another file that stands in its place by now
  is left alone. A directory that other users may write to by now is reported, and the daemon listens on: the kernel
  still tells which user connects.

Only the standard library: clients use `address` as well.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facewatchd.errors import FacewatchError, LockedError

log = logging.getLogger(__name__)

MAX_ADDRESS = 107
"""Bytes of a path that fit in ``sun_path`` of unix(7), which has 108 with the final NUL."""
BACKLOG = 1024
"""Connections that the kernel holds until they are accepted; above it, a connect with a timeout fails with EAGAIN."""
PROBE = 2.0
"""Seconds for a connect that tries whether a process listens; on a Unix socket it succeeds or fails at once."""
STOP_IT = "stop it (a service: systemctl --user stop facewatchd.socket facewatchd.service)"
ELSEWHERE = "choose another place with --socket"


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """Yield an address for ``bind`` and ``connect`` that stands for a path of any length; its last part must be short.

    Raises OSError if a long path's directory is out of reach.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS:
        yield os.fspath(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listening socket, not blocking, and the file that leads to it."""

    socket: socket.socket
    path: Path
    identity: tuple[int, int]
    """Device and inode of the file. The bound socket holds the inode, so no other file can get its number."""
    passed: bool = False
    """Whether systemd made the socket, and owns the file."""

    def in_place(self) -> bool:
        """Whether the path still leads to this socket's file."""
        try:
            return _identity(self.path) == self.identity
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Remove the file, if it is still this socket's own, and stop listening."""
        try:
            if not self.passed and self.in_place():
                self.path.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("cannot remove the socket %s: %s", self.path, exc.strerror)
        self.socket.close()


class ListeningSocket:
    """Listens at a path until it is closed, also after its file was removed. For one thread."""

    def __init__(self, path: Path, passed: socket.socket | None = None) -> None:
        """Listen at the path, or take over the socket that systemd ``passed``. Raises what `listen` raises."""
        self._endpoint = listen(path) if passed is None else _taken_over(passed)
        self.trouble = ""
        """What was wrong with the file or its directory at the last `look`: one line, empty where nothing was."""

    @property
    def socket(self) -> socket.socket:
        """The socket to accept from; another one after a `look` that had to listen again."""
        return self._endpoint.socket

    def look(self) -> None:
        """Listen again if the file is gone. What cannot be mended is logged once, and is `trouble` until it is over."""
        trouble = ""
        try:
            if not self._endpoint.in_place():
                self._listen_again()
            check_directory(self._endpoint.path.parent)
        except FacewatchError as exc:
            trouble = str(exc)
        except OSError as exc:
            trouble = f"cannot look after the socket {self._endpoint.path}: {exc.strerror}"
        if trouble and trouble != self.trouble:
            log.warning("%s", trouble)
        elif self.trouble and not trouble:
            log.info("nothing is wrong with the socket %s any more", self._endpoint.path)
        self.trouble = trouble

    @property
    def path(self) -> Path:
        """The path that clients connect to."""
        return self._endpoint.path

    def is_private(self) -> bool:
        """Whether only this process's user and root can connect at this moment."""
        try:
            status = os.lstat(self._endpoint.path)
        except OSError:
            return False
        return status.st_uid == os.geteuid() and not status.st_mode & 0o077

    def _listen_again(self) -> None:
        if self._endpoint.passed:
            hint = "stop the daemon, then: systemctl --user restart facewatchd.socket"
            raise FacewatchError(f"the socket {self._endpoint.path} was taken away", hint)
        old, self._endpoint = self._endpoint, listen(self._endpoint.path)
        log.warning("the socket %s was taken away: listening there again", old.path)
        old.socket.close()

    def close(self) -> None:
        """Remove the file, if it is still ours, and stop listening."""
        self._endpoint.close()


def listen(path: Path) -> Endpoint:
    """Make the directory and the socket, and listen.

    Raises `LockedError` if a process answers there, and `FacewatchError` if the directory is not safe or the socket
    cannot be made.
    """
    try:
        make_directory(path.parent)
        check_directory(path.parent)
        with _locked(path):
            _clear(path)
            return _bind(path)
    except OSError as exc:
        raise FacewatchError(f"cannot listen on {path}: {exc.strerror or exc}", ELSEWHERE) from exc


def _taken_over(passed: socket.socket) -> Endpoint:
    passed.setblocking(False)
    path = Path(passed.getsockname())
    try:
        identity = _identity(path)
    except OSError:  # `ListeningSocket.look` says so
        identity = (0, 0)
    return Endpoint(passed, path, identity, passed=True)


def make_directory(directory: Path) -> None:
    """Make a directory that only its owner may enter, and those above it that are missing. Raises OSError."""
    for missing in reversed([each for each in (directory, *directory.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def check_directory(directory: Path) -> None:
    """Raise `FacewatchError` if other users could replace a socket there, OSError if the directory is out of reach."""
    status = os.lstat(directory)
    above = os.stat(directory / "..")
    trusted = (0, os.geteuid())
    problem = ""
    if stat.S_ISLNK(status.st_mode):
        problem = "is a symbolic link"
    elif not stat.S_ISDIR(status.st_mode):
        problem = "is no directory"
    elif status.st_uid not in trusted:
        problem = "belongs to another user"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
        problem = "can be written to by others"
    elif above.st_mode & stat.S_IWOTH and not (above.st_mode & stat.S_ISVTX and above.st_uid in trusted):
        problem = "can be moved away by others"  # platformdirs falls back to a directory below /tmp
    if problem:
        raise FacewatchError(
            f"the socket's directory {directory} {problem}", f"make it yours alone (mode 0700), or {ELSEWHERE}"
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise LockedError(f"another daemon is starting on {path}", f"try again, or {ELSEWHERE}") from exc
        yield
    finally:
        os.close(directory)


def _clear(path: Path) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FacewatchError(f"{path} is there and is no socket", f"move it away, or {ELSEWHERE}")
    if _is_answered(path):
        raise LockedError(f"another daemon answers on {path}", f"{STOP_IT}, or {ELSEWHERE}")
    log.info("replacing the stale socket %s", path)
    path.unlink(missing_ok=True)


def _is_answered(path: Path) -> bool:
    with address(path) as place, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE)
        try:
            probe.connect(place)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except (BlockingIOError, TimeoutError):  # its backlog is full
            return True
        return True


def _bind(path: Path) -> Endpoint:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)
        with address(path) as place:
            listener.bind(place)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        return Endpoint(listener, path, _identity(path))
    except BaseException:
        listener.close()
        raise


def _identity(path: Path) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino
