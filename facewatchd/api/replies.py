"""Faces and matches as the protocol's replies hold them. Numbers are rounded; a path that is not UTF-8 has two keys."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from facewatchd.api import quality
from facewatchd.api.explain import Explained, Explanation, Near
from facewatchd.api.names import Named, Similar
from facewatchd.api.search import Answer
from facewatchd.api.who import Asked, Used
from facewatchd.matches import Also, Match, Place, Term
from facewatchd.server.params import encode_path
from facewatchd.store.result_reader import ELSEWHERE
from facewatchd.values import Face, ModelInfo, Quality, Taken


def answer(answer: Answer, threshold: float, info: ModelInfo, explanation: Explanation | None) -> dict[str, object]:
    """Return ``query``, ``matches``, ``total``, ``threshold``, ``model``, ``exact`` and, explained, ``expected_false``.

    With others who are to be on the photos, or are not, also ``with``, and ``without`` and ``undecided``. Where other
    machines were asked, also ``shared``, and each match says where it is.
    """
    found, asking = answer.found, answer.asking
    matches = [
        of_match(match, answer.who, info.quality) | ({} if asking is None else _places_of(match))
        for match in found.matches
    ]
    query = _query(answer.who, 0, info.quality)
    document: dict[str, object] = {
        "query": query,
        "matches": matches,
        "total": found.total,
        "threshold": threshold,
        "model": info.name,
        "exact": found.exact,
    }
    for name, people in (("with", answer.with_), ("without", answer.without)):
        if people:
            document[name] = [
                entry for place, asked in enumerate(people) for entry in _query(asked, place, info.quality)
            ]
    if asking is not None:
        document["shared"] = asking.document()
    if found.undecided is not None:
        document["undecided"] = {"count": found.undecided.count, **_paths("paths", found.undecided.paths)}
    if explanation is not None:
        for match, explained in zip(matches, explanation.matches, strict=True):
            match |= _explained(explained)
        for entry, child in zip(query, explanation.children, strict=True):
            entry["child"] = child
        count = None if explanation.count is None else round(explanation.count, 3)
        document["expected_false"] = {"count": count, "basis": explanation.basis}
    return document


def _explained(explained: Explained) -> dict[str, object]:
    if explained.reasons is None:
        return {"verdict": explained.verdict}
    near = {"rival": explained.rival, "closer": explained.closer}
    return {"verdict": explained.verdict, "reasons": list(explained.reasons)} | {
        name: _near(face) for name, face in near.items() if face is not None
    }


def _near(face: Near) -> dict[str, object]:
    path = {} if face.path is None else encode_path(face.path)
    return {"face_id": _id_here(face.face_id), "similarity": round(face.similarity, 4), **path}


def face(face: Face, table: Quality | None) -> dict[str, object]:
    """Return what `seen` does, and ``landmarks``: x and y of five points, in pixels."""
    landmarks = [[round(float(x), 1), round(float(y), 1)] for x, y in face.landmarks]
    return {**seen(face, table), "landmarks": landmarks}


def named(named: Named) -> dict[str, object]:
    """Return who a face is: ``name``, ``similarity``, ``verdict``, ``confirmed`` and ``runner_up``."""

    def similar(person: Similar | None) -> dict[str, object]:
        return {
            "name": None if person is None else person.name,
            "similarity": None if person is None else _rounded(person.similarity, 4),
        }

    return {
        **similar(named.person),
        "verdict": named.verdict,
        "confirmed": named.confirmed,
        "runner_up": None if named.runner_up is None else similar(named.runner_up),
    }


def seen(face: Face | Match | Also | Term, table: Quality | None) -> dict[str, object]:
    """Return ``box``, ``score``, ``norm``, and ``quality``: what can be said against the face, in words.

    Of a person who stands on a photo without a face they are null, and there are no words.
    """
    return {
        "box": None if face.box is None else list(face.box),
        "score": _rounded(face.score, 4),
        "norm": _rounded(face.norm, 3),
        "quality": [] if face.box is None else quality.words(face.box, face.norm, table),
    }


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None else round(number, digits)


def _query(asked: Asked, first: int, table: Quality | None) -> list[dict[str, object]]:
    """The faces that a person is asked for with. ``first``: the position of the person's first WHO in its list."""
    return [{**_used(used, table), "who": first + used.who} for used in asked.used]


