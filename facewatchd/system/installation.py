"""Commands that install what is missing, into the environment that this package runs from."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from urllib.parse import unquote

DISTRIBUTION = "facewatchd"


def again() -> str:
    """The command that installs this package and its dependencies again, from the source that it came from."""
    return _pip("--force-reinstall", _source())


def extra(name: str) -> str:
    """The command that installs what only an extra of this package needs."""
    return _pip(f"{_source()}[{name}]")


def built_here(name: str, requirement: str) -> str:
    """The command that compiles a distribution again on this machine. What it depends on is left as it is."""
    return _pip("--force-reinstall", "--no-cache-dir", "--no-deps", "--no-binary", name, requirement)


def replaced(gone: Iterable[str], wanted: str) -> str:
    """The command that installs a distribution in the place of others."""
    return f"{shlex.join([sys.executable, '-m', 'pip', 'uninstall', '-y', *gone])} && {_pip(wanted)}"


def _source() -> str:
    """The source that pip recorded (PEP 610); the name of the package where it recorded none."""
    from importlib import metadata

    try:
        noted = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        if not noted:
            return DISTRIBUTION
        document = json.loads(noted)
        url = str(document["url"])
        if "vcs_info" in document:
            return f"{document['vcs_info']['vcs']}+{url}"
        return unquote(url.removeprefix("file://")) if url.startswith("file://") else url
    except (metadata.PackageNotFoundError, LookupError, TypeError, ValueError):
        return DISTRIBUTION


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *arguments])
