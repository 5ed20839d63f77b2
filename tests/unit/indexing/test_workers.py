"""The workers, with a real catalog, queue and writer: when they examine nothing."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import cast

import pytest

from facewatchd.ignore import Exclusion
from facewatchd.indexing import workers
from facewatchd.indexing.workers import Indexer
from facewatchd.indexing.writer import Writer
from facewatchd.inference.hedge import Hedge
from facewatchd.scan.roots import Roots
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.threads.liveness import Liveness
from tests.support.albums import shoot
from tests.support.no_faces import Inference
from tests.support.processes import until


def test_once_the_catalog_is_damaged_no_photo_is_embedded_for_nothing(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "facewatchd.indexing.workers")
    monkeypatch.setattr(workers, "STORAGE_RETRY", 0.02)

    def fails(self: Catalog, outcome: Outcome, changes: object) -> None:
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
        raise error

    monkeypatch.setattr(Catalog, "_record", fails)
    (tmp_path / "photos").mkdir()
    photos = [os.fsencode(shoot(tmp_path / "photos" / f"{number}.jpg", [], number)) for number in range(10)]
    queue, liveness, inference = WorkQueue(0.0), Liveness(), Inference()
    roots = Roots([os.fsencode(tmp_path / "photos")], Exclusion(), gallery.catalog)
    writer = Writer(gallery, liveness)
    indexer = Indexer(
        gallery,
        queue,
        roots,
        writer,
        inference=cast(Hedge, inference),
        liveness=liveness,
        scan=lambda path: None,
        workers=2,
    )
    writer.start()
    indexer.start()
    try:
        queue.touch(photos[0], settle=False)
        until(lambda: "damaged" in writer.trouble)
        for path in photos[1:]:
            queue.touch(path, settle=False)
        until(lambda: caplog.text.count("damaged") > 2 * len(photos), deadline=10.0)
    finally:
        writer.give_up()
        indexer.stop()
        writer.stop()
        roots.close()
    assert inference.seen == 1
    assert len(queue) == len(photos), "they wait for the next start"
