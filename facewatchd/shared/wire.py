"""What the daemon and facewatch-share say to each other, as JSON: written and read here, and nowhere else.

Two directions, each over the other's Unix socket, by JSON-RPC. facewatch-share asks the daemon for the contents that
changed (`batch`, `Batch`). The daemon asks facewatch-share for the faces of other machines (`near`, `read_near`), for
whole contents (`whole`), and how things stand (`LinkStatus`).

What is read is checked: what another machine wrote into the engine has come this way, and it is data of a stranger.
Arrays are base64 of little-endian numbers. A path that is not UTF-8 has its bytes beside it, as everywhere in the
protocol.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facewatchd.config import is_machine_name
from facewatchd.inference import validation
from facewatchd.inference.validation import InvalidAnswerError
from facewatchd.models.base import are_unit
from facewatchd.server.params import MAX_PATH, encode_path
from facewatchd.shared import forms
from facewatchd.shared.engine import EngineError, Trouble
from facewatchd.shared.forms import FormError
from facewatchd.shared.values import FoundContent, FoundFace, Hits, MachineState, Near, SharedContent, Whole
from facewatchd.store.embedded import Embedded
from facewatchd.values import Look

MOST_NAME: Final = 200
"""Characters of the name of a machine or of a model."""
MOST_LINE: Final = 1000
"""Characters of a reason or a hint."""
_MOST: Final = (1 << 63) - 1
"""The largest number of the engine."""
_TIMES: Final = -(1 << 63), (1 << 63) - 1
"""Nanoseconds."""
_MOST_SECONDS: Final = 1e12
_MOST_ARRAY: Final = 64 << 20
"""Bytes of an array."""
_LOOKS: Final = frozenset(Look)
_TOKEN: Final = re.compile("[0-9a-f]{32}")


class State(StrEnum):
    """How a machine stands with the engine, in the words of facewatchd-protocol(7)."""

    OK = "ok"
    BEHIND = "behind"
    """A machine, perhaps this one, has photos that are not in the engine yet."""
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    """The engine is there and cannot be used: somebody has to do something."""
    OFF = "off"
    """No facewatch-share runs."""


def state_of(trouble: Trouble) -> State:
    """The state while the engine cannot be asked."""
    passes = (Trouble.UNREACHABLE, Trouble.LATE, Trouble.BUSY, Trouble.NOT_TAKEN, Trouble.FAILED)
    return State.UNREACHABLE if trouble in passes else State.REFUSED


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How this machine stands with the engine."""

    state: State
    reason: str = ""
    """Why not all is well; empty with `State.OK`."""
    hint: str = ""
    """What the user can do about it."""
    sends: bool = True
    """Whether what changes here goes to the engine."""
    name: str = ""
    """This machine's, in the engine."""
    backlog: int = 0
    """Contents of this machine that are not in the engine yet."""
    pending: int = 0
    """Files of this machine that are still to be looked at."""
    machines: tuple[MachineState, ...] = ()
    """As they were known last, with the time that has passed since."""

    def asdict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "state": self.state,
            "reason": _one_line(self.reason),
            "hint": _one_line(self.hint),
            "sends": self.sends,
            "name": self.name,
            "backlog": self.backlog,
            "pending": self.pending,
            "machines": [machine(each) for each in self.machines],
        }


def read_status(value: object) -> LinkStatus:
    """Read what `LinkStatus.asdict` gives. Raises `FormError`."""
    entry = _object(value, "the status")
    return LinkStatus(
        State(_choice(entry, "state", State)),
        forms.text(entry, "reason", MOST_LINE, least=0),
        forms.text(entry, "hint", MOST_LINE, least=0),
        forms.flag(entry, "sends"),
        _machine_name(entry) if entry.get("name") else "",
        forms.whole(entry, "backlog", 0, _MOST),
        forms.whole(entry, "pending", 0, _MOST),
        tuple(read_machine(each) for each in _list(entry, "machines")),
    )


# From the daemon: what changed


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A content of which something changed, and what is true of it now."""

    seq: int
    """Of the change: what changes later has a higher one."""
    content: SharedContent


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The oldest changes of the outbox."""

    model: str
    """Its id."""
    dim: int
    machine: str
    """This machine's id: 32 hexadecimal digits."""
    lineages: tuple[str, ...]
    """Tokens of the push that the catalog is sure of, and of the one that was begun after that."""
    changes: tuple[Change, ...]
    backlog: int
    """All changes, these included."""
    pending: int
    sends: bool = True
    """Whether the daemon notes what changes."""


