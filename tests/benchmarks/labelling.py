"""Make a file of labelled faces for `thresholds` from your own photos.

``python -m tests.benchmarks.labelling FILE.npz --pack NAME DIR ...``: each directory in DIR is a person, with photos of
that person, of which the largest face counts; DIR's own name is the set. The photos themselves are not in the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facewatchd.config import Faces
from facewatchd.errors import FacewatchError
from facewatchd.models.base import Model
from facewatchd.photos import decode, files
from facewatchd.values import Face
from tests.benchmarks.options import find_pack

RECOGNISER = "faces"
"""Names the embeddings in the file, behind the pack's name."""


class Labelled(NamedTuple):
    """A face whose person is known."""

    set: str
    person: int
    face: Face


def labelled(model: Model, directories: Sequence[Path]) -> Iterator[Labelled]:
    """The largest face of each photo. Photos that cannot be read, or show none, are told and left out."""
    number = 0
    for directory in directories:
        for person in sorted(path for path in directory.iterdir() if path.is_dir()):
            for path in sorted(path for path in person.rglob("*") if files.is_photo_name(bytes(path))):
                try:
                    with path.open("rb") as file:
                        faces = model.faces(decode.decode(file))
                except (FacewatchError, OSError) as exc:
                    print(f"left out: {path}: {exc}", file=sys.stderr)
                    continue
                if faces:
                    yield Labelled(directory.name, number, max(faces, key=lambda face: face.box.w * face.box.h))
                else:
                    print(f"left out: {path}: no face", file=sys.stderr)
            number += 1


def save(file: Path, name: str, faces: Sequence[Labelled]) -> None:
    """Write the file. ``name``: that of the pack."""
    arrays = {
        "set": np.array([each.set for each in faces]),
        "person": np.array([each.person for each in faces]),
        "age": np.full(len(faces), -1),
        "score": np.array([each.face.score for each in faces]),
        "side": np.array([min(each.face.box.w, each.face.box.h) for each in faces]),
        RECOGNISER: np.stack([each.face.embedding * (each.face.norm or 1.0) for each in faces]),
    }
    with file.open("wb") as stream:
        np.savez(stream, **{f"{name}_{what}": array for what, array in arrays.items()})  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.labelling", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.npz")
    parser.add_argument("--pack", metavar="NAME|DIR", help="the model (default: as for the benchmarks)")
    parser.add_argument("directories", type=Path, nargs="+", metavar="DIR")
    given = parser.parse_args(arguments)
    if missing := [str(path) for path in given.directories if not path.is_dir()]:
        parser.error(f"there is no directory {', '.join(missing)}")
    pack = find_pack(given.pack)
    faces = list(labelled(pack.load(2, Faces()), given.directories))
    if not faces:
        parser.error("no face was found")
    save(given.file, pack.name, faces)
    people = len({each.person for each in faces})
    print(f"{len(faces)} faces of {people} people; to measure: python -m tests.benchmarks thresholds {given.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
