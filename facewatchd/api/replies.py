"""Faces and matches as the protocol's replies hold them. Numbers are rounded; a path that is not UTF-8 has two keys."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from facewatchd.api.explain import Explained, Explanation
from facewatchd.api.search import Answer, Used
from facewatchd.matches import Also, Match
from facewatchd.server.params import encode_path
from facewatchd.values import Face


def answer(
    answer: Answer, threshold: float, model: str, explanation: Explanation | None, *, several: bool
) -> dict[str, object]:
    """Return ``query``, ``matches``, ``total``, ``threshold``, ``model``, ``exact`` and, explained, ``expected_false``.

    ``several``: every face that was asked with is a person of its own.
    """
    found = answer.found
    matches = [_match(match, answer.entries, several=several) for match in found.matches]
    document: dict[str, object] = {
        "query": [_used(each) for each in answer.used],
        "matches": matches,
        "total": found.total,
        "threshold": threshold,
        "model": model,
        "exact": found.exact,
    }
    if explanation is not None:
        for match, explained in zip(matches, explanation.matches, strict=True):
            match |= _explained(explained)
        count = None if explanation.count is None else round(explanation.count, 3)
        document["expected_false"] = {"count": count, "basis": explanation.basis}
    return document


def _explained(explained: Explained) -> dict[str, object]:
    near = {"rival": explained.rival, "closer": explained.closer}
    return {"verdict": explained.verdict, "reasons": list(explained.reasons)} | {
        name: {"face_id": face.face_id, "similarity": round(face.similarity, 4)}
        for name, face in near.items()
        if face is not None
    }


def face(face: Face) -> dict[str, object]:
    """Return ``box``, ``score`` and ``landmarks``: x and y of five points, in pixels."""
    landmarks = [[round(float(x), 1), round(float(y), 1)] for x, y in face.landmarks]
    return {**place(face), "landmarks": landmarks}


def place(face: Face) -> dict[str, object]:
    """Return ``box`` and ``score``."""
    return {"box": list(face.box), "score": round(face.score, 4)}


def _used(used: Used) -> dict[str, object]:
    where = {} if used.face is None else place(used.face)
    if used.photo is None:
        return {"photo": None, "face_id": used.face_id, **where}
    name: dict[str, str | None] = {"path": None} if used.photo.path is None else dict(encode_path(used.photo.path))
    return {"photo": name.pop("path"), **name, "face": used.index, "faces": used.count, **where}


def _match(match: Match, entries: Sequence[int | None], *, several: bool) -> dict[str, object]:
    """One match. ``entries``: the index into ``query`` of each person."""
    document: dict[str, object] = {
        **encode_path(match.path),
        **_matched(match),
        "of": None if match.of is None else entries[match.of],
        "itself": match.itself,
        "copies": [path.decode("utf-8", "replace") for path in match.copies],
    }
    if any("path_bytes" in encode_path(path) for path in match.copies):
        document["copies_bytes"] = [base64.b64encode(path).decode("ascii") for path in match.copies]
    if several:
        document["also"] = [{"of": entries[other.of], **_matched(other)} for other in match.also]
    return document


def _matched(match: Match | Also) -> dict[str, object]:
    return {
        "similarity": round(match.similarity, 4),
        "box": list(match.box),
        "score": round(match.score, 4),
        "face_id": match.face_id,
    }