def batch(batch: Batch) -> dict[str, Any]:
    """The result of ``outbox``."""
    return {
        "model": batch.model,
        "dim": batch.dim,
        "machine": batch.machine,
        "lineages": list(batch.lineages),
        "changes": [_change(each) for each in batch.changes],
        "backlog": batch.backlog,
        "pending": batch.pending,
        "sends": batch.sends,
    }


def _change(change: Change) -> dict[str, Any]:
    content = change.content
    return {"seq": change.seq, "digest": content.digest.hex(), "content": _sent(content)}


def is_readable(change: Change, dim: int) -> bool:
    """Whether `read_batch` takes a change as `batch` writes it: else it would refuse all that come with it."""
    try:
        _read_change(_change(change), dim)
    except FormError:
        return False
    return True


def _sent(content: SharedContent) -> dict[str, Any] | None:
    if content.embedded is None or content.is_gone:
        return None
    paths = [encode_path(path) for path in content.paths]
    named = {"face_ids": list(content.face_ids), "paths": paths, "written": content.written}
    return forms.content(content.embedded) | named


def read_batch(value: object) -> Batch:
    """Read what `batch` gives. Raises `FormError`."""
    entry = _object(value, "the outbox")
    dim = forms.whole(entry, "dim", 1, validation.MOST_DIMENSIONS)
    return Batch(
        forms.text(entry, "model", MOST_NAME),
        dim,
        _token(entry.get("machine"), "machine"),
        tuple(_token(each, "a lineage") for each in _list(entry, "lineages") if each),
        tuple(_read_change(each, dim) for each in _list(entry, "changes")),
        forms.whole(entry, "backlog", 0, _MOST),
        forms.whole(entry, "pending", 0, _MOST),
        forms.flag(entry, "sends"),
    )


def _read_change(value: object, dim: int) -> Change:
    entry = _object(value, "a change")
    seq, digest = forms.whole(entry, "seq", 0, _MOST), forms.digest(entry, "digest")
    if entry.get("content") is None:
        return Change(seq, SharedContent(digest))
    content = dict(_object(entry["content"], "a content"))
    face_ids, paths = content.pop("face_ids", None), content.pop("paths", None)
    written = forms.whole({"written": content.pop("written", None)}, "written", *_TIMES)
    embedded = forms.read_content(content, dim)
    if embedded.digest != digest:
        raise FormError("a content of another digest")
    if not isinstance(face_ids, list) or len(face_ids) != len(embedded.faces):
        raise FormError("the ids of faces are not one for each face")
    ids = tuple(forms.whole({"face_id": each}, "face_id", 0, _MOST) for each in face_ids)
    return Change(seq, SharedContent(digest, embedded, ids, _read_paths(paths), written))


# From facewatch-share: machines, faces, contents, and what is wrong


def trouble(error: EngineError) -> dict[str, Any]:
    """Why the engine gives no answer, as a result."""
    return {"trouble": {"trouble": error.trouble, "message": _one_line(error.message), "hint": _one_line(error.hint)}}


def raise_trouble(value: object) -> dict[str, Any]:
    """Return a result, or raise the `EngineError` that it reports. Raises `FormError`."""
    result = _object(value, "the answer")
    if "trouble" not in result:
        return result
    entry = _object(result["trouble"], "the trouble")
    raise EngineError(
        Trouble(_choice(entry, "trouble", Trouble)),
        forms.text(entry, "message", MOST_LINE),
        forms.text(entry, "hint", MOST_LINE, least=0),
    )


def machine(state: MachineState) -> dict[str, Any]:
    """A machine that sends to the engine."""
    return {
        "key": state.key,
        "name": state.name,
        "faces": state.faces,
        "photos": state.photos,
        "backlog": state.backlog,
        "pending": state.pending,
        "as_of_s": round(max(0.0, state.as_of_s), 1),
        "is_self": state.is_self,
    }


