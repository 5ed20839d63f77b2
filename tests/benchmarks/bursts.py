"""What is taken for frames of one burst, and what folding them costs.

Frames are made of photos, those of ../shared or of ``--photos DIR``, as a camera in a hand makes them: moved, turned
and closer by a little, brighter or darker, and compressed anew. Against them stand pairs of different photos of one
person, of the labelled faces that `thresholds` takes too.

Who else is on the frames is measured with pairs of these photos beside each other, whose people are one picture's then.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from facewatchd.config import Faces
from facewatchd.matches import Box
from facewatchd.models import registry
from facewatchd.models.base import Model
from facewatchd.photos.likeness import fingerprint
from facewatchd.store import bursts
from facewatchd.store.bursts import Frames
from facewatchd.store.candidates import Question
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.folding import moves
from facewatchd.store.results import found
from facewatchd.store.same_people import People, same_people
from facewatchd.store.scoring import Scored, Search
from facewatchd.values import SMALL_SIDE, Face, Stamp, Taken, TakenFrom
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median
from tests.benchmarks.second_look import opened, photos_of
from tests.benchmarks.thresholds import PACKS, read

Pixels = NDArray[np.uint8]
FRAMES = 4
"""Of each photo."""
LONGEST = 800
"""Pixels of a photo."""
KEPT = 0.88
"""The part of a photo's sides that a frame shows: the rest is there to move."""


@dataclass(frozen=True)
class _Hand:
    """How far the frames differ at most, in either direction."""

    shift: float = 0.0
    """Of the photo's sides."""
    scale: float = 0.0
    degrees: float = 0.0
    light: float = 0.0
    quality: int = 90
    """Of the JPEG at least; 95 at most."""


HANDS = {
    "compressed anew": _Hand(quality=60),
    "moved by 3 %": _Hand(shift=0.03),
    "turned by 2°, closer by 3 %": _Hand(degrees=2.0, scale=0.03),
    "all of it": _Hand(0.03, 0.03, 2.0, 0.15, 70),
    "twice all of it": _Hand(0.06, 0.06, 4.0, 0.3, 60),
}


def run(options: Options) -> Iterator[Report]:
    model = options.pack.load(1, Faces())
    photos = [opened(path, LONGEST) for path in photos_of(options)]
    yield _alike(options, model, photos)
    yield _beside(options, model, photos)
    yield _apart(options, model, photos)
    yield _time(options)


def _frame(photo: Image.Image, hand: _Hand, random: np.random.Generator) -> Pixels:
    def some(most: float) -> float:
        return float(random.uniform(-most, most))

    width, height = (round(side * KEPT) for side in photo.size)
    turn = np.exp(1j * np.deg2rad(some(hand.degrees))) * (1 + some(hand.scale))
    centre = photo.width * (0.5 + some(hand.shift)) + 1j * photo.height * (0.5 + some(hand.shift))
    corner = centre - turn * (width + 1j * height) / 2
    matrix = (turn.real, -turn.imag, corner.real, turn.imag, turn.real, corner.imag)
    moved = photo.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    lit = ImageEnhance.Brightness(moved).enhance(1 + some(hand.light))
    lit.save(file, "JPEG", quality=int(random.integers(hand.quality, 96)))
    return np.asarray(Image.open(file).convert("RGB"))


@dataclass(frozen=True)
class _Seen:
    """Frames of one person, and the faces of all others on them."""

    frames: Frames
    people: People

    def folded(self, same_face: float, same_person: float) -> NDArray[np.int64]:
        """The first frame of the burst of each."""
        pairs = bursts.close_pairs(self.frames)
        looks = bursts.look_same(self.frames, *pairs, same_face)
        return bursts.chained(self.frames.at, *pairs, looks, self.same(*pairs, same_person))

    def same(self, later: NDArray[np.intp], earlier: NDArray[np.intp], same_person: float) -> NDArray[np.bool_]:
        """Whether pairs of frames show the same people."""
        return same_people(self.people, earlier, later, moves(self.frames, earlier, later), same_person)


def _people(faces: Sequence[Sequence[Face]], own: Sequence[Face], sides: Sequence[float], model: Model) -> People:
    every = [
        (number, face, face is asked)
        for number, (each, asked) in enumerate(zip(faces, own, strict=True))
        for face in each
    ]
    quality = registry.known(model.info.name).quality
    return People.beside(
        len(faces),
        np.array([number for number, *_ in every]),
        np.array([face.box for _, face, _ in every], np.float64) / sides,
        np.array([face.embedding for _, face, _ in every]),
        np.array(
            [
                min(face.box.w, face.box.h) < SMALL_SIDE or (quality is not None and quality.is_too_blurred(face.norm))
                for _, face, _ in every
            ]
        ),
        np.array([asked for *_, asked in every]),
    )


