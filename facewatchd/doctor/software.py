"""Checks of the libraries: whether they are installed and work."""

from __future__ import annotations

import importlib.metadata
import io
import platform
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing

from facewatchd import __version__
from facewatchd.config import AUTO_DEVICE, CPU, Config
from facewatchd.doctor.finding import Finding
from facewatchd.errors import FacewatchError
from facewatchd.models import devices
from facewatchd.models.devices import DEVICES, RUNTIME
from facewatchd.store import hnsw_trial
from facewatchd.system import installation

REQUIRED = (
    "defusedxml", "hnswlib", "imagecodecs", "insightface", "jinja2", "numpy", "onnx", "onnxruntime", "pathspec",
    "pillow", "pillow-heif", "platformdirs", "requests", "simplejpeg", "sortedcontainers", "tifffile", "tqdm",
    "watchdog",
)  # fmt: skip
"""Distributions that facewatchd depends on."""
LEAST_SQLITE = (3, 37, 0)
"""The first with STRICT tables; RETURNING came with 3.35."""


def python(_: Config) -> Iterator[Finding]:
    """The versions of Python and facewatchd."""
    detail = f"{platform.python_version()} ({sys.executable}), facewatchd {__version__}"
    yield Finding("python", "ok", detail)


def packages(loaded: Config) -> Iterator[Finding]:
    """Whether every required package is installed, and in which version."""
    versions = {}
    runtimes = devices.runtimes()
    for name in (*(each for each in REQUIRED if each != RUNTIME), *(runtimes if RUNTIME in REQUIRED else ())):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("packages", "fail", f"{name} is not installed", f"{sys.executable} -m pip install {name}")
    if len(runtimes) > 1:
        detail = f"{' and '.join(runtimes)} are installed, and the files of one lie over those of the other"
        yield Finding("packages", "warn", detail, _one_runtime(runtimes, loaded.resources.device))
    yield Finding("packages", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))


def _one_runtime(installed: Sequence[str], device: str) -> str:
    """The command that leaves one of them: that of the device, or the one that is for another than the processor."""
    special = [name for name in installed if name != RUNTIME]
    wanted = {CPU: RUNTIME, AUTO_DEVICE: special[0]}.get(device) or DEVICES[device].distribution
    return f"keep one: `{installation.replaced(installed, wanted)}`"


def sqlite(_: Config) -> Iterator[Finding]:
    """Try the features of SQLite that the catalog needs."""
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        least = ".".join(map(str, LEAST_SQLITE))
        hint = f"use a Python that is built with SQLite {least} or newer"
        yield Finding("sqlite", "fail", f"version {sqlite3.sqlite_version}", hint)
        return
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE number (value INTEGER) STRICT")
        connection.execute("INSERT INTO number VALUES (1) RETURNING value").fetchone()
    yield Finding("sqlite", "ok", f"version {sqlite3.sqlite_version}")


def hnswlib(_: Config) -> Iterator[Finding]:
    """Run hnswlib in a child process."""
    yield Finding("hnswlib", "ok", f"{hnsw_trial.run()} vectors added, and each found again")


def codecs(_: Config) -> Iterator[Finding]:
    """Decode a small image of each kind."""
    from facewatchd.photos import decode
    from facewatchd.photos.samples import SPECIMENS

    good = []
    for name, data in SPECIMENS.items():
        try:
            pixels = decode.decode(io.BytesIO(data))
        except FacewatchError as exc:
            yield Finding("codecs", "fail", f"{name} cannot be read: {exc.message}", _codec_hint(name))
            continue
        left, right = pixels[8, 3].tolist(), pixels[8, 12].tolist()
        if left[0] > right[0] and right[2] > left[2]:
            good.append(name)
        else:
            yield Finding("codecs", "fail", f"{name} is read with wrong colours", _codec_hint(name))
    if good:
        yield Finding("codecs", "ok", f"{', '.join(good)} can be read")


def _codec_hint(name: str) -> str:
    package = "pillow-heif" if name == "HEIC" else "pillow"
    return f"pip install --force-reinstall --only-binary :all: {package}"
