"""Where facewatchd keeps its socket, configuration and data.

platformdirs is imported only for a path other than the usual one: importing it takes half as long as the rest of a
`facewatch-query`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from facewatchd.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

APP = "facewatchd"
RUNTIME = "/run/user"
"""Where systemd makes the runtime directories of users; no other user can replace one."""
MODELS = ".insightface"
"""Name of InsightFace's root in a home."""
LIST_OF_LINKS = b".facewatch-links"
"""Name of the list of the links that `facewatch-query` made in a directory: the daemon leaves the links there alone."""
NOWHERE = "/nonexistent"
"""Stands for a path that a command does not need, so that no default is computed."""


def socket_path() -> Path:
    """The daemon's socket, in the user's runtime directory."""
    from pathlib import Path  # here, because the client does not need it and would wait a fifth longer

    return Path(socket_name())


def socket_name() -> str:
    """Return the socket's path as text."""
    usual = f"{RUNTIME}/{os.getuid()}"
    if os.environ.get("XDG_RUNTIME_DIR") == usual and _is_private(usual):
        return f"{usual}/{APP}/socket"  # as platformdirs would return it

    import warnings

    import platformdirs

    with _translated("--socket"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of XDG_RUNTIME_DIR that is not set: there is a path all the same
        return str(platformdirs.user_runtime_path(APP) / "socket")


def share_path(socket: Path) -> Path:
    """The socket of facewatch-share, beside that of its daemon."""
    try:
        is_usual = os.fspath(socket) == socket_name()
    except UsageError:
        is_usual = False
    return socket.with_name("share" if is_usual else f"{socket.name}.share")


def config_path() -> Path:
    """The configuration file."""
    import platformdirs

    with _translated("--config"):
        return platformdirs.user_config_path(APP) / "config.toml"


def units_path() -> Path:
    """The directory in which systemd looks for a user's own units."""
    import platformdirs

    with _translated("XDG_CONFIG_HOME"):
        return platformdirs.user_config_path("systemd") / "user"


def applications_path() -> Path:
    """The directory in which a desktop looks for a user's own entries of its menu."""
    import platformdirs

    with _translated("XDG_DATA_HOME"):
        return platformdirs.user_data_path("applications")


def data_path() -> Path:
    """The directory that holds one directory for each model."""
    import platformdirs

    with _translated("--data-dir"):
        return platformdirs.user_data_path(APP)


def cache_path() -> Path:
    """The directory of what can be made again at any time."""
    import platformdirs

    with _translated("XDG_CACHE_HOME"):
        return platformdirs.user_cache_path(APP)


def model_root() -> Path:
    """InsightFace's root in the user's home."""
    from pathlib import Path

    home = os.environ.get("HOME", "")
    if "HOME" not in os.environ:
        home = os.path.expanduser("~")  # from the list of users
    if not home.startswith("/"):
        raise UsageError("there is no home directory for models", "set HOME, or `model_root` in the configuration")
    return Path(home, MODELS)


@contextlib.contextmanager
def _translated(option: str) -> Iterator[None]:
    """Raise `UsageError` where platformdirs finds no directory, or one that another user made."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError) as exc:
        message = " ".join(str(exc).split()).replace("; ", ", ")
        raise UsageError(message, f"or name another place with {option}") from exc


def _is_private(directory: str) -> bool:
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077
