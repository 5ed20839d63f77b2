"""``facewatchd doctor``: will it work on this machine, and if not, what is to be done?

Each check gives findings, and none of them changes anything or needs the network. ``fail`` is what keeps the daemon
from doing its work, ``warn`` what makes it do it worse, or later. Libraries that may crash are tried in processes of
their own (`selftest`); what a check raises is a finding too.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facewatchd import __version__, config, mounts, places, selftest, sockets
from facewatchd.config import AUTO_MODEL, Config
from facewatchd.datadir import LastRun
from facewatchd.errors import FacewatchError, NoDaemonError, StrangerError
from facewatchd.exclude import Exclusion
from facewatchd.overview import Status
from facewatchd.printing import counted, printable
from facewatchd.records import RootState
from facewatchd.rpc import Connection

REQUIRED = (
    "hnswlib", "insightface", "numpy", "onnxruntime", "pathspec", "pillow", "pillow-heif", "platformdirs", "requests",
    "simplejpeg", "tqdm", "watchdog",
)  # fmt: skip
"""Distributions that facewatchd depends on."""
REINSTALL_HNSWLIB = "pip install --no-binary hnswlib --force-reinstall --no-cache-dir hnswlib"
LEAST_SQLITE = (3, 37, 0)
"""The first with STRICT tables; RETURNING came with 3.35."""
LITTLE_SPACE = 1 << 30
NO_SPACE = 64 << 20
"""Bytes. A face takes about 5 KB: 2 KB in the catalog, and in the index 2 KB more and its links."""
INOTIFY = Path("/proc/sys/fs/inotify")
COUNTING_SECONDS = 10.0
SOCKET_SECONDS = 5.0
EVENT_SECONDS = 5.0
_STYLES = {"ok": "32", "warn": "33", "fail": "31"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    name: str
    status: str
    """``ok``, ``warn`` or ``fail``."""
    detail: str
    hint: str = ""

    def document(self) -> dict[str, str]:
        """The finding as JSON has it."""
        return {"name": self.name, "status": self.status, "detail": self.detail, "hint": self.hint}


def line(finding: Finding, *, colour: bool) -> str:
    """Lay a finding out for people, with a newline at the end."""
    status = f"{finding.status:4}"
    if colour:
        status = f"\x1b[{_STYLES[finding.status]}m{status}\x1b[0m"
    hint = f"; {finding.hint}" if finding.hint else ""
    return f"{status}  {finding.name}: {printable(finding.detail + hint)}\n"


def examine(path: Path | None, **flags: Any) -> Iterator[Finding]:
    """Run all checks, each when its finding is asked for. The arguments are those of `config.load`.

    Where the configuration is wrong, the other checks go by the defaults and the flags.
    """
    try:
        loaded = config.load(path, needs_directories=False, **flags)
        yield Finding("configuration", "ok", _config_detail(path, loaded))
    except FacewatchError as exc:
        yield Finding("configuration", "fail", exc.message, exc.hint)
        loaded = replace(Config(), **{name: value for name, value in flags.items() if value is not None})
    if not loaded.directories:
        loaded = replace(loaded, directories=_watched_now(loaded.socket))
    for name, check in _CHECKS.items():
        yield from _guarded(name, check, loaded)


def _guarded(name: str, check: Callable[[Config], Iterable[Finding]], loaded: Config) -> Iterator[Finding]:
    try:
        yield from check(loaded)
    except FacewatchError as exc:
        yield Finding(name, "fail", exc.message, exc.hint)
    except Exception as exc:  # noqa: BLE001 - a library that is broken can raise anything, and that is the finding
        yield Finding(name, "fail", f"{type(exc).__name__}: {exc}", "install facewatchd again, or report this")


def _watched_now(socket: Path) -> tuple[Path, ...]:
    """Ask a running daemon for its directories: they may stand on its command line only."""
    try:
        with Connection(socket, SOCKET_SECONDS) as daemon:
            status = Status.of(daemon.call("status"))
    except FacewatchError:
        return ()
    return tuple(Path(os.fsdecode(root.path)) for root in status.roots)


def _config_detail(path: Path | None, loaded: Config) -> str:
    source = path or places.config_path()
    where = str(source) if source.exists() else f"there is no {source}"
    return f"{where}, {counted(len(loaded.directories), 'directory', 'directories')}"


def _python(_: Config) -> Iterator[Finding]:
    detail = f"{platform.python_version()} ({sys.executable}), facewatchd {__version__}"
    yield Finding("python", "ok", detail)


def _packages(_: Config) -> Iterator[Finding]:
    versions = {}
    for name in REQUIRED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("packages", "fail", f"{name} is not installed", f"pip install {name}")
    yield Finding("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _sqlite(_: Config) -> Iterator[Finding]:
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        least = ".".join(map(str, LEAST_SQLITE))
        hint = f"use a Python that is built with SQLite {least} or newer"
        yield Finding("sqlite", "fail", f"version {sqlite3.sqlite_version}", hint)
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE number (value INTEGER) STRICT")
        connection.execute("INSERT INTO number VALUES (1) RETURNING value").fetchone()
    yield Finding("sqlite", "ok", f"version {sqlite3.sqlite_version}")


def _hnswlib(_: Config) -> Iterator[Finding]:
    try:
        result = selftest.run("index")
    except selftest.CrashError as exc:
        why = "it was built for another processor" if exc.signal_name == "SIGILL" else "its build is broken"
        yield Finding("hnswlib", "fail", f"{exc.message}: {why}", f"build it here: {REINSTALL_HNSWLIB}")
    except FacewatchError as exc:
        yield Finding("hnswlib", "fail", exc.message, f"build it anew: {REINSTALL_HNSWLIB}")
    else:
        yield Finding("hnswlib", "ok", f"{result['vectors']} vectors added, and each found again")


def _codecs(_: Config) -> Iterator[Finding]:
    from facewatchd import photos
    from facewatchd.specimens import SPECIMENS

    good = []
    for name, data in SPECIMENS.items():
        try:
            pixels = photos.decode(data)
        except FacewatchError as exc:
            yield Finding("codecs", "fail", f"{name} cannot be read: {exc.message}", _codec_hint(name))
            continue
        left, right = pixels[8, 3].tolist(), pixels[8, 12].tolist()
        if left[0] > right[0] and right[2] > left[2]:
            good.append(name)
        else:
            yield Finding("codecs", "fail", f"{name} is read with wrong colours", _codec_hint(name))
    if good:
        yield Finding("codecs", "ok", f"{', '.join(good)} can be read")


def _codec_hint(name: str) -> str:
    package = "pillow-heif" if name == "HEIC" else "pillow"
    return f"pip install --force-reinstall --only-binary :all: {package}"


def _model(loaded: Config) -> Iterator[Finding]:
    from facewatchd.models import packs

    last = LastRun.of(loaded.data_dir).pack
    wanted = [last, packs.DEFAULT, packs.DLIB] if loaded.model == AUTO_MODEL else [loaded.model]
    pack = next((found for name in wanted if name and (found := packs.find(name, loaded.model_root))), None)
    if pack is None:
        yield _no_model(loaded)
        return
    if loaded.model == AUTO_MODEL and pack.name == packs.DLIB and last != packs.DLIB:
        detail = f"{packs.DEFAULT} is not here: the next start tries to fetch it, and uses dlib where it cannot"
        hint = f"fetch it now with `facewatchd models fetch {packs.DEFAULT}`, or set `model`"
        yield Finding("model", "warn", detail, hint)
    result = selftest.run("model", pack.spec, str(loaded.model_root))
    detail = (
        f"{pack.id}: {result['faces']} faces on a test photo, loaded in {result['load_s']:.1f} s and found in "
        f"{result['faces_s']:.1f} s"
    )
    if not result["faces"]:
        yield Finding("model", "fail", f"{detail}; there are six", "fetch it again, or choose another with --model")
    elif result["closest"] >= result["threshold"]:
        people = f"two people on it are {result['closest']:.2f} alike, and {result['threshold']:.2f} is a match"
        yield Finding("model", "warn", f"{detail}; {people}", "set a higher [query] threshold")
    else:
        yield Finding("model", "ok", detail)
    note = "" if pack.name == packs.DLIB else packs.LICENCE_NOTE
    yield Finding("licence", "ok", f"{pack.name}: {packs.licence(pack.name)}", note)


def _no_model(loaded: Config) -> Finding:
    from facewatchd.models import packs
    from facewatchd.models.fetch import RELEASED

    if loaded.model == AUTO_MODEL or loaded.model in RELEASED:
        name = packs.DEFAULT if loaded.model == AUTO_MODEL else loaded.model
        return Finding("model", "warn", f"{name} is not here: the next start fetches it", packs.WAYS_OUT)
    return Finding("model", "fail", f"there is no model {loaded.model}", "see `facewatchd models list`")


def _directories(loaded: Config) -> Iterator[Finding]:
    if not loaded.directories:
        yield Finding("directories", "warn", "none are configured", "facewatchd run DIR, or set `directories`")
    with closing(mounts.Mounts()) as table:
        for directory in loaded.directories:
            path = os.fsencode(directory)
            reach = mounts.reach(path)
            root = mounts.Root(path, reach, table.around(reach.real), is_watched=True)
            bad = {RootState.UNREADABLE: "fail", RootState.WATCHING: "ok"}.get(root.state, "warn")
            yield Finding("directories", bad, root.problem or f"{root.name} can be read and watched")


def _inotify(loaded: Config) -> Iterator[Finding]:
    limits = _inotify_limits()
    count, complete = _count_directories(loaded)
    detail = f"{'' if complete else 'at least '}{counted(count, 'directory', 'directories')} to watch"
    detail += "".join(f", {name} {value}" for name, value in limits.items())
    watches = limits.get("max_user_watches", sys.maxsize)
    if count > watches:
        yield Finding("inotify", "warn", f"{detail}: the rest is polled", mounts.inotify_advice("max_user_watches"))
    elif count > 0.8 * watches:
        advice = mounts.inotify_advice("max_user_watches")
        yield Finding("inotify", "warn", f"{detail}: that leaves little to other programs", advice)
    else:
        yield Finding("inotify", "ok", detail)


def _inotify_limits() -> dict[str, int]:
    limits = {}
    for name in ("max_user_watches", "max_user_instances", "max_queued_events"):
        with contextlib.suppress(OSError, ValueError):
            limits[name] = int((INOTIFY / name).read_text(encoding="ascii"))
    return limits


def _count_directories(loaded: Config) -> tuple[int, bool]:
    """Count what would be watched, and say whether the time was enough for all."""
    from facewatchd.walk import walk

    deadline = time.monotonic() + COUNTING_SECONDS
    count = 0
    for directory in loaded.directories:
        for _ in walk(os.fsencode(directory), Exclusion(loaded.exclude)):
            count += 1
            if time.monotonic() > deadline:
                return count, False
    return count, True


def _events(_: Config) -> Iterator[Finding]:
    """Write a file and wait for its event."""
    from facewatchd.feed import Feed

    heard = threading.Event()
    try:
        feed = Feed(lambda: None, lambda: None)
    except OSError as exc:
        hint = mounts.inotify_advice("max_user_instances")
        yield Finding("events", "fail", f"inotify cannot be used: {exc.strerror}", hint)
        return
    with closing(feed), tempfile.TemporaryDirectory() as directory:
        started = time.monotonic()
        feed.watch_closes(os.fsencode(directory), lambda _path, _settle, _written: heard.set())
        Path(directory, "file").write_bytes(b"")
        if heard.wait(EVENT_SECONDS):
            milliseconds = (time.monotonic() - started) * 1000
            yield Finding("events", "ok", f"inotify tells of a new file within {milliseconds:.0f} ms")
        else:
            hint = "new photos are found by the periodic walk only; set `rescan` under [watch] to a shorter time"
            yield Finding("events", "warn", f"inotify tells nothing of a new file in {directory}", hint)


def _socket(loaded: Config) -> Iterator[Finding]:
    path = loaded.socket
    if path.parent.exists():
        sockets.check_directory(path.parent)
    elif not os.access(_existing(path.parent), os.W_OK | os.X_OK):
        yield Finding("socket", "fail", f"{path.parent} cannot be made", sockets.ELSEWHERE)
        return
    try:
        with Connection(path, SOCKET_SECONDS) as daemon:
            status = Status.of(daemon.call("status"))
    except NoDaemonError as exc:
        yield _no_daemon(path, exc)
        return
    detail = f"a daemon answers on {path}: {status.version}, {status.state}, pid {status.pid}"
    if status.version != __version__:
        yield Finding("socket", "warn", f"{detail}; this is {__version__}", "restart the daemon")
    else:
        yield Finding("socket", "ok", detail)
    for problem in status.problems:
        yield Finding("daemon", "warn", problem, "see `facewatchd status`")


def _no_daemon(path: Path, exc: NoDaemonError) -> Finding:
    if not os.path.lexists(path):
        return Finding("socket", "ok", f"{path} is free: no daemon runs", "facewatchd run DIR starts one")
    if not path.is_socket():
        return Finding("socket", "fail", f"{path} is there and is no socket", f"move it away, or {sockets.ELSEWHERE}")
    if isinstance(exc, StrangerError):
        return Finding("socket", "fail", exc.message, exc.hint)
    return Finding("socket", "warn", f"{exc.message}: its socket is stale", "the next `facewatchd run` replaces it")


def _data(loaded: Config) -> Iterator[Finding]:
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
        mount = next(iter(table.around(real)), None)
    if mount is not None and mount.is_remote:
        detail = f"{place} is on {mount.fstype}, where SQLite may lose data or not start"
        yield Finding("data", "warn", detail, "choose a local disk with --data-dir")


def _space(directory: Path, free: int) -> Finding:
    detail = f"{directory}, {free / 1e9:.1f} GB free"
    if free < LITTLE_SPACE:
        return Finding("data", "fail" if free < NO_SPACE else "warn", detail, "free some disk space")
    return Finding("data", "ok", detail)


def _existing(path: Path) -> Path:
    """The path, or what of it exists."""
    return next(each for each in (path, *path.parents) if each.exists() or each == each.parent)


_CHECKS: dict[str, Callable[[Config], Iterable[Finding]]] = {
    "python": _python,
    "packages": _packages,
    "sqlite": _sqlite,
    "hnswlib": _hnswlib,
    "codecs": _codecs,
    "model": _model,
    "directories": _directories,
    "inotify": _inotify,
    "events": _events,
    "socket": _socket,
    "data": _data,
}
