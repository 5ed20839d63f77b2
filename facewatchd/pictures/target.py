"""The file that a picture is written to: what it may be, and how it is replaced.

A picture replaces only an earlier picture of ours, which is known by its mark (`photos.sheet_mark`): no photo, whatever
name or link leads to it, and no other file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from PIL import Image, PngImagePlugin

from facewatchd.errors import UsageError
from facewatchd.photos import sheet_mark
from facewatchd.system import atomic_files

_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".pdf": "PDF"}


def check(target: Path, query_photos: Iterable[str | int] = ()) -> None:
    """Raise `UsageError` where a sheet could not be written, so that the search is not made in vain.

    ``query_photos`` are paths, or descriptors, of files that no sheet replaces even where they are sheets.
    """
    if target.suffix.lower() not in _FORMATS:
        known = " ".join(_FORMATS)
        raise UsageError(f"{target} does not say what kind of picture it is", f"end it with one of {known}")
    _refuse_others(target, query_photos)
    directory = Path(os.path.realpath(target)).parent
    if not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}", "create it, or write the sheet elsewhere")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{directory} cannot be written to", "write the sheet elsewhere")


def _refuse_others(target: Path, query_photos: Iterable[str | int]) -> None:
    """Raise `UsageError` for a path at which there is a file other than an earlier sheet."""
    try:
        status = os.stat(target)
    except OSError as exc:
        if os.path.islink(target):
            to = os.path.realpath(target)
            raise UsageError(f"{target} is a link to {to}, which is not there", "name that file instead") from exc
        if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise UsageError(f"cannot write {target}: {exc.strerror}", "write the sheet elsewhere") from exc
        return
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{target} is a directory", "name a file in it")
    if any(os.path.samestat(status, other) for other in _statuses(query_photos)):
        raise UsageError(f"{target} is a query photo", "write the sheet elsewhere")
    if not sheet_mark.is_sheet(target):
        raise _not_ours(target)


def _statuses(files: Iterable[str | int]) -> Iterator[os.stat_result]:
    for file in files:
        with suppress(OSError, ValueError):
            yield os.stat(file)


def _not_ours(target: Path) -> UsageError:
    return UsageError(
        f"{target} is there, and is no contact sheet: only an earlier sheet is replaced",
        "write the sheet elsewhere, or move that file away",
    )


def save(picture: Image.Image, target: Path) -> None:
    """Write beside the target, then rename: a reader sees the old picture or the new one. Links are followed."""
    name = _FORMATS[target.suffix.lower()]
    try:
        with atomic_files.written(Path(os.path.realpath(target)), sheet_mark.is_sheet) as file:
            picture.save(file, format=name, quality=92, resolution=150, **_mark(name))
    except FileExistsError as exc:
        raise _not_ours(target) from exc
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise UsageError(f"cannot write {target}: {reason}", "write the sheet elsewhere, or make room") from exc


def _mark(name: str) -> dict[str, object]:
    """Return the options with which Pillow writes `sheet_mark.SOFTWARE` to where `sheet_mark` looks for it."""
    if name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", sheet_mark.SOFTWARE)
        return {"pnginfo": text}
    if name == "PDF":
        return {"creator": sheet_mark.SOFTWARE}
    exif = Image.Exif()
    exif[sheet_mark.EXIF_SOFTWARE] = sheet_mark.SOFTWARE
    return {"exif": exif}
