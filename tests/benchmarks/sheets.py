"""The contact sheet of photos as phones make them: what a PDF of them takes, and what its parts do.

A face is a twelfth of each photo's shorter side, in its middle. The same pictures are made at full size, and as the
daemon makes its own pictures of faces. The last sheet has missing photos only: it takes what drawing does.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from facewatchd.matches import Box, Match
from facewatchd.photos import files, thumbnail
from facewatchd.photos.crops import Crop
from facewatchd.pictures import sheet, source
from tests.benchmarks import album
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median

PHOTOS = 100
ROUNDS = 3
SIDE = 268
"""Pixels of a picture in five columns of a PDF."""


def run(options: Options) -> Iterator[Report]:
    matches = _matches(options)
    target = options.work / "sheet.pdf"
    gone = [match._replace(path=b"/nowhere" + match.path) for match in matches]
    ways: dict[str, Callable[[], object]] = {
        "sheet as PDF": partial(_sheet, matches, target),
        "decoded in full size": partial(_full, matches),
        "as the daemon's pictures": partial(_thumbnails, matches),
        "drawing alone": partial(_sheet, gone, options.work / "empty.pdf"),
    }
    report = Report(f"A contact sheet of {len(matches)} photos", ("what", "processor, s", "elapsed, s"))
    for name, way in ways.items():
        rounds = [_seconds(way) for _ in range(ROUNDS)]
        report.row(name, *(round(median(list(each)), 2) for each in zip(*rounds, strict=True)))
    report.notes.append(f"The PDF has {target.stat().st_size / 1e6:.1f} MB. Medians of {ROUNDS} rounds.")
    yield report


def _matches(options: Options) -> list[Match]:
    """Photos of 12 to 24 megapixels, again and again as other files, each with a face."""
    photos = album.phone(options)
    directory = options.work / "sheets"
    directory.mkdir(parents=True, exist_ok=True)
    return [_match(directory / f"{n:04}.jpg", photo, n) for n, photo in zip(range(PHOTOS), itertools.cycle(photos))]


def _match(path: Path, photo: Path, number: int) -> Match:
    path.write_bytes(album.marked(photo.read_bytes(), number))
    with Image.open(path) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        width, height = image.size[::-1] if turned else image.size
    side = min(width, height) // 12
    box = Box((width - side) // 2, (height - side) // 2, side, side)
    return Match(os.fsencode(path), 0.9, box, 0.9, number, verdict="sure", taken="2019-06-30", taken_from="exif")


def _sheet(matches: Sequence[Match], target: Path) -> None:
    root = sheet.shared_directory(matches)
    sheet.write(target, sheet.Question("Anna"), [sheet.match_tile(match, root, dated=True) for match in matches])


def _full(matches: Sequence[Match]) -> None:
    for match in matches:
        source.pixels(source.Source(match.path))


def _thumbnails(matches: Sequence[Match]) -> None:
    for match in matches:
        with open(match.path, "rb") as opened, files.opened(os.dup(opened.fileno())) as file:
            thumbnail.of_file(file, Crop(SIDE, match.box))


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a processor, and elapsed ones."""
    started, used = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - used, time.perf_counter() - started
