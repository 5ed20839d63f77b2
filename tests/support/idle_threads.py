"""A place for a thread that works while nothing else is to be done: its parts, some of them made up."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from facewatchd.indexing import backoff, idle_thread
from facewatchd.indexing import writer as writing
from facewatchd.indexing.idle_thread import Parts
from facewatchd.indexing.writer import Writer
from facewatchd.inference.pool import Inference
from facewatchd.scan.roots import Roots
from facewatchd.store.gallery import Gallery
from facewatchd.threads.liveness import Liveness
from facewatchd.values import RootState


class IdleBench:
    """The writer and the gallery are real; the inference process and the watched directory are made up."""

    def __init__(self, gallery: Gallery, directory: Path, **inference: object) -> None:
        """``inference``: methods of the inference process."""
        self.gallery = gallery
        self.root = os.fsencode(directory)
        self.busy = False
        """Whether something else is to be done first."""
        self.asked = 0
        """Times that the thread has asked for it."""
        self.state = RootState.WATCHING
        self.out_of_reach: list[bytes] = []
        self.stats: Counter[str] = Counter()
        """Times that the disk was asked for each file."""
        self.effort: Callable[[], tuple[float, bool]] = lambda: (0.0, False)
        self.writer = Writer(gallery, Liveness())
        roots = SimpleNamespace(
            paths=(self.root,),
            state=lambda root: self.state,
            of=lambda path: self.root,
            out_of_reach=lambda: self.out_of_reach,
            calls=SimpleNamespace(run=self._ask),
        )
        self.parts = Parts(
            gallery,
            cast("Roots", roots),
            self.writer,
            cast("Inference", SimpleNamespace(**inference, effort=lambda: self.effort())),
            others_first=self._others_first,
            polite=False,
            liveness=Liveness(),
        )
        self.writer.start()

    def _others_first(self) -> bool:
        self.asked += 1
        return self.busy

    def _ask(self, path: bytes, function: Callable[[], object]) -> object:
        self.stats[name(path)] += 1
        return function()

    def path(self, file: str) -> bytes:
        return os.path.join(self.root, os.fsencode(file))

    def write(self, file: str, age: int) -> None:
        """Write a file, older the larger ``age`` is."""
        Path(os.fsdecode(self.path(file))).write_text(file)
        os.utime(self.path(file), (2_000_000_000 - age,) * 2)


def name(path: bytes) -> str:
    return os.fsdecode(os.path.basename(path))


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have rests end soon."""
    monkeypatch.setattr(idle_thread, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(idle_thread, "RETRY", 0.01)
    monkeypatch.setattr(backoff, "DELAYS", (0.01,))
    monkeypatch.setattr(writing, "RETRY", 0.01)
