"""The ``status`` method: what the daemon is, has and does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from facewatchd import __version__
from facewatchd.api.parameters import NoParameters
from facewatchd.health.monitor import Monitor
from facewatchd.server.params import encode_path
from facewatchd.shared.wire import LinkStatus
from facewatchd.values import ModelInfo


class Status:
    """The uptime counts from when this is made."""

    def __init__(
        self,
        monitor: Monitor,
        info: ModelInfo,
        device: str,
        threshold: Callable[[], float],
        crowded: Callable[[int, float], str],
        confinement: Callable[[], str],
        people: Callable[[], int | None],
        catalog: str,
        sharing: Callable[[], LinkStatus | None] = lambda: None,
    ) -> None:
        """``device``: what computes the model, in words; ``threshold``: from which similarity a match counts;
        ``crowded``: a line where so many faces are too many for that; ``confinement``: how far decoding is confined;
        ``people``: how many have names, None where that is not known; ``catalog``: `Catalog.uuid`, which the ids of
        faces and groups belong to; ``sharing``: how this machine stands with the shared engine, None without one.
        """
        self._monitor = monitor
        self._info = info
        self._device = device
        self._threshold = threshold
        self._crowded = crowded
        self._confinement = confinement
        self._people = people
        self._catalog = catalog
        self._sharing = sharing
        self._started = time.monotonic()

    def status(self, _: NoParameters) -> dict[str, object]:
        """Return the result of ``status``."""
        report, info = self._monitor.report(), self._info
        counts, photos = self._monitor.counts(report)
        crowded = self._crowded(counts.faces, self._threshold())
        sharing = self._sharing()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started, 1),
            "state": report.state,
            "model": {"name": info.name, "id": info.id, "dim": info.dim, "threshold": self._threshold()},
            "roots": [
                {**encode_path(root.path), "state": root.state, "photos": photos[root.path]} for root in report.roots
            ],
            "photos": counts.photos,
            "faces": counts.faces,
            "pending": report.pending,
            "failed": counts.failed,
            "people": self._people(),
            "index": {
                "faces": report.index_faces,
                "tombstones": report.index_tombstones,
                "ready": report.index_is_ready,
            },
            "second_look": {
                "on": self._monitor.second_looks is not None,
                "photos": counts.seen_again + counts.to_see_again,
                "done": counts.seen_again,
            },
            "undated": counts.undated,
            "rates": self._monitor.rates(),
            "problems": [*report.problems(photos), *([crowded] if crowded else [])],
            "waits": report.waits,
            "device": self._device,
            "confinement": self._confinement(),
            "catalog": self._catalog,
            **({} if sharing is None else {"shared": sharing.asdict()}),
        }
