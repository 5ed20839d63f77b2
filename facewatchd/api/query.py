"""The methods that ask about faces: ``query`` and ``faces``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from facewatchd.api import replies
from facewatchd.api.dates import period
from facewatchd.api.elsewhere import Elsewhere
from facewatchd.api.explain import Explainer
from facewatchd.api.faces import FaceFinder, PhotoFaces
from facewatchd.api.names import Namer
from facewatchd.api.parameters import FacesParameters, QueryParameters
from facewatchd.api.scoring import Scorer
from facewatchd.api.search import Searcher
from facewatchd.api.standing import StandingQuery
from facewatchd.config import Query
from facewatchd.errors import StorageError
from facewatchd.expectation.sampler import Sampler
from facewatchd.health.monitor import Monitor
from facewatchd.scan.roots import Roots
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.store.dates import dates_of
from facewatchd.store.gallery import Gallery
from facewatchd.store.results import in_order
from facewatchd.store.scoring import Search, Sort
from facewatchd.store.seen import SeenStore
from facewatchd.text import printable
from facewatchd.threads.bounded_calls import NotAnsweringError
from facewatchd.values import ModelInfo, is_within


class WaitUntilDone(Protocol):
    """`Control.wait_until_done`."""

    def __call__(self, timeout: float, *, dates: bool) -> bool: ...


class Queries:
    """Any thread may call the methods."""

    def __init__(
        self,
        monitor: Monitor,
        gallery: Gallery,
        roots: Roots,
        finder: FaceFinder,
        scorer: Scorer,
        sampler: Sampler,
        info: ModelInfo,
        defaults: Query,
        seen: SeenStore,
        wait_until_done: WaitUntilDone,
        elsewhere: Elsewhere,
    ) -> None:
        self._monitor = monitor
        self._gallery = gallery
        self._roots = roots
        self._finder = finder
        self._searcher = Searcher(gallery, finder, scorer, info)
        self._explainer = Explainer(gallery, sampler, info)
        self._namer = Namer(scorer, sampler, info)
        self._info = info
        self.defaults = defaults
        """For what a query does not say."""
        self._scorer = scorer
        self._seen = seen
        self._wait_until_done = wait_until_done
        self._elsewhere = elsewhere

    @property
    def threshold(self) -> float:
        """From which similarity a match counts, where a query does not say."""
        configured = self.defaults.threshold
        return self._info.threshold if configured is None else configured

    def query(self, params: QueryParameters) -> dict[str, object]:
        """Return the result of ``query``: the matches, and how much was searched."""
        _require_numbers(params)
        params = self._elsewhere.here(params)
        ask = self._elsewhere.asker(params)
        self._require_watched(params.dirs)
        search = self._search(params)
        # Before the search: photos that come in meanwhile, or that others write during a wait, were not asked for.
        if params.wait is None:
            complete = self._monitor.report().complete
        else:
            complete = self._wait_until_done(params.wait, dates=search.is_about_dates)
        started = time.perf_counter()
        with self._gallery.catalog.reading() as reader:
            cursor = reader.journal.cursor()  # before the search: what arrives meanwhile may be told twice, never not
        found = self._searcher.search(params, search, ask)
        index = self._gallery.index.status()
        with self._gallery.catalog.reading() as reader:
            faces = index.faces if index.ready else reader.counts().faces
        if found.asking is not None:
            faces += found.asking.faces
            found.asking.slow_index = index.problem if index.is_slow else ""
        explanation = None
        if params.explain or params.verdicts:
            explanation = self._explainer.explain(found, faces, reasons=params.explain)
        if found.asking is not None:  # which may have been asked for more
            complete &= found.asking.is_complete
        answer = replies.answer(found, search.threshold, self._info, explanation)
        elapsed = time.perf_counter() - started
        return answer | {
            "elapsed_ms": round(elapsed * 1000, 2),
            "faces": faces,
            "pending": self._monitor.pending(),
            "complete": complete and not found.found.undated,
            **({"years": replies.years(found.found.years)} if params.years else {}),
            **({"undated": found.found.undated} if search.is_about_dates else {}),
            "cursor": str(cursor),
            **({} if params.new is None else {"shown": [digest.hex() for digest in found.found.digests]}),
            **({"digests": [digest.hex() for digest in found.found.every]} if params.digests else {}),
        }

    def standing(self, params: QueryParameters) -> StandingQuery:
        """Return the query of a subscription, which can be asked of what arrives. Raises as `query` does."""
        _require_numbers(params)
        params = self._elsewhere.here(params)
        self._require_here(params.dirs)
        self._require_watched(params.dirs)
        search = replace(self._search(params, "taken_since"), skip=0, seen=None, tells_all=False, tells_years=False)
        return StandingQuery(self._gallery, self._finder, self._scorer, self._info, params, search)

    def _search(self, params: QueryParameters, since: str = "since") -> Search:
        """``since``: the name of that parameter, for errors."""
        threshold = self.threshold if params.threshold is None else params.threshold
        first, end = _time(params, since)
        return Search(
            threshold=threshold,
            top=self.defaults.top if params.top is None else params.top,
            skip=params.skip,
            directories=params.dirs,
            min_size=params.min_size,
            exact=params.exact,
            collapse=params.collapse,
            strict=params.strict,
            only=params.only,
            faces_min=params.faces_min,
            faces_max=params.faces_max,
            quality=self._info.quality_at(threshold),
            counts_references=threshold >= self._info.threshold,
            since=first,
            until=end,
            sort=Sort(params.sort),
            same_face=self._info.same_face,
            same_person=self._info.threshold,
            seen=None if params.new is None else partial(self._seen.of, params.new),
            tells_all=params.digests,
            tells_years=params.years,
        )

    def _require_watched(self, directories: Sequence[bytes]) -> None:
        """Raise `ParamsError` for a directory of this machine that lies in no root, holds none, or is not there.

        One that is not there counts while its photos are recorded: its disk may be away.
        """
        roots = self._roots
        for directory in (each for each in directories if each.startswith(b"/")):
            if roots.of(directory) is None and not any(is_within(root, directory) for root in roots.paths):
                watched = ", ".join(printable(root) for root in roots.paths[:3]) + (" ..." if roots.paths[3:] else "")
                raise ParamsError(f"{printable(directory)} is not watched: name a directory in {watched}")
            with self._gallery.catalog.reading() as reader:
                known = reader.count_photos(directory)
            if not known and not self._may_be_directory(directory):
                raise ParamsError(f"there is no directory {printable(directory)}: check its name")

    def _require_here(self, directories: Sequence[bytes]) -> None:
        """Raise `ParamsError` for a directory of another machine."""
        for directory in directories:
            if not directory.startswith(b"/"):
                raise ParamsError(f"{printable(directory)} is on another machine: only photos of this one are followed")

    def _may_be_directory(self, path: bytes) -> bool:
        """Whether a path is a directory, or its disk does not answer."""
        try:
            return self._roots.calls.run(path, lambda: os.path.isdir(path))
        except NotAnsweringError:
            return True

    def faces(self, params: FacesParameters) -> dict[str, object]:
        """Return the ``faces`` of one photo, left to right, and its ``width`` and ``height``."""
        seen, photo = (self._finder.see(params), {}) if params.face_id is None else self._photo(params.face_id)
        faces = [
            {"face_id": seen.id_of(index), **replies.face(face, self._info.quality)}
            for index, face in enumerate(seen.faces)
        ]
        if params.names:
            for face, named in zip(faces, self._namer.names(seen), strict=True):
                face["names"] = replies.named(named)
        return {"faces": faces, "width": seen.width, "height": seen.height, **photo}

    def _photo(self, face_id: int) -> tuple[PhotoFaces, dict[str, object]]:
        """The faces of the photo that shows a face, and what is known of the photo."""
        with self._gallery.catalog.reading() as reader:
            content = reader.content_of(face_id)
            seen = PhotoFaces.recorded(reader, content)
            if seen is None:
                raise StorageError("a face of this photo is damaged in the catalog", "try again: it is found anew")
            paths = in_order(reader.copies([content]).get(content, []))
            (taken,) = dates_of(reader, np.array([content])).taken() if paths else [None]
        return seen, replies.photo(paths, taken)


def _time(params: QueryParameters, name: str) -> tuple[float | None, float | None]:
    """The time in which photos were taken that are asked for: from the first to before the second, in seconds of
    `Taken.at`; None: whenever. ``name``: that of ``since``. Raises `ParamsError`."""
    since = None if params.since is None else period(name, params.since).begin
    until = None if params.until is None else period("until", params.until).end
    if since is not None and until is not None and until <= since:
        raise ParamsError(f"until {params.until} is before {name} {params.since}: exchange them")
    return since, until


def _require_numbers(params: QueryParameters) -> None:
    """Raise `ParamsError` for numbers that contradict each other."""
    if params.faces_max is not None and params.faces_min > params.faces_max:
        raise ParamsError(f"faces_min is {params.faces_min}, which is more than faces_max: {params.faces_max}")
