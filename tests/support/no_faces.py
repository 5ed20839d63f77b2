"""Inference in which no photo shows a face."""

from __future__ import annotations

from facewatchd.inference.wire import Analysis


class Inference:
    """In the place of `Hedge`: counts, and sees no face on any photo."""

    def __init__(self) -> None:
        self.seen = 0

    def analyse(self, data: bytes | int, *, alone: bool = False) -> Analysis:
        self.seen += 1
        return Analysis(320, 240, [])

    def waits(self) -> bool:
        return False

    def close(self, grace: float) -> None:
        pass
