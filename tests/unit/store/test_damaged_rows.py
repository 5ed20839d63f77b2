"""Face rows that cannot be: left out of every answer, removed, and their photos are read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facewatchd.store.catalog import Outcome
from facewatchd.store.scoring import Search
from tests.support.damaged_rows import DAMAGES, damage
from tests.support.galleries import DIM, nearest, opened, photo, stamp, unit


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_row_is_left_out_and_its_bytes_are_to_be_embedded_again(tmp_path: Path, change: str) -> None:
    rows = unit(np.random.default_rng(1).normal(size=(4, DIM)))
    gallery = opened(tmp_path)
    gallery.record([photo(b"/p/1", b"d1", rows[:2], 1), photo(b"/p/2", b"d2", rows[2:], 2)])
    damage(gallery.catalog.path, change, "id = 1")
    with gallery.catalog.reading() as reader:
        assert reader.faces(1) is None
        assert sorted(reader.faces_of([1, 2, 3])) == [2, 3]
        if "embedding" in change:
            assert [ids.tolist() for ids, _ in reader.embeddings()] == [[2, 3, 4]]
            assert reader.embeddings_of([1, 2, 9])[0].tolist() == [2]
    for exact in (True, False):
        assert nearest(gallery, rows[2], Search(0.9, exact=exact)).matches[0].path == b"/p/2"
    assert gallery.catalog.damaged_faces == {1}
    assert gallery.set_aside([1, 9]) == [b"/p/1"]
    assert gallery.catalog.damaged_faces == set()
    assert gallery.index.differences() == []
    assert [match.path for match in nearest(gallery, rows[1], Search(0.9)).matches] == [b"/p/1"], "the face beside it"
    with gallery.catalog.reading() as reader:
        assert not reader.has_content(b"d1")
        assert reader.content(b"d1") is None
        assert not stamp(1).same_bytes(reader.stamp(b"/p/1"))
        assert reader.has_content(b"d2")
        assert stamp(2).same_bytes(reader.stamp(b"/p/2"))
    copy = Outcome(b"/p/copy", stamp(3), b"d1")
    assert gallery.record([copy]) == {b"/p/copy"}, "what was to be recorded as known is looked at again"
    gallery.record([photo(b"/p/1", b"d1", rows[:2], 1)])
    assert gallery.record([copy]) == set()
    with gallery.catalog.reading() as reader:
        assert reader.counts().faces == 4
        assert stamp(1).same_bytes(reader.stamp(b"/p/1"))
    assert gallery.index.differences() == []
