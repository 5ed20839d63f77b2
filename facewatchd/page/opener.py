"""Opens the page in the desktop's browser without telling other users the code.

The command line of a process can be read by every user of the machine, so the browser is given the name of a file that
only its owner may read, and the file leads to the address. A browser that is installed as a snap reads nothing in the
runtime directory, but the files in its own directory in the home.
"""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import subprocess
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from facewatchd.system import atomic_files

_ASKED = 5.0
"""Seconds for the desktop to say which browser it opens pages with."""
_SNAP = "_"
"""The desktop entry of a snap is named after the snap, this, and the program."""


@contextlib.contextmanager
def leading(url: str, directory: Path, name: str) -> Iterator[Path]:
    """Yield a file that leads a browser to an address, while the block runs. ``directory``: a private one.

    Raises OSError.
    """
    path = (_snap_directory() or directory) / f"{name}.html"
    with open(atomic_files.create(path), "w", encoding="utf-8") as file:
        file.write(_LEADS.format(html.escape(url)))
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


_LEADS = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={0}">
<title>facewatchd</title>
</head>
<body><p><a href="{0}">Open the page of facewatchd</a></p></body>
</html>
"""


def open_file(path: str) -> bool:
    """Have the browser open a file, and return at once; False where there is no desktop or no browser."""
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        return False
    uri = Path(path).as_uri()
    command = shutil.which("xdg-open")
    if command is None:
        return webbrowser.open(uri)
    try:
        subprocess.Popen(
            [command, uri],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in this terminal is not meant for the browser
        )
    except OSError:
        return False
    return True


def _snap_directory() -> Path | None:
    """The directory of the snap that is the desktop's browser; None where it is none."""
    try:
        answer = subprocess.run(
            ["xdg-settings", "get", "default-web-browser"], capture_output=True, text=True, timeout=_ASKED, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    name, is_snap, _ = answer.stdout.strip().partition(_SNAP)
    directory = Path.home() / "snap" / name / "common"
    return directory if is_snap and name.isidentifier() and directory.is_dir() else None
