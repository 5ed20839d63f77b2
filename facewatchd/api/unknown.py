"""The methods about people without a name: the groups of their faces, and what is on one of them.

A face of a group (`people.groups`) is *unknown* where a photo shows it and it is nobody's who has a name, neither
confirmed nor recognised (`api.recognised`). What the user ignores is left out, and so is what joined a group that is
ignored as a whole, until it is brought back. A group with fewer than `LEAST` unknown faces is not listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facewatchd.api.parameters import GroupParameters, UnknownParameters
from facewatchd.api.recognised import Recognised
from facewatchd.errors import UnknownFaceError
from facewatchd.people.groups import Groups, Now
from facewatchd.people.known import KnownFaces
from facewatchd.server.params import encode_path
from facewatchd.store.catalog_reader import CatalogReader
from facewatchd.store.dates import dates_of
from facewatchd.store.gallery import Gallery
from facewatchd.values import SMALL_SIDE, ModelInfo, TakenFrom

LEAST = 2
"""Unknown faces of a group that is listed."""
EXAMPLES = 6


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """The unknown faces of all groups, and the order of the groups."""

    made_of: tuple[int, ...]
    """The state of the catalog, and what else it was made of: kept, so that nothing else has its place."""
    kept: tuple[object, ...]
    ignored: Now
    """What is left out because it is ignored."""
    now: Now
    """Of the unknown faces alone."""
    groups: NDArray[np.int64]
    """Those on most photos first."""
    unseen: int
    described: dict[tuple[bool, int], dict[str, object]] = field(default_factory=dict)
    """Groups that were described, by whether they are ignored, and id."""


class Unknown:
    """Any thread may call the methods."""

    def __init__(
        self,
        gallery: Gallery,
        groups: Groups,
        recognised: Recognised,
        said: Callable[[], KnownFaces],
        info: ModelInfo,
    ) -> None:
        """``said``: what the user said."""
        self._said = said
        self._gallery = gallery
        self._groups = groups
        self._recognised = recognised
        self._info = info
        self._last: _Listed | None = None

    def unknown(self, params: UnknownParameters) -> dict[str, object]:
        """Return a page of the ``groups`` with unknown faces, those on most photos first. Raises `StorageError`."""
        with self._gallery.catalog.reading() as reader:
            listed = self._listed(reader)
            now = listed.ignored if params.ignored else listed.now
            groups = _in_order(now, 1) if params.ignored else listed.groups
            page = groups[params.after : params.after + params.limit]
            end = params.after + len(page)
            for group in page.tolist():
                if (params.ignored, group) not in listed.described:
                    listed.described[params.ignored, group] = self._described(reader, now, group)
            return {
                "groups": [listed.described[params.ignored, group] for group in page.tolist()],
                "next": end if end < len(groups) else None,
                "total": len(groups),
                "unseen": listed.unseen,
            }

    def group(self, params: GroupParameters) -> dict[str, object]:
        """Return a page of the unknown ``faces`` of a group, the best first; where there is none, of its ignored ones.

        Raises `UnknownFaceError`.
        """
        with self._gallery.catalog.reading() as reader:
            faces = self._members(reader, params.id, ignored=params.ignored)
            page = faces[params.skip : params.skip + params.limit]
            return {"id": params.id, "faces": shown(reader, page), "total": len(faces)}

    def members(self, group: int) -> list[int]:
        """Return the unknown faces of a group, the best first. Raises `UnknownFaceError` where there are none."""
        with self._gallery.catalog.reading() as reader:
            found: list[int] = self._members(reader, group).tolist()
        return found

    def ignored(self, group: int | None = None) -> list[int]:
        """Return the faces that are ignored, of one group or of all, those that no photo shows among them."""
        now = self._groups.now()
        which = _are_ignored(now, self._said())
        found: list[int] = now.faces[which if group is None else which & (now.groups == group)].tolist()
        return found

    def _members(self, reader: CatalogReader, group: int, *, ignored: bool = False) -> NDArray[np.int64]:
        listed = self._listed(reader)
        is_left = not ignored and (listed.now.groups == group).any()
        return self._best_first(listed.now if is_left else listed.ignored, group)

    def _listed(self, reader: CatalogReader) -> _Listed:
        now, known = self._groups.now(), self._recognised.faces()
        said = self._said()
        made_of = reader.transactions(), id(now), id(known), id(said.ignored), id(said.brought_back)
        last = self._last
        if last is not None and last.made_of == made_of:
            return last
        stays = ~np.isin(now.faces, known) & ~np.isin(now.contents, reader.orphans())
        ignored = _are_ignored(now, said)
        rest, kept = now.chosen(stays & ~ignored), (now, known, said.ignored, said.brought_back)
        unseen = max(now.unseen, reader.count_ungrouped())  # the thread hears of new faces when it has time for them
        self._last = _Listed(made_of, kept, now.chosen(stays & ignored), rest, _in_order(rest, LEAST), unseen)
        return self._last

    def _best_first(self, now: Now, group: int) -> NDArray[np.int64]:
        of_group = now.groups == group
        if not of_group.any():
            raise UnknownFaceError(f"there is no group {group}", "`facewatchd people unknown` lists them")
        faces, norms, sizes = now.faces[of_group], now.norms[of_group], now.sizes[of_group]
        table = self._info.quality
        blurred = np.zeros(len(faces)) if table is None else table.extras(norms)
        found: NDArray[np.int64] = faces[np.lexsort((faces, -sizes, blurred, sizes < SMALL_SIDE))]
        return found

    def _described(self, reader: CatalogReader, now: Now, group: int) -> dict[str, object]:
        best = self._best_first(now, group)
        contents = now.contents[np.searchsorted(now.faces, best)]
        _, firsts = np.unique(contents, return_index=True)
        dates = dates_of(reader, np.unique(contents))
        known = (each for each in dates.taken() if each.source is not TakenFrom.MTIME)
        taken = sorted(known, key=lambda each: each.at)
        path, number = _who(reader, int(best[0]), int(contents[0]))
        return {
            **encode_path(path),
            "face": number,
            "id": group,
            "faces": len(best),
            "photos": len(firsts),
            "first": taken[0].day if taken else None,
            "last": taken[-1].day if taken else None,
            "best": int(best[0]),
            "examples": best[np.sort(firsts)][:EXAMPLES].tolist(),
        }


def _are_ignored(now: Now, said: KnownFaces) -> NDArray[np.bool_]:
    """Whether each face is ignored, by itself or with its group."""
    alone, in_group, back = (
        np.isin(now.faces, np.fromiter(faces, np.int64))
        for faces in (said.ignored, said.ignored_in_group, said.brought_back)
    )
    ignored: NDArray[np.bool_] = (alone | np.isin(now.groups, now.groups[in_group])) & ~back
    return ignored


def _in_order(now: Now, least: int) -> NDArray[np.int64]:
    """The groups with at least so many faces, those on most photos first."""
    groups, at, faces = np.unique(now.groups, return_inverse=True, return_counts=True)
    pairs = np.unique(np.stack([at, now.contents]), axis=1) if len(at) else np.empty((2, 0), np.int64)
    photos = np.bincount(pairs[0], minlength=len(groups))
    order = np.lexsort((groups, -faces, -photos))
    found: NDArray[np.int64] = groups[order[faces[order] >= least]]
    return found


def _who(reader: CatalogReader, face: int, content: int) -> tuple[bytes, int]:
    """Return a face as a photo and its number there, left to right."""
    numbers = [face_id for face_id, _ in reader.faces(content) or ()]
    return _first_path(reader.copies([content]).get(content, [b""])), numbers.index(face) if face in numbers else 0


def _first_path(paths: Sequence[bytes]) -> bytes:
    """The one that a result has (`store.results`)."""
    return min(paths, key=lambda path: (len(path), path))


def shown(reader: CatalogReader, faces: NDArray[np.int64]) -> list[dict[str, object]]:
    """Return where faces are, in their order; those that are gone are left out."""
    shown = reader.contents_of(faces.tolist())
    content_of = dict(zip(shown.ids.tolist(), shown.contents.tolist(), strict=True))
    contents = sorted(set(content_of.values()))
    paths, boxes = reader.copies(contents), reader.boxes(faces.tolist())
    dates = dates_of(reader, np.array(contents, np.int64))
    taken = dict(zip(contents, dates.taken(), strict=True))
    return [
        {
            "face_id": face,
            **encode_path(_first_path(paths[content])),
            "box": list(boxes[face].box),
            "taken": taken[content].text,
            "taken_from": taken[content].source.told,
        }
        for face in faces.tolist()
        if (content := content_of.get(face)) is not None and content in paths and face in boxes
    ]