def _seen(frames: Sequence[Pixels], model: Model) -> list[_Seen]:
    """The frames for each person who is on all of them; a face is whose it resembles most on the first."""
    pictures = np.stack([np.frombuffer(fingerprint(frame), np.uint8) for frame in frames])
    faces = [model.faces(frame) for frame in frames]
    height, width = frames[0].shape[:2]
    made = []
    for person in faces[0] if all(faces) else ():
        own = [max(each, key=lambda face: float(face.embedding @ person.embedding)) for each in faces]
        areas = np.array([face.box for face in own]) / [width, height, width, height]
        shown = Frames(
            np.arange(len(own), dtype=np.float64),
            np.zeros(len(own), np.int64),
            pictures,
            np.ones(len(own), np.bool_),
            areas[:, None, :],
            np.array([face.embedding for face in own])[:, None, :],
        )
        made.append(_Seen(shown, _people(faces, own, [width, height, width, height], model)))
    return made


def _shares(seen: Frames, same_face: float) -> list[NDArray[np.bool_]]:
    """Of all pairs of frames: whether they look the same by the faces, by the pictures, and by either."""
    some, others = (np.array(column) for column in zip(*combinations(range(len(seen.at)), 2), strict=True))
    blind = replace(seen, has_picture=np.zeros(len(seen.at), np.bool_))
    return [
        bursts.look_same(blind, some, others, same_face),
        bursts.look_same(seen, some, others, 2.0),
        bursts.look_same(seen, some, others, same_face),
    ]


