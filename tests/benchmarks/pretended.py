"""``python -m tests.benchmarks.pretended run ...``: the daemon on a made-up library.

All of it is real but for what the model says of itself: 512 dimensions, whatever pack it is. Two things can be asked of
it besides: to record so many photos (``record``), the same ones with other faces each time, and to find its index worn
(``wear``).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

from facewatchd.api.parameters import METHODS, Method, NoParameters
from facewatchd.cli import app as cli
from facewatchd.daemon.app import Daemon
from facewatchd.fields import Whole, required
from facewatchd.inference.pool import Inference
from facewatchd.store import hnsw
from facewatchd.store.gallery import Gallery
from facewatchd.values import ModelInfo
from tests.benchmarks import gallery as faces
from tests.benchmarks.library import MODEL, outcome

BEHIND = 1_000_000_000
"""Number of the first photo that is recorded besides, behind all of the library's."""


class Pretended(Inference):
    def start(self) -> ModelInfo:
        super().start()
        return MODEL


@dataclass(frozen=True, slots=True)
class Recorded:
    count: int = required(Whole(), "Photos to record.")


class AskedMore(Daemon):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        METHODS["record"], METHODS["wear"] = Method(Recorded, "", ""), Method(NoParameters, "", "")
        self.methods.table |= {"record": self._record, "wear": self._wear}

    def _record(self, params: Recorded) -> object:
        count = params.count
        rng = np.random.default_rng()
        rows = faces.near(np.zeros((count, faces.DIM), np.float32), (0, 0), rng)
        for photo, row in enumerate(rows, BEHIND):
            new = outcome(b"%s/%d.jpg" % (self.monitor.roots.paths[0], photo), photo, row)
            self.monitor.writer.call(partial(Gallery.record, outcomes=[new]))
        return {"recorded": count}

    def _wear(self, _: NoParameters) -> None:
        hnsw.REBUILD_AT = 0.0
        self.monitor.gallery.changed.set()


if __name__ == "__main__":
    with patch("facewatchd.daemon.app.Inference", Pretended), patch("facewatchd.daemon.run.Daemon", AskedMore):
        sys.exit(cli.main())
