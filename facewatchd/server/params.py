"""Parameters of requests: `read` checks them against a declaration (`fields`) and words what is wrong with them.

Two kinds of values are the protocol's own: bytes as base64, and paths. A path is text; where its bytes are not UTF-8 it
is base64 under the same name with ``_bytes`` behind it, which counts more. Inside of lists a path is a string, or an
object that holds ``path`` and ``path_bytes``.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from facewatchd import fields
from facewatchd.fields import MAX_INT, FieldError, Kind, ListOf, UnknownNameError, WrongValueError
from facewatchd.server.jsonrpc import ParamsError, quote
from facewatchd.server.payload import Payload

T = TypeVar("T")

MAX_PATH = 1 << 16
"""Bytes of a path: sixteen times what one system call takes."""


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


@dataclass(frozen=True, slots=True)
class Paths(Kind[tuple[bytes, ...]]):
    """A list of paths: at most so many, and at most so many bytes together."""

    most: int = fields.MAX_INT
    most_bytes: int = fields.MAX_INT

    @property
    def words(self) -> str:
        return ListOf(PathItem(), self.most).words

    def read(self, value: object, name: str) -> tuple[bytes, ...]:
        paths = ListOf(PathItem(), self.most).read(value, name)
        if (size := sum(map(len, paths))) > self.most_bytes:
            raise WrongValueError(name, value, f"paths of at most {self.most_bytes} bytes together, not of {size}")
        return paths


class Params:
    """A request's parameters, read by name and type; `finish` refuses those that nobody asked for.

    Every method raises `ParamsError` with the parameter's name and what it must be. Null counts as absent. A bool
    is no number. ``where`` is put before the names, for objects inside of lists: ``photos[0].``.
    """

    def __init__(self, values: Mapping[str, object], where: str = "") -> None:
        self._values = values
        self._where = where
        self._known: list[str] = []

    def raw(self, name: str) -> object:
        """Return the value as it was decoded, or None."""
        if name not in self._known:
            self._known.append(name)
        return self._values.get(name)

    def optional_text(self, name: str) -> str | None:
        """Return a string, or None."""
        value = self.raw(name)
        if value is None or isinstance(value, str):
            return value
        raise self._error(name, "a string")

    def text(self, name: str) -> str:
        """Return a string that must be there."""
        return self._required(name, self.optional_text(name), "a string")

    def word(self, name: str, words: Iterable[str]) -> str:
        """Return a string that must be there, one of ``words``."""
        words = tuple(words)
        value = self.text(name)
        if value not in words:
            raise self._error(name, _choices(words))
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a bool."""
        value = self.raw(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        raise self._error(name, "true or false")

    def optional_number(self, name: str, low: float, high: float) -> float | None:
        """Return a number from ``low`` to ``high`` (both included), or None."""
        value = self.raw(name)
        return None if value is None else self._number(name, value, low, high)

    def optional_int(self, name: str, low: int = 0, high: int = MAX_INT) -> int | None:
        """Return a whole number from ``low`` to ``high`` (both included), or None."""
        value = self.raw(name)
        return None if value is None else self._int(name, value, low, high)

    def int_or_word(self, name: str, words: Iterable[str], low: int = 0, high: int = MAX_INT) -> int | str | None:
        """Return one of ``words``, a whole number from ``low`` to ``high``, or None."""
        value = self.raw(name)
        words = tuple(words)
        if value is None or (isinstance(value, str) and value in words):
            return value
        if isinstance(value, str):
            raise self._error(name, f"{_choices(words)} or a whole number")
        return self._int(name, value, low, high)

    def optional_data(self, name: str) -> bytes | None:
        """Return the bytes of a base64 string (line breaks in it are let pass), or None."""
        value = self.raw(name)
        if not isinstance(value, Payload):
            text = self.optional_text(name)
            if text is None:
                return None
            value = Payload(text.encode("utf-8", "replace"), is_escaped=False)
        try:
            return value.decode()
        except ValueError as exc:
            raise self._error(name, "base64") from exc

    def numbers(self, name: str, most: int = MAX_INT) -> list[float]:
        """Return a list of at most ``most`` finite floats; empty if absent. They need not fit a float32."""
        limit = sys.float_info.max  # compared exactly, so float() cannot overflow on an int of a thousand digits
        return [self._number(f"{name}[{i}]", value, -limit, limit) for i, value in enumerate(self._list(name, most))]

    def ints(self, name: str, most: int = MAX_INT, low: int = 0, high: int = MAX_INT) -> list[int]:
        """Return a list of at most ``most`` whole numbers from ``low`` to ``high``; empty if absent."""
        return [self._int(f"{name}[{i}]", value, low, high) for i, value in enumerate(self._list(name, most))]

    def objects(self, name: str, most: int = MAX_INT) -> list[Params]:
        """Return the at most ``most`` objects of a list, each to be read and finished by itself; empty if absent."""
        return [self._object(f"{name}[{i}]", value) for i, value in enumerate(self._list(name, most))]

    def paths(self, name: str, most: int = MAX_INT, most_bytes: int = MAX_INT) -> list[bytes]:
        """Return the paths of a list whose items are strings, or objects as `encode_path` makes; empty if absent.

        At most so many, and at most so many bytes together.
        """
        paths = [self._path(f"{name}[{i}]", value) for i, value in enumerate(self._list(name, most))]
        if (size := sum(map(len, paths))) > most_bytes:
            raise self._error(name, f"paths of at most {most_bytes} bytes together, not of {size}")
        return paths

    def optional_path_in(self, name: str) -> bytes | None:
        """Return a path that is a string, or an object as `encode_path` makes; or None."""
        value = self.raw(name)
        return None if value is None else self._path(name, value)

    def _path(self, name: str, value: object) -> bytes:
        item = self._object(name, {"path": value} if isinstance(value, str) else value)
        path = item.path()
        item.finish()
        return path

    def optional_path(self) -> bytes | None:
        """Return the absolute path in ``path`` (text), or in ``path_bytes`` (base64), which counts more; or None.

        It is normalised, as `os.path.abspath` does: two spellings of a path are one.
        """
        text = self.optional_text("path")
        data = self.optional_data("path_bytes")
        if max(len(text or ""), len(data or b"")) > MAX_PATH:
            raise self._error("path", f"a path of at most {MAX_PATH} bytes")
        path = None if data is None else bytes(data)
        if path is None and text is not None:
            try:
                path = text.encode("utf-8", "surrogateescape")  # as os.fsencode, whatever the daemon's locale
            except UnicodeEncodeError as exc:
                raise self._error("path", "text that a file name can hold") from exc
        if path is not None and (not path.startswith(b"/") or b"\0" in path):
            raise self._error("path", "an absolute path without NUL")
        return None if path is None else b"/" + os.path.normpath(path).lstrip(b"/")

    def path(self) -> bytes:
        """Return the path as `optional_path` does; it must be there."""
        return self._required("path", self.optional_path(), "an absolute path")

    def one_of(self, *names: str) -> str:
        """Return the one of ``names`` that is there; none or several are an error."""
        given = [name for name in names if self.raw(name) is not None]
        if len(given) != 1:
            raise ParamsError("give exactly one of " + ", ".join(self._where + name for name in names))
        return given[0]

    def finish(self) -> None:
        """Refuse parameters that were never asked for. To be called before anything is done."""
        for name in self._values:
            if name not in self._known:
                known = ", ".join(self._known) or "none"
                raise ParamsError(f"unknown parameter {quote(self._where + name)}", f"known here: {known}")

    def _required(self, name: str, value: T | None, what: str) -> T:
        if value is None:
            raise self._error(name, what)
        return value

    def _list(self, name: str, most: int = MAX_INT) -> list[object]:
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._error(name, "a list")
        if len(value) > most:
            raise self._error(name, f"a list of at most {most}, not of {len(value)}")
        return value

    def _object(self, name: str, value: object) -> Params:
        if not isinstance(value, dict):
            raise self._error(name, "an object")
        return Params(value, f"{self._where}{name}.")

    def _number(self, name: str, value: object, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self._error(name, f"a number{_range(low, high)}")
        return float(value)

    def _int(self, name: str, value: object, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._error(name, f"a whole number{_range(low, high)}")
        return value

    def _error(self, name: str, what: str) -> ParamsError:
        return ParamsError(f"{self._where}{name} must be {what}")


def encode_path(path: bytes) -> dict[str, str]:
    """Return ``{"path": text}``, with U+FFFD where it is not UTF-8, and only then also ``path_bytes`` (base64)."""
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": path.decode("utf-8", "replace"), "path_bytes": base64.b64encode(path).decode("ascii")}


def _choices(words: Iterable[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _range(low: float, high: float) -> str:
    if high >= MAX_INT:
        return "" if low < 0 else f" of at least {low}"
    return f" from {low} to {high}"
