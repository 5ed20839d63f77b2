"""The methods ``subscribe`` and ``seen``: what arrives is sent when it does, and what was printed is noted.

A subscription reads the journal of the catalog (`store.follower`) on the thread of its connection, and asks its query
(`standing`) of the contents that a page of it names, all at once. The writer only rings a bell. So a subscription is
never a burden to the writer, and its queue is the journal: one whose client reads slowly falls behind, and is dropped
when it reads nothing for the deadline of a reply. It goes on from its cursor when it comes back.

**Cursors.** Each notification has the cursor from which its client misses nothing. Of what a page brings, only the last
notification has a new one: a client that comes back may be sent the others again. ``caught-up`` is sent when the end of
the journal is reached for the first time, after each page that brought something, and else every `STEP` lines and every
`FRESH` seconds, so that a client's cursor does not grow old while nothing matches. Where a client comes with a cursor
that is not known, everything that matches is sent under that cursor, so that a client that is cut off meanwhile is sent
everything once more; then ``caught-up`` has a new one.

**What is sent.** Whether a content matches is asked when its page is read; that the references of a person are others
later makes no old photo new. ``moved`` and ``gone`` are sent of contents that match, whether or not the client was told
of them before. A photo that ceases to match, as another face is found on it or the user says
who is on it, is not taken back. Frames of a burst are sent one by one. ``renamed`` gives the name under which the
client is to ask for a person from then on. A client that was too slow for the journal is hung up on, and comes back
with a cursor that is not known; one that asks for a person who is forgotten is told so at once.

**Burdens.** One subscription at a time looks at a page. Then it rests for `REST` seconds, or `IDLE_PART` times as long
as the page took for each subscription there is, so that all of them together compute for a tenth of the time, and an
import of thousands of photos is looked at in few large parts. At most `MOST` subscriptions are served.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from facewatchd.api.parameters import QueryParameters, SeenParameters, SubscribeParameters
from facewatchd.api.standing import StandingQuery
from facewatchd.errors import NotReadyError
from facewatchd.matches import Match
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import encode_path
from facewatchd.server.stream import Sink, Stream
from facewatchd.store.follower import Follower, Happened
from facewatchd.store.gallery import Gallery
from facewatchd.store.hub import Bell
from facewatchd.store.journal import Cursor
from facewatchd.store.seen import SeenStore

MOST = 64
"""Subscriptions at a time, as many as there are places for short connections."""
REST = 0.25
"""Seconds without a look after each one."""
IDLE_PART = 9
LONGEST_REST = 5.0
"""Seconds. What they achieve is measured by `python -m tests.benchmarks subscribing`."""
STEP = 1000
"""Lines of the journal, of which at least a hundred times as many are kept."""
FRESH = 3600.0
"""Seconds; lines are kept for seven days."""

Message = tuple[str, dict[str, object]]
"""A method and its parameters, without the cursor."""


class Subscriptions:
    """Any thread may call the methods."""

    def __init__(
        self,
        gallery: Gallery,
        seen: SeenStore,
        standing: Callable[[QueryParameters], StandingQuery],
        pending: Callable[[], bool],
    ) -> None:
        """``standing`` makes a query; ``pending``: whether paths wait to be examined."""
        self.gallery = gallery
        self.seen_before = seen
        self.pending = pending
        self.turn = threading.Lock()
        """Held by the subscription that looks at a page."""
        self._standing = standing
        self._lock = threading.Lock()
        self._served: weakref.WeakSet[_Subscription] = weakref.WeakSet()
        """Those whose connections there are: each has the only reference."""

    def subscribe(self, params: SubscribeParameters) -> Stream:
        """Return the stream, with ``cursor`` and ``resumed``: whether it goes on where ``since`` left off.

        Raises `NotReadyError` where there are too many, `ParamsError`, and what `WhoReader.read` does.
        """
        since = None if params.since is None else _cursor(params.since)
        self._require_place()
        query = self._standing(params.query)
        subscription = _Subscription(self, query, params)
        with self._lock:
            self._served.add(subscription)
        with self.gallery.catalog.reading() as reader:
            now = reader.journal.cursor()
            resumed = since is None or reader.journal.knows(since)
        return Stream(
            {"cursor": str(since or now), "resumed": resumed}, partial(subscription.run, since, now, resumed=resumed)
        )

    @property
    def count(self) -> int:
        """How many there are."""
        with self._lock:
            return len(self._served)

    def _require_place(self) -> None:
        if self.count >= MOST:
            raise NotReadyError(f"all {MOST} subscriptions are in use", "try again in a moment")

    def seen(self, params: SeenParameters) -> dict[str, object]:
        """Note what was printed; return how many photos were not ``noted`` before."""
        try:
            digests = [bytes.fromhex(each) for each in params.shown]
        except ValueError as exc:
            raise ParamsError("shown must be what an answer or a match has under this name") from exc
        return {"noted": self.seen_before.note(params.name, digests)}


def _cursor(text: str) -> Cursor:
    try:
        return Cursor.of(text)
    except ValueError as exc:
        raise ParamsError("since must be a cursor; the date of a query is taken_since here") from exc


class _Subscription:
    def __init__(self, all_: Subscriptions, query: StandingQuery, params: SubscribeParameters) -> None:
        self._all = all_
        self._gallery = all_.gallery
        self._query = query
        self._name = params.new
        self._directories = params.dirs
        self._collapse = params.collapse
        self._since = Cursor("", 0, 0)
        """Where the subscription begins."""
        self._told = -1
        """The line of the last cursor that was sent,"""
        self._told_at = 0.0
        """and when."""

    def run(self, since: Cursor | None, now: Cursor, sink: Sink, *, resumed: bool) -> None:
        """Send what happens after the cursor of a client that has one, else after ``now``.

        If it is not ``resumed``, because the client's is not known, first all that matches. Returns where lines were
        removed before they were read. Raises `UnknownPersonError`, `StorageError`.
        """
        self._since = since if since is not None and resumed else now
        if since is not None and not resumed:
            for params in self._unseen(self._query.everything()):
                _send(sink, since, "match", params)
        resumes = since is not None and resumed
        follower = Follower(self._since.seq, self._directories, collapse=self._collapse, resumes=resumes)
        with Bell(self._gallery.hub) as bell:
            while self._look(sink, follower, bell):
                pass

    def _look(self, sink: Sink, follower: Follower, bell: Bell) -> bool:
        """Send what a page of the journal tells, and wait for more; False where lines were missed."""
        bell.hush()
        before = follower.safe
        renamed = self._query.follow_people()
        with self._all.turn:
            began = time.monotonic()
            with self._gallery.catalog.reading() as reader:
                if not follower.misses_nothing(reader):
                    return False
                happened = follower.next(reader, pending=self._all.pending())
                earlier, now = (
                    reader.journal.cursor(seq) if seq > self._since.seq else self._since
                    for seq in (before, follower.safe)
                )
                others = reader.contents_at(sorted(happened.left))
                if self._query.is_about_dates:  # which may have been written into it
                    for content, begun in happened.replaced.items():
                        happened.arrived[content] = begun | happened.arrived.get(content, frozenset())
                paths = reader.copies(
                    [*happened.arrived, *happened.replaced, *happened.got_faces, *happened.moved, *set(others.values())]
                )
            messages = self._messages(happened, paths, others) if happened else []
            rest = IDLE_PART * (time.monotonic() - began) * self._all.count
        for old, new in renamed:
            _send(sink, earlier, "renamed", {"from": old, "to": new})
        for number, (method, params) in enumerate(messages, 1):
            _send(sink, now if number == len(messages) else earlier, method, params)
        if follower.level:
            if messages or self._is_old(now):
                _send(sink, now, "caught-up", {})
                self._told, self._told_at = now.seq, time.monotonic()
            sink.wait(None, min(LONGEST_REST, max(REST, rest)))
            sink.wait(bell.fileno(), FRESH if follower.due_in is None else follower.due_in)
        return True

    def _is_old(self, now: Cursor) -> bool:
        """Whether the client is to be given a new cursor though there is nothing to tell."""
        is_late = time.monotonic() >= self._told_at + FRESH
        return self._told < 0 or now.seq - self._told >= STEP or (now.seq > self._told and is_late)

    def _messages(
        self, happened: Happened, paths: Mapping[int, Sequence[bytes]], others: Mapping[bytes, int]
    ) -> list[Message]:
        """What is to be sent. ``paths``: those that show the contents now; ``others``: what is where others left."""
        found = self._query.among(paths)
        taken = {path for path, content in others.items() if content in found}
        messages: list[Message] = []
        again: list[tuple[int, Match]] = []
        for content, moves in happened.moved.items():
            now = {match.path: match for match in found.get(content, ())}
            for old, new in moves:
                to = next(iter(now), None) if new is None else new
                if to in now and old in taken:  # its place is another match's by now: that one is not to be taken away
                    again.append((content, now[to]))
                elif to in now:
                    messages.append(("moved", _path("from", old) | _path("to", to)))
        arrived = [
            (content, match)
            for content in (*happened.arrived, *self._with_new_faces(found, happened.got_faces))
            for match in found.get(content, ())
            if self._collapse or content in happened.got_faces or match.path in happened.arrived[content]
        ]
        messages += [("match", params) for params in (*self._of(again), *self._unseen(arrived))]
        for content in self._query.among(happened.gone, past=True):
            messages += [("gone", _path("path", path)) for path in sorted(happened.gone[content] - taken)]
        return messages

    def _with_new_faces(self, found: Mapping[int, Sequence[Match]], lines: Mapping[int, int]) -> list[int]:
        """The contents that match because of faces that came to them: with, or after, these lines.

        One that matches has come, or there were fewer faces than are asked for.
        """
        contents, search = sorted(lines.keys() & found.keys()), self._query.search
        with self._gallery.catalog.reading() as reader:
            shown = reader.shown_on(contents, search.min_size)
            arrivals = reader.arrivals(shown.ids.tolist())
        earlier = dict.fromkeys(contents, 0)
        late: dict[int, set[int]] = {content: set() for content in contents}
        for face, content in zip(shown.ids.tolist(), shown.contents.tolist(), strict=True):
            if arrivals.get(face, 0) < lines[content]:
                earlier[content] += 1
            else:
                late[content].add(face)
        return [
            content
            for content in contents
            if late[content] & _faces(found[content]) or earlier[content] < search.faces_min
        ]

    def _unseen(self, found: Sequence[tuple[int, Match]]) -> Iterator[dict[str, object]]:
        """What `_of` does; matches that were printed under the name are left out."""
        if self._name is None:
            return self._of(found)
        digests = self._digests(found)
        seen = self._all.seen_before.of(self._name, list(digests.values()))
        return self._of([(content, match) for content, match in found if digests.get(content) not in seen])

    def _of(self, found: Sequence[tuple[int, Match]]) -> Iterator[dict[str, object]]:
        """The parameters of ``match`` for matches on contents."""
        digests = self._digests(found)
        for content, match in found:
            shown = {} if content not in digests else {"shown": [digests[content].hex()]}
            yield {"match": self._query.document(match), **shown}

    def _digests(self, found: Sequence[tuple[int, Match]]) -> dict[int, bytes]:
        with self._gallery.catalog.reading() as reader:
            return reader.digests([content for content, _ in found])


def _send(sink: Sink, cursor: Cursor, method: str, params: Mapping[str, object]) -> None:
    sink.send(method, {"cursor": str(cursor), **params})


def _path(name: str, path: bytes) -> dict[str, object]:
    return {each.replace("path", name): value for each, value in encode_path(path).items()}


def _faces(matches: Sequence[Match]) -> set[int]:
    """The ids of the faces by which a content matches."""
    terms = [term.face_id for match in matches for term in match.terms]
    return {face_id for face_id in (*terms, *(match.face_id for match in matches)) if face_id is not None}
