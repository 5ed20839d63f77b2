"""The methods that tell of files: ``why``, of one, and ``photos``, of all in one state."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from facewatchd.api import replies
from facewatchd.api.parameters import PhotosParameters, WhyParameters
from facewatchd.health.monitor import Monitor
from facewatchd.health.report import REACHABLE
from facewatchd.matches import TOO_BLURRED
from facewatchd.photos import sheet_mark
from facewatchd.scan.roots import Roots
from facewatchd.scan.work_queue import WorkQueue
from facewatchd.server.params import encode_path
from facewatchd.store.catalog import Catalog
from facewatchd.store.catalog_rows import PhotoRecord
from facewatchd.text import printable
from facewatchd.threads.bounded_calls import NOT_ANSWERING, NotAnsweringError
from facewatchd.values import ModelInfo, PhotoState, Stamp, Ways

_KEPT = "what was known of it is kept"
_UNWATCHED = "it lies in no watched directory"
_SEARCHABLE = "its faces are searchable"
_NO_IMAGE = "it is no image that facewatchd reads"


class Photos:
    """Any thread may call the methods."""

    def __init__(
        self,
        monitor: Monitor,
        catalog: Catalog,
        roots: Roots,
        queue: WorkQueue,
        setback: Callable[[bytes], str],
        info: ModelInfo,
        threshold: Callable[[], float],
    ) -> None:
        """``setback``: why a path is tried again later; empty where it is not. ``threshold``: that of questions."""
        self._monitor = monitor
        self._catalog = catalog
        self._roots = roots
        self._queue = queue
        self._setback = setback
        self._info = info
        self._threshold = threshold

    def why(self, params: WhyParameters) -> dict[str, object]:
        """Return the ``state`` of one ``path``, the ``reason``, and the ``faces`` that are recorded of it."""
        path = params.path
        is_pending = path in self._queue  # asked first: a path leaves the queue after it was recorded
        with self._catalog.reading() as reader:
            record = reader.photo(path)
            found = (record and record.content_id and reader.faces(record.content_id)) or []
        root = self._roots.of(path)
        state, reason = PhotoState.UNKNOWN, _UNWATCHED
        if root:
            state, reason = self._explain(path, root, record, is_pending=is_pending)
        if state is PhotoState.INDEXED and (table := self._info.quality_at(self._threshold())):
            blurred = sum(table.is_too_blurred(face.norm) for _, face in found)
            if blurred:
                reason = f"{_too_blurred(blurred, len(found), self._info.threshold)}{reason.removeprefix(_SEARCHABLE)}"
        faces = [
            {"face_id": face_id, **replies.seen(face, self._info.quality), "look": face.look} for face_id, face in found
        ]
        return {**encode_path(path), "state": state, "reason": reason, "faces": faces}

    def _explain(
        self, path: bytes, root: bytes, record: PhotoRecord | None, *, is_pending: bool
    ) -> tuple[PhotoState, str]:
        calls = self._roots.calls
        try:
            return calls.run(path, lambda: self._explain_by_look(path, root, record, is_pending=is_pending))
        except NotAnsweringError as exc:
            cause = f"{printable(exc.path)} {NOT_ANSWERING}"
            if is_pending:
                return PhotoState.PENDING, f"it waits for its turn: {cause}"
            return (record.state, f"{cause}: {_KEPT}") if record else (PhotoState.UNKNOWN, cause)

    def _explain_by_look(
        self, path: bytes, root: bytes, record: PhotoRecord | None, *, is_pending: bool
    ) -> tuple[PhotoState, str]:
        if reason := self._roots.excluded(path):
            return PhotoState.EXCLUDED, reason
        if is_pending:
            return PhotoState.PENDING, self._why_pending()(path)
        try:
            now = Stamp.of(os.stat(path))
        except OSError as exc:
            if exc.errno not in (errno.ENOENT, errno.ENOTDIR):
                kept = f": {_KEPT}" if record else ""
                return record.state if record else PhotoState.UNKNOWN, f"it is out of reach ({exc.strerror}){kept}"
            if record and not self._roots.may_forget(path, record.stamp):
                return record.state, self._why_kept(root)
            return PhotoState.UNKNOWN, f"there is no such file ({exc.strerror})"
        if os.path.isdir(path):
            return PhotoState.UNKNOWN, "it is a directory: ask for a file"
        if record is None:
            return PhotoState.UNKNOWN, "it has not been noticed yet; `facewatchd scan` looks at once"
        if not now.same_bytes(record.stamp):
            return PhotoState.PENDING, "it changed since it was read; `facewatchd scan` looks at once"
        return record.state, _reason_now(record) + _about_others(record) + self._about_second_look(record)

    def _why_pending(self) -> Callable[[bytes], str]:
        """Return the function that says why a path is pending, by one look at what all pending paths wait for."""
        report = self._monitor.report()

        def reason(path: bytes) -> str:
            if report.paused:
                return "it waits for its turn: indexing is paused, `facewatchd resume` goes on"
            if setback := self._setback(path):
                return f"{setback}: it is tried again soon, alone"
            return "it waits for its turn" + (f": {report.waits}" if report.waits else "")

        return reason

    def _why_kept(self, root: bytes) -> str:
        seen = self._monitor.root(root)
        away = "its disk is not there" if seen.state in REACHABLE else f"its directory is {seen.state}"
        return f"{away}: {_KEPT}"

    def photos(self, params: PhotosParameters) -> dict[str, object]:
        """Return a page of the files in a state, by path, as they are recorded: the disk is not read.

        A file that stays in the state is on exactly one of the pages, whatever happens to others meanwhile. A recorded
        file that is to be examined again is pending as well.
        """
        state, limit = PhotoState(params.state), params.limit
        found = self._in_state(state, params.after, limit + 1)
        photos = [{**encode_path(path), "state": state, "reason": reason} for path, reason in found[:limit]]
        return {"photos": photos, "next": encode_path(found[limit - 1][0]) if len(found) > limit else None}

    def _in_state(self, state: PhotoState, after: bytes, limit: int) -> list[tuple[bytes, str]]:
        """The first paths in a state that come after one, each with the reason."""
        if state is PhotoState.PENDING:
            why_pending = self._why_pending()
            return [(path, why_pending(path)) for path in self._queue.page(after, limit)]
        with self._catalog.reading() as reader:
            return [(path, _reason(state, error)) for path, error in reader.in_state(state, after, limit)]

    def _about_second_look(self, record: PhotoRecord) -> str:
        """What a photo's second look found, or when it is taken; empty where it is worth none."""
        if record.left_out:
            return "; a second look failed and is left out: the log says why"
        if record.seen_again:
            return f"; a second look was taken too, {_WAYS[record.seen_again]}"
        if record.worth and self._monitor.second_looks is not None:
            return f"; a second look is taken, {_WAYS[record.worth]}, when nothing else is to be done"
        return ""


