"""The registry of models: which are known and installed, which one is chosen, and how one is fetched.

A pack is a directory of ONNX files, ``models/NAME`` in InsightFace's root or anywhere else: InsightFace's, or OpenCV's,
which are the two files of `zoo`. Its id is its name and a short digest of the weights that are used, so that two
models' embeddings can never be mixed.

`AUTO_MODEL` means, in this order: the model that the data was last built with; that one fetched again; `DEFAULT` where
it is installed; `DEFAULT` fetched; `zoo.NAME` where it is installed; `zoo.NAME` fetched.

This module imports neither InsightFace, ONNX Runtime nor OpenCV: `Pack.load` does, and the child process in which a
fetched pack is tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facewatchd.config import AUTO_MODEL, Faces
from facewatchd.errors import ModelError, UsageError
from facewatchd.models import backends, trial, zoo
from facewatchd.models import install as files
from facewatchd.models.base import HINT, INCOMPLETE
from facewatchd.models.devices import ON_PROCESSOR, Placement
from facewatchd.text import one_line
from facewatchd.values import Quality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from facewatchd.models.base import Model
    from facewatchd.models.install import Download, Progress

    Notify = Callable[[str], None]
    """Called with one line for the user."""

DEFAULT = "buffalo_l"
_OTHER = f"not-{zoo.NAME}"
"""The name of a model with other files in a directory that is called as `zoo.NAME`."""
REMOVED = "dlib"
"""A model of earlier versions."""
FETCHED = (*files.RELEASED, zoo.NAME)
"""The packs that are fetched by name."""
LICENCE_NOTE = (
    "InsightFace's own packs are for non-commercial research use only; see github.com/deepinsight/insightface"
)
ZOO_NOTE = (
    "the pack opencv is free for any use: YuNet under the MIT licence, SFace under the Apache licence 2.0; see "
    "github.com/opencv/opencv_zoo"
)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model by its name."""

    threshold: float
    """Cosine similarity from which a match counts."""
    dim: int | None
    source: str
    """Where the threshold comes from."""
    quality: Quality | None = None
    """What the norms of its embeddings tell, where that was measured."""


_ARCFACE = "no measurement known: the usual value for ArcFace recognisers"
_R50_WEBFACE = "91 % of pairs are found at one false match in a million (w600k_r50)"
# HyperInspire/InspireFace, issue 148: the maintainers name 0.48 for the recogniser of their light pack.
_MOBILE = "what InsightFace's mobile SDK names for its MobileFaceNet"
# Eighteen photos of eight people, a group photo of six strangers and two portraits, each also as JPEG of quality 60,
# scaled by 0.6 and 1.5, cropped and brightened: 1,600 to 1,900 pairs of one person, 12,000 to 14,000 of two.
_MEASURED = "measured on {count} faces: one person {same} or more, two people {others} or less"

# `python -m tests.benchmarks thresholds`, on 1,970 labelled faces; norms too.
_THRESHOLDS = "measured: one false match in {often} pairs of two adults, and {found} % of the pairs of one person found"

GENERIC = Known(0.40, None, _ARCFACE)
KNOWN = {
    "buffalo_l": Known(0.41, 512, _R50_WEBFACE),
    "buffalo_m": Known(0.41, 512, _R50_WEBFACE),  # buffalo_l with a smaller detector
    "buffalo_s": Known(0.48, 512, _MOBILE),
    "buffalo_sc": Known(0.48, 512, _MOBILE),  # buffalo_s without the parts that are not used here
    "antelopev2": Known(0.40, 512, _ARCFACE),
    "auraface": Known(0.40, 512, _ARCFACE),
    "scrfd25g_mfn": Known(0.57, 192, _THRESHOLDS.format(often="3,000", found="67 to 77"), Quality(52, 0.008, 45)),
    "scrfd500m_mfn": Known(0.59, 192, _MEASURED.format(count=165, same=0.623, others=0.566)),
    zoo.NAME: Known(0.40, 128, _THRESHOLDS.format(often="2,900", found="83 to 86"), Quality(9, 0.04, 7)),
}
"""By name in lower case. A pack with another name has `GENERIC`."""

