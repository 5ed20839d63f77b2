"""Results of the methods that the commands call, as a daemon gives them; keywords replace what they say."""

from __future__ import annotations

import base64
from typing import Any


def status(**changes: Any) -> dict[str, Any]:
    document = {
        "version": "0.1.0", "pid": 77, "uptime_s": 8000.5, "state": "idle",
        "model": {"name": "buffalo_l", "id": "buffalo_l-0123abcd", "dim": 512, "threshold": 0.41},
        "roots": [
            {"path": "/home/u/Pictures", "state": "watching", "photos": 12000},
            {"path": "/mnt/nas", "state": "offline", "photos": 345},
        ],
        "photos": 12345, "faces": 18431, "pending": 0, "failed": 0,
        "index": {"faces": 18431, "tombstones": 0, "ready": True},
        "rates": {"photos_per_s": 0.0, "examined": 100, "read": 10, "embedded": 10},
        "problems": [],
    }  # fmt: skip
    return document | changes


def match(path: bytes, similarity: float = 0.742, **changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": path.decode("utf-8", "replace"),
        "similarity": similarity,
        "box": [1, 2, 30, 40],
        "score": 0.87,
        "face_id": 9,
        "of": 0,
        "itself": False,
        "copies": [],
    } | changes
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        entry["path_bytes"] = base64.b64encode(path).decode()
    return entry


def query_face(photo: str | None, face: int = 0, faces: int = 1) -> dict[str, Any]:
    return {"photo": photo, "face": face, "faces": faces, "box": [10, 20, 80, 90], "score": 0.89}


def answer(*paths: bytes, **changes: Any) -> dict[str, Any]:
    document = {
        "query": [query_face("/x/anna.jpg", 1, 3)],
        "matches": [match(path) for path in paths],
        "threshold": 0.4, "model": "buffalo_l", "faces": 18431, "pending": 0, "complete": True, "exact": False,
        "elapsed_ms": 14.2,
    }  # fmt: skip
    return {"total": len((document | changes)["matches"])} | document | changes


def machine(name: str, faces: int = 210_000, **changes: Any) -> dict[str, Any]:
    """Another machine, as an answer names it."""
    return {"name": name, "faces": faces, "backlog": 0, "pending": 0, "as_of_s": 2.5} | changes


def peer(name: str, faces: int = 210_000, **changes: Any) -> dict[str, Any]:
    """A machine, as a status names it."""
    return {**machine(name, faces), "photos": faces // 2, "is_self": False} | changes


def sharing(*peers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a status says of the shared engine."""
    known = {"state": "ok", "reason": "", "hint": "", "sends": True, "name": "laptop", "backlog": 0, "pending": 0}
    return {**known, "machines": list(peers)} | changes


def shared(*machines: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What an answer says of the shared engine."""
    return {"state": "ok", "reason": "", "cut": False, "machines": list(machines)} | changes
