"""The JSON form of a content with its faces, which is the same wherever one is carried, and readers of JSON values.

It stands in the lines of an export (`api.export_format`), and in what the daemon and facewatch-share say to each other
(`wire`). All of it is checked on reading, as if anybody had written it.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from facewatchd.inference import validation
from facewatchd.inference.validation import InvalidAnswerError
from facewatchd.store.embedded import Embedded
from facewatchd.values import Face, Look, Taken

if TYPE_CHECKING:
    from facewatchd.shared.values import FoundContent

MOST_FACES: Final = validation.MOST_FACES + validation.MOST_FACES_AGAIN
"""Faces of one content."""
DIGEST: Final = 32
"""Bytes of the BLAKE2b digest of a photo."""
MOST_SIMILARITY: Final = 1.01
"""Of two embeddings of unit length, each as far from that as rounding to half precision takes it, and more."""
_MOST_EMBEDDING: Final = 4 * 65536
_LOOKS: Final = frozenset(Look)


class FormError(ValueError):
    """A JSON value that is not as it must be; the message says how, and does not end in a point."""


def content(embedded: Embedded) -> dict[str, Any]:
    """The form of a content with its faces. Embeddings are base64 of floats of 32 bits, the least byte first."""
    faces = [_face(each) for each in embedded.faces]
    return {"content": embedded.digest.hex(), **described(embedded), "faces": faces}


def described(one: Embedded | FoundContent) -> dict[str, Any]:
    """What is said of a content beside its faces."""
    taken = one.taken
    return {
        "width": one.width,
        "height": one.height,
        "second_look": one.second_look,
        "dated": one.is_dated,
        "taken": None if taken is None else [taken.at, taken.offset, taken.source],
        "picture": None if one.picture is None else text_of(one.picture),
    }


def _face(each: Face) -> dict[str, Any]:
    return {
        "box": list(each.box),
        "score": each.score,
        "landmarks": each.landmarks.tolist(),
        "norm": each.norm,
        "look": each.look,
        "sharpness": each.sharpness,
        "embedding": text_of(np.asarray(each.embedding, "<f4").tobytes()),
    }


def text_of(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode("ascii")


# Reading


def read_content(entry: dict[str, Any], dim: int) -> Embedded:
    """Check the form of a content. ``dim``: numbers of an embedding. Raises `FormError`."""
    only(entry, "content", "width", "height", "second_look", "dated", "taken", "picture", "faces")
    try:
        known = read_described(entry)
        faces = validation.listed(entry, "faces", MOST_FACES)
        found = [_read_face(each, dim, known.width, known.height) for each in faces]
        return Embedded(digest(entry, "content"), *known, found)
    except InvalidAnswerError as exc:
        raise FormError(str(exc)) from exc


class Described(NamedTuple):
    """What is said of a content beside its faces: see `Embedded`."""

    width: int
    height: int
    second_look: int
    taken: Taken | None
    is_dated: bool
    picture: bytes | None


def read_described(entry: dict[str, Any]) -> Described:
    """Check what `described` gives. Raises `FormError` and `InvalidAnswerError`."""
    taken, picture = entry.get("taken"), entry.get("picture")
    return Described(
        *validation.size(entry),
        whole(entry, "second_look", -4, 3),
        None if taken is None else _read_taken(taken),
        flag(entry, "dated"),
        None if picture is None else validation.fingerprint(data(picture, "picture", 4096)),
    )


def _read_face(entry: object, dim: int, width: int, height: int) -> Face:
    if not isinstance(entry, dict):
        raise FormError("a face is no JSON object")
    only(entry, "box", "score", "landmarks", "norm", "look", "sharpness", "embedding")
    embedding = data(entry.get("embedding"), "an embedding", _MOST_EMBEDDING)
    if len(embedding) != 4 * dim:
        raise FormError(f"an embedding has {len(embedding) / 4:g} numbers, and the model {dim}")
    return validation.face(entry, np.frombuffer(embedding, "<f4"), width, height, _LOOKS)


def _read_taken(value: object) -> Taken:
    """Check a date: seconds, minutes, and what says so."""
    if not isinstance(value, list) or len(value) != 3:
        raise FormError("taken has not three parts")
    return validation.date(*value)


def only(entry: dict[str, Any], *names: str) -> None:
    """Refuse names other than these."""
    for name in entry:
        if name not in names:
            raise FormError(f"unknown name {name[:60]!r}")


def text(entry: dict[str, Any], name: str, most: int, *, least: int = 1) -> str:
    """Printable text of so many characters."""
    value = entry.get(name)
    if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
        raise FormError(f"{name} is no text of {least} to {most} characters")
    return value


def flag(entry: dict[str, Any], name: str, *, default: bool | None = None) -> bool:
    """True or false."""
    value = entry.get(name, default)
    if not isinstance(value, bool):
        raise FormError(f"{name} is not true or false")
    return value


def whole(entry: dict[str, Any], name: str, least: int, most: int) -> int:
    """A whole number, both bounds included."""
    value = entry.get(name)
    if type(value) is not int or not least <= value <= most:
        raise FormError(f"{name} is no whole number from {least} to {most}")
    return value


def number(value: object, name: str, least: float, most: float) -> float:
    """A finite number, both bounds included."""
    if type(value) not in (int, float) or not least <= value <= most or not math.isfinite(value):  # type: ignore
        raise FormError(f"{name} is no number from {least:g} to {most:g}")
    return float(value)  # type: ignore[arg-type]


def digest(entry: dict[str, Any], name: str) -> bytes:
    """The digest of a photo, in hexadecimal digits."""
    return read_digest(entry.get(name), name)


def read_digest(value: object, name: str) -> bytes:
    """The same of a value that has no name of its own."""
    try:
        found = bytes.fromhex(value) if isinstance(value, str) and len(value) == 2 * DIGEST else b""
    except ValueError:
        found = b""
    if len(found) != DIGEST:
        raise FormError(f"{name} is no digest")
    return found


def data(value: object, name: str, most: int) -> bytes:
    """Bytes in base64."""
    try:
        found = binascii.a2b_base64(value, strict_mode=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        found = None
    if found is None or len(found) > most:
        raise FormError(f"{name} is no base64 of at most {most} bytes")
    return found
