"""The protocol between the daemon and an inference process: frames over socket pairs, one pair for each channel.

A frame is its length in eight bytes and then its bytes. The first frame of the first channel is a `Setup`; the answer
is a model's info, or an error. After that the daemon sends photos, each as an open file with one byte that says what is
asked about it (`Question`), and gets an answer: a JSON frame and, where faces were asked for, one with the embeddings,
or a JSON frame with an error. Neither side sends code, and the daemon uses nothing that `validation` has not checked: a
photo that takes a decoder over does not reach the daemon this way.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facewatchd.config import CPU, Faces
from facewatchd.errors import FacewatchError
from facewatchd.inference.validation import (
    ERRORS,
    MOST_DIMENSIONS,
    MOST_FACES,
    MOST_FACES_AGAIN,
    MOST_JSON,
    MOST_TEXT,
    InvalidAnswerError,
    document,
    expect_no_error,
    face,
    jpeg,
    listed,
    named,
    picture,
    size,
    taken,
    text,
    thumbnail_size,
    whole,
)
from facewatchd.matches import Box
from facewatchd.models.devices import DEVICES, Placement
from facewatchd.models.registry import Pack, known
from facewatchd.photos import crops
from facewatchd.photos.crops import Crop, Thumbnail
from facewatchd.photos.description import Description
from facewatchd.photos.regions import SIDECARS, XMP, Named
from facewatchd.text import one_line
from facewatchd.values import Face, Look, ModelInfo, Taken, Ways

FULLY_CONFINED = "full"
"""The confinement of a process in which both steps took full effect."""
AHEAD = 1
"""Channels more than photos are worked on at once: on them the next photos arrive in the meantime."""
_LENGTH = struct.Struct("!Q")
_SETUP = 1 << 20
"""Bytes that a frame with JSON may have, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What an inference process is told when it starts."""

    purpose: str
    """Shown in the process list: "indexing" or "queries"."""
    pack: Pack
    faces: Faces
    threads: int
    """Threads of one inference."""
    idle: bool
    """Whether the process is in the idle scheduling class."""
    device: str = CPU
    """The device that is wanted, as the configuration has it; counts where no placement is known."""
    placement: Placement | None = None
    """The devices that compute the model, where an earlier process found them out."""
    has_model: bool = True
    """Whether the model is loaded. A process without it starts sooner, and answers only what needs none."""
    pictures: bool = False
    """Whether each face that is found is pictured at once, while its photo is decoded."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "pack": asdict(self.pack) | {"directory": str(self.pack.directory)}}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Setup:
        pack, placement = document["pack"], document["placement"]
        parts = {
            "pack": Pack(**{**pack, "directory": Path(pack["directory"])}),
            "faces": Faces(**document["faces"]),
            "placement": placement and Placement(**placement),
        }
        return cls(**{**document, **parts})


class Analysis(NamedTuple):
    """The faces on a photo, and its size."""

    width: int
    """Pixels of the upright image, as ``height``."""
    height: int
    faces: list[Face]
    worth: Ways = Ways.NONE
    """The ways in which it is worth a second look."""
    taken: Taken | None = None
    """The date in it."""
    picture: bytes | None = None
    """`photos.likeness.fingerprint` of it; None for a second look."""
    thumbnails: Sequence[Thumbnail] = ()
    """Those that `crops.while_indexing` names; none at all where the process does not make them."""


class Again(NamedTuple):
    """Asks for a second look at a photo."""

    ways: Ways
    stop: int
    """A descriptor of a pipe: the second look is given up when a byte comes out of it."""
    width: int = 0
    """Pixels of the upright photo, as ``height``, as the first look gave them: the answer must agree. Not sent."""
    height: int = 0


class Headers(NamedTuple):
    """Asks what the headers of a photo say. It is not decoded, and the model is not used."""

    names: bool = False
    """Whether also what they say about people is wanted."""


