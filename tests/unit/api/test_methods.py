"""The methods on a real catalog, real roots and a real work queue, without threads: walks are played by the test."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from unittest.mock import Mock

import numpy as np
import pytest

from facewatchd.api.control import Control
from facewatchd.api.elsewhere import Elsewhere
from facewatchd.api.exchange import Exchange
from facewatchd.api.faces import FaceFinder
from facewatchd.api.methods import Methods
from facewatchd.api.outbox import Sending
from facewatchd.api.people import People
from facewatchd.api.photos import Photos
from facewatchd.api.query import Queries
from facewatchd.api.regions import RegionReader
from facewatchd.api.status import Status
from facewatchd.api.subscribe import Subscriptions
from facewatchd.api.suggestions import Suggestions
from facewatchd.api.thumbnail import Thumbnails
from facewatchd.api.unknown import Unknown
from facewatchd.api.verify import Verifier
from facewatchd.config import Query
from facewatchd.errors import FacewatchError, UnreadablePhotoError
from facewatchd.expectation.sampler import Sampler
from facewatchd.health.monitor import Monitor
from facewatchd.health.report import Report, RootReport
from facewatchd.ignore import Exclusion
from facewatchd.indexing.maintenance import IndexMaintenance
from facewatchd.indexing.writer import Writer
from facewatchd.inference.pool import Inference
from facewatchd.photos import files
from facewatchd.scan.roots import Roots, identity_of
from facewatchd.scan.scanner import Scanner
from facewatchd.scan.schedule import Request
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.server.jsonrpc import MethodNotFoundError, ParamsError
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.seen import SeenStore
from facewatchd.threads.liveness import Liveness
from facewatchd.values import Face, ModelInfo, Quality, RootState, Stamp
from tests.support.galleries import DIM, face
from tests.support.known_people import scorer

TABLE = Quality(clear=10, slope=0.1, floor=7)
INFO = ModelInfo("test-00000000", "test", DIM, 0.5, TABLE)


@dataclass
class PlayedMonitor:
    """Reports on the real roots and queue; what is wrong is set by the test."""

    roots: Roots
    queue: WorkQueue
    resources: str = ""

    def report(self) -> Report:
        roots = tuple(self.root(path) for path in self.roots.paths)
        return Report(roots, paused=self.queue.paused, pending=len(self.queue), resources=self.resources)

    def root(self, path: bytes) -> RootReport:
        return RootReport(path, walked=self.roots.state(path))

    def pending(self) -> int:
        return len(self.queue)


@dataclass
class PlayedScanner:
    """Walks at once, and finds nothing new."""

    requests: list[Request] = field(default_factory=list)
    fails: bool = False

    def request(self, path: bytes, *, force: bool = False, live: bool = False) -> Request:
        request = Request(path, force, live, failed=self.fails)
        request.done.set()
        self.requests.append(request)
        return request


@dataclass
class Place:
    """The daemon's parts that the methods need, and the directory that it watches."""

    root: Path
    gallery: Gallery
    roots: Roots
    queue: WorkQueue
    monitor: PlayedMonitor
    scanner: PlayedScanner
    setbacks: dict[bytes, str]
    methods: Methods
    queries: Queries

    def call(self, method: str, **params: object) -> dict[str, object]:
        return cast(dict[str, object], self.methods.call(method, params))

    def why(self, name: str) -> tuple[object, object]:
        answer = self.call("why", path=str(self.root / name))
        return answer["state"], answer["reason"]

    def record(
        self, name: str, content: bytes | None = b"x", error: str | None = None, faces: Sequence[Face] = ()
    ) -> Path:
        """A file as the catalog knows it: with faces or without, or with an error."""
        path = self.root / name
        path.write_bytes(content or b"")
        digest = None if error else files.digest(content or b"")
        self.gallery.record([Outcome(bytes(path), Stamp.of(path.stat()), digest, 640, 480, faces, error=error)])
        return path


