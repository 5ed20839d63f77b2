"""The unit of facewatch-share: an empty file system, in which it sees what it needs and no photo.

That is the installation, the configuration, and the files that the address of the engine names. What every
installation of Linux has, the unit shows as it is shipped.
"""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path
from typing import Final

from facewatchd import engine_url, paths
from facewatchd.service import lines

NAME: Final = "facewatch-share.service"
MODULE: Final = "facewatchd.shared.app"
_SEEN_ANYWAY: Final = tuple(map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/nix/store", "/gnu/store")))
"""Directories that the unit of facewatch-share shows as it is shipped."""
_RESOLVER: Final = "/etc/resolv.conf"
"""Often a link to where the network's manager writes it."""
_LIBRARY: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
"""The directory of the interpreter's modules, below `lib`."""


def share_unit(unit: str, url: str, config_file: Path | None) -> str:
    """Return the unit of facewatch-share, which sees the installation, the configuration and what the address names."""
    command = [sys.executable, "-P", "-m", MODULE, *(["--config", str(config_file)] if config_file else [])]
    shown = [path for path in _seen(url, config_file) if not any(map(path.is_relative_to, _SEEN_ANYWAY))]
    outermost = [path for path in shown if not any(path != other and path.is_relative_to(other) for other in shown)]
    lines.require_utf8((*command, *map(str, outermost)))
    return lines.with_binds(lines.with_line(unit, "ExecStart", lines.command_line(command)), lines.read_only(outermost))


def _seen(url: str, config_file: Path | None) -> list[Path]:
    """What facewatch-share reads, apart from what every installation of Linux has."""
    program = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1]]
    program += [Path(site.getusersitepackages())] if site.ENABLE_USER_SITE else []
    for hop in _links(Path(sys.executable)):  # the directory of an interpreter may have another name, which is a link
        prefix = hop.parent.parent
        program.append(prefix if (prefix / "lib" / _LIBRARY).is_dir() else hop)
    settings = [Path(_RESOLVER).resolve()]
    if config_file:  # a directory of its own is shown whole: an editor puts a new file in the old one's place
        settings.append(config_file.parent if config_file.parent.name == paths.APP else config_file)
        settings += _links(config_file)
    wanted: list[str | Path] = [*program, *settings, *engine_url.read(url).files]
    named = [Path(os.path.abspath(path)) for path in wanted]
    return list(dict.fromkeys(path for each in named for path in (each, each.resolve())))


def _links(path: Path) -> list[Path]:
    """What a path leads to, link by link; empty where it is none."""
    found: list[Path] = []
    while path.is_symlink() and path not in found[:-1]:
        path = Path(os.path.abspath(path.parent / path.readlink()))
        found.append(path)
    return found
