"""A grammar of request lines: valid, nearly valid and wild, for every method and every parameter of the protocol.

``Grammar(...).lines()`` is a Hypothesis strategy of bytes without a newline. A line is a request, a batch, or one of
these with some bytes changed, lost or put in. A request is made of parameters that fit its method, of which now and
then one is wild, missing, of another method or there twice. What JSON can spell and Python cannot (``NaN``, ``1e999``,
a name twice) comes in as `Raw` and `Pairs`.

What is wild has no bound but this: no line has the daemon wait for longer than `PATIENCE`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from facewatchd.values import PhotoState

PATIENCE = 0.05
"""Seconds."""
Values = SearchStrategy[Any]


class Raw(NamedTuple):
    """Text that stands in the line as it is."""

    text: str


class Pairs(NamedTuple):
    """An object, in which a name may come twice."""

    items: Sequence[tuple[str, object]]


def dump(value: object, *, ascii_only: bool = True) -> str:
    """JSON, or what looks like it."""
    match value:
        case Raw(text):
            return text
        case Pairs(items):
            inner = (f"{json.dumps(name, ensure_ascii=ascii_only)}:{dump(each)}" for name, each in items)
            return "{" + ",".join(inner) + "}"
        case dict():
            return dump(Pairs(list(value.items())), ascii_only=ascii_only)
        case list() | tuple():
            return "[" + ", ".join(dump(each, ascii_only=ascii_only) for each in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def _mostly(usual: Values, *odd: Values, times: int = 8) -> Values:
    """The usual one so many times as often as each of the odd ones. (`one_of` takes each of its branches as often.)"""
    choices = [usual] * times + list(odd)
    return st.sampled_from(range(len(choices))).flatmap(lambda index: choices[index])


RAW = st.sampled_from(
    ["NaN", "-Infinity", "1e999", "1" * 5000, "01", "+1", "nul", "'x'", '"\t"', '"\\x"', "", "[" * 50_000, "/**/1"]
).map(Raw)
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 7, 20, 1 << 31, (1 << 63) - 1, 1 << 63, -(1 << 63), 10**400, 0.5, -0.0, 1.0, -1.0, 1e-320, 1e308]
)
TEXT = st.text(st.characters(), max_size=8) | st.sampled_from(
    ["", "\0", "\ud800", "é", "e\u0301", "\u2028", "\x1b[31m", "A" * 3000, "..", "2.0", "null", "\U0001f600", "\ufeff"]
)
SCALARS = _mostly(st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, st.floats()), RAW, times=20)
WILD = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXT, inner, max_size=3)
        | st.lists(st.tuples(st.sampled_from(["a", "path"]), inner), max_size=3).map(Pairs)
        | inner.map(lambda value: _nested(value, 60))
    ),
    max_leaves=6,
)


def _nested(value: object, depth: int) -> object:
    """A few of these in each other are deep, and still less deep than what Python's json reads."""
    for _ in range(depth):
        value = [value]
    return value


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


