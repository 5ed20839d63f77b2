"""Values that come from outside, declared once: the keys of the configuration and the parameters of requests.

A declaration is a dataclass. Each of its fields, made by `required` or `optional`, names its kind (the type and the
bounds), its default and, in one line, its meaning. `read` checks a mapping against the declaration and `describe` lists
it, from which the manual pages are made::

    @dataclass(frozen=True, slots=True)
    class Watch:
        settle: float = optional(Number(0, 3600), "Seconds without a change after which a file is read.", 1.0)

    read(Watch, {"settle": 0.5})

A value whose name is a keyword of Python is declared with an underscore behind it: ``with_`` is read from ``with``.

Rules of reading: None counts as absent. A bool is no number, a float is no whole number, and NaN lies in no range. A
name that is not declared is refused. Where a declaration has ``ONE_OF``, exactly one of those fields must be present.
The three errors hold the full name of the value, as in ``photos[0].path``; the caller words them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")
D = TypeVar("D")

MAX_INT = (1 << 63) - 1
"""SQLite's largest integer, and so the largest id."""
MAX_FLOAT = sys.float_info.max
_KEY = "facewatchd"


class FieldError(ValueError):
    """A value, or the set of names, does not fit the declaration."""


class WrongValueError(FieldError):
    """A value is missing, or of the wrong type or range. It must be ``expected``."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        super().__init__(f"{name} must be {expected}")
        self.name = name
        self.value = value
        self.expected = expected


class UnknownNameError(FieldError):
    """A name is not declared; ``known`` are the names that are."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"unknown name {name!r}")
        self.name = name
        self.known = known


