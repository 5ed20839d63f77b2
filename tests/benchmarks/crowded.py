"""A daemon on 100,000 faces of which some hundred are on real photos of 12 megapixels, to look at.

The photos are few pictures many times, each with other bytes; who is on them is made up, and recorded as a daemon would
have done. The rest of the faces are on files of one pixel, one each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from facewatchd.matches import Box
from facewatchd.photos import files
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import Face, Stamp, Taken, TakenFrom
from tests.benchmarks import album, filling
from tests.benchmarks.daemons import Daemon, running
from tests.benchmarks.options import Options
from tests.support import crowds

PEOPLE = 6
"""People on the real photos, in turn."""
PICTURES = 8
MEGAPIXELS = 12_300_000
"""Of the largest one."""
BOX = Box(1500, 900, 900, 1100)
"""Where each face is."""
DAY = 86_400.0
_BATCH = 5_000
_SEED = 7


def make(options: Options, place: Path, count: int, photos: int) -> Daemon:
    """Make so many faces, so many of them on real photos; return a daemon that has recorded them, not started."""
    root = place / "photos"
    pixels = filling.make_files(root / "pixels", count - photos, 200)
    config = {"resources": "idle_priority = false"}  # whatever else runs beside it
    with running(place / "home", [root], options.pack, **config) as daemon:
        daemon.call("pause")
        model = daemon.call("status")["model"]
    catalog = Catalog(place / "home/data" / model["id"] / "catalog.sqlite3", model["id"], model["dim"])
    for start in range(0, len(pixels), _BATCH):
        part = pixels[start : start + _BATCH]
        rows = filling.embeddings(len(part), model["dim"], seed=start)
        catalog.record([_on_a_pixel(path, row) for path, row in zip(part, rows, strict=True)])
    rng = np.random.default_rng(_SEED)
    people = crowds.people(rng, PEOPLE, model["dim"])
    each = [crowds.photos_of(rng, person, -(-photos // PEOPLE)) for person in people]
    for number, (path, width, height) in enumerate(_real(options, root / "real", photos)):
        face = Face(BOX, 0.9, np.zeros((5, 2), np.float32), each[number % PEOPLE][number // PEOPLE])
        catalog.record([_outcome(path, width, height, face, number)])
    catalog.close()
    return daemon


@contextmanager
def started(daemon: Daemon) -> Iterator[Daemon]:
    """Start it, and wait until it has nothing more to do."""
    daemon.start()
    try:
        daemon.until(lambda status: status["state"] == "idle" and status["index"]["ready"])
        yield daemon
    finally:
        daemon.stop()


def question(daemon: Daemon, person: int) -> int:
    """A face of one of the people on real photos, by which the others of that person are found."""
    rng = np.random.default_rng(_SEED)
    row = crowds.people(rng, PEOPLE, daemon.call("status")["model"]["dim"])[person]
    answer = daemon.call("query", embedding=row.tolist(), top=1)
    return int(answer["matches"][0]["face_id"])


def _on_a_pixel(path: bytes, row: crowds.Rows) -> Outcome:
    face = Face(Box(100, 100, 80, 80), 0.9, np.zeros((5, 2), np.float32), row)
    return _outcome(path, 1600, 1200, face, int(path[-10:-4]))


def _outcome(path: bytes, width: int, height: int, face: Face, day: int) -> Outcome:
    with open(path, "rb") as file:
        digest = files.digest(file.read())
    taken = Taken(day % 7000 * DAY + DAY / 2, None, TakenFrom.EXIF)
    return replace(Outcome(path, Stamp.of(os.stat(path)), digest, width, height, [face]), taken=taken)


def _real(options: Options, root: Path, count: int) -> Iterator[tuple[bytes, int, int]]:
    """Write so many photos; yield the path of each, and its width and height upright."""
    sources = [path for path in album.phone(options, 2 * PICTURES) if album.pixels(path) <= MEGAPIXELS]
    pictures = [path.read_bytes() for path in sources]
    sizes = [_upright(path) for path in sources]
    root.mkdir(parents=True)
    for number in range(count):
        path = root / f"IMG_{number:04}.jpg"
        path.write_bytes(album.marked(pictures[number % len(pictures)], number))
        yield os.fsencode(path), *sizes[number % len(pictures)]


def _upright(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).size
