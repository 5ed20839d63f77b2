"""Where facewatchd keeps its socket, configuration and data.

platformdirs is imported when a place is asked for that is not the usual one: to import it takes half as long as all
the rest of a `facewatch-query`.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

APP = "facewatchd"
RUNTIME = "/run/user"
"""Where systemd makes users' runtime directories, which nobody else can replace."""


def socket_path() -> Path:
    """The daemon's socket, in the user's runtime directory."""
    from pathlib import Path  # the client does without: it takes a fifth of its time to import

    return Path(socket_name())


def socket_name() -> str:
    """The same as text."""
    usual = f"{RUNTIME}/{os.getuid()}"
    if os.environ.get("XDG_RUNTIME_DIR") == usual and _is_private(usual):
        return f"{usual}/{APP}/socket"  # what platformdirs would say

    import warnings

    import platformdirs

    with warnings.catch_warnings():  # that XDG_RUNTIME_DIR is not set: there is a place all the same
        warnings.simplefilter("ignore")
        return str(platformdirs.user_runtime_path(APP) / "socket")


def config_path() -> Path:
    """The configuration file."""
    import platformdirs

    return platformdirs.user_config_path(APP) / "config.toml"


def unit_path() -> Path:
    """The directory of the user's own systemd units."""
    import platformdirs

    return platformdirs.user_config_path("systemd") / "user"


def data_path() -> Path:
    """The directory that holds one directory for each model."""
    import platformdirs

    return platformdirs.user_data_path(APP)


def _is_private(directory: str) -> bool:
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077