class NotOneError(FieldError):
    """None, or more than one, of ``names`` is present."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"give exactly one of {', '.join(names)}")


# Kinds of values


class Kind(Generic[T]):
    """The type and the bounds of a value."""

    @property
    def words(self) -> str:
        """The kind as it completes the sentence "it must be ..."."""
        raise NotImplementedError

    def read(self, value: object, name: str) -> T:
        """Return the value as it is used from here on. Raises `FieldError`, with the value's full name."""
        raise NotImplementedError

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names under which the value of a field is looked up."""
        return (name,)

    def find(self, values: Mapping[str, object], name: str) -> object:
        """Return the raw value of a field; None where it is absent."""
        return values.get(name)


@dataclass(frozen=True, slots=True)
class Number(Kind[float]):
    """A finite number, both bounds included. Compared before it is converted: an int may have a thousand digits."""

    low: float = -MAX_FLOAT
    high: float = MAX_FLOAT

    @property
    def words(self) -> str:
        return "a number" + ("" if self.high == MAX_FLOAT else f" from {self.low:.10g} to {self.high:.10g}")

    def read(self, value: object, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            raise WrongValueError(name, value, self.words)
        return float(value)


@dataclass(frozen=True, slots=True)
class Whole(Kind[int]):
    """An int, both bounds included."""

    low: int = 0
    high: int = MAX_INT
    step: int = 1

    @property
    def words(self) -> str:
        bounds = f"of at least {self.low}" if self.high == MAX_INT else f"from {self.low} to {self.high}"
        return f"a whole number {bounds}" + (f", a multiple of {self.step}" if self.step > 1 else "")

    def read(self, value: object, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise WrongValueError(name, value, self.words)
        if value % self.step:
            raise WrongValueError(name, value, self.words)
        return value


class Flag(Kind[bool]):
    """A bool."""

    words = "true or false"

    def read(self, value: object, name: str) -> bool:
        if not isinstance(value, bool):
            raise WrongValueError(name, value, self.words)
        return value


@dataclass(frozen=True, slots=True)
class Text(Kind[str]):
    """A string that is not empty, of at most so many characters, which UTF-8 can hold."""

    most: int

    @property
    def words(self) -> str:
        return f"text of 1 to {self.most} characters"

    def read(self, value: object, name: str) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= self.most or not _is_encodable(value):
            raise WrongValueError(name, value, self.words)
        return value


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass(frozen=True, slots=True)
class Choice(Kind[str]):
    """One of some words."""

    choices: tuple[str, ...]

    @property
    def words(self) -> str:
        return ", ".join(f'"{choice}"' for choice in self.choices)

    def read(self, value: object, name: str) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise WrongValueError(name, value, self.words)
        return value


@dataclass(frozen=True, slots=True)
class ChoiceOrWhole(Kind[str | int]):
    """One of some words, or a whole number from 0."""

    choices: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"{Choice(self.choices).words} or {Whole().words}"

    def read(self, value: object, name: str) -> str | int:
        try:
            return Choice(self.choices).read(value, name) if isinstance(value, str) else Whole().read(value, name)
        except WrongValueError as exc:
            raise WrongValueError(name, value, self.words) from exc


@dataclass(frozen=True, slots=True)
class ListOf(Kind[tuple[T, ...]]):
    """A list. Its length is checked before its items are looked at."""

    item: Kind[T]
    most: int = MAX_INT
    least: int = 0

    @property
    def words(self) -> str:
        return f"{self._length}, each {self.item.words}"

    @property
    def _length(self) -> str:
        if self.least == self.most:
            return f"a list of {self.most}"
        return "a list" + ("" if self.most == MAX_INT else f" of at most {self.most}")

    def read(self, value: object, name: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise WrongValueError(name, value, "a list")
        if len(value) > self.most:
            raise WrongValueError(name, value, f"{self._length}, not of {len(value)}")
        if len(value) < self.least:
            if self.least == 1:
                raise WrongValueError(name, value, "a list that is not empty")
            wanted = self._length if self.least == self.most else f"a list of at least {self.least}"
            raise WrongValueError(name, value, f"{wanted}, not of {len(value)}")
        return tuple(self.item.read(item, f"{name}[{index}]") for index, item in enumerate(value))


@dataclass(frozen=True, slots=True)
class Object(Kind[T]):
    """A mapping with a declaration of its own."""

    declaration: type[T]
    words: str = "an object"

    def read(self, value: object, name: str) -> T:
        if not isinstance(value, dict):
            raise WrongValueError(name, value, self.words)
        return read(self.declaration, value, f"{name}.")


# Declarations


@dataclass(frozen=True, slots=True)
class Computed(Generic[D]):
    """A default that is made when it is needed, with its wording."""

    make: Callable[[], D]
    words: str


@dataclass(frozen=True, slots=True)
class _Declared:
    kind: Kind[Any]
    meaning: str
    default: str
    """In words."""


def required(kind: Kind[T], meaning: str) -> T:
    """Declare a field that must be present. Fields of this kind come first."""
    made: T = field(metadata={_KEY: _Declared(kind, meaning, "required")})
    return made


@overload
def optional(kind: Kind[T], meaning: str, default: Computed[D]) -> T | D: ...
@overload
def optional(kind: Kind[T], meaning: str, default: D) -> T | D: ...
def optional(kind: Kind[Any], meaning: str, default: Any) -> Any:
    """Declare a field with a default."""
    if isinstance(default, Computed):
        return field(default_factory=default.make, metadata={_KEY: _Declared(kind, meaning, default.words)})
    return field(default=default, metadata={_KEY: _Declared(kind, meaning, _in_words(default))})


def _in_words(default: object) -> str:
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, float):
        return f"{default:.10g}"
    return str(default) if isinstance(default, (int, str)) else "none"


def read(declaration: type[T], values: Mapping[str, object], where: str = "") -> T:
    """Return the declaration's dataclass, filled from ``values``. Raises `FieldError`.

    ``where`` is put before the names in errors.
    """
    return declaration(**present(declaration, values, where))


def present(declaration: type, values: Mapping[str, object], where: str = "") -> dict[str, Any]:
    """Return the checked values of those fields that are present, by name. Raises `FieldError`."""
    declared = list(_declared(declaration))
    found = {each.name: spec.kind.find(values, _outside(each)) for each, spec in declared}
    one_of: Sequence[str] = getattr(declaration, "ONE_OF", ())
    if one_of and sum(found[name] is not None for name in one_of) != 1:
        raise NotOneError([where + name for name in one_of])
    checked = {}
    for each, spec in declared:
        if found[each.name] is not None:
            checked[each.name] = spec.kind.read(found[each.name], where + _outside(each))
        elif each.default is MISSING and each.default_factory is MISSING:
            raise WrongValueError(where + _outside(each), None, spec.kind.words)
    _refuse_unknown(values, [name for each, spec in declared for name in spec.kind.names(_outside(each))], where)
    return checked


def _refuse_unknown(values: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in values:
        if name not in known:
            raise UnknownNameError(where + name, known)


def _declared(declaration: type) -> Iterator[tuple[Field[Any], _Declared]]:
    for each in fields(declaration):
        if _KEY in each.metadata:
            yield each, each.metadata[_KEY]


def _outside(each: Field[Any]) -> str:
    """The name of a field where its value comes from."""
    return each.name.removesuffix("_")


@dataclass(frozen=True, slots=True)
class Description:
    """One declared value, in words."""

    name: str
    """In full: ``faces.min_size``, ``photos[].path, photos[].path_bytes``."""
    type: str
    """The type and the bounds: "a whole number from 1 to 10000"."""
    default: str
    """"required" where there is none."""
    meaning: str
    """A sentence."""


def describe(declaration: type, where: str = "") -> list[Description]:
    """Return the fields of a declaration and of those inside it, in their order. Inner mappings have no entry.

    Where several lists of a declaration hold the same kind of mapping, its fields are described behind the first.
    """
    found: list[Description] = []
    listed: set[type] = set()
    for each, spec in _declared(declaration):
        kind, name = spec.kind, where + _outside(each)
        if isinstance(kind, Object):
            found += describe(kind.declaration, f"{name}.")
            continue
        names = ", ".join(where + inner for inner in kind.names(_outside(each)))
        found.append(Description(names, kind.words, spec.default, spec.meaning))
        if isinstance(kind, ListOf) and isinstance(kind.item, Object) and kind.item.declaration not in listed:
            listed.add(kind.item.declaration)
            found += describe(kind.item.declaration, f"{name}[].")
    return found
