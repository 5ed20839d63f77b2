"""Answers questions: which faces are alike, and what is on the contents that show them.

**All above a threshold.** The index gives the ``k`` most alike, so ``k`` grows until the last of them is below the
threshold, or there are as many as are wanted. The statement materialises the ``k`` first: a condition on the distance
within the scan of the index would end it too early. The rows of one machine are chosen afterwards: a scan that had to
have ``k`` of a machine with few faces would walk past all the others. Where it ends before its ``k`` (by
`hnsw.max_scan_tuples`, or because the graph does not lead to them), and where ``k`` is a large part of all (`MANY`),
every face is compared instead. So it is where there is no index.

**One moment.** A question takes two round trips, and three where ``k`` grows: all of its statements see the server as
it was at the first one, so a hit is never told of a content that was written anew in between.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from facewatchd.shared.postgres import rows, schema
from facewatchd.shared.postgres.rows import Gathered, Key, Row
from facewatchd.shared.postgres.vectors import HalfVector
from facewatchd.shared.values import Detail, Hits, MachineState, Near, Whole, Whose
from facewatchd.store.embedded import Embedded

FIRST_K: Final = 400
"""Neighbours that are asked for first: `hnsw.ef_search`, up to which they cost nothing."""
GROWTH: Final = 4
MANY, MANY_OF = 2000, 16
"""Every face is compared instead of asking for more than so many neighbours and than one in so many of all faces."""
MOST_ROWS: Final = 200_000
"""Faces, and photos, that are read for one answer."""

_TOKEN: Final = re.compile("[0-9a-f]{32}")
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_MACHINES: Final = f"SELECT {rows.MACHINE} FROM machine"
_LINEAGE: Final = "SELECT lineage FROM machine WHERE id = %(own)s::uuid"
_OF: Final = {
    Whose.ALL: "true",
    Whose.OWN: f"machine = {rows.OWN}",
    Whose.OTHERS: f"machine IS DISTINCT FROM {rows.OWN}",
}
_HIT: Final = "machine, digest, n, face_id, s"
_NEAR: Final = f"""
WITH near AS MATERIALIZED (
    SELECT machine, same, -(embedding <#> %(asked)s) AS s FROM face
    WHERE leads ORDER BY embedding <#> %(asked)s LIMIT %(k)s),
edge AS (SELECT count(*) AS found, min(s) AS low FROM near)
SELECT {_HIT}, found, low
FROM edge LEFT JOIN (near JOIN face USING (machine, same)) ON s >= %(threshold)s AND {{of}}
ORDER BY s DESC, digest, n LIMIT %(most)s
"""
"""The faces that lead in the index, then all that are equal to them."""
_EXACT: Final = f"""
SELECT {_HIT}, 0, 0 FROM (SELECT machine, digest, n, face_id, -(embedding <#> %(asked)s) AS s FROM face WHERE {{of}}) x
WHERE s >= %(threshold)s ORDER BY s DESC, digest, n LIMIT %(most)s
"""
_THESE: Final = "FROM {} JOIN unnest(%(machines)s::int[], %(digests)s::bytea[]) AS w(machine, digest)"
_CONTENTS: Final = f"SELECT {rows.CONTENT} {_THESE.format('content')} USING (machine, digest)"
_FACES: Final = f"SELECT {rows.FACE}{{more}} {_THESE.format('face')} USING (machine, digest) LIMIT {MOST_ROWS}"
_EMBEDDINGS: Final = (
    ", CASE WHEN (machine, digest, n) IN (SELECT * FROM unnest(%(of)s::int[], %(digests_of)s::bytea[],"
    " %(numbers)s::int[])) THEN embedding END"
)
_PHOTOS: Final = (
    f"SELECT machine, digest, path {_THESE.format('photo')} USING (machine, digest)"
    f" WHERE octet_length(path) <= {rows.MOST_PATH} LIMIT {MOST_ROWS}"
)
_OWNERS: Final = (
    "SELECT machine, digest FROM content WHERE digest = ANY(%(digests)s) AND {of} ORDER BY digest, faces DESC, machine"
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for."""

    embeddings: NDArray[np.float32]
    thresholds: Sequence[float]
    most: int
    whose: Whose
    detail: Detail
    exact: bool = False
    """Whether every face is compared, whatever index there is."""


class Asking:
    """One question on a connection, within a transaction that is begun with its first statement."""

    def __init__(self, db: psycopg.Connection, dim: int, own: str | None, seconds: float) -> None:
        """``own``: the id of this machine."""
        self._db, self._dim, self._own = db, dim, own
        self._milliseconds = max(int(900 * seconds), 1)  # the server gives up before this side does
        self.machines: list[MachineState] = []
        self.is_indexed = False

    def near(self, question: Question, *, is_indexed: bool) -> Near:
        """``is_indexed``: whether there was an index at the last question. Afterwards, `is_indexed` says it of now."""
        asked = [
            {"asked": HalfVector(each), "threshold": threshold, "own": self._own}
            for each, threshold in zip(question.embeddings, question.thresholds, strict=True)
        ]
        limit = question.most + 1
        with self._db.pipeline():
            self._begin()
            machines = self._ask(_MACHINES, {"own": self._own})
            state = self._ask(schema.INDEX_STATE, {"name": schema.INDEX})
            pushed = self._ask(_LINEAGE, {"own": self._own})
            k = FIRST_K if is_indexed and not question.exact else None
            first = [self._search(each, question.whose, k, limit) for each in asked]
        self.machines = rows.machines(machines.fetchall())
        self.is_indexed = any(is_valid for (is_valid,) in state.fetchall())
        lineage = "" if question.whose is Whose.OTHERS else _lineage(pushed.fetchall())
        answers = [cursor.fetchall() for cursor in first]
        exact = k is None
        if not exact:
            answers, exact = self._broadened(asked, answers, question, limit)
        told = [[row[:5] for row in answer if row[0] is not None] for answer in answers]
        hits = [[row for row in each if rows.is_similarity(row[4])] for each in told]
        cut = any(len(each) > question.most for each in hits)
        hits = [each[: question.most] for each in hits]
        if question.detail is Detail.HITS:
            self._db.execute("COMMIT")
            return Near(tuple(self.machines), (), tuple(map(_bare, hits)), cut, exact, lineage=lineage)
        found_on = {(row[0], row[1]) for each in hits for row in each}
        faces = {(row[0], row[1], row[2]) for each in hits for row in each}
        gathered = self._gathered(found_on, faces if question.detail is Detail.EMBEDDINGS else ())
        contents = tuple(gathered.found(with_embeddings=bool(faces) and question.detail is Detail.EMBEDDINGS))
        at = {(each.machine, each.digest): number for number, each in enumerate(contents)}
        found = tuple(_hits(each, at) for each in hits)
        odd = {(row[0], row[1]) for each in told for row in each if not rows.is_similarity(row[4])} - found_on
        return Near(tuple(self.machines), contents, found, cut, exact, gathered.left_out(odd), lineage)

    def _begin(self) -> None:
        self._db.execute(_BEGIN)
        self._db.execute(f"SET LOCAL statement_timeout = {self._milliseconds}".encode())

    def _ask(self, statement: str, values: dict[str, Any]) -> psycopg.Cursor[Any]:
        return self._db.execute(statement.encode(), values, prepare=True, binary=True)

    def _search(self, asked: dict[str, Any], whose: Whose, k: int | None, limit: int) -> psycopg.Cursor[Any]:
        """``k``: None to compare every face."""
        statement = _EXACT if k is None else _NEAR
        return self._ask(statement.replace("{of}", _OF[whose]), {**asked, "k": k, "most": limit})

    def _broadened(
        self, asked: Sequence[dict[str, Any]], answers: list[list[Row]], question: Question, limit: int
    ) -> tuple[list[list[Row]], bool]:
        """Ask for more until all from the threshold on are there, and say whether all were compared with every face."""
        among = sum(each.faces for each in self.machines)
        k, compared = FIRST_K, set[int]()
        while missing := [
            number
            for number, answer in enumerate(answers)
            if number not in compared and not _is_complete(answer, k, among, asked[number]["threshold"], limit)
        ]:
            k *= GROWTH
            is_many = k > max(MANY, among // MANY_OF)
            # a scan that ended before its k is not asked again for more
            ended = {number for number in missing if answers[number][0][5] < min(k // GROWTH, among)}
            exact = {number for number in missing if is_many or number in ended}
            with self._db.pipeline():
                again = {
                    number: self._search(asked[number], question.whose, None if number in exact else k, limit)
                    for number in missing
                }
            for number, cursor in again.items():
                answers[number] = cursor.fetchall()
            compared |= exact
        return answers, len(compared) == len(answers)

    def _gathered(
        self,
        keys: Collection[Key],
        embedded: Collection[tuple[int, bytes, int]] = (),
        *,
        whole: bool = False,
        ends: bool = True,
    ) -> Gathered:
        """Read the contents with these keys; ``ends``: and end the transaction.

        ``embedded``: the faces, by their numbers there, that come with their embeddings; the rows of all faces have
        that column then.
        """
        values = _columns(keys, "machines", "digests") | _columns(embedded, "of", "digests_of", "numbers")
        more = _EMBEDDINGS if embedded else ""
        with self._db.pipeline():
            contents = self._ask(_CONTENTS, values)
            faces = self._ask(_FACES.replace("{more}", ", landmarks, embedding" if whole else more), values)
            photos = self._ask(_PHOTOS, values)
            if ends:
                self._db.execute("COMMIT")
        known = {each.key for each in self.machines}
        return Gathered(contents.fetchall(), faces.fetchall(), photos.fetchall(), self._dim, known)

    def whole(self, digests: Sequence[bytes], whose: Whose) -> Whole:
        """Contents with everything, each of one machine: of those whose rows are sound, one with the most faces."""
        with self._db.pipeline():
            self._begin()
            machines = self._ask(_MACHINES, {"own": self._own})
            owners = self._ask(_OWNERS.replace("{of}", _OF[whose]), {"digests": list(digests), "own": self._own})
        self.machines = rows.machines(machines.fetchall())
        first: dict[bytes, Key] = {}
        others: list[Key] = []
        for owner in owners.fetchall():
            if first.setdefault(owner[1], owner) is not owner:
                others.append(owner)
        found = self._whole(set(first.values()), ends=not others)
        if others:
            found |= self._whole({owner for owner in others if owner[1] not in found}, ends=True)
        return Whole(tuple(found.values()), len(first) - len(found))

    def _whole(self, keys: Collection[Key], *, ends: bool) -> dict[bytes, Embedded]:
        """The sound ones of some contents, by digest; of several with one digest, one with the most faces."""
        found: dict[bytes, Embedded] = {}
        for content in self._gathered(keys, whole=True, ends=ends).whole():
            if len(content.faces) >= len(found.setdefault(content.digest, content).faces):
                found[content.digest] = content
        return found


def _columns(rows: Collection[tuple[Any, ...]], *names: str) -> dict[str, list[Any]]:
    """Rows as one list for each of their columns."""
    return dict(zip(names, map(list, zip(*sorted(rows), strict=True)), strict=True)) if rows else {n: [] for n in names}


def _is_complete(answer: Sequence[Row], k: int, among: int, threshold: float, limit: int) -> bool:
    """Whether an answer of the index has all from the threshold on, or as many as are wanted."""
    found, low = answer[0][5], answer[0][6]
    return bool(len(answer) >= limit or (low is not None and low < threshold) or among <= found < k)


def _lineage(rows: Sequence[Row]) -> str:
    """Of the row of this machine, if there is one: what could not be a token counts as none."""
    ((lineage,),) = rows or [("",)]
    return lineage if isinstance(lineage, str) and _TOKEN.fullmatch(lineage) else ""


def _bare(hits: Sequence[Row]) -> Hits:
    nowhere = np.full(len(hits), -1, np.int64)
    return Hits(nowhere, nowhere, np.array([row[3] for row in hits], np.int64), _similarities(hits))


def _hits(hits: Sequence[Row], at: dict[Key, int]) -> Hits:
    """Those that are on the contents that are sound. ``at``: the place of each content."""
    kept = [row for row in hits if (row[0], row[1]) in at]
    places = [at[row[0], row[1]] for row in kept]
    numbers, ids = ([row[column] for row in kept] for column in (2, 3))
    return Hits(np.array(places, np.int64), np.array(numbers, np.int64), np.array(ids, np.int64), _similarities(kept))


def _similarities(hits: Sequence[Row]) -> NDArray[np.float32]:
    return np.clip(np.array([row[4] for row in hits], np.float32), -1.0, 1.0)