@dataclass(frozen=True)
class Grammar:
    """What there is to ask for."""

    photos: Sequence[bytes]
    """Paths in the watched directories."""
    others: Sequence[bytes]
    """Paths of what lies elsewhere, is no photo, or is not there."""
    files: Sequence[bytes]
    """Contents of files, photos and others."""
    faces: Sequence[int]
    """Ids that exist, at first."""
    embedding: Sequence[float]
    """One that fits the model."""

    def lines(self) -> SearchStrategy[bytes]:
        """Anything that a client could send in a line."""
        parameters = self._parameters()
        requests = {name: _request(name, params, parameters) for name, params in _fitting(parameters).items()}
        request = _mostly(requests.pop("query"), requests.pop("faces"), *requests.values(), times=6)
        texts = _mostly(request, st.lists(_mostly(request, WILD), max_size=5), WILD)
        whole = st.tuples(texts, st.booleans()).map(lambda pair: _encoded(dump(pair[0], ascii_only=pair[1])))
        return _mostly(whole, _broken(whole), st.binary(max_size=30)).map(_one_line).filter(ends_soon)

    def _parameters(self) -> dict[str, Values]:
        """Every parameter there is, with values of which most mean something."""
        ids = st.sampled_from([*self.faces, *range(0, 500, 7), (1 << 63) - 1])
        soon = st.sampled_from([0, 0.0, 0.001, PATIENCE, -0.0])
        paths = _mostly(st.sampled_from(self.photos), st.sampled_from(self.others), times=2)
        names = paths.map(_text)
        named = names.map(lambda name: {"path": name})
        encoded = paths.map(lambda path: {"path_bytes": base64_of(path)})
        data = self._data()
        sources = st.one_of(named, encoded, data.map(lambda text: {"data": text}))
        values = {
            "path": names,
            "path_bytes": paths.map(base64_of),
            "data": data,
            "photos": st.lists(_mostly(sources, WILD, times=20), min_size=1, max_size=3),
            "faces": st.lists(_mostly(ids, NUMBERS), min_size=1, max_size=2),
            "embedding": self._embeddings(),
            "face": st.sampled_from(["largest", "all", 0, 1, 99]),
            "top": st.sampled_from([0, 1, 20, (1 << 63) - 1]),
            "threshold": st.sampled_from([-1, 1, 0, 0.4, -0.5]),
            "dirs": st.lists(st.one_of(names, named, encoded), max_size=3),
            "min_size": st.sampled_from([0, 1, 40, 80, 10_000]),
            "paths": st.lists(_mostly(st.sampled_from(self.photos).map(_text), names, times=4), max_size=3),
            "timeout": soon,
            "state": st.sampled_from(PhotoState).map(str),
            "after": st.one_of(names, named, encoded),
            "limit": st.sampled_from([1, 2, 1000, 1001, 0]),
            "wait": soon,
            "sort": st.sampled_from(["similarity", "date", "-date", "path"]),
            "since": st.sampled_from(["2019", "2019-06", "2019-06-30", "0001", "2019-02-30", "9999-12"]),
            "until": st.sampled_from(["2019", "2019-06", "2019-06-30", "1", "2019-13", "9999-12"]),
            "faces_min": st.sampled_from([0, 1, 2, (1 << 63) - 1]),
            "faces_max": st.sampled_from([0, 1, 2, (1 << 63) - 1]),
            **{name: self._people(sources, ids) for name in ("who", "with", "without")},
        }
        flags = {
            "exact": st.booleans(),
            "only": st.booleans(),
            "strict": st.booleans(),
            "collapse": st.booleans(),
            "repair": st.booleans(),
            "force": st.sampled_from([False] * 9 + [True]),
        }
        return {name: _mostly(value, NUMBERS, SCALARS, WILD, times=18) for name, value in (values | flags).items()}

    def _people(self, sources: Values, ids: Values) -> Values:
        """A list of WHOs."""
        others = st.one_of(
            _mostly(ids, NUMBERS).map(lambda face_id: {"face_id": face_id}),
            _mostly(TEXT, SCALARS).map(lambda name: {"person": name}),
            self._embeddings().map(lambda row: {"embedding": row}),
        )
        faces = st.sampled_from(["largest", "all", 0, 1, 99, -1, None])
        with_face = st.tuples(sources | others, faces).map(lambda pair: {**pair[0], "face": pair[1]})
        both = st.tuples(sources, others).map(lambda pair: pair[0] | pair[1])
        return st.lists(_mostly(sources | others, with_face, both, WILD, times=8), max_size=3)

    def _data(self) -> SearchStrategy[str]:
        files = st.sampled_from(self.files)
        cut = st.tuples(files, st.integers(0, 3000)).map(lambda pair: pair[0][: pair[1]])
        changed = st.tuples(files, st.integers(0, 3000), st.binary(max_size=4)).map(
            lambda triple: triple[0][: triple[1]] + triple[2] + triple[0][triple[1] + 4 :]
        )
        return _mostly(files, cut, changed, times=3).map(base64_of)

    def _embeddings(self) -> Values:
        right = st.just(list(self.embedding))
        odd = st.sampled_from([0, 1e39, -1e308, 1e-320, 10**400, Raw("NaN"), Raw("1e999"), None, "1", True, [1.0]])
        one_odd = st.tuples(right, st.integers(0, len(self.embedding) - 1), odd).map(
            lambda triple: [*triple[0][: triple[1]], triple[2], *triple[0][triple[1] + 1 :]]
        )
        sizes = (0, 1, len(self.embedding) - 1, len(self.embedding), len(self.embedding) + 1, 4096)
        others = st.sampled_from([[value] * size for size in sizes for value in (0.5, 0, 1e38, -1e-30)])
        return _mostly(right, one_odd, others, times=3)


