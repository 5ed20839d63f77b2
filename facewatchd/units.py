"""``facewatchd service``: the user units that have systemd run the daemon, with the paths of this installation.

The units in ``systemd/`` work as they are for ``pip install --user``, once there are a data directory and a model. What
is written is the same, but for the lines that depend on where Python, the configuration and the data are: `fitted`
makes them, and touches no other.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from facewatchd import places
from facewatchd.config import Config
from facewatchd.errors import FacewatchError, UsageError
from facewatchd.printing import printable

SOCKET, SERVICE = NAMES = ("facewatchd.socket", "facewatchd.service")
START = f"systemctl --user daemon-reload && systemctl --user enable --now {' '.join(NAMES)}"
RENEW = (
    f"systemctl --user daemon-reload && systemctl --user reset-failed {' '.join(NAMES)}; "
    f"systemctl --user enable --now {SOCKET} && systemctl --user enable {SERVICE} && systemctl --user restart {SERVICE}"
)
STOP = f"systemctl --user stop {' '.join(NAMES)}; systemctl --user daemon-reload"
_WANTS = ("default.target.wants", "sockets.target.wants")
_SOURCES = (Path(__file__).with_name("units"), Path(__file__).resolve().parents[1] / "systemd")
"""Where a wheel puts them, and where a checkout has them."""


def install(config: Config, arguments: Sequence[str], directory: Path | None = None) -> list[Path]:
    """Write the units; return those that were not there, or were others.

    ``arguments`` are those of ``facewatchd run``. The data directory is made: the service may write nowhere else.
    """
    directory = directory or places.units_path()
    command = [sys.executable, "-P", "-m", "facewatchd", "run", *arguments]
    units = {name: _source(name) for name in NAMES}
    units[SERVICE] = fitted(units[SERVICE], command, config.data_dir)
    written = []
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, text in units.items():
            path, data = directory / name, text.encode()
            if not path.exists() or path.read_bytes() != data:
                _replace(path, data)
                written.append(path)
    except OSError as exc:
        raise FacewatchError(f"cannot write {exc.filename}: {exc.strerror}", "check its permissions") from exc
    return written


def uninstall(directory: Path | None = None) -> list[Path]:
    """Remove the units, and what enables them; return what was there."""
    directory = directory or places.units_path()
    removed = []
    try:
        for name in NAMES:
            for path in (*(directory / wants / name for wants in _WANTS), directory / name):
                if os.path.lexists(path):
                    path.unlink()
                    removed.append(path)
    except OSError as exc:
        raise FacewatchError(f"cannot remove {exc.filename}: {exc.strerror}", "check its permissions") from exc
    return removed


def fitted(unit: str, command: Sequence[str], data_dir: Path) -> str:
    """Make the service's unit one for this command and data. Raises `UsageError` for what systemd does not take."""
    for word in (*command, str(data_dir)):
        try:
            word.encode()
        except UnicodeEncodeError as exc:
            raise UsageError(f"{printable(word)} is not UTF-8, which systemd does not take", "rename it") from exc
    line = " ".join(_quoted(word.replace("$", "$$")) for word in command)
    for key, value in (("ExecStart", line), ("ReadWritePaths", _quoted(str(data_dir)))):
        unit, count = re.subn(rf"^{key}=.*$", lambda _, text=f"{key}={value}": text, unit, flags=re.MULTILINE)  # type: ignore[misc]
        assert count == 1, f"the unit has one {key}"
    return unit


def _quoted(word: str) -> str:
    """A word as systemd.syntax(7) and systemd.unit(5) have it: quotes where needed, and no specifiers."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./$-]+", word, re.ASCII):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _source(name: str) -> str:
    for place in _SOURCES:
        if (place / name).exists():
            return (place / name).read_text(encoding="utf-8")
    raise FacewatchError(f"this installation has no {name}", "install facewatchd again")


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.chmod(0o644)
    temporary.replace(path)
