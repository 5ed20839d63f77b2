"""A link to machines that are galleries of this process: what the shared engine would find, by comparing all faces."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facewatchd.shared.link import LinkError
from facewatchd.shared.values import (
    Detail,
    FoundContent,
    FoundFace,
    Hits,
    MachineState,
    Near,
    Whole,
    Whose,
)
from facewatchd.shared.wire import LinkStatus, State
from facewatchd.store.embedded import Embedded
from facewatchd.store.gallery import Gallery


class PlayedLink:
    """The `Link` of one machine to others."""

    def __init__(self, others: Mapping[str, Gallery], own: str = "here") -> None:
        self._galleries = others
        self._own = own
        self.backlog = dict.fromkeys(others, 0)
        self.as_of_s = dict.fromkeys(others, 1.0)
        self.trouble: LinkError | None = None
        """What every question raises,"""
        self.cannot_fetch: LinkError | None = None
        """and what every call for whole contents does."""
        self.asked: list[tuple[int, Detail]] = []
        """How many embeddings each question had, and what it wanted to know."""
        self.fetched: list[list[bytes]] = []
        """The digests of each call for whole contents."""
        self.left_out = 0
        self.waits_for: threading.Event | None = None
        """Every question waits for it."""

    def nearest(
        self,
        embeddings: NDArray[np.float32],
        thresholds: Sequence[float],
        most: int,
        whose: Whose = Whose.OTHERS,
        detail: Detail = Detail.CONTENTS,
        seconds: float | None = None,
        *,
        exact: bool = False,
    ) -> Near:
        assert whose is Whose.OTHERS
        assert len(embeddings) == len(thresholds)
        self.asked.append((len(embeddings), detail))
        machines = self.machines(seconds)
        every = [
            (key, *each) for key, name in enumerate(self._galleries, 1) for each in _contents(self._galleries[name])
        ]
        rows = [face.embedding for _, content, *_ in every for face in content.faces]
        matrix = np.array(rows, np.float32).reshape(len(rows), embeddings.shape[1])
        on = [(number, face) for number, (_, content, *_) in enumerate(every) for face in range(len(content.faces))]
        above: list[list[tuple[float, int]]] = []
        for embedding, threshold in zip(embeddings, thresholds, strict=True):
            similarities = matrix @ embedding
            found = [(float(similarities[at]), at) for at in np.flatnonzero(similarities >= threshold).tolist()]
            above.append(sorted(found, reverse=True))
        kept = sorted({on[at][0] for each in above for _, at in each[:most]})
        place = {number: at for at, number in enumerate(kept)}
        hits = tuple(
            Hits(
                np.array([place[on[at][0]] for _, at in each[:most]], np.int64),
                np.array([on[at][1] for _, at in each[:most]], np.int64),
                np.array([at for _, at in each[:most]], np.int64),
                np.array([similarity for similarity, _ in each[:most]], np.float32),
            )
            for each in above
        )
        embedded = {on[at] for each in above for _, at in each[:most]} if detail is Detail.EMBEDDINGS else set()
        contents = tuple(
            _found(*every[number], [face for content, face in embedded if content == number]) for number in kept
        )
        cut = any(len(each) > most for each in above)
        return Near(machines, contents, hits, cut, exact=True, left_out=self.left_out)

    def contents(self, digests: Sequence[bytes], seconds: float | None = None, whose: Whose = Whose.ALL) -> Whole:
        self._raise()
        if self.cannot_fetch is not None:
            raise self.cannot_fetch
        self.fetched.append(list(digests))
        every = [content for each in self._galleries.values() for content, *_ in _contents(each)]
        return Whole([content for content in every if content.digest in digests])

    def machines(self, seconds: float | None = None) -> tuple[MachineState, ...]:
        self._raise()
        own = MachineState(99, self._own, 0, 0, 0, 0, 0.0, is_self=True)
        others = [
            MachineState(
                key,
                name,
                sum(len(content.faces) for content, *_ in _contents(self._galleries[name])),
                0,
                self.backlog[name],
                0,
                self.as_of_s[name],
                is_self=False,
            )
            for key, name in enumerate(self._galleries, 1)
        ]
        return (own, *others)

    def status(self) -> LinkStatus:
        return LinkStatus(State.OK)

    def _raise(self) -> None:
        if self.waits_for is not None:
            assert self.waits_for.wait(60)
        if self.trouble is not None:
            raise self.trouble


def _contents(gallery: Gallery) -> list[tuple[Embedded, list[bytes], int]]:
    """What a gallery has, each content with its photos and the time of the earliest."""
    with gallery.catalog.reading() as reader:
        embedded, _ = reader.embedded(0, 1 << 30)
        paths = reader.paths_of([each.digest for each in embedded])
        ids = reader.contents_with([each.digest for each in embedded])
        written = {content: mtime for content, _, mtime in reader.dates_of_files(list(ids.values()))}
        return [(each, paths[each.digest], written[ids[each.digest]]) for each in embedded]


def _found(key: int, content: Embedded, paths: Sequence[bytes], written: int, embedded: Sequence[int]) -> FoundContent:
    faces = tuple(
        FoundFace(
            number,
            face.box,
            face.score,
            face.norm,
            face.look,
            face.sharpness,
            face.embedding if number in embedded else None,
        )
        for number, face in enumerate(content.faces)
    )
    return FoundContent(
        key,
        content.digest,
        tuple(paths),
        content.width,
        content.height,
        content.second_look,
        content.taken,
        content.is_dated,
        content.picture,
        faces,
        written,
    )