@pytest.fixture
def place(tmp_path: Path, gallery: Gallery) -> Iterator[Place]:
    root = tmp_path / "photos"
    root.mkdir()
    with contextlib.closing(Roots([bytes(root)], Exclusion(["*.raw"]), gallery.catalog)) as roots:
        roots.saw(bytes(root), RootState.WATCHING, identity_of(bytes(root)))
        queue, scanner, setbacks = WorkQueue(0.0), PlayedScanner(), dict[bytes, str]()
        played = PlayedMonitor(roots, queue)
        monitor = cast(Monitor, played)
        control = Control(monitor, roots, queue, cast(Scanner, scanner))
        finder = FaceFinder(gallery.catalog, cast(Inference, None), roots.calls)
        sampler = Sampler(gallery, INFO, Liveness())
        asks = scorer(gallery, INFO)
        seen = SeenStore(tmp_path / "seen.sqlite3")
        queries = Queries(
            monitor, gallery, roots, finder, asks, sampler, INFO, Query(), seen, control.wait_until_done, Elsewhere()
        )
        methods = Methods(
            Status(monitor, INFO, "cpu", lambda: 0.5, sampler.crowded, str, lambda: 0, ""),
            queries,
            Photos(
                monitor,
                gallery.catalog,
                roots,
                queue,
                lambda path: setbacks.get(path, ""),
                INFO,
                lambda: queries.threshold,
            ),
            cast(Thumbnails, Mock()),
            control,
            Verifier(gallery, roots, queue, cast(Writer, None), cast(IndexMaintenance, None)),
            cast(People, Mock()),
            cast(Unknown, Mock()),
            cast(Suggestions, Mock()),
            cast(RegionReader, Mock()),
            cast(Exchange, Mock()),
            Subscriptions(gallery, seen, queries.standing, pending=lambda: len(queue) > 0),
            cast(Sending, Mock()),
        )
        yield Place(root, gallery, roots, queue, played, scanner, setbacks, methods, queries)


def test_a_method_that_is_not_there(place: Place) -> None:
    with pytest.raises(MethodNotFoundError, match="no method 'nothing'"):
        place.call("nothing")
    with pytest.raises(ParamsError):
        place.call("pause", now=True)


# why


def test_why_of_what_is_not_recorded(place: Place) -> None:
    assert place.why("gone.jpg") == ("unknown", "there is no such file (No such file or directory)")
    (place.root / "new.jpg").touch()
    assert place.why("new.jpg") == ("unknown", "it has not been noticed yet; `facewatchd scan` looks at once")
    (place.root / "new.raw").touch()
    assert place.why("new.raw")[0] == "excluded"
    (place.root / "directory").mkdir()
    assert place.why("directory") == ("unknown", "it is a directory: ask for a file")
    assert place.why("/elsewhere.jpg") == ("unknown", "it lies in no watched directory")


def test_why_of_what_is_recorded(place: Place) -> None:
    path = place.record("a.jpg")
    assert place.why("a.jpg") == ("no-face", "no face was found that is large and clear enough")
    place.record("b.jpg", error="it is truncated")
    assert place.why("b.jpg") == ("failed", "it is truncated; it is not tried again until the file changes")
    path.write_bytes(b"other bytes")
    assert place.why("a.jpg") == ("pending", "it changed since it was read; `facewatchd scan` looks at once")


def test_why_tells_faces_that_are_too_blurred(place: Place) -> None:
    row = np.eye(1, DIM, dtype=np.float32)[0]

    def told(name: str, *norms: float | None) -> tuple[object, list[tuple[object, object]]]:
        place.record(name, name.encode(), faces=[face(row, norm=norm) for norm in norms])
        reply = place.call("why", path=str(place.root / name))
        return reply["reason"], [(seen["norm"], seen["quality"]) for seen in reply["faces"]]

    only = "only a query with a lower threshold than 0.50 finds such a face"
    assert told("clear", None, 12) == ("its faces are searchable", [(None, []), (12, [])])
    assert told("some", 8.5, 6) == (
        f"its faces are searchable, but for 1 of 2 that is too blurred to tell: {only}",
        [(8.5, ["blurred"]), (6, ["too blurred to tell"])],
    )
    assert told("one", 6)[0] == f"its face is too blurred to tell: {only}"
    assert told("all", 6, 6)[0] == f"all 2 faces are too blurred to tell: {only}"


def test_a_threshold_below_the_model_s_own_counts_for_all_faces(place: Place) -> None:
    """And a higher one brings no face that the model's own does not."""
    row = np.eye(1, DIM, dtype=np.float32)[0]
    place.record("blurred", faces=[face(row, norm=6)])

    def total(**params: object) -> object:
        return place.call("query", embedding=row.tolist(), **params)["total"]

    assert total() == total(threshold=0.5) == total(threshold=0.7) == 0
    assert total(threshold=0.49) == 1
    reason = place.call("why", path=str(place.root / "blurred"))["reason"]
    assert isinstance(reason, str)
    assert "too blurred" in reason
    place.queries.defaults = Query(threshold=0.4)
    assert total() == 1
    assert place.why("blurred") == ("indexed", "its faces are searchable")


