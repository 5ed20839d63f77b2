"""Checks of the watched directories, of inotify, of the socket, and of the data directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from facewatchd import __version__
from facewatchd.client.connection import Connection
from facewatchd.client.status import Status
from facewatchd.config import Config
from facewatchd.doctor.finding import Finding
from facewatchd.errors import DeadlineError, NoDaemonError, WrongListenerError
from facewatchd.ignore import Exclusion
from facewatchd.people.examine import examine
from facewatchd.server import socket_file
from facewatchd.system import inotify as inotify_facts
from facewatchd.system import mounts
from facewatchd.text import counted
from facewatchd.threads.bounded_calls import PATIENCE, DiskCalls, NotAnsweringError
from facewatchd.values import RootState
from facewatchd.watch.root_facts import Reach, RootFacts, reach_of

LITTLE_SPACE = 1 << 30
NO_SPACE = 64 << 20
"""Bytes. A face takes about 5 KB: 2 KB in the catalog, and in the index 2 KB more and its links."""
COUNTING_SECONDS = 10.0
SOCKET_SECONDS = 5.0
EVENT_SECONDS = 5.0


def directories(loaded: Config) -> Iterator[Finding]:
    """Look at every directory as the watcher does."""
    if not loaded.directories:
        yield Finding("directories", "warn", "none are configured", "facewatchd run DIR, or set `directories`")
    calls = DiskCalls()
    with closing(mounts.Mounts()) as table:
        for directory in loaded.directories:
            path = os.fsencode(directory)
            try:
                reach = calls.run(path, partial(reach_of, path))
                root = RootFacts(path, reach, table.now().around(reach.real), is_watched=True)
            except NotAnsweringError:
                root = RootFacts(path, Reach(RootState.OFFLINE, path, (0, 0)), is_silent=True)
            bad = {RootState.UNREADABLE: "fail", RootState.WATCHING: "ok"}.get(root.state, "warn")
            yield Finding("directories", bad, root.problem or f"{root.name} can be read and watched")


def inotify(loaded: Config) -> Iterator[Finding]:
    """Compare the number of directories with the number of watches that a user may have."""
    limits = inotify_facts.limits()
    count, complete = _count_directories(loaded)
    detail = f"{'' if complete else 'at least '}{counted(count, 'directory', 'directories')} to watch"
    detail += "".join(f", {name} {value}" for name, value in limits.items())
    watches = limits.get("max_user_watches", sys.maxsize)
    advice = inotify_facts.advice("max_user_watches", count)
    if count > watches:
        yield Finding("inotify", "warn", f"{detail}: the rest is polled", advice)
    elif count > 0.8 * watches:
        yield Finding("inotify", "warn", f"{detail}: that leaves little to other programs", advice)
    else:
        yield Finding("inotify", "ok", detail)


def _count_directories(loaded: Config) -> tuple[int, bool]:
    """Count the directories that would be watched; return also whether all were counted in time."""
    from facewatchd.scan.walk import walk

    deadline = time.monotonic() + COUNTING_SECONDS
    count, calls, complete = 0, DiskCalls(), True
    for directory in map(os.fsencode, loaded.directories):
        with contextlib.suppress(NotAnsweringError):
            for _ in calls.each(directory, walk(directory, Exclusion(loaded.exclude)), PATIENCE):
                count += 1
                if time.monotonic() > deadline:
                    return count, False
            continue
        complete = False
    return count, complete


def events(_: Config) -> Iterator[Finding]:
    """Write a file and wait for its event."""
    from facewatchd.watch.inotify import EventStream

    heard = threading.Event()
    try:
        stream = EventStream(lambda: None, lambda: None)
    except OSError as exc:
        hint = inotify_facts.advice("max_user_instances")
        yield Finding("events", "fail", f"inotify cannot be used: {exc.strerror}", hint)
        return
    with closing(stream), tempfile.TemporaryDirectory() as directory:
        started = time.monotonic()
        stream.watch_closes(os.fsencode(directory), lambda _path, _settle, _written: heard.set())
        Path(directory, "file").write_bytes(b"")
        if heard.wait(EVENT_SECONDS):
            milliseconds = (time.monotonic() - started) * 1000
            yield Finding("events", "ok", f"inotify reports a new file within {milliseconds:.0f} ms")
        else:
            hint = "new photos are found by the periodic walk only; set `rescan` under [watch] to a shorter time"
            yield Finding("events", "warn", f"inotify reported no event for a new file in {directory}", hint)


def socket(loaded: Config) -> Iterator[Finding]:
    """Ask the daemon; without one, check whether its socket could be made."""
    path = loaded.socket
    if path.parent.exists():
        socket_file.check_directory(path.parent)
    elif not os.access(_existing(path.parent), os.W_OK | os.X_OK):
        yield Finding("socket", "fail", f"{path.parent} cannot be made", socket_file.ELSEWHERE)
        return
    try:
        with Connection(path, SOCKET_SECONDS) as daemon:
            status = Status.of(daemon.call("status"))
    except NoDaemonError as exc:
        yield _no_daemon(path, exc)
        return
    except DeadlineError as exc:
        yield Finding("socket", "warn", exc.message, "it may be starting: see `facewatchd status`")
        return
    detail = f"{path}: facewatchd {status.version} answers, {status.state}, pid {status.pid}; {_modes(path)}"
    if status.version != __version__:
        yield Finding("socket", "warn", f"{detail}; this is {__version__}", "restart the daemon")
    elif path.stat().st_mode & 0o077:
        yield Finding("socket", "warn", f"{detail}: others may connect, and are refused", f"chmod 600 {path}")
    else:
        yield Finding("socket", "ok", detail)
    for problem in status.problems:
        yield Finding("daemon", "warn", problem, "see `facewatchd status`")


def _modes(path: Path) -> str:
    """The permissions of the socket and of its directory, in words."""
    return f"mode {_mode(path):04o} in a directory of {_mode(path.parent):04o}"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _no_daemon(path: Path, exc: NoDaemonError) -> Finding:
    if not os.path.lexists(path):
        there = f", in a directory of mode {_mode(path.parent):04o}" if path.parent.exists() else ""
        return Finding("socket", "ok", f"{path} is free{there}: no daemon runs", "facewatchd run DIR starts one")
    if not path.is_socket():
        return Finding(
            "socket", "fail", f"{path} is there and is no socket", f"move it away, or {socket_file.ELSEWHERE}"
        )
    if isinstance(exc, WrongListenerError):
        return Finding("socket", "fail", exc.message, exc.hint)
    return Finding("socket", "warn", f"{exc.message}: its socket is stale", "the next `facewatchd run` replaces it")


def data(loaded: Config) -> Iterator[Finding]:
    """Check that the data can be written, that no other user can read it, and that there is room."""
    place = _existing(loaded.data_dir)
    if not place.is_dir():
        yield Finding("data", "fail", f"{place} is not a directory", "choose another --data-dir")
        return
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as exc:
        yield Finding("data", "fail", f"{place} cannot be written to: {exc.strerror}", "choose another --data-dir")
        return
    yield _space(loaded.data_dir, shutil.disk_usage(place).free)
    if place == loaded.data_dir and place.stat().st_mode & 0o077:
        yield Finding("data", "warn", f"{place} can be read by others", f"chmod 700 {place}")
    with closing(mounts.Mounts()) as table:
        real = os.path.realpath(os.fsencode(place))
        mount = next(iter(table.now().around(real)), None)
    if mount is not None and mount.is_remote:
        detail = f"{place} is on {mount.fstype}, where SQLite may lose data or not start"
        yield Finding("data", "warn", detail, "choose a local disk with --data-dir")


def people(loaded: Config) -> Iterator[Finding]:
    """Check that what the user said of people can be read."""
    path = loaded.data_dir / "people.sqlite3"
    try:
        version = examine(path)
    except OSError as exc:
        yield Finding("people", "fail", f"cannot read {path}: {exc.strerror}", "check its disk")
    else:
        yield Finding("people", "ok", f"no person has a name: there is no {path}" if version is None else f"{path}")


def _space(directory: Path, free: int) -> Finding:
    detail = f"{directory}, {free / 1e9:.1f} GB free"
    if free < LITTLE_SPACE:
        return Finding("data", "fail" if free < NO_SPACE else "warn", detail, "free some disk space")
    return Finding("data", "ok", detail)


def _existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    return next(each for each in (path, *path.parents) if each.exists() or each == each.parent)