def _used(used: Used, table: Quality | None) -> dict[str, object]:
    if used.person:
        return {"photo": None, "person": used.person, "references": used.references, "photos": used.stands}
    where = {} if used.face is None else {**seen(used.face, table), "left_out": used.left_out}
    if used.photo is None:
        group = {} if used.group is None else {"group": used.group, "faces": used.members}
        return {"photo": None, "face_id": used.face_id, **group, **where}
    name: dict[str, str | None] = {"path": None} if used.photo.path is None else dict(encode_path(used.photo.path))
    return {"photo": name.pop("path"), **name, "face": used.index, "faces": used.count, **where}


def of_match(match: Match, asked: Asked, table: Quality | None) -> dict[str, object]:
    """Return one match."""
    document: dict[str, object] = {
        **encode_path(match.path),
        **_matched(match, table),
        "of": None if match.of is None else asked.entries[match.of],
        "person": match.person or None,
        "confirmed": match.confirmed,
        "itself": match.itself,
    }
    document |= _paths("copies", match.copies) | _paths("similar", match.similar)
    document |= {"taken": match.taken or None, "taken_from": match.taken_from or None}
    if asked.apart:
        document["also"] = [{"of": asked.entries[other.of], **_matched(other, table)} for other in match.also]
    if match.terms:
        document["terms"] = [
            {**_matched(term, table), "person": term.person or None, "confirmed": term.confirmed}
            for term in match.terms
        ]
    return document


def _places_of(match: Match) -> dict[str, object]:
    """Return the ``host`` of a match, null: this machine; and its copies, and frames of its burst, on others.

    Of a photo of another machine, which cannot be looked at, also its ``size``.
    """
    size = {"size": list(match.size)} if match.host else {}
    return {
        "host": match.host or None,
        **size,
        "elsewhere": [_place(place) for place in match.elsewhere],
        "similar_elsewhere": [_place(place) for place in match.similar_elsewhere],
    }


def _place(place: Place) -> dict[str, str]:
    return {"host": place.host, **encode_path(place.path)}


def photo(paths: Sequence[bytes], taken: Taken | None) -> dict[str, object]:
    """Return of a photo the ``path`` and ``copies``, and when it was ``taken``: null where no file shows it."""
    return {
        **(encode_path(paths[0]) if paths else {"path": None}),
        **_paths("copies", paths[1:]),
        "taken": taken and taken.text,
        "taken_from": taken and taken.source.told,
    }


def years(found: Sequence[tuple[int, int, int]]) -> list[dict[str, object]]:
    """Return how many ``photos`` were taken in each ``year``, ``file_dates`` of them by the file's date alone."""
    return [{"year": year, "photos": photos, "file_dates": of_files} for year, photos, of_files in found]


def _paths(name: str, paths: Sequence[bytes]) -> dict[str, object]:
    """Return paths as text, and where one is not UTF-8 all of them in base64 too."""
    document: dict[str, object] = {name: [path.decode("utf-8", "replace") for path in paths]}
    if any("path_bytes" in encode_path(path) for path in paths):
        document[f"{name}_bytes"] = [base64.b64encode(path).decode("ascii") for path in paths]
    return document


def _matched(match: Match | Also | Term, table: Quality | None) -> dict[str, object]:
    return {"similarity": _rounded(match.similarity, 4), **seen(match, table), "face_id": _id_here(match.face_id)}


def _id_here(face_id: int | None) -> int | None:
    """The id of a face as it is told: none of a face that no photo of this machine shows."""
    return None if face_id is None or face_id >= ELSEWHERE else face_id