def test_why_of_a_photo_whose_disk_is_away(place: Place) -> None:
    place.record("a.jpg")
    place.root.rename(place.root.with_name("away"))
    place.roots.saw(bytes(place.root), RootState.OFFLINE, None)
    assert place.why("a.jpg") == ("no-face", "its directory is offline: what was known of it is kept")


def test_why_of_what_is_pending(place: Place) -> None:
    path = bytes(place.root / "a.jpg")
    place.queue.touch(path)
    assert place.why("a.jpg") == ("pending", "it waits for its turn")
    place.monitor.resources = "other programs compute"
    assert place.why("a.jpg") == ("pending", "it waits for its turn: other programs compute")
    place.setbacks[path] = "its process was killed"
    assert place.why("a.jpg") == ("pending", "its process was killed: it is tried again soon, alone")
    place.queue.pause()
    reason = "it waits for its turn: indexing is paused, `facewatchd resume` goes on"
    assert place.why("a.jpg") == ("pending", reason)
    assert place.call("photos", state="pending") == {
        "photos": [{"path": os.fsdecode(path), "state": "pending", "reason": reason}],
        "next": None,
    }


# scan, wait, pause, resume


def test_scan_takes_paths_in_the_roots_alone(place: Place) -> None:
    assert place.call("scan") == {"queued": 1}
    assert place.call("scan", paths=[str(place.root / "a"), str(place.root / "b")], force=True) == {"queued": 2}
    with pytest.raises(UnreadablePhotoError, match="/elsewhere lies in no watched directory"):
        place.call("scan", paths=[str(place.root), "/elsewhere"])
    told = [(request.path, request.force) for request in place.scanner.requests]
    assert told == [(bytes(place.root), False), (bytes(place.root / "a"), True), (bytes(place.root / "b"), True)]
    assert all(request.live for request in place.scanner.requests)


def test_wait_is_complete_when_every_walk_succeeds_and_nothing_is_pending(place: Place) -> None:
    assert place.call("wait")["complete"] is True
    place.scanner.fails = True
    assert place.call("wait")["complete"] is False
    place.scanner.fails = False
    place.queue.touch(bytes(place.root / "a.jpg"))
    answer = place.call("wait", timeout=0.01)
    assert (answer["complete"], answer["pending"]) == (False, 1)


def test_wait_is_not_complete_while_a_root_is_away_or_the_daemon_stops(place: Place) -> None:
    place.roots.saw(bytes(place.root), RootState.OFFLINE, None)
    assert place.call("wait")["complete"] is False
    place.roots.saw(bytes(place.root), RootState.WATCHING, identity_of(bytes(place.root)))
    assert place.call("wait")["complete"] is True
    place.queue.close()
    assert place.call("wait")["complete"] is False


def test_pause_and_resume(place: Place) -> None:
    assert place.call("pause") == {"state": "paused"}
    assert place.queue.paused
    assert place.call("resume") == {"state": "idle"}


# query


EMBEDDING = [1.0] + [0.0] * (DIM - 1)


def test_a_query_says_how_much_was_searched_and_takes_the_defaults(place: Place) -> None:
    answer = place.call("query", embedding=EMBEDDING)
    assert answer | {"elapsed_ms": 0} == {
        "query": [],
        "matches": [],
        "total": 0,
        "threshold": 0.5,
        "model": "test",
        "exact": answer["exact"],
        "elapsed_ms": 0,
        "faces": 0,
        "pending": 0,
        "complete": True,
        "cursor": f"{place.gallery.catalog.uuid}.0.0",
    }
    assert place.call("query", embedding=EMBEDDING, threshold=0.7)["threshold"] == 0.7
    place.queue.touch(bytes(place.root / "a.jpg"))
    assert place.call("query", embedding=EMBEDDING)["complete"] is False
    assert place.call("query", embedding=EMBEDDING, wait=0.01)["pending"] == 1


def test_a_directory_that_can_show_nothing_is_refused(place: Place) -> None:
    (place.root / "there").mkdir()
    for good in (place.root, place.root / "there", place.root.parent):
        place.call("query", embedding=EMBEDDING, dirs=[str(good)])
    for wrong, message in (
        (place.root / "gone", "there is no directory .*gone"),
        ("/elsewhere", "is not watched: name"),
    ):
        with pytest.raises(FacewatchError, match=message):
            place.call("query", embedding=EMBEDDING, dirs=[str(wrong)])
    (place.root / "away").mkdir()
    place.record("away/a.jpg").unlink()
    (place.root / "away").rmdir()
    place.call("query", embedding=EMBEDDING, dirs=[str(place.root / "away")])
