"""Checks that no other user can change the files in a directory of ours, or replace the directory.

A directory is safe if it is ours and only we may write to it, and if each directory above it belongs to us or to root
and only its owner may rename what lies in it: either nobody else may write to it, or its sticky bit is set. The same
must hold of every directory that a symbolic link on the way lies in.

What root owns seems to belong to the kernel's overflow user where a user namespace has no number for root.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from facewatchd.errors import StorageError
from facewatchd.system import atomic_files

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def check_directory(directory: Path) -> None:
    """Raise `StorageError`, with the command that mends it, where others may change its files; OSError if missing."""
    for above in _above(directory):
        _check_above(above)
    status = os.stat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise StorageError(f"{directory} is no directory", "move it away, or name another --data-dir")
    _check_owner(directory, status, also=())
    if status.st_mode & OTHERS_WRITE:
        raise _writable(directory, status)


def check_files(directory: Path, names: Iterable[str]) -> None:
    """Raise `StorageError` where one of these names is there and is not a regular file that only we may write to."""
    for path in (directory / name for name in names):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue
        if odd := atomic_files.kind(status.st_mode):
            raise StorageError(
                f"{path} is {odd}, where a file should be", f"move it away: {_command('mv', path, f'{path}.old')}"
            )
        _check_owner(path, status, also=())
        if status.st_mode & OTHERS_WRITE:
            raise _writable(path, status)


def make_private(database: Path) -> None:
    """Have only its owner read an SQLite database and what SQLite keeps beside it, each where it is a regular file.

    To be called before it is opened: what SQLite makes beside it then has the permissions of the database. Raises
    OSError.
    """
    for path in (database, *(database.with_name(f"{database.name}{suffix}") for suffix in ("-wal", "-shm"))):
        with contextlib.suppress(FileNotFoundError):
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) != 0o600:
                path.chmod(0o600)


def _above(directory: Path) -> Iterator[Path]:
    """Every directory and link on the way to a directory, by its path as written and by its real path."""
    written, real = Path(os.path.abspath(directory)), Path(os.path.realpath(directory))
    yield from dict.fromkeys([*written.parents, *real.parents, *([written] if written.is_symlink() else [])])


def _check_above(path: Path) -> None:
    status = os.lstat(path)
    _check_owner(path, status, also=_roots())
    if stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX:
        return
    alone = status.st_mode & stat.S_IWOTH == 0 and _is_own_group(status.st_gid)
    if status.st_mode & OTHERS_WRITE and not alone:
        raise _writable(path, status)


def _check_owner(path: Path, status: os.stat_result, also: tuple[int, ...]) -> None:
    if status.st_uid not in (os.geteuid(), *also):
        raise StorageError(
            f"{path} belongs to another user ({_name(status.st_uid)}), who could change the data",
            f"name another --data-dir, or make it yours: {_command('sudo', 'chown', _name(os.geteuid()), path)}",
        )


def _writable(path: Path, status: os.stat_result) -> StorageError:
    return StorageError(
        f"others may write to {path} (mode {stat.S_IMODE(status.st_mode):04o}), and could change the data",
        f"run: {_command('chmod', 'go-w', path)}",
    )


def _roots() -> tuple[int, ...]:
    """The user ids that stand for root in this user namespace."""
    try:
        mapped = [tuple(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
        if not mapped or any(first <= 0 < first + count for first, _, count in mapped):
            return (0,)
        return (0, int(Path("/proc/sys/kernel/overflowuid").read_text()))
    except (OSError, ValueError):
        return (0,)


def _is_own_group(gid: int) -> bool:
    """Whether it is this user's own group, as many systems make one for each user, without other members."""
    if os.geteuid() == 0:
        return False
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (group.gr_gid, group.gr_name) == (user.pw_gid, user.pw_name) and set(group.gr_mem) <= {user.pw_name}


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _command(*words: str | Path) -> str:
    return shlex.join(map(str, words))
