"""The parameters of a query, read and checked before anything is done for it."""

from __future__ import annotations

from dataclasses import dataclass

from facewatchd.config import Query
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import Params, encode_path
from facewatchd.store.results import Search

MOST = 1000
"""Photos, faces by id, or directories, that one query may name."""
MOST_BYTES = 1 << 20
"""Bytes of the directories that one query may name, together."""
MOST_NUMBERS = 65536
"""Numbers of an embedding that are read at all: how many the model's has is looked at afterwards."""

Which = int | str
"""Index of a face from the left, "largest" or "all"."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the faces of a query come from: a path on the daemon's machine, or bytes."""

    path: bytes | None = None
    data: bytes | None = None

    @classmethod
    def of(cls, params: Params) -> Source:
        """Read ``path`` (or ``path_bytes``) or ``data``, and finish the parameters."""
        source = cls(params.optional_path(), params.optional_data("data"))
        if source.path is None:
            params.one_of("path", "data")
        params.finish()
        return source

    def name(self) -> dict[str, str | None]:
        return {"path": None} if self.path is None else dict(encode_path(self.path))


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """A query, read and checked, before anything is done for it."""

    sources: tuple[Source, ...]
    face_ids: tuple[int, ...]
    embedding: tuple[float, ...]
    which: Which
    search: Search

    @classmethod
    def of(cls, params: Params, defaults: Query, threshold: float) -> QueryRequest:
        """Read what concerns the search; the caller finishes the parameters. ``threshold``: of a query without one."""
        given_as = params.one_of("photos", "faces", "embedding")
        if given_as != "embedding" and not params.raw(given_as):
            raise ParamsError(f"{given_as} must not be empty")
        top = params.optional_int("top")
        given = params.optional_number("threshold", -1, 1)
        which = params.int_or_word("face", ("largest", "all"))
        return cls(
            tuple(Source.of(photo) for photo in params.objects("photos", MOST)),
            tuple(params.ints("faces", MOST)),
            tuple(params.numbers("embedding", MOST_NUMBERS)),
            "largest" if which is None else which,
            Search(
                threshold=threshold if given is None else given,
                top=defaults.top if top is None else top,
                directories=tuple(params.paths("dirs", MOST, MOST_BYTES)),
                min_size=params.optional_int("min_size") or 0,
                exact=params.flag("exact"),
                collapse=params.flag("collapse", True),
            ),
        )
