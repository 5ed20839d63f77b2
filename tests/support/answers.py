"""What a daemon answers the rooms of the page, made as the protocol has it."""

from __future__ import annotations

from typing import Any

MARKUP = '<b onclick="x()">"Rosa" & \'Söhne\'</b>'
"""A name that is markup,"""
RIGHT_TO_LEFT = "סלמה \U0001f469\u200d\U0001f467"
"""one that is written from right to left, with a picture of several code points,"""
LONG = "ab " * 66 + "c"
"""and one of 199 characters."""


def person(name: str, photos: int = 1, **more: Any) -> dict[str, Any]:
    """An entry of ``people``."""
    return {
        "name": name,
        "born": None,
        "hidden": False,
        "references": photos,
        "photos": photos,
        "first": "2011-02-03" if photos else None,
        "last": "2019-04-05" if photos else None,
        "best": 7 if photos else None,
        "unplaced": 0,
        **more,
    }


def match(face: int | None, **more: Any) -> dict[str, Any]:
    """A match."""
    return {
        "path": f"/photos/IMG_{face}.jpg",
        "face_id": face,
        "box": [10, 20, 30, 40],
        "similarity": 0.61,
        "verdict": "sure",
        "confirmed": False,
        "itself": False,
        "person": None,
        "copies": [],
        "similar": [],
        "taken": "2014-05-06T07:08:09",
        "taken_from": "exif",
        **more,
    }


def answer(*faces: int, **more: Any) -> dict[str, Any]:
    """An answer to ``query``."""
    years = [{"year": 2014, "photos": len(faces)}] if faces else []
    return {"matches": [match(face) for face in faces], "total": len(faces), "years": years, "digests": [], **more}


def seen(face: int) -> dict[str, Any]:
    """An answer to ``faces`` with a ``face_id``."""
    faces = [{"face_id": face, "box": [10, 20, 30, 40]}]
    return {"faces": faces, "path": f"/photos/IMG_{face}.jpg", "width": 100, "height": 200}