def read_machine(value: object) -> MachineState:
    """Read what `machine` gives. Raises `FormError`."""
    entry = _object(value, "a machine")
    return MachineState(
        key=forms.whole(entry, "key", -_MOST, _MOST),
        name=_machine_name(entry),
        faces=forms.whole(entry, "faces", 0, _MOST),
        photos=forms.whole(entry, "photos", 0, _MOST),
        backlog=forms.whole(entry, "backlog", 0, _MOST),
        pending=forms.whole(entry, "pending", 0, _MOST),
        as_of_s=forms.number(entry.get("as_of_s"), "as_of_s", 0, _MOST_SECONDS),
        is_self=forms.flag(entry, "is_self"),
    )


def machines(states: Sequence[MachineState]) -> dict[str, Any]:
    """The result of ``machines``."""
    return {"machines": [machine(each) for each in states]}


def read_machines(value: object) -> tuple[MachineState, ...]:
    """Read what `machines` gives. Raises `FormError`."""
    return tuple(read_machine(each) for each in _list(_object(value, "the answer"), "machines"))


def whole(found: Whole) -> dict[str, Any]:
    """The result of ``contents``."""
    return {"contents": [forms.content(each) for each in found.contents], "left_out": found.left_out}


def read_whole(value: object, dim: int) -> Whole:
    """Read what `whole` gives. Raises `FormError`."""
    entry = _object(value, "the answer")
    found: list[Embedded] = [forms.read_content(_object(each, "a content"), dim) for each in _list(entry, "contents")]
    return Whole(tuple(found), forms.whole(entry, "left_out", 0, _MOST))


def near(found: Near) -> dict[str, Any]:
    """The result of ``nearest``."""
    return {
        **machines(found.machines),
        "contents": [_found(each) for each in found.contents],
        "hits": [
            {
                "contents": forms.text_of(np.asarray(each.contents, "<i8").tobytes()),
                "faces": forms.text_of(np.asarray(each.faces, "<i8").tobytes()),
                "face_ids": forms.text_of(np.asarray(each.face_ids, "<i8").tobytes()),
                "similarities": forms.text_of(np.asarray(each.similarities, "<f4").tobytes()),
            }
            for each in found.hits
        ],
        "cut": found.cut,
        "exact": found.exact,
        "left_out": found.left_out,
        "lineage": found.lineage,
    }


def _found(content: FoundContent) -> dict[str, Any]:
    return {
        "machine": content.machine,
        "digest": content.digest.hex(),
        "paths": [encode_path(path) for path in content.paths],
        **forms.described(content),
        "faces": [_found_face(each) for each in content.faces],
        "written": content.written,
    }


def _found_face(face: FoundFace) -> dict[str, Any]:
    embedding = face.embedding
    return {
        "face_id": face.face_id,
        "box": list(face.box),
        "score": face.score,
        "norm": face.norm,
        "look": face.look,
        "sharpness": face.sharpness,
        "embedding": None if embedding is None else forms.text_of(np.asarray(embedding, "<f4").tobytes()),
    }


def read_near(value: object, dim: int, count: int) -> Near:
    """Read what `near` gives. ``dim``: numbers of an embedding; ``count``: how many were asked for.

    Raises `FormError`.
    """
    entry = _object(value, "the answer")
    contents = tuple(_read_found(each, dim) for each in _list(entry, "contents"))
    hits = _list(entry, "hits")
    if len(hits) != count:
        raise FormError(f"the hits are of {len(hits)} embeddings, not of {count}")
    states = read_machines(entry)
    if not {each.machine for each in contents} <= {each.key for each in states}:
        raise FormError("a content of no machine")
    return Near(
        states,
        contents,
        tuple(_read_hits(each, [len(content.faces) for content in contents]) for each in hits),
        forms.flag(entry, "cut"),
        forms.flag(entry, "exact"),
        forms.whole(entry, "left_out", 0, _MOST),
        _token(entry["lineage"], "lineage") if entry.get("lineage") else "",
    )


def _read_hits(value: object, faces: Sequence[int]) -> Hits:
    """``faces``: how many each content has."""
    entry = _object(value, "a hit")
    contents, inner, face_ids = (_array(entry, name, "<i8") for name in ("contents", "faces", "face_ids"))
    similarities = _array(entry, "similarities", "<f4")
    if not len(contents) == len(inner) == len(face_ids) == len(similarities):
        raise FormError("the arrays of the hits are of different lengths")
    if not np.isfinite(similarities).all() or (np.abs(similarities) > forms.MOST_SIMILARITY).any():
        raise FormError("a similarity is not from -1 to 1")
    if (contents != -1).any():
        if ((contents < 0) | (contents >= len(faces))).any():
            raise FormError("a hit on no content")
        if ((inner < 0) | (inner >= np.array(faces, np.int64)[contents])).any():
            raise FormError("a hit on no face")
    return Hits(contents, inner, face_ids, similarities)