def _about_others(record: PhotoRecord) -> str:
    return "; another machine looked at it, and the shared engine told what it found" if record.is_fetched else ""


_WAYS = {Ways.TURNED: "turned", Ways.TILES: "in tiles", Ways.BOTH: "turned and in tiles"}


def _too_blurred(blurred: int, faces: int, own: float) -> str:
    which = f"all {faces} faces are" if faces > 1 else "its face is"
    if blurred < faces:
        which = f"{_SEARCHABLE}, but for {blurred} of {faces} that {'is' if blurred == 1 else 'are'}"
    return f"{which} {TOO_BLURRED}: only a query with a lower threshold than {own:.2f} finds such a face"


def _reason(state: PhotoState, error: str | None) -> str:
    """Why a file is in the state that is recorded. ``error``: the text that is recorded with it."""
    reasons = {
        PhotoState.INDEXED: _SEARCHABLE,
        PhotoState.NO_FACE: "no face was found that is large and clear enough",
        PhotoState.EXCLUDED: f"{_NO_IMAGE}, or a contact sheet that facewatch-query drew",
    }
    return reasons.get(state) or str(error)


def _reason_now(record: PhotoRecord) -> str:
    """The same of a file that is still as it was recorded: it may be opened to tell more."""
    if record.state is PhotoState.EXCLUDED:
        is_sheet = sheet_mark.is_sheet(record.path)
        return "it is a contact sheet that facewatch-query drew, not a photo" if is_sheet else _NO_IMAGE
    until = "; it is not tried again until the file changes" if record.state is PhotoState.FAILED else ""
    return _reason(record.state, record.error) + until
