"""``facewatchd service``: the user units that have systemd run the daemon, with the paths of this installation.

The units in ``systemd/`` work unchanged for ``pip install --user``, once there are a data directory and a model. The
units that `install` writes differ from them in the lines that depend on where Python, the configuration and the data
are; `service_unit` and `share.share_unit` change these lines and no others.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from facewatchd import paths
from facewatchd.config import AUTO_DEVICE, CPU, Config
from facewatchd.errors import FacewatchError, UsageError
from facewatchd.service import share
from facewatchd.service.lines import bound, command_line, quoted, read_only, require_utf8, with_binds, with_line
from facewatchd.system import atomic_files
from facewatchd.text import printable

SOCKET, SERVICE = NAMES = ("facewatchd.socket", "facewatchd.service")
"""The units of the daemon."""
SHARE = share.NAME
"""The unit of facewatch-share, which is there where the configuration has `[shared]`."""
MARK = "# Written by `facewatchd service install`, which replaces this file. Your changes belong into a drop-in:"
"""First line of a unit that may be replaced and removed; the command for a drop-in follows."""
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))
"""Directories that `PrivateTmp=` hides: the service sees empty ones in their place."""
DROP_IN = f"{SERVICE}.d/gpu.conf"
_OPENED = {
    "openvino": ("MemoryDenyWriteExecute",),
    "gpu": ("MemoryDenyWriteExecute", "PrivateDevices"),
}
"""Directives of the unit that keep a device from working."""
_WANTS = ("default.target.wants", "sockets.target.wants", f"{SERVICE}.wants")
_EARLIER = (b"# facewatchd as a service of a user.", b"# The socket of facewatchd, held by systemd:")
"""First lines of units that earlier versions wrote, without the mark."""
_SOURCES = (Path(__file__).with_name("units"), Path(__file__).resolve().parents[2] / "systemd")
"""The directories of the units: in a wheel, and in a checkout."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` did."""

    written: list[Path]
    """Units that were not there or were different."""
    removed: dict[Path, str]
    """What was removed, and why it is not needed any more."""


def names(config: Config) -> tuple[str, ...]:
    """The units that a configuration needs."""
    return (*NAMES, SHARE) if config.shared else NAMES


def next_commands(config: Config, done: Installed, *, again: bool) -> str:
    """The commands that a user gives after `install`; ``again``: the units were there before."""
    gone = SHARE in [path.name for path in done.removed]
    stop = f"systemctl --user stop {SHARE}; " if gone else ""
    needed = names(config)
    if not again:
        return f"{stop}systemctl --user daemon-reload && systemctl --user enable --now {' '.join(needed)}"
    services = " ".join(name for name in needed if name != SOCKET)
    return (
        f"{stop}systemctl --user daemon-reload && systemctl --user reset-failed {' '.join(needed)}; "
        f"systemctl --user enable --now {SOCKET} && systemctl --user enable {services} && "
        f"systemctl --user restart {services}"
    )


def stop_commands(removed: Sequence[Path]) -> str:
    """The commands that a user gives after `uninstall`."""
    there = [path.name for path in removed]
    stopped = (*NAMES, SHARE) if SHARE in there else NAMES
    return f"systemctl --user stop {' '.join(stopped)}; systemctl --user daemon-reload"


def install(
    config: Config,
    arguments: Sequence[str],
    directory: Path | None = None,
    *,
    gpu: bool = False,
    source_of_config: Path | None = None,
) -> Installed:
    """Write the units.

    ``arguments`` are those of ``facewatchd run``; ``gpu``: also write the drop-in that the configured device needs. One
    of an earlier call is removed where the processor is configured, and so is the unit of facewatch-share where the
    configuration has no ``[shared]``. ``source_of_config``: the file that facewatch-share reads. The data directory is
    made: the service may write nowhere else.
    """
    directory = directory or paths.units_path()
    command = [sys.executable, "-P", "-m", "facewatchd", "run", *arguments]
    units = {name: source(name) for name in names(config)}
    units[SERVICE] = service_unit(units[SERVICE], command, config.data_dir, paths_in_private_tmp(config, arguments))
    if config.shared:
        units[SHARE] = share.share_unit(units[SHARE], config.shared.url, source_of_config)
    if gpu:
        units[DROP_IN] = drop_in(config.resources.device)
    for name in units:
        _require_ours(directory / name, "cannot write")
    written = []
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in units.items():
            unit = SERVICE if name == DROP_IN else name
            path, data = directory / name, f"{MARK} systemctl --user edit {unit}\n{text}".encode()
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            if not path.exists() or path.read_bytes() != data:
                with atomic_files.written(path, _begins_as_ours) as file:
                    file.write(data)
                written.append(path)
        removed: dict[Path, str] = {}
        if config.resources.device == CPU:
            removed |= dict.fromkeys(_remove_drop_in(directory), "the processor computes")
        if config.shared is None and _begins_as_ours(directory / SHARE):
            removed |= dict.fromkeys(_remove(directory, SHARE), "no shared engine is configured")
    except OSError as exc:
        raise FacewatchError(f"cannot write {exc.filename}: {exc.strerror}", "check its permissions") from exc
    return Installed(written, removed)