def _array(entry: Mapping[str, Any], name: str, kind: str) -> NDArray[Any]:
    data = forms.data(entry.get(name), name, _MOST_ARRAY)
    if len(data) % np.dtype(kind).itemsize:
        raise FormError(f"{name} are no whole number of numbers")
    return np.frombuffer(data, kind)


def _read_found(value: object, dim: int) -> FoundContent:
    entry = _object(value, "a content")
    try:
        known = forms.read_described(entry)
        faces = validation.listed(entry, "faces", forms.MOST_FACES)
        return FoundContent(
            forms.whole(entry, "machine", -_MOST, _MOST),
            forms.digest(entry, "digest"),
            _read_paths(entry.get("paths")),
            *known,
            tuple(_read_found_face(each, dim, known.width, known.height) for each in faces),
            forms.whole(entry, "written", *_TIMES),
        )
    except InvalidAnswerError as exc:
        raise FormError(str(exc)) from exc


def _read_found_face(value: object, dim: int, width: int, height: int) -> FoundFace:
    entry = _object(value, "a face")
    face_id = forms.whole(entry, "face_id", 0, _MOST)
    measures = validation.measures_of_face(entry, width, height, _LOOKS)
    if entry.get("embedding") is None:
        return FoundFace(face_id, *measures)
    return FoundFace(face_id, *measures, read_embeddings(entry["embedding"], dim)[0])


def read_embeddings(value: object, dim: int) -> NDArray[np.float32]:
    """Read one embedding or several, in base64. Shape (m, dim), each of unit length. Raises `FormError`."""
    return embeddings_of(forms.data(value, "embeddings", _MOST_ARRAY), dim)


def embeddings_of(data: bytes, dim: int) -> NDArray[np.float32]:
    """The same of their bytes."""
    if not data or len(data) % (4 * dim):
        raise FormError(f"an embedding is not of {dim} numbers")
    found = np.frombuffer(data, "<f4").reshape(-1, dim)
    if not are_unit(found).all():
        raise FormError("an embedding is not of unit length")
    return found


def _read_paths(value: object) -> tuple[bytes, ...]:
    if not isinstance(value, list):
        raise FormError("paths are no list")
    return tuple(map(_read_path, value))


def _read_path(value: object) -> bytes:
    """Read what `encode_path` gives. There may be thousands: `PathItem`, which words errors for users, takes 0.1 ms."""
    entry = _object(value, "a path")
    text, data = entry.get("path"), entry.get("path_bytes")
    if data is not None:
        path = forms.data(data, "a path", MAX_PATH)
    else:
        try:
            path = text.encode() if isinstance(text, str) else b""
        except UnicodeEncodeError as exc:
            raise FormError("a path is no text") from exc
    if not path.startswith(b"/") or b"\0" in path or len(path) > MAX_PATH:
        raise FormError("a path is not absolute")
    return b"/" + os.path.normpath(path).lstrip(b"/")


def _object(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormError(f"{what} is no JSON object")
    return value


def _list(entry: Mapping[str, Any], name: str) -> list[Any]:
    value = entry.get(name)
    if not isinstance(value, list):
        raise FormError(f"{name} is no list")
    return value


def _choice(entry: Mapping[str, Any], name: str, kind: type[StrEnum]) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or value not in set(kind):
        raise FormError(f"{name} is none of {', '.join(kind)}")
    return value


def _machine_name(entry: Mapping[str, Any]) -> str:
    value = entry.get("name")
    if not isinstance(value, str) or not is_machine_name(value):
        raise FormError("a name that no machine can have")
    return value


def _token(value: object, name: str) -> str:
    if not isinstance(value, str) or _TOKEN.fullmatch(value) is None:
        raise FormError(f"{name} is not 32 hexadecimal digits")
    return value


def _one_line(text: str) -> str:
    """Text that `forms.text` takes."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:MOST_LINE]
