"""Commands that install what is missing, into the environment that this package runs from."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

DISTRIBUTION = "facewatchd"
_UV = "uv-receipt.toml"
"""What `uv tool` leaves in the environments that it makes,"""
_PIPX = "pipx_metadata.json"
"""and pipx in those that it makes."""


def again() -> str:
    """The command that installs this package and its dependencies again, from the source that it came from."""
    return _pip("--force-reinstall", _source())


def extra(name: str) -> str:
    """The command that installs what only an extra of this package needs, by the program that installed the package."""
    source = _source()
    wanted = f"{source}[{name}]" if "://" not in source else f"{DISTRIBUTION}[{name}] @ {source}"
    if os.path.exists(os.path.join(sys.prefix, _UV)):
        return shlex.join(["uv", "tool", "install", "--force", wanted])
    if os.path.exists(os.path.join(sys.prefix, _PIPX)):
        return shlex.join(["pipx", "install", "--force", wanted])
    return _pip(*(["-e"] if _is_editable() else []), wanted)


def built_here(name: str, requirement: str) -> str:
    """The command that compiles a distribution again on this machine. What it depends on is left as it is."""
    return _pip("--force-reinstall", "--no-cache-dir", "--no-deps", "--no-binary", name, requirement)


def replaced(gone: Iterable[str], wanted: str) -> str:
    """The command that installs a distribution in the place of others."""
    return f"{shlex.join([sys.executable, '-m', 'pip', 'uninstall', '-y', *gone])} && {_pip(wanted)}"


def _source() -> str:
    """The source that pip recorded; the name of the package where it recorded none."""
    document = _noted()
    try:
        url = str(document["url"])
        if "vcs_info" in document:
            return f"{document['vcs_info']['vcs']}+{url}"
        return unquote(url.removeprefix("file://")) if url.startswith("file://") else url
    except (LookupError, TypeError):
        return DISTRIBUTION


def _is_editable() -> bool:
    directory = _noted().get("dir_info")
    return isinstance(directory, dict) and directory.get("editable") is True


def _noted() -> dict[str, Any]:
    """Where the package came from, as pip recorded it (PEP 610); empty where it recorded nothing."""
    from importlib import metadata

    try:
        document = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *arguments])
