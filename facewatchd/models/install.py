"""Installs a pack's files in InsightFace's root: from its releases, from a zip file or from a directory.

A pack appears in one step or not at all. Everything is written to ``models/.NAME.partial-PID``, which is removed in the
end, also after a failure or Ctrl-C; that of a killed process is removed by the next fetch. Only a pack that was loaded
once is renamed to ``models/NAME``. InsightFace's own download can leave half a pack that fails an assertion later.

Zip files are not trusted: no path may lead out of the directory, and sizes are limited before anything is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from facewatchd.errors import ModelError
from facewatchd.system import atomic_files
from facewatchd.system.directory_lock import alone
from facewatchd.text import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import requests

    Progress = Callable[[int, int], None]
    """Called with the bytes so far and in all, 0 where that is unknown. An exception of it ends the download."""

BASE_URL = "https://github.com/deepinsight/insightface/releases/download/model-zoo/"
"""`insightface.utils.storage.MODEL_ZOO_RELEASE_DOWNLOAD_URL`; importing that would import all of InsightFace."""
RELEASED = ("antelopev2", "buffalo_l", "buffalo_m", "buffalo_s", "buffalo_sc", "raccoon_l", "raccoon_s")
"""The face packs of that release, `insightface.gui.core.model_downloads.INSIGHTFACE_MODEL_ASSET_NAMES`."""
ZOO_URL = "https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98/models/"
"""OpenCV's model zoo, at a revision that holds the files of `zoo`; it answers with where Git LFS keeps them."""
TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and between two pieces of the answer: without a network the start must go on soon."""
SIZE_LIMIT = 2 << 30
"""Bytes of a download, and of a pack's files. The largest released pack, antelopev2, has 0.4 GB."""
_FILE_LIMIT = 1000
_DEPTH, _NAME = 8, 200
"""Levels of directories, and bytes of a name, that an archive may have."""
_PIECE = 1 << 20
_PARTS = ("*.onnx*", "manifest.json", "*LICENSE*")
"""Files that are copied from a directory: weights, also those beside an ONNX file, the manifest and the licence."""


def pack_directory(directory: Path) -> Path | None:
    """Return the directory that holds the pack's files: this one, or its only subdirectory with any; else None.

    antelopev2.zip holds a directory of the same name, and FaceAnalysis does not look into it. Raises `ModelError` for a
    directory that cannot be read: another model in its place would embed everything again.
    """
    try:
        if not directory.is_dir():
            return None
        if any(directory.glob("*.onnx")):
            return directory
        if (directory / "manifest.json").is_file() and any(directory.rglob("*.onnx")):
            return directory
        inner = [child for child in directory.iterdir() if child.is_dir() and any(child.glob("*.onnx"))]
    except OSError as exc:
        if exc.errno == errno.ENAMETOOLONG:
            return None
        raise ModelError(f"{directory} cannot be read: {one_line(exc)}", "make it readable") from exc
    return inner[0] if len(inner) == 1 else None


@contextlib.contextmanager
def aside(models: Path, name: str) -> Iterator[Path]:
    """Yield an empty directory beside the packs, which is removed in the end. OSError becomes `ModelError`."""
    partial = models / f".{name}.partial-{os.getpid()}"
    try:
        models.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(models)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
    except OSError as exc:
        raise ModelError(
            f"the model {name} cannot be put into {models}: {one_line(exc)}",
            "make that directory writable, with room for the pack, or set another `model_root`",
        ) from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(models: Path) -> None:
    for leftover in models.glob(".*.partial-*"):
        pid = leftover.name.rpartition("-")[2]
        if not pid.isdigit():
            continue
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(leftover, ignore_errors=True)
        except PermissionError:
            continue


def put_in_place(prepared: Path, final: Path, is_same: Callable[[], bool]) -> Path | None:
    """Rename a verified directory into place. What was there is kept beside it, and its new path is returned.

    Nothing is done where ``is_same`` says that another process has put the same pack there meanwhile.
    """
    for path in (*prepared.rglob("*"), prepared):
        atomic_files.sync(path)
    with alone(final.parent):
        if is_same():
            return None
        replaced = None
        if final.exists() and any(final.iterdir()):
            replaced = final.with_name(f".{final.name}.replaced-{os.getpid()}")
            shutil.rmtree(replaced, ignore_errors=True)
            final.rename(replaced)
        atomic_files.put(prepared, final)
        return replaced


