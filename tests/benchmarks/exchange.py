"""Names of other programs, and exports: on which face a region is placed, and what a face costs in an export.

Placing: the boxes of the faces that a pack finds, grown, shrunk and moved as other programs draw them, with some left
out, are placed on those of the faces that are found again. Carrying: the faces of made-up contents, as lines of an
export.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from PIL import Image

from facewatchd.api import export_format
from facewatchd.config import Faces
from facewatchd.matches import Box
from facewatchd.models import registry
from facewatchd.people.placing import placed
from facewatchd.people.statements import RelativeBox
from facewatchd.shared import forms
from facewatchd.store.embedded import Embedded
from facewatchd.values import Face
from tests.benchmarks import album
from tests.benchmarks.options import SHARED, Options
from tests.benchmarks.report import Report
from tests.support import packs, samples

GROWN = (0.5, 0.7, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0)
MOVED = (0.0, 0.15, 0.3)
"""Parts of the sides of a face, in each direction."""
TRIES = 60
"""For each picture."""
NAMED = 0.7
"""Of the faces, those that have a region,"""
SEEN = 0.85
"""and those that are found again: a region of one of the others must be placed nowhere."""
CONTENTS, FACES, DIM = 2000, 3, 512


def run(options: Options) -> Iterator[Report]:
    del options
    yield _placing()
    yield _carrying()


def _placing() -> Report:
    report = Report("Regions made from the faces of a pack", ("sides", "moved", "regions", "right", "wrong", "none"))
    pictures = _faces()
    chance = random.Random(1)
    for grown in GROWN:
        for moved in MOVED:
            counts: Counter[str] = Counter()
            for faces in pictures * TRIES:
                named = [number for number in range(len(faces)) if chance.random() < NAMED]
                seen = [number for number in range(len(faces)) if chance.random() < SEEN]
                regions = [_drawn(faces[number], grown, moved, chance) for number in named]
                for number, found in zip(named, placed(regions, [faces[each] for each in seen]), strict=True):
                    given = None if found is None else seen[found]
                    expected = number if number in seen else None
                    counts["right" if given == expected else "none" if given is None else "wrong"] += 1
            total = sum(counts.values())
            report.row(grown, moved, total, *(round(counts[each] / total, 3) for each in ("right", "wrong", "none")))
            report.check(f"wrong at {grown} and {moved}", counts["wrong"] / total, 0.001)
    report.notes.append(f"{sum(map(len, pictures))} faces on {len(pictures)} pictures.")
    return report


def _faces() -> list[list[RelativeBox]]:
    """The faces of each picture, by the best pack at hand."""
    roots = {"scrfd25g_mfn": SHARED / "insightface", "opencv": packs.FETCHED}
    pack = next(found for name, root in roots.items() if (found := registry.find(name, root)) is not None)
    model = pack.load(2, Faces())
    every = []
    for path in (*album.pictures(), samples.group_photo()):
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        every.append([RelativeBox.of(face.box, pixels.shape[1], pixels.shape[0]) for face in model.faces(pixels)])
    return every


def _drawn(face: RelativeBox, grown: float, moved: float, chance: random.Random) -> RelativeBox:
    x = face.x + face.w / 2 + chance.uniform(-moved, moved) * face.w
    y = face.y + face.h / 2 + chance.uniform(-moved, moved) * face.h
    return RelativeBox(x - grown * face.w / 2, y - grown * face.h / 2, grown * face.w, grown * face.h)


def _carrying() -> Report:
    report = Report(f"Faces of {DIM} numbers in an export", ("faces", "bytes a face", "written, us a face", "read, us"))
    generator = np.random.default_rng(1)
    contents = [_content(number, generator) for number in range(CONTENTS)]
    began = time.process_time()
    data = b"".join(json.dumps(forms.content(content)).encode() + b"\n" for content in contents)
    written = time.process_time()
    for number, entry in export_format.lines(data, 1):
        export_format.read(number, entry, lambda entry: forms.read_content(entry, DIM))
    read, faces = time.process_time(), CONTENTS * FACES
    report.row(faces, len(data) // faces, 1e6 * (written - began) / faces, 1e6 * (read - written) / faces)
    return report


def _content(number: int, generator: np.random.Generator) -> Embedded:
    rows = generator.normal(size=(FACES, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    faces = [
        Face(Box(10 + each, 20, 300, 400), 0.9, generator.normal(size=(5, 2)).astype(np.float32), row, 20.0)
        for each, row in enumerate(rows)
    ]
    digest = hashlib.blake2b(str(number).encode(), digest_size=32).digest()
    return Embedded(digest, 4000, 3000, 0, None, True, None, faces)
