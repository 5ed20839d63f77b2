"""Parameters of requests: `read` checks them against a declaration (`fields`) and words the error.

Two kinds of values are the protocol's own: bytes as base64, and paths. A path is text; where its bytes are not UTF-8 it
is base64 under the same name with ``_bytes`` behind it, which counts more. Inside of lists a path is a string, or an
object that holds ``path`` and ``path_bytes``.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from facewatchd import fields
from facewatchd.fields import FieldError, Kind, ListOf, UnknownNameError, WrongValueError
from facewatchd.matches import Place
from facewatchd.server.jsonrpc import ParamsError, quote
from facewatchd.server.payload import Payload

T = TypeVar("T")

MAX_PATH = 1 << 16
"""Bytes of a path: sixteen times the limit of a system call."""


def read(declaration: type[T], values: Mapping[str, object]) -> T:
    """Return the declared parameters. Raises `ParamsError`, which names the parameter and what it must be."""
    try:
        return fields.read(declaration, values)
    except UnknownNameError as exc:
        known = ", ".join(exc.known) or "none"
        raise ParamsError(f"unknown parameter {quote(exc.name)}", f"known here: {known}") from exc
    except FieldError as exc:
        raise ParamsError(str(exc)) from exc


class Base64(Kind[bytes]):
    """Bytes as base64; line breaks in it are let pass."""

    words = "base64"

    def read(self, value: object, name: str) -> bytes:
        if isinstance(value, str):
            value = Payload(value.encode("utf-8", "replace"), is_escaped=False)
        if not isinstance(value, Payload):
            raise WrongValueError(name, value, "a string")
        try:
            return value.decode()
        except ValueError as exc:
            raise WrongValueError(name, value, self.words) from exc


class SplitPath(Kind[bytes]):
    """An absolute path in two parameters: ``path`` (text), or ``path_bytes`` (base64), which counts more.

    It is normalised, as `os.path.abspath` does: two spellings of a path are one.
    """

    words = "an absolute path"

    def names(self, name: str) -> tuple[str, ...]:
        return name, f"{name}_bytes"

    def find(self, values: Mapping[str, object], name: str) -> object:
        return {each: values[each] for each in self.names(name) if values.get(each) is not None} or None

    def read(self, value: object, name: str) -> bytes:
        assert isinstance(value, dict)
        where = name.removesuffix("path")
        text, data = (value.get(each) for each in self.names("path"))
        if text is not None and not isinstance(text, str):
            raise WrongValueError(name, text, "a string")
        path = _encoded(text or "", name) if data is None else bytes(Base64().read(data, f"{where}path_bytes"))
        if max(len(text or ""), len(path)) > MAX_PATH:
            raise WrongValueError(name, text, f"a path of at most {MAX_PATH} bytes")
        if not path.startswith(b"/") or b"\0" in path:
            raise WrongValueError(name, text, "an absolute path without NUL")
        return b"/" + os.path.normpath(path).lstrip(b"/")


def _encoded(text: str, name: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # as os.fsencode, whatever the daemon's locale
    except UnicodeEncodeError as exc:
        raise WrongValueError(name, text, "text that a file name can hold") from exc


@dataclass(frozen=True, slots=True)
class _PathObject:
    path: bytes = fields.required(SplitPath(), "")


class PathItem(Kind[bytes]):
    """An absolute path in one value: a string, or an object as `encode_path` makes."""

    words = "an absolute path, or an object with `path` and `path_bytes`"

    def read(self, value: object, name: str) -> bytes:
        value = {"path": value} if isinstance(value, str) else value
        return fields.Object(_PathObject).read(value, name).path


class DirectoryItem(PathItem):
    """A directory of this machine, or of another: the latter is read as `Place.name` has it."""

    words = "an absolute path or HOST:/PATH, or an object with `host`, `path` and `path_bytes`"

    def read(self, value: object, name: str) -> bytes:
        host, path = None, value
        if isinstance(value, str) and not value.startswith("/"):
            host, colon, path = value.partition(":")
            path = path if colon else value
            path = path or "/"  # all of a machine
        elif isinstance(value, dict):
            host, path = value.get("host"), {key: each for key, each in value.items() if key != "host"}
        if host is None:
            return super().read(path, name)
        if not isinstance(host, str) or not host or "/" in host or ":" in host:
            raise WrongValueError(name, value, self.words)
        return Place(host, super().read(path, name)).name


@dataclass(frozen=True, slots=True)
class Paths(Kind[tuple[bytes, ...]]):
    """A list of paths: at most so many, and at most so many bytes together."""

    most: int = fields.MAX_INT
    most_bytes: int = fields.MAX_INT
    item: PathItem = field(default_factory=PathItem)

    @property
    def words(self) -> str:
        return ListOf(self.item, self.most).words

    def read(self, value: object, name: str) -> tuple[bytes, ...]:
        paths = ListOf(self.item, self.most).read(value, name)
        if (size := sum(map(len, paths))) > self.most_bytes:
            raise WrongValueError(name, value, f"paths of at most {self.most_bytes} bytes together, not of {size}")
        return paths


def encode_path(path: bytes) -> dict[str, str]:
    """Return ``{"path": text}``, with U+FFFD where it is not UTF-8, and only then also ``path_bytes`` (base64)."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": path.decode("utf-8", "replace"), "path_bytes": base64.b64encode(path).decode("ascii")}
