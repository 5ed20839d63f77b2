"""The files that a sheet or an album is written to: what they may be, and how they are replaced.

A sheet replaces only an earlier sheet, which is known by its mark (`photos.sheet_mark`), and an album only an earlier
album as it was written, which is known by how it begins and by a digest at its end (`sealed`): no photo, whatever name
or link leads to it, no other file, and no album that was changed since. The second page of ``anna.png`` is
``anna-2.png``; it replaces only a later page of a sheet. Pages that an earlier sheet had more are removed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

from facewatchd.errors import UsageError
from facewatchd.photos import sheet_mark
from facewatchd.system import atomic_files

if TYPE_CHECKING:
    from PIL import Image

_FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".pdf": "PDF"}

_QUALITY: Final = {"WEBP": 80}
"""Where the scale is another one than JPEG's: 92 there."""
USUAL_MODE: Final = 0o666
PRIVATE_MODE: Final = 0o600
ALBUM_HEAD: Final = (
    b'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    b'<meta name="generator" content="facewatch-query album">\n'
)
"""The beginning of every album."""
_SEAL: Final = b"<!-- unchanged since it was written: "
_MOST_ALBUM: Final = 1 << 26
"""Bytes: six times as many as an album has. A larger file is none."""


def sealed(page: bytes) -> bytes:
    """Return an album with its digest at the end, as a comment."""
    return page + _SEAL + hashlib.sha256(page).hexdigest().encode("ascii") + b" -->\n"


def is_album(path: str | bytes | os.PathLike[str]) -> bool:
    """Whether a path leads to an album as it was written. False for what cannot be read."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_ALBUM:
            return False
        with open(os.open(path, atomic_files.READ_FLAGS), "rb") as file:
            page = file.read(len(ALBUM_HEAD))
            if page != ALBUM_HEAD:
                return False
            page += file.read(_MOST_ALBUM)
    except (OSError, ValueError):
        return False
    return sealed(page[: page.rfind(_SEAL)]) == page


class Kind(NamedTuple):
    """What is written."""

    noun: str
    long_noun: str
    """As it is called where a file of another kind is in its place."""
    suffixes: tuple[str, ...]
    unlike: str
    """What is said of a name with another suffix."""
    marks: tuple[Callable[[Path], bool], ...]
    """Whether a file is the first page of one; whether it is a later page, where there are any."""

    def is_ours(self, page: int) -> Callable[[Path], bool]:
        """Return what tells that a file is such a page, from 1."""
        return self.marks[min(page, len(self.marks)) - 1]


SHEET: Final = Kind(
    "sheet",
    "contact sheet",
    tuple(_FORMATS),
    "does not say what kind of picture it is",
    (sheet_mark.is_sheet, sheet_mark.is_later_page),
)
ALBUM: Final = Kind(
    "album", "album as it was written", (".html", ".htm"), "does not say that it is a page", (is_album,)
)


def check(target: Path, query_photos: Iterable[str | int] = (), *, page: int = 1, kind: Kind = SHEET) -> None:
    """Raise `UsageError` where it, or this page of it, could not be written, so that nothing is done in vain.

    ``query_photos`` are paths, or descriptors, of files that are not replaced even where they are sheets.
    """
    if target.suffix.lower() not in kind.suffixes:
        known = " ".join(kind.suffixes)
        raise UsageError(f"{target} {kind.unlike}", f"end it with one of {known}")
    _refuse_others(target, query_photos, page, kind)
    directory = Path(os.path.realpath(target)).parent
    if not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}", f"create it, or write the {kind.noun} elsewhere")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"{directory} cannot be written to", f"write the {kind.noun} elsewhere")


def _refuse_others(target: Path, query_photos: Iterable[str | int], page: int, kind: Kind) -> None:
    """Raise `UsageError` for a path at which there is a file other than an earlier one of ours."""
    elsewhere = f"write the {kind.noun} elsewhere"
    try:
        status = os.stat(target)
    except OSError as exc:
        if os.path.islink(target):
            to = os.path.realpath(target)
            raise UsageError(f"{target} is a link to {to}, which is not there", "name that file instead") from exc
        if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise UsageError(f"cannot write {target}: {exc.strerror}", elsewhere) from exc
        return
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{target} is a directory", "name a file in it")
    if any(os.path.samestat(status, other) for other in _statuses(query_photos)):
        raise UsageError(f"{target} is a query photo", elsewhere)
    if not kind.is_ours(page)(target):
        raise _not_ours(target, kind)


def _statuses(files: Iterable[str | int]) -> Iterator[os.stat_result]:
    for file in files:
        with suppress(OSError, ValueError):
            yield os.stat(file)


def _not_ours(target: Path, kind: Kind) -> UsageError:
    return UsageError(
        f"{target} is there, and is no {kind.long_noun}: only an earlier {kind.noun} is replaced",
        f"write the {kind.noun} elsewhere, or move that file away",
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
    options = {"quality": _QUALITY.get(name, 92), **_mark(name, page)}
    save_document(target, lambda file: picture.save(file, format=name, **options), page=page, mode=mode)


def save_document(
    target: Path,
    write: Callable[[BinaryIO], object],
    *,
    page: int = 1,
    mode: int = USUAL_MODE,
    kind: Kind = SHEET,
) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one. Links are followed.

    Raises `UsageError`.
    """
    try:
        with atomic_files.written(Path(os.path.realpath(target)), kind.is_ours(page), mode) as file:
            write(file)
    except FileExistsError as exc:
        raise _not_ours(target, kind) from exc
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise UsageError(f"cannot write {target}: {reason}", f"write the {kind.noun} elsewhere, or make room") from exc


def _mark(name: str, page: int) -> dict[str, Any]:
    """Return the options with which Pillow writes the mark to where `sheet_mark` looks for it."""
    from PIL import Image, PngImagePlugin  # here, because an album needs none of it

    mark = sheet_mark.mark(page)
    if name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", mark)
        return {"pnginfo": text}
    exif = Image.Exif()
    exif[sheet_mark.EXIF_SOFTWARE] = mark
    return {"exif": exif}