_NOT_USED = frozenset({"1k3d68.onnx", "2d106det.onnx", "genderage.onnx"})
"""Files of InsightFace's packs that are neither detector nor recogniser: with or without them, a pack is the same."""
_ID = re.compile(r"(?P<name>.+)-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Pack:
    """A model's files, not loaded."""

    name: str
    directory: Path
    """Absolute path of the pack, whose files may lie one directory below."""
    id: str
    threshold: float

    @property
    def spec(self) -> str:
        """What finds this pack again as ``last`` of `choose`: an id does not say where a directory is."""
        return str(self.directory)

    @property
    def files(self) -> Path:
        """The directory that the ONNX files lie in."""
        return files.pack_directory(self.directory) or self.directory

    def devices(self) -> tuple[str, ...]:
        """Import the backend, and return the devices other than the processor that its library was built for.

        Raises `ModelError` where something is missing.
        """
        try:
            return backends.of(self.files).devices()
        except ImportError as exc:
            raise ModelError(f"the model {self.name} cannot be loaded: {one_line(exc)}", INCOMPLETE) from exc

    def load(self, threads: int, faces: Faces, placement: Placement = ON_PROCESSOR, parallel: int = 1) -> Model:
        """Load the model, with sessions of its own. Raises `ModelError`, which names the pack and what to do.

        ``placement``: the devices that compute it; ``parallel``: how many threads look at photos at the same time.
        """
        self.devices()
        with self._unchanged(self.directory):
            return backends.of(self.files)(
                self.files,
                model_id=self.id,
                name=self.name,
                threshold=self.threshold,
                threads=threads,
                faces=faces,
                placement=placement,
                parallel=parallel,
            )

    @contextlib.contextmanager
    def _unchanged(self, directory: Path) -> Iterator[None]:
        """Raise `ModelError` unless the weights have the digest in the id, before and after the block.

        They may be replaced while the model is not loaded, and two models' embeddings must never be mixed.
        """
        if not directory.is_dir():
            raise ModelError(
                f"the model {self.name} cannot be loaded: there is no directory {directory}",
                "put it back, or start the daemon again",
            )
        before = _stamps(directory)
        same = _pack(directory, self.name).id == self.id
        if same:
            yield
        if not same or _stamps(directory) != before:
            raise ModelError(
                f"the files of the model {self.name} in {directory} are others than when it was chosen",
                "put them back, or start the daemon again",
            )


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of ``facewatchd models list``."""

    name: str
    dim: int | None
    """None where it is known only once the model is loaded."""
    size: int | None
    """Bytes of weights; None where it is not installed."""
    threshold: float
    source: str
    where: str
    """The directory; the command that fetches or installs it where it is not installed."""
    installed: bool


def known(name: str) -> Known:
    """Return what is known of a model by its name."""
    return KNOWN.get(name.lower(), GENERIC)


def licence(name: str) -> str:
    """A few words on what a model may be used for, as far as its name tells."""
    if name == zoo.NAME:
        return "any use (MIT, Apache-2.0)"
    return "non-commercial" if name in files.RELEASED else "unknown"


def licence_note(name: str) -> str:
    """A line on the licence of a model, with the page that has it."""
    if name == zoo.NAME:
        return ZOO_NOTE
    return LICENCE_NOTE if name in files.RELEASED else "its licence is not known here; ask the pack's author"


def choose(
    spec: str,
    model_root: Path,
    last: str | None = None,
    *,
    notify: Notify,
    progress: Progress | None = None,
    download: Download | None = None,
) -> Pack:
    """Return the pack that a configuration names; fetch it if it is a released one that is not installed.

    ``spec`` is `AUTO_MODEL`, a name or a directory; ``last`` the `Pack.spec`, name or id of the model that the data was
    last built with. Raises `UsageError` for an unknown model, `ModelError` for one that cannot be fetched or read.
    """
    if spec == AUTO_MODEL:
        return _automatic(model_root, last, notify, progress, download or files.Download())
    pack = find(spec, model_root)
    if pack is not None:
        return pack
    if spec == REMOVED:
        raise UsageError(
            "the model dlib is not part of facewatchd any more", f'set `model = "{zoo.NAME}"`, which finds more faces'
        )
    if spec in FETCHED:
        return fetch(spec, model_root, notify=notify, progress=progress, download=download)
    if _is_path(spec):
        raise UsageError(f"there is no model in {spec}", "name the directory that holds a pack's ONNX files")
    raise UsageError(f"unknown model {spec!r}", f"name one of {', '.join(_names(model_root))}, or a pack's directory")


def _automatic(
    model_root: Path, last: str | None, notify: Notify, progress: Progress | None, download: Download
) -> Pack:
    pack = find(last, model_root) if last else None
    if last and pack is None and last != REMOVED:
        notify(f"the model {last}, which the data was built with, is not there any more")
        pack = _again(last, model_root, notify, progress, download)
    pack = pack or find(DEFAULT, model_root)
    if pack is not None:
        return pack
    try:
        return fetch(DEFAULT, model_root, notify=notify, progress=progress, download=download)
    except ModelError as exc:
        fault = exc
    try:
        pack = find(zoo.NAME, model_root) or fetch(
            zoo.NAME, model_root, notify=notify, progress=progress, download=download
        )
    except ModelError as exc:
        raise ModelError(f"there is no model: {fault.message}; {exc.message}", exc.hint) from exc
    notify(
        f"using the model {zoo.NAME}, licence: {licence(zoo.NAME)}; {fault.message}; to switch: "
        f"`facewatchd models fetch {DEFAULT}`, then run with `--model {DEFAULT}`"
    )
    return pack


def _again(last: str, model_root: Path, notify: Notify, progress: Progress | None, download: Download) -> Pack | None:
    """Fetch the pack that was in a directory of the root: with another model all photos would be indexed again."""
    name = Path(last).name
    if name not in FETCHED or last != os.path.abspath(model_root / "models" / name):
        return None
    try:
        return fetch(name, model_root, notify=notify, progress=progress, download=download)
    except ModelError as exc:
        notify(exc.message)
        return None


def find(spec: str, model_root: Path) -> Pack | None:
    """Return an installed pack by name, by id or by directory; None where there is none."""
    if not spec:
        return None
    path = _path(spec)
    places = [path] if _is_path(spec) else [model_root / "models" / spec, path]
    for place in places:
        if files.pack_directory(place) is not None:
            pack = _pack(Path(os.path.abspath(place)))
            if _is_called(pack, spec):
                return pack
    match = _ID.fullmatch(spec)
    return find(match["name"], model_root) if match else None


def at(spec: str) -> Pack:
    """Return the pack with this `Pack.spec`. Raises `ModelError` where it has gone."""
    pack = find(spec, Path(spec))
    if pack is None:
        raise ModelError(f"there is no model in {spec} any more", "put it back, or choose another with `--model`")
    return pack


def fetch(
    source: str,
    model_root: Path,
    *,
    notify: Notify,
    progress: Progress | None = None,
    download: Download | None = None,
) -> Pack:
    """Install a pack in InsightFace's root: by its name, or from a zip file or directory, under the name of that.

    A pack of that name that loads is left as it is; one that does not is replaced. What is fetched is loaded once
    before it is put in place. Raises `UsageError` for a source that is none, `ModelError` for one that fails.
    """
    name = _fetched_name(source)
    models = model_root / "models"
    if files.pack_directory(models / name) is not None:
        there = _pack(Path(os.path.abspath(models / name)))
        fault = _fault(there) if _is_called(there, name) else _another(there, name)
        if fault is None:
            notify(f"the model {name} is already in {there.directory}")
            return there
        notify(f"{fault.message}; fetching it again")
    with files.aside(models, name) as partial:
        prepared = _prepared(source, name, partial, notify, progress, download or files.Download())
        made = _pack(prepared, name)
        fault = _fault(made)
        if fault is not None:
            raise ModelError(f"what was fetched is not used: {fault.message}", fault.hint) from fault
        replaced = files.put_in_place(prepared, models / name, lambda: _has(models / name, made.id))
    if replaced is not None:
        notify(f"what was in {models / name} before is kept in {replaced}")
    notify(f"the model {name} is in {models / name}; {licence_note(name)}")
    return _pack(Path(os.path.abspath(models / name)))


def ways_out() -> str:
    """What the user can do where no model is installed and none can be fetched."""
    return "connect to the network and try again, or fetch a pack from a file or directory: `facewatchd models fetch`"


def list_packs(model_root: Path) -> list[Listed]:
    """Return all models that can be chosen: those installed, and those that can be fetched or installed."""
    listed = []
    for name in _names(model_root):
        directory = files.pack_directory(model_root / "models" / name)
        size = sum(path.stat().st_size for path in _weights(directory)) if directory else None
        where = str(directory) if directory else f"facewatchd models fetch {name}"
        about = known(name)
        listed.append(Listed(name, about.dim, size, about.threshold, about.source, where, directory is not None))
    return listed


def _names(model_root: Path) -> list[str]:
    try:
        found = [path.name for path in (model_root / "models").glob("[!.]*") if files.pack_directory(path) is not None]
    except OSError as exc:
        raise ModelError(f"{model_root} cannot be read: {one_line(exc)}", "make it readable") from exc
    return sorted({*found, *FETCHED})


def _is_path(spec: str) -> bool:
    return os.sep in spec or spec.startswith(("~", "."))


def _path(text: str) -> Path:
    """A path with ``~`` replaced by the home; unchanged where there is no such user."""
    return Path(os.path.expanduser(text))


def _fetched_name(source: str) -> str:
    path = _path(source)
    if source in FETCHED:
        return source
    if os.path.isdir(path):  # unlike pathlib's, these raise nothing
        if zoo.is_pack(files.pack_directory(path) or path):
            return zoo.NAME
        return _safe(Path(os.path.abspath(path)).name)
    if os.path.isfile(path):
        if not zipfile.is_zipfile(path):
            raise UsageError(f"{source} is not a zip file", "give a pack's zip file or directory")
        return zoo.NAME if zoo.is_carrier(path) else _safe(path.stem)
    raise UsageError(
        f"there is no model, zip file or directory {source!r}",
        f"name one of {', '.join(FETCHED)}, or a pack's zip file or directory",
    )


def _prepared(
    source: str, name: str, partial: Path, notify: Notify, progress: Progress | None, download: Download
) -> Path:
    """Download, unpack or copy the files into a directory below ``partial``, and return it."""
    target = partial / "pack"
    target.mkdir()
    path = _path(source)
    if source == zoo.NAME:
        zoo.fetch(target, download, notify, progress)
    elif source in files.RELEASED:
        archive = partial / f"{name}.zip"
        try:
            download.release(archive.name, archive, progress)
        except ModelError as exc:
            raise ModelError(f"the model {name} is not here, and {exc.message}", ways_out()) from exc
        files.unpack(archive, target)
    elif name == zoo.NAME and os.path.isdir(path):
        zoo.copy(files.pack_directory(path) or path, target)
    elif name == zoo.NAME:
        zoo.unpack(path, target)
    elif os.path.isdir(path):
        files.copy(path, target)
    else:
        files.unpack(path, target)
    directory = files.pack_directory(target)
    if directory is None:
        raise ModelError(f"there are no ONNX files in {source}", "give an InsightFace pack")
    return directory


def _fault(pack: Pack) -> ModelError | None:
    """Try a pack in a child process, and return what is wrong with it."""
    return trial.fault(pack.name, pack.files)


def _pack(place: Path, name: str = "") -> Pack:
    name = name or place.name
    digest = hashlib.blake2b(digest_size=4)
    try:
        for path in _weights(place):
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, hashlib.blake2b).digest())
    except OSError as exc:
        raise ModelError(f"the model {name} cannot be read: {one_line(exc)}", "make its files readable") from exc
    if digest.hexdigest() == zoo.SHORT_DIGEST:  # wherever it is, it is the same model
        name = zoo.NAME
    elif name == zoo.NAME:
        name = _OTHER
    return Pack(name, place, f"{_safe(name)}-{digest.hexdigest()}", known(name).threshold)


def _has(directory: Path, pack_id: str) -> bool:
    """Whether a directory holds the pack with this id."""
    return files.pack_directory(directory) is not None and _pack(directory).id == pack_id


def _is_called(pack: Pack, name: str) -> bool:
    """False for a pack in the directory of `zoo.NAME` with other files: only those two are the model of that name."""
    return name != zoo.NAME or pack.name == name


def _another(pack: Pack, name: str) -> ModelError:
    return ModelError(f"what is in {pack.directory} is not the model {name}", HINT)


def _weights(directory: Path) -> list[Path]:
    found = files.pack_directory(directory)
    if found is not None and zoo.is_pack(found):
        return [found / file.name for file in zoo.FILES]
    every = sorted(path for path in directory.rglob("*.onnx*") if path.is_file())
    return [path for path in every if path.name not in _NOT_USED]


def _stamps(directory: Path) -> dict[Path, tuple[int, int, int, int]]:
    """Inode, size, and times of change in nanoseconds, of each file with weights."""
    try:
        found = {path: path.stat() for path in _weights(directory)}
    except OSError as exc:
        raise ModelError(
            f"the model in {directory} cannot be read: {one_line(exc)}", "make its files readable"
        ) from exc
    return {path: (one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for path, one in found.items()}


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "model"