@dataclass(frozen=True, slots=True)
class Download:
    """The places that packs are downloaded from. A host that cannot be reached is tried once."""

    base_url: str = BASE_URL
    zoo_url: str = ZOO_URL
    timeout: tuple[float, float] = TIMEOUT
    _out_of_reach: dict[str, str] = field(default_factory=dict)
    """The reason for each host."""

    def release(self, name: str, target: Path, progress: Progress | None) -> None:
        """Save a file of InsightFace's release; raises what `save` does."""
        self.save(f"{self.base_url}{name}", target, progress)

    def save(self, url: str, target: Path, progress: Progress | None, called: str = "") -> None:
        """Save a file; messages name it as ``called``, or else by its URL.

        Raises `ModelError` for a fault of the network, OSError for one of the disk.
        """
        called = called or url
        import requests

        host, answered = urlsplit(url).netloc, False
        if host in self._out_of_reach:
            raise ModelError(f"{called} cannot be downloaded: {self._out_of_reach[host]}", "check the network")
        try:
            # Without an encoding, so that the length in the header is the file's.
            headers = {"Accept-Encoding": "identity"}
            with requests.get(url, stream=True, timeout=self.timeout, headers=headers) as answer:
                answered = True
                answer.raise_for_status()
                total = int(answer.headers.get("content-length", "0"))
                done = _write(answer.iter_content(_PIECE), total, target, progress)
        # It is an OSError itself.
        except requests.RequestException as exc:
            reason = _network_reason(exc)
            if isinstance(exc, requests.ConnectionError) and not answered:
                failed = urlsplit(str(exc.request.url) if exc.request else url).netloc  # where a redirect led to
                self._out_of_reach[failed] = reason
            raise ModelError(f"{called} cannot be downloaded: {reason}", "check the network") from exc
        if done < total:
            raise ModelError(f"{called} cannot be downloaded: it ended after {done} of {total} bytes", "try again")


def _write(pieces: Iterable[bytes], total: int, target: Path, progress: Progress | None) -> int:
    done = 0
    with target.open("wb") as file:
        for piece in pieces:
            done += len(piece)
            if done > SIZE_LIMIT:
                raise ModelError(f"a download of more than {SIZE_LIMIT >> 30} GiB is no face pack", "use a file")
            file.write(piece)
            if progress is not None:
                progress(done, total)
    return done


def _network_reason(exc: requests.RequestException) -> str:
    """The innermost cause: requests and urllib3 wrap 'Name or service not known' into 300 characters."""
    if exc.response is not None:
        return f"{exc.response.status_code} {exc.response.reason}"
    cause: BaseException = exc
    while cause.__context__ is not None:
        cause = cause.__context__
    return one_line(cause.strerror if isinstance(cause, OSError) and cause.strerror else cause, limit=120)


def unpack(archive: Path, target: Path) -> None:
    """Extract a zip file into an empty directory. Raises `ModelError` for one that is damaged or not to be trusted."""
    with translated(archive):
        opened = zipfile.ZipFile(archive)
    with opened:
        members = [member for member in opened.infolist() if not member.is_dir()]
        _refuse(archive, members)
        written = 0
        for member in members:
            path = target / member.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for piece in pieces(archive, opened, member):
                    written += len(piece)
                    if written > SIZE_LIMIT:  # a directory of the archive may lie about sizes
                        raise _no_pack(archive, len(members), written)
                    file.write(piece)


def pieces(archive: Path, opened: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of one file of a zip file. Raises `ModelError` where they are damaged."""
    with translated(archive):
        source = opened.open(member)
    with source:
        while True:
            with translated(archive):
                piece = source.read(_PIECE)
            if not piece:
                return
            yield piece


@contextlib.contextmanager
def translated(archive: Path) -> Iterator[None]:
    """Translate the many exceptions of zipfile and the decompressors into a `ModelError` on one line."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (None, errno.EINVAL):  # the disk's; a wrong offset or a decompressor has no such number
            raise
        raise _unusable(archive, exc) from exc
    except Exception as exc:
        raise _unusable(archive, exc) from exc


def _unusable(archive: Path, exc: Exception) -> ModelError:
    return ModelError(f"{archive.name} is not a usable zip file: {one_line(exc)}", "download it again")


def _no_pack(archive: Path, count: int, size: int) -> ModelError:
    return ModelError(
        f"{archive.name} would unpack to {counted(count, 'file')} of {size >> 20} MiB, which is no face pack",
        "give the zip file of one InsightFace pack",
    )


def _refuse(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > _FILE_LIMIT:
        raise _no_pack(archive, len(members), sum(member.file_size for member in members))
    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name:
            raise ModelError(f"{archive.name} holds a path that leads out of it: {name!r}", "do not use it")
        if len(parts) > _DEPTH or any(len(os.fsencode(part)) > _NAME for part in parts) or not name.isprintable():
            raise ModelError(
                f"{archive.name} holds a name that no pack has: {one_line(repr(name), 80)}", "do not use it"
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ModelError(f"{archive.name} holds a link: {name!r}", "do not use it")
        key = "/".join(parts)
        if key in seen or any(key.startswith(f"{other}/") or other.startswith(f"{key}/") for other in seen):
            raise ModelError(f"{archive.name} holds {name!r} twice", "do not use it")
        seen.add(key)
    size = sum(member.file_size for member in members)
    if size > SIZE_LIMIT:
        raise _no_pack(archive, len(members), size)


def copy(directory: Path, target: Path) -> None:
    """Copy a pack's files into an empty directory. Raises `ModelError` where there are none, and OSError."""
    source = pack_directory(directory)
    if source is None:
        raise ModelError(f"there are no ONNX files in {directory}", "give the directory of an InsightFace pack")
    files = {path for pattern in _PARTS for path in source.rglob(pattern) if path.is_file()}
    size = sum(path.stat().st_size for path in files)
    if size > SIZE_LIMIT or len(files) > _FILE_LIMIT:
        raise ModelError(
            f"{directory} holds {len(files)} files of {size >> 20} MiB, which is no face pack",
            "give the directory of one InsightFace pack",
        )
    for path in files:
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