def _measured(seen: Frames) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The overlap of the boxes and the bits between the fingerprints, of all pairs of frames."""
    some, others = (list(column) for column in zip(*combinations(range(len(seen.at)), 2), strict=True))
    bits = np.unpackbits(seen.pictures[some] ^ seen.pictures[others], axis=1).sum(axis=1)
    return bursts.overlaps(seen.areas[some, 0], seen.areas[others, 0]), bits


def _alike(options: Options, model: Model, photos: Sequence[Pixels]) -> Report:
    same_face = model.info.same_face
    report = Report(
        f"Bursts of {FRAMES} frames, {options.pack.name}, faces the same from {same_face:.3f}",
        (
            "frames differ",
            "people",
            "% of pairs by faces",
            "by pictures",
            "by either",
            "% of bursts that are one result",
            "overlap of boxes: 1 % below",
            "bits apart: 90 % below",
        ),
    )
    random = np.random.default_rng(5)
    for name, hand in HANDS.items():
        seen = [
            each
            for photo in photos
            for each in _seen([_frame(Image.fromarray(photo), hand, random) for _ in range(FRAMES)], model)
        ]
        columns = zip(*(_shares(each.frames, same_face) for each in seen), strict=True)
        whole = 100 * float(np.mean([not each.folded(same_face, model.info.threshold).any() for each in seen]))
        measured = (_measured(each.frames) for each in seen)
        overlap, bits = (np.concatenate(column) for column in zip(*measured, strict=True))
        report.row(
            name,
            len(seen),
            *(100 * float(np.concatenate(column).mean()) for column in columns),
            whole,
            float(np.percentile(overlap, 1)),
            float(np.percentile(bits, 90)),
        )
        if name == "all of it":
            report.check("% of bursts with all differences that are one result", whole, 90, at_least=True)
    return report


def _beside(options: Options, model: Model, photos: Sequence[Pixels]) -> Report:
    """Bursts of photos beside each other, and frames on which another person or nobody is beside the first."""
    report = Report(
        f"People beside each other, {options.pack.name}, faces of one person from {model.info.threshold:.3f}",
        (
            "frames differ",
            "bursts of two people",
            "% of pairs with the same people",
            "% of bursts that are one result",
            "frames with another person that are folded",
            "with nobody",
            "if others did not count",
        ),
    )
    random = np.random.default_rng(6)
    trios = _trios(model, photos)
    for name, hand in HANDS.items():
        same, folded = list[NDArray[np.bool_]](), list[NDArray[np.bool_]]()
        for first, second, third in trios:
            shown = [_pasted(first, beside) for beside in (second, second, second, third, None)]
            for each in _seen([_frame(one, hand, random) for one in shown], model)[:1]:
                later, earlier = bursts.close_pairs(each.frames)
                of_burst = later < 3
                people = each.same(later, earlier, model.info.threshold)
                looks = bursts.look_same(each.frames, later, earlier, model.info.same_face)
                same.append(people[of_burst])
                chains = [bursts.chained(each.frames.at, later, earlier, looks, p) for p in (people, people | True)]
                folded.append(np.stack([chain < np.arange(5) for chain in chains]))
        every = np.stack(folded)
        whole = 100 * float(every[:, 0, 1:3].all(axis=1).mean())
        wrong = (*every[:, 0, 3:].sum(axis=0).tolist(), int(every[:, 1, 3:].sum()))
        report.row(name, len(every), 100 * float(np.concatenate(same).mean()), whole, *wrong)
        if name == "all of it":
            report.check("frames with another person that are folded, with all differences", wrong[0], 0)
    return report


def _trios(model: Model, photos: Sequence[Pixels]) -> list[tuple[Image.Image, Image.Image, Image.Image]]:
    """Each portrait with the next two ones of two other people."""
    seen = [(photo, model.faces(photo)) for photo in photos]
    portraits = [
        (Image.fromarray(photo).resize((480, 640)), faces[0].embedding) for photo, faces in seen if len(faces) == 1
    ]
    made = []
    for number, (first, own) in enumerate(portraits):
        rest = portraits[number + 1 :] + portraits[:number]
        strangers = [each for each in rest if each[1] @ own < model.info.threshold]
        second, beside = strangers[0]
        third = next(photo for photo, face in strangers if face @ beside < model.info.threshold)
        made.append((first, second, third))
    return made


def _pasted(left: Image.Image, right: Image.Image | None) -> Image.Image:
    beside = Image.new("RGB", (2 * left.width, left.height), (120, 120, 120))
    beside.paste(left, (0, 0))
    if right is not None:
        beside.paste(right, (left.width, 0))
    return beside


def _apart(options: Options, model: Model, photos: Sequence[Pixels]) -> Report:
    """Some of the photos of ../shared are parts of others: their faces alone are not compared."""
    report = Report(
        f"Different photos, {options.pack.name}",
        ("pairs", "number", "look the same", "least bits apart / highest similarity"),
    )
    prints = [int.from_bytes(fingerprint(photo), "big") for photo in photos]
    bits = [(one ^ other).bit_count() for one, other in combinations(prints, 2)]
    report.row("pictures", len(bits), sum(each <= bursts.SAME_PICTURE for each in bits), min(bits))
    for faces in read(options.numbers) if options.numbers else ():
        if PACKS.get((faces.detector, faces.recogniser)) != options.pack.name:
            continue
        similarities = []
        faces = faces.of(faces.are_people)
        for number in faces.numbers:
            own = faces.rows[faces.people == number]
            similarities.append((own @ own.T)[np.triu_indices(len(own), 1)])
        every = np.concatenate(similarities)
        every = every[every < 0.99]  # the same picture twice
        same = int((every >= model.info.same_face).sum())
        report.row("faces of one person", len(every), same, float(every.max()))
        report.check("% of pairs of one person's faces that are nearly the same", 100 * same / len(every), 1)
    return report


def _time(options: Options) -> Report:
    report = Report(
        "Folding, all photos within ten seconds of another",
        ("photos of the person", "faces on each", "processor ms without folding", "processor ms", "results"),
    )
    sizes = ((1_000, 1), (10_000, 1), (10_000, 4), (100_000, 1))
    for count, faces in sizes[: 1 if options.quick else None]:
        catalog = Catalog(options.work / f"bursts-{count}-{faces}.sqlite3", "bursts-0", 192)
        _fill(catalog, count, faces)
        times, results = {}, 0
        for collapse in (False, True):
            search = Search(0.0, 20, collapse=collapse, same_face=0.9, same_person=0.5)
            took = []
            for _ in range(3):
                with catalog.reading() as reader:
                    ids = reader.face_ids()[::faces]
                    shown = reader.contents_of(ids.tolist())
                    no = np.zeros(count, np.bool_)
                    alike = np.linspace(0.9, 0.5, count, dtype=np.float32)
                    scored = Scored(ids, alike, shown.contents, shown.norms, no, no, exact=True)
                    began = time.thread_time()
                    results = found(reader, Question([[scored]]), search).total
                    took.append(time.thread_time() - began)
            times[collapse] = 1000 * median(took)
        report.row(count, faces, times[False], times[True], results)
        catalog.close()
    return report


def _fill(catalog: Catalog, count: int, faces: int) -> None:
    """Photos of one person in bursts of five, four seconds between two frames, with others beside."""
    random = np.random.default_rng(0)
    others = random.normal(size=(faces - 1, 192)).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    beside = [
        Face(Box(800 * number, 100, 300, 400), 0.9, np.zeros((5, 2), np.float32), row, 50.0, sharpness=1.0)
        for number, row in enumerate(others, 1)
    ]
    rows = random.normal(size=192) + 0.3 * random.normal(size=(count, 192))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    outcomes = []
    for number, row in enumerate(rows):
        taken = Taken(1e9 + 4 * number + 1000 * (number // 5), None, TakenFrom.EXIF)
        face = Face(Box(100, 100, 300, 400), 0.9, np.zeros((5, 2), np.float32), row, 50.0, sharpness=float(number % 7))
        stamp = Stamp(1, number, 100, 10**18, 1)
        path, digest = b"/photos/%d/%d.jpg" % (number // 1000, number), number.to_bytes(32, "big")
        outcomes.append(Outcome(path, stamp, digest, 4000, 3000, [face, *beside], taken=taken, picture=random.bytes(8)))
        if len(outcomes) == 1000 or number == count - 1:
            catalog.record(outcomes)
            outcomes.clear()
