"""Commands that install what is missing, into the environment that this package runs from.

The package may have been installed from a checkout, an archive or a repository, which need not be there any more, so
extras are installed by the names of what they stand for.
"""

from __future__ import annotations

import json
import shlex
import sys
from urllib.parse import unquote

DISTRIBUTION = "facewatchd"


def extra(name: str, *, again: bool = False) -> str:
    """The command that installs the packages of an extra. ``again``: also those that are installed already."""
    wanted = [
        requirement.partition(";")[0].strip()
        for requirement in _requirements()
        if requirement.partition(";")[2].replace("'", '"').strip() == f'extra == "{name}"'
    ]
    return _pip(*(["--force-reinstall"] if again else []), *wanted)


def again() -> str:
    """The command that installs this package and its dependencies again, from the source that it came from."""
    return _pip("--force-reinstall", _source())


def built_here(name: str, requirement: str) -> str:
    """The command that compiles a distribution again on this machine. What it depends on is left as it is."""
    return _pip("--force-reinstall", "--no-cache-dir", "--no-deps", "--no-binary", name, requirement)


def _requirements() -> list[str]:
    from importlib import metadata  # 40 ms, for messages only

    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


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