def uninstall(directory: Path | None = None) -> list[Path]:
    """Remove the units, our drop-in and the links that enable them; return the paths that were there."""
    directory = directory or paths.units_path()
    for name in (*NAMES, SHARE):
        _require_ours(directory / name, "cannot remove")
    try:
        removed = [path for name in (*NAMES, SHARE) for path in _remove(directory, name)]
        removed += _remove_drop_in(directory)
    except OSError as exc:
        raise FacewatchError(f"cannot remove {exc.filename}: {exc.strerror}", "check its permissions") from exc
    return removed


def _remove(directory: Path, name: str) -> list[Path]:
    """Remove a unit and the links that enable it; return the paths that were there."""
    removed = []
    for path in (*(directory / wants / name for wants in _WANTS), directory / name):
        if os.path.lexists(path):
            path.unlink()
            removed.append(path)
    with contextlib.suppress(OSError):  # where the user has others in it
        (directory / f"{SERVICE}.wants").rmdir()
    return removed


def _remove_drop_in(directory: Path) -> list[Path]:
    """Remove our drop-in; return its path where it was there."""
    path = directory / DROP_IN
    if not _begins_as_ours(path):
        return []
    path.unlink()
    with contextlib.suppress(OSError):  # where the user has drop-ins
        path.parent.rmdir()
    return [path]


def drop_in(device: str) -> str:
    """The lines that take from the sandbox what keeps a device from working. Raises `UsageError` for the processor."""
    if device == CPU:
        raise UsageError(f"--gpu is for a device, and `resources.device` is {CPU!r}", "set another, or leave --gpu out")
    directives = _OPENED.get(device, _OPENED["gpu"])
    return "\n".join(["[Service]", *(f"{name}=no" for name in directives), ""])


def closed_to(device: str, directory: Path | None = None) -> str:
    """The device that was named and that the installed units keep from working; empty where there is none."""
    is_open = _begins_as_ours((directory or paths.units_path()) / DROP_IN)
    return "" if is_open or device in (CPU, AUTO_DEVICE) else device


def paths_in_private_tmp(config: Config, arguments: Sequence[str]) -> list[Path]:
    """Return the paths below `TEMPORARY` that the service reads and `PrivateTmp=` would hide; the data is left out."""
    files = [Path(word) for word in arguments if word.startswith("/")]
    program = [Path(sys.executable), Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]]
    wanted = dict.fromkeys([*program, *files, config.model_root, *config.directories])
    return [path for path in wanted if path != config.data_dir and is_in_private_tmp(path)]


def warning_of_temporary_paths(config: Config, arguments: Sequence[str]) -> str:
    """Return a warning where the service needs a path that may be deleted at a boot; else an empty string."""
    lost = paths_in_private_tmp(config, arguments)
    lost += [config.data_dir] if is_in_private_tmp(config.data_dir) else []
    if not lost:
        return ""
    directories = " and ".join(map(str, TEMPORARY))
    return (
        f"{printable(str(lost[0]))} may not last: many systems delete what lies below {directories}; "
        "keep it elsewhere, and call `facewatchd service install` again"
    )


def is_in_private_tmp(path: Path) -> bool:
    """Whether a path, or what it leads to, lies below a directory that `PrivateTmp=` hides."""
    spellings = (Path(os.path.abspath(path)), path.resolve())
    return any(spelling.is_relative_to(directory) for spelling in spellings for directory in TEMPORARY)


def service_unit(unit: str, command: Sequence[str], data_dir: Path, shown: Sequence[Path] = ()) -> str:
    """Return the service's unit for this command and data. Raises `UsageError` for a path that systemd does not take.

    ``shown``: paths that are bound into the service's own temporary directories, for reading.
    """
    require_utf8((*command, str(data_dir), *map(str, shown)))
    unit = with_line(unit, "ExecStart", command_line(command))
    unit = with_line(unit, "ReadWritePaths", quoted(str(data_dir)))
    binds = read_only(shown)
    binds += [f"BindPaths={quoted(bound(data_dir))}"] if is_in_private_tmp(data_dir) else []
    return with_binds(unit, binds)


def _require_ours(path: Path, doing: str) -> None:
    """Raise `FacewatchError` for a unit that `install` did not write: one of the user's own, or a masked one."""
    if not os.path.lexists(path):
        return
    if path.is_symlink():
        state, way = f"it is a link to {path.readlink()}", f"systemctl --user unmask {path.name}"
    elif not path.is_file():
        state, way = "it is no file", f"look at it, and move {path} away"
    elif not _begins_as_ours(path):
        state, way = "it was not written by `facewatchd service install`", f"move {path} away first"
    else:
        return
    raise FacewatchError(f"{doing} {path}: {state}", way)


def _begins_as_ours(path: Path) -> bool:
    """Whether a file begins like a unit that `install` wrote. False for one that cannot be read."""
    try:
        return path.read_bytes().startswith((MARK.encode(), *_EARLIER))
    except OSError:
        return False


def source(name: str) -> str:
    """Return the text of a file as it is shipped."""
    for place in _SOURCES:
        if (place / name).exists():
            return (place / name).read_text(encoding="utf-8")
    raise FacewatchError(f"this installation has no {name}", "install facewatchd again")
