"""Where facewatchd keeps its socket, configuration and data.

platformdirs is imported when a place is asked for, so that ``facewatch-query --help`` starts without it.
"""

from __future__ import annotations

from pathlib import Path

APP = "facewatchd"


def socket_path() -> Path:
    """The daemon's socket, in the user's runtime directory."""
    import warnings

    import platformdirs

    with warnings.catch_warnings():  # that XDG_RUNTIME_DIR is not set: there is a place all the same
        warnings.simplefilter("ignore")
        return platformdirs.user_runtime_path(APP) / "socket"


def config_path() -> Path:
    """The configuration file."""
    import platformdirs

    return platformdirs.user_config_path(APP) / "config.toml"


def data_path() -> Path:
    """The directory that holds one directory for each model."""
    import platformdirs

    return platformdirs.user_data_path(APP)