def _fitting(parameters: dict[str, Values]) -> dict[str, Values]:
    """The parameters of each method, as it takes them."""

    def some(*names: str) -> dict[str, Values]:
        return {name: parameters[name] for name in names}

    def only(name: str, **options: Values) -> Values:
        return st.fixed_dictionaries({name: parameters[name]}, optional=options)

    options = some(
        "face", "top", "threshold", "dirs", "min_size", "wait", "exact", "collapse", "since", "until", "sort"
    )
    options |= some("with", "without", "only", "strict", "faces_min", "faces_max")
    return {
        "status": st.just({}),
        "query": st.one_of([only(name, **options) for name in ("photos", "faces", "embedding", "who")]),
        "faces": st.one_of([only(name) for name in ("path", "path_bytes", "data")]),
        "why": only("path") | only("path_bytes"),
        "photos": only("state", **some("after", "limit")),
        "scan": st.fixed_dictionaries({}, optional=some("paths", "force")),
        "wait": only("timeout"),
        "pause": st.just({}),
        "resume": st.just({}),
        "verify": st.fixed_dictionaries({}, optional=some("repair")),
    }


def _request(method: str, fits: Values, parameters: dict[str, Values]) -> Values:
    names = st.sampled_from(sorted(parameters)) | TEXT
    replaced = st.tuples(fits, names, WILD).map(lambda triple: triple[0] | {triple[1]: triple[2]})
    twice = st.tuples(fits, names, WILD).map(lambda triple: Pairs([(triple[1], triple[2]), *triple[0].items()]))
    parts = {
        "jsonrpc": _mostly(st.just("2.0"), st.sampled_from(["1.0", 2.0, None, True]), times=20),
        "id": _mostly(st.one_of(st.integers(-5, 5), TEXT, st.none(), NUMBERS), WILD),
        "method": _mostly(st.just(method), TEXT | st.sampled_from(["rpc.discover", "Status", "__init__"]), times=20),
        "params": _mostly(fits, replaced, twice, WILD),
    }
    whole = st.fixed_dictionaries(parts)
    without = st.tuples(whole, st.sampled_from(sorted(parts))).map(
        lambda pair: {name: value for name, value in pair[0].items() if name != pair[1]}
    )
    with_more = st.tuples(whole, TEXT | st.sampled_from(sorted(parts)), WILD).map(
        lambda triple: Pairs([*triple[0].items(), (triple[1], triple[2])])
    )
    return _mostly(whole, without, with_more)


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _broken(whole: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    """With some bytes other ones, or gone."""
    return st.tuples(whole, st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3)).map(
        lambda parts: parts[0][: parts[1]] + parts[3] + parts[0][parts[1] + parts[2] :]
    )


def _one_line(data: bytes) -> bytes:
    return data.replace(b"\n", b" ")


def ends_soon(line: bytes) -> bool:
    """Whether the line is answered soon: while indexing is paused, a wait ends with its time only."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return True
    return all(map(_request_ends_soon, message if isinstance(message, list) else [message]))


def _request_ends_soon(request: Any) -> bool:
    if not isinstance(request, dict) or request.get("method") not in ("wait", "query"):
        return True
    params = request.get("params", {})
    if not isinstance(params, dict):
        return True
    seconds = params.get("timeout") if request["method"] == "wait" else params.get("wait", 0)
    if seconds is None:
        return bool(request["method"] == "query")
    return not isinstance(seconds, (int, float)) or not PATIENCE < seconds <= 86_400
