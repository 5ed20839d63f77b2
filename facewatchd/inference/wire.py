"""How the daemon and its inference processes talk: frames over a socket pair, one pair a line.

A frame is its length in eight bytes and then its bytes. The first frame of the first line is a `Setup`; the answer is
a model's info, or an error. After that the daemon sends photos, each as an open file, and gets what was seen: a
JSON frame and one with the embeddings, or a JSON frame with an error. Neither side sends code: a decoder that was taken
over by a photo cannot use this to take over the daemon.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facewatchd.config import Faces
from facewatchd.errors import (
    FacewatchError,
    ModelError,
    OutOfMemoryError,
    TooLargeError,
    UnreadablePhotoError,
    UnsupportedPhotoError,
)
from facewatchd.models.packs import Pack
from facewatchd.photos import DiskError
from facewatchd.records import Box, Face, ModelInfo

AHEAD = 1
"""Lines more than photos are in hand at once: over the last one the next photo comes while those are looked at."""
_LENGTH = struct.Struct("!Q")
_KINDS = (
    UnreadablePhotoError,
    UnsupportedPhotoError,
    DiskError,
    OutOfMemoryError,
    TooLargeError,
    ModelError,
    FacewatchError,
)
_ERRORS = {kind.__name__: kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class Setup:
    """What an inference process is to be."""

    purpose: str
    """Shown in the process list: "indexing" or "queries"."""
    pack: Pack
    faces: Faces
    threads: int
    """Of one inference."""
    idle: bool
    """Whether it runs only when nobody else wants to."""

    def to_json(self) -> dict[str, Any]:
        pack = asdict(self.pack) | {"directory": str(self.pack.directory) if self.pack.directory else None}
        return {**asdict(self), "pack": pack}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Setup:
        pack = document["pack"]
        directory = Path(pack["directory"]) if pack["directory"] else None
        return cls(
            **{**document, "pack": Pack(**{**pack, "directory": directory}), "faces": Faces(**document["faces"])}
        )


class Seen(NamedTuple):
    """What a photo shows."""

    width: int
    """Pixels of the upright image, as ``height``."""
    height: int
    faces: list[Face]


class Line:
    """One end of a socket pair. A blocking conversation: one thread at a time."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._stream = end.makefile("rb")

    def send(self, *frames: bytes) -> None:
        """Send frames whole. Raises OSError when the other side is gone."""
        for frame in frames:
            self.socket.sendall(_LENGTH.pack(len(frame)))
            self.socket.sendall(frame)

    def receive(self) -> bytes:
        """Wait for one frame. Raises EOFError when the other side is gone, also in its middle."""
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return self._read(length)

    def _read(self, length: int) -> bytes:
        data = self._stream.read(length)
        if len(data) < length:
            raise EOFError("the other side is gone")
        return data

    def send_photo(self, data: bytes | int) -> None:
        """Send a photo: a descriptor of its file, or its bytes as a file in memory. Raises OSError.

        Neither side waits for the other to make room. The file's position is shared, and may not be used.
        """
        if isinstance(data, int):
            socket.send_fds(self.socket, [b"p"], [data])
            return
        photo = os.memfd_create("photo")
        with open(photo, "wb") as file:
            file.write(data)
            file.flush()
            socket.send_fds(self.socket, [b"p"], [photo])

    def receive_photo(self) -> int:
        """Wait for a photo; return its descriptor, whose position is shared. Raises EOFError as `receive` does."""
        _, photos, *_ = socket.recv_fds(self.socket, 1, 1)
        if not photos:
            raise EOFError("the other side is gone")
        return photos[0]

    def send_json(self, document: object) -> None:
        self.send(json.dumps(document).encode())

    def receive_json(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.receive())
        return document

    def close(self) -> None:
        self._stream.close()
        self.socket.close()


def send_error(line: Line, error: FacewatchError) -> None:
    """Tell of an error, as the nearest kind that the other side knows."""
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
    line.send_json({"error": name, "message": error.message, "hint": error.hint})


def raise_error(answer: dict[str, Any]) -> None:
    """Raise the error that an answer tells of, if it does."""
    if "error" in answer:
        raise _ERRORS[answer["error"]](answer["message"], answer["hint"])


def send_info(line: Line, info: ModelInfo, confinement: str) -> None:
    line.send_json({"model": asdict(info), "confinement": confinement})


def receive_info(line: Line) -> tuple[ModelInfo, str]:
    """Return what the model is, and how far the process is confined. Raises `ModelError` where it was not loaded."""
    answer = line.receive_json()
    raise_error(answer)
    return ModelInfo(**answer["model"]), str(answer["confinement"])


def send_seen(line: Line, seen: Seen) -> None:
    faces = [{"box": face.box, "score": face.score, "landmarks": face.landmarks.tolist()} for face in seen.faces]
    embeddings = [np.asarray(face.embedding, "<f4").tobytes() for face in seen.faces]
    header = json.dumps({"width": seen.width, "height": seen.height, "faces": faces}).encode()
    line.send(header, b"".join(embeddings))


def receive_seen(line: Line) -> Seen:
    """Raises what the other side met: `UnreadablePhotoError`, `OutOfMemoryError`, `TooLargeError`, `ModelError`."""
    answer = line.receive_json()
    raise_error(answer)
    faces = answer["faces"]
    embeddings = np.frombuffer(line.receive(), "<f4").reshape(len(faces), -1 if faces else 0)
    return Seen(
        answer["width"],
        answer["height"],
        [
            Face(Box(*face["box"]), face["score"], np.array(face["landmarks"], np.float32), embedding)
            for face, embedding in zip(faces, embeddings, strict=True)
        ],
    )
