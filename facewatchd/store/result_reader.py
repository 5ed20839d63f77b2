"""What the stages of a question read of contents and faces: of the catalog, or of more than it has.

`CatalogReader` is one. Another has the contents of other machines beside those of the catalog, for one question. Their
ids, and those of the faces on them, begin at `ELSEWHERE`; and their photos, which can only be named here, are written
as `Place.name` has them. A path of this machine begins with a slash, and the name of a machine has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from facewatchd.store.catalog_rows import Looks, Seen, ShownFaces, ShownOn
from facewatchd.values import Face

ELSEWHERE: Final = 1 << 60
"""The least id that no content and no face of a catalog has."""


class ResultReader(Protocol):
    """The methods are those of `CatalogReader`, which says what each returns."""

    def beside(self, face_ids: Sequence[int]) -> dict[int, dict[int, Face]]: ...

    def contents_of(self, face_ids: Sequence[int], min_size: int = 0) -> ShownFaces: ...

    def shown_on(self, content_ids: Sequence[int], min_size: int = 0) -> ShownOn: ...

    def count_copies(self, content_ids: Sequence[int], directories: Sequence[bytes] = ()) -> Mapping[int, int]: ...

    def copies(self, content_ids: Sequence[int], directories: Sequence[bytes] = ()) -> Mapping[int, list[bytes]]: ...

    def digests(self, content_ids: Sequence[int]) -> dict[int, bytes]: ...

    def boxes(self, face_ids: Sequence[int]) -> Mapping[int, Seen]: ...

    def are_undated(self, contents: NDArray[np.int64]) -> NDArray[np.bool_]: ...

    def taken(self, content_ids: Sequence[int]) -> list[tuple[int, float, int | None, str]]: ...

    def dates_of_files(self, content_ids: Sequence[int]) -> list[tuple[int, float | None, int]]: ...

    def pictures(self, contents: NDArray[np.int64]) -> tuple[NDArray[np.float64], list[bytes | None]]: ...

    def looks(self, face_ids: Sequence[int]) -> Looks: ...

    def embeddings_of(self, face_ids: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