class Sidecar(NamedTuple):
    """Asks what a file that lies beside photos says about people."""

    kind: str
    """One of `regions.SIDECARS`."""


class Picture(NamedTuple):
    """Asks for a thumbnail of a photo. The model is not used."""

    crop: Crop


class Pictured(NamedTuple):
    """The thumbnail, and the size of the photo."""

    thumbnail: Thumbnail
    width: int
    """Pixels of the upright photo, as ``height``."""
    height: int


Question = Again | Headers | Sidecar | Picture | None
"""What is asked about a file; None: which faces are on the photo."""
Answer = Analysis | Description | Named | Pictured
_QUESTIONS: dict[int, Headers | Sidecar] = {
    0x10: Headers(),
    0x11: Headers(names=True),
    **{0x20 + number: Sidecar(kind) for number, kind in enumerate(SIDECARS)},
}
"""By their bytes; that of the others is the `Ways` of a second look."""
_CODES = {question: code for code, question in _QUESTIONS.items()}
_PICTURE = 0x30
"""A frame with the `Crop` follows."""


class Request(NamedTuple):
    """What an inference process is to look at, each a descriptor of its own."""

    photo: int
    """Its position is shared."""
    question: Question


class Channel:
    """One end of a socket pair. One thread at a time uses it."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.before_receive: Callable[[], None] = lambda: None
        """Called before each piece is received; it may wait for the piece, and may raise."""

    def send(self, *frames: bytes) -> None:
        """Send frames whole. Raises OSError when the other side is gone."""
        for frame in frames:
            self.socket.sendall(_LENGTH.pack(len(frame)))
            self.socket.sendall(frame)

    def receive(self, most: int, least: int = 0) -> bytes:
        """Wait for one frame of ``least`` to ``most`` bytes.

        Raises EOFError when the other side is gone, also in its middle, and `InvalidAnswerError` for another length.
        """
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if not least <= length <= most:
            raise InvalidAnswerError(f"a frame has {length} bytes")
        return self._read(length)

    def _read(self, length: int) -> bytes:
        data = bytearray(length)
        rest = memoryview(data)
        while rest:
            self.before_receive()
            count = self.socket.recv_into(rest)
            if not count:
                raise EOFError("the other side is gone")
            rest = rest[count:]
        return bytes(data)

    def expect_silence(self) -> None:
        """Raise `InvalidAnswerError` where something has arrived before a photo was sent."""
        try:
            waiting = self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if waiting:
            raise InvalidAnswerError("an answer arrived before a photo was sent")
        raise EOFError("the other side is gone")

    def send_photo(self, data: bytes | int, question: Question = None) -> None:
        """Send a photo: a descriptor of its file, or its bytes as a file in memory. Raises OSError.

        Neither side waits for the other to read. Both share the file's position, so neither uses it.
        """
        stop = [question.stop] if isinstance(question, Again) else []
        with contextlib.ExitStack() as stack:
            if not isinstance(data, int):
                file = stack.enter_context(open(os.memfd_create("photo"), "wb"))
                file.write(data)
                file.flush()
                data = file.fileno()
            socket.send_fds(self.socket, [bytes([_code(question)])], [data, *stop])
        if isinstance(question, Picture):
            self.send_json(question.crop._asdict())

    def receive_photo(self) -> Request:
        """Wait for a photo. Raises EOFError as `receive` does."""
        code, sent, *_ = socket.recv_fds(self.socket, 1, 2)
        if not sent:
            raise EOFError("the other side is gone")
        photo, *stop = sent
        if code[0] == _PICTURE:
            return Request(photo, Picture(_crop(self.receive_json())))
        if code[0] in _QUESTIONS:
            return Request(photo, _QUESTIONS[code[0]])
        return Request(photo, Again(Ways(code[0]), *stop) if stop else None)

    def send_json(self, document: object) -> None:
        self.send(json.dumps(document).encode())

    def receive_json(self, most: int = _SETUP) -> dict[str, Any]:
        """Wait for a JSON object of at most so many bytes."""
        return document(self.receive(most))

    def close(self) -> None:
        self.socket.close()


def _code(question: Question) -> int:
    if isinstance(question, Picture):
        return _PICTURE
    if question is None or isinstance(question, Again):
        return question.ways if question else Ways.NONE
    return _CODES[question]


def _crop(document: dict[str, Any]) -> Crop:
    box = document["box"]
    return Crop(document["size"], box and Box(*box))


def send_error(channel: Channel, error: FacewatchError) -> None:
    """Send an error, as the nearest class that the other side knows."""
    name = next(kind.__name__ for kind in type(error).__mro__ if kind.__name__ in ERRORS)
    message, hint = (one_line(text, MOST_TEXT) if text else "" for text in (error.message, error.hint))
    channel.send_json({"error": name, "message": message, "hint": hint})


def send_info(channel: Channel, info: ModelInfo | None, placement: Placement, confinement: str) -> None:
    model = info and asdict(info)
    channel.send_json({"model": model, "placement": asdict(placement), "confinement": confinement})


def receive_info(channel: Channel, pack: Pack | None) -> tuple[ModelInfo | None, Placement, str]:
    """Receive what the model is, which devices compute it, and how far the process is confined.

    ``pack``: that of the model; None where none is loaded. Raises `ModelError` where the model could not be loaded,
    `InvalidAnswerError` where it is not that of the pack.
    """
    document = channel.receive_json()
    expect_no_error(document)
    info = None if pack is None else _info(document.get("model"), pack)
    return info, _placement(document.get("placement")), text(document, "confinement")


def _info(answer: object, pack: Pack) -> ModelInfo:
    if not isinstance(answer, dict):
        raise InvalidAnswerError("no model")
    info = ModelInfo(pack.id, pack.name, whole(answer.get("dim"), "the dimension", 1, MOST_DIMENSIONS), pack.threshold)
    if answer != asdict(info):
        raise InvalidAnswerError("another model")
    return replace(info, quality=known(pack.name).quality)


def _placement(answer: object) -> Placement:
    if not isinstance(answer, dict):
        raise InvalidAnswerError("no placement")
    placement = Placement(text(answer, "detector"), text(answer, "recogniser"), text(answer, "reason"))
    if not {placement.detector, placement.recogniser} <= {CPU, *DEVICES}:
        raise InvalidAnswerError("a device that is not known")
    return placement


def receive_threads(channels: Sequence[Channel], pid: int) -> dict[Channel, int]:
    """Receive the thread id of each channel, which must be of threads of that process."""
    threads = {channel: whole(channel.receive_json().get("thread"), "a thread", 1, 1 << 31) for channel in channels}
    if len(set(threads.values())) < len(channels) or not all(
        Path(f"/proc/{pid}/task/{id_}").exists() for id_ in threads.values()
    ):
        raise InvalidAnswerError("threads that are none of its own")
    return threads


def send_analysis(channel: Channel, analysis: Analysis) -> None:
    faces = [
        {
            "box": each.box,
            "score": each.score,
            "landmarks": each.landmarks.tolist(),
            "norm": each.norm,
            "look": each.look,
            "sharpness": each.sharpness,
        }
        for each in analysis.faces
    ]
    embeddings = [np.asarray(each.embedding, "<f4").tobytes() for each in analysis.faces]
    header = {
        "width": analysis.width,
        "height": analysis.height,
        "faces": faces,
        "worth": analysis.worth,
        "taken": analysis.taken and analysis.taken._asdict(),
        "picture": analysis.picture and analysis.picture.hex(),
        "thumbnails": [_sizes(each) for each in analysis.thumbnails],
    }
    pictures = b"".join(each.jpeg for each in analysis.thumbnails)
    channel.send(json.dumps(header).encode(), b"".join(embeddings), pictures)


def receive_analysis(channel: Channel, dim: int, again: Again | None = None) -> Analysis:
    """Receive the answer about a photo. ``dim``: numbers of an embedding. ``again``: the request for a second look that
    it answers; of another size, or with a face of a look that was not asked for, it breaks a rule.

    Raises the error that it reports (`UnreadablePhotoError`, `OutOfMemoryError`, `TooLargeError`, `ModelError`), and
    `InvalidAnswerError` for an answer that breaks a rule.
    """
    answer = channel.receive_json(MOST_JSON)
    expect_no_error(answer)
    width, height = size(answer)
    if again is not None and (width, height) != (again.width, again.height):
        raise InvalidAnswerError(f"{width} x {height} pixels, not {again.width} x {again.height} as at the first look")
    faces = listed(answer, "faces", MOST_FACES if again is None else MOST_FACES_AGAIN)
    looks = frozenset({Look.FIRST}) if again is None else again.ways.looks
    length = len(faces) * dim * 4
    embeddings = np.frombuffer(channel.receive(length, length), "<f4").reshape(len(faces), dim)
    found = [face(entry, row, width, height, looks) for entry, row in zip(faces, embeddings, strict=True)]
    worth = Ways(whole(answer.get("worth"), "the worth", Ways.NONE, Ways.BOTH))
    wanted = crops.while_indexing(each.box for each in found)
    pictures = _thumbnails(channel, listed(answer, "thumbnails", len(wanted)), wanted)
    return Analysis(width, height, found, worth, taken(answer), picture(answer), pictures)


def _thumbnails(channel: Channel, entries: Sequence[object], wanted: Sequence[Crop]) -> list[Thumbnail]:
    """Receive all thumbnails that are wanted, or none."""
    if entries and len(entries) != len(wanted):
        raise InvalidAnswerError(f"{len(entries)} thumbnails, not {len(wanted)}")
    sized = [thumbnail_size(entry, crop.size) for entry, crop in zip(entries, wanted, strict=False)]
    length = sum(each for *_, each in sized)
    data = memoryview(channel.receive(length, length))
    found: list[Thumbnail] = []
    for wide, tall, length in sized:
        found.append(Thumbnail(jpeg(bytes(data[:length]), wide, tall), wide, tall))
        data = data[length:]
    return found


def send_description(channel: Channel, description: Description) -> None:
    taken = description.taken and description.taken._asdict()
    channel.send_json(description._asdict() | {"taken": taken, "named": description.named._asdict()})


def receive_description(channel: Channel) -> Description:
    """Receive what the headers of a photo say. Raises what `receive_analysis` does."""
    answer = channel.receive_json(MOST_JSON)
    expect_no_error(answer)
    orientation = whole(answer.get("orientation"), "the orientation", 1, 8)
    return Description(*size(answer), orientation, taken(answer), named(answer.get("named"), XMP))


def send_picture(channel: Channel, pictured: Pictured) -> None:
    thumbnail = pictured.thumbnail
    header = {"thumbnail": _sizes(thumbnail), "width": pictured.width, "height": pictured.height}
    channel.send(json.dumps(header).encode(), thumbnail.jpeg)


def _sizes(thumbnail: Thumbnail) -> tuple[int, int, int]:
    return thumbnail.width, thumbnail.height, len(thumbnail.jpeg)


def receive_picture(channel: Channel, crop: Crop) -> Pictured:
    """Receive a thumbnail. Raises what `receive_analysis` does."""
    answer = channel.receive_json()
    expect_no_error(answer)
    wide, tall, length = thumbnail_size(answer.get("thumbnail"), crop.size)
    return Pictured(Thumbnail(jpeg(channel.receive(length, length), wide, tall), wide, tall), *size(answer))


def send_named(channel: Channel, found: Named) -> None:
    channel.send_json({"named": found._asdict()})


def receive_named(channel: Channel, kind: str) -> Named:
    """Receive what a file of some kind says about people. Raises what `receive_analysis` does."""
    answer = channel.receive_json(MOST_JSON)
    expect_no_error(answer)
    return named(answer.get("named"), kind)
