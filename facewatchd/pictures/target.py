"""The files that a sheet is written to: what they may be, and how they are replaced.

A sheet replaces only an earlier sheet, which is known by its mark (`photos.sheet_mark`): no photo, whatever name or
link leads to it, and no other file. The second page of ``anna.png`` is ``anna-2.png``; it replaces only a later page of
a sheet. Pages that an earlier sheet had more are removed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from PIL import Image, PngImagePlugin

from facewatchd.errors import UsageError
from facewatchd.photos import sheet_mark
from facewatchd.system import atomic_files

_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".pdf": "PDF"}

USUAL_MODE: Final = 0o666


def check(target: Path, query_photos: Iterable[str | int] = (), *, page: int = 1) -> None:
    """Raise `UsageError` where a sheet, or this page of it, could not be written, so that nothing is done in vain.

    ``query_photos`` are paths, or descriptors, of files that no sheet replaces even where they are sheets.
    """
    if target.suffix.lower() not in _FORMATS:
        known = " ".join(_FORMATS)
        raise UsageError(f"{target} does not say what kind of picture it is", f"end it with one of {known}")
    _refuse_others(target, query_photos, page)
    directory = Path(os.path.realpath(target)).parent
    if not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}", "create it, or write the sheet elsewhere")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{directory} cannot be written to", "write the sheet elsewhere")


def _refuse_others(target: Path, query_photos: Iterable[str | int], page: int) -> None:
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
    if not _is_ours(page)(target):
        raise _not_ours(target)


def _statuses(files: Iterable[str | int]) -> Iterator[os.stat_result]:
    for file in files:
        with suppress(OSError, ValueError):
            yield os.stat(file)


def _is_ours(page: int) -> Callable[[Path], bool]:
    return sheet_mark.is_sheet if page == 1 else sheet_mark.is_later_page


def _not_ours(target: Path) -> UsageError:
    return UsageError(
        f"{target} is there, and is no contact sheet: only an earlier sheet is replaced",
        "write the sheet elsewhere, or move that file away",
    )


def page_path(target: Path, page: int) -> Path:
    """Return the file of a page, from 1."""
    return target if page == 1 else target.with_name(f"{target.stem}-{page}{target.suffix}")


def remove_pages(target: Path, *, after: int) -> None:
    """Remove the pages that an earlier sheet had more, up to the first file that is none."""
    page = after + 1
    while sheet_mark.is_later_page(path := page_path(target, page)) and not path.is_symlink():
        with suppress(OSError):
            path.unlink()
        page += 1


def save(picture: Image.Image, target: Path, *, page: int = 1, mode: int = USUAL_MODE) -> None:
    """Write a picture, in the way of `save_document`."""
    name = _FORMATS[target.suffix.lower()]
    options = {"quality": 92, **_mark(name, page)}
    save_document(target, lambda file: picture.save(file, format=name, **options), page=page, mode=mode)


def save_document(target: Path, write: Callable[[BinaryIO], None], *, page: int = 1, mode: int = USUAL_MODE) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one. Links are followed.

    Raises `UsageError`.
    """
    try:
        with atomic_files.written(Path(os.path.realpath(target)), _is_ours(page), mode) as file:
            write(file)
    except FileExistsError as exc:
        raise _not_ours(target) from exc
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise UsageError(f"cannot write {target}: {reason}", "write the sheet elsewhere, or make room") from exc


def _mark(name: str, page: int) -> dict[str, Any]:
    """Return the options with which Pillow writes the mark to where `sheet_mark` looks for it."""
    mark = sheet_mark.mark(page)
    if name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", mark)
        return {"pnginfo": text}
    exif = Image.Exif()
    exif[sheet_mark.EXIF_SOFTWARE] = mark
    return {"exif": exif}
