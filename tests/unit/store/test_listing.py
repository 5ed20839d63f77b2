"""The photos in one state, in pages of the catalog."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.api.parameters import MOST_LISTED
from facewatchd.store import catalog_reader
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import LISTED_STATES, PhotoState
from tests.support.galleries import DIM, photo, stamp, unit

ROWS = unit(np.random.default_rng(0).normal(size=(4, DIM)))


NAMES = st.sampled_from([b"/p/%c" % letter for letter in b"abcdefgh"] + [b"/p/\xff\n", b"/q/a", b"/p"])


KINDS = st.sampled_from(["indexed", "no-face", "failed", "unread", "unsupported", "excluded", "gone"])


CONTENTS = st.integers(0, 3)
"""Photos of one kind share this many contents."""


def outcome(path: bytes, kind: str, content: int) -> Outcome:
    digest = f"{kind} {content}".encode()
    if kind in ("indexed", "no-face"):
        return photo(path, digest, ROWS[content : content + 1] if kind == "indexed" else [])
    if kind in ("failed", "unsupported"):
        return Outcome(path, stamp(1), digest, error=f"why {content}", unsupported=kind == "unsupported")
    return Outcome(path, None if kind == "gone" else stamp(1), error="no right" if kind == "unread" else None)


def pages(catalog: Catalog, state: PhotoState, limit: int, between: Callable[[], None] | None = None) -> list[bytes]:
    """All pages of a state, one after the other; something may happen between each two."""
    found: list[bytes] = []
    after = b""
    while True:
        with catalog.reading() as reader:
            page = reader.in_state(state, after, limit)
        assert len(page) <= limit
        found += [path for path, _ in page]
        if len(page) < limit:
            return found
        after = page[-1][0]
        if between:
            between()


@pytest.mark.parametrize("few", [0, 1, 20_000])
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(NAMES, KINDS, CONTENTS), max_size=25), limit=st.integers(1, 5))
def test_each_photo_is_listed_once_by_path_in_the_state_that_it_has(
    few: int, rows: list[tuple[bytes, str, int]], limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(catalog_reader, "_FEW", few)
        catalog = Catalog(Path(directory, "catalog.sqlite3"), "test-00000000", DIM)
        try:
            for row in rows:
                catalog.record([outcome(*row)])
            with catalog.reading() as reader:
                known = {path: reader.photo(path) for path, _, _ in rows}
            for state in PhotoState:
                expected = sorted(path for path, record in known.items() if record and record.state is state)
                assert pages(catalog, state, limit) == expected
        finally:
            catalog.close()


def test_what_stays_is_listed_once_whatever_comes_and_goes_meanwhile(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    stays = [b"/p/%02d" % number for number in range(0, 40, 2)]
    catalog.record([outcome(path, "failed", number) for number, path in enumerate(stays)])
    numbers = iter(range(100))

    def upheaval() -> None:
        number = next(numbers)
        came, went = b"/p/%02d" % (39 - 2 * (number % 20)), b"/p/%02d" % (2 * (number % 20) + 1)
        catalog.record([outcome(came, "failed", 100 + number), outcome(went, "gone", 0)])
        catalog.record([outcome(stays[number % 20], "failed", 200 + number)])  # the same file with other bytes

    found = pages(catalog, PhotoState.FAILED, 3, upheaval)
    catalog.close()
    assert found == sorted(set(found))
    assert [path for path in found if path in stays] == stays


def test_the_reason_is_what_was_recorded(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    catalog.record([outcome(b"/b", "failed", 1), outcome(b"/a", "unread", 0), outcome(b"/c", "unsupported", 2)])
    with catalog.reading() as reader:
        assert reader.in_state(PhotoState.FAILED, b"", 9) == [(b"/a", "no right"), (b"/b", "why 1")]
        assert reader.in_state(PhotoState.UNSUPPORTED, b"", 9) == [(b"/c", "why 2")]
    catalog.close()


@pytest.mark.full
def test_a_page_of_a_million_photos_takes_no_second(tmp_path: Path) -> None:
    """Contents lie in another order than paths, which is what costs most."""
    count = 1_000_000
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    db = catalog._db
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -400000")
    db.execute("BEGIN")
    rows = ((n + 1, n.to_bytes(8, "big"), "torn" if n % 100_000 == 7 else None, n % 100_000 == 8) for n in range(count))
    db.executemany("INSERT INTO content(id, digest, width, height, error, unsupported) VALUES (?, ?, 1, 1, ?, ?)", rows)
    db.executemany(
        "INSERT INTO photo(path, directory, device, inode, size, mtime_ns, ctime_ns, content_id)"
        " VALUES (?, x'', 1, 1, 1, 1, 1, ?)",
        ((b"/home/anna/Pictures/%09d.jpg" % n, n * 7919 % count + 1) for n in range(count)),
    )
    db.executemany(
        "INSERT INTO face(content_id, x, y, w, h, score, landmarks, embedding) VALUES (?, 1, 1, 9, 9, 1, x'', x'')",
        ((n + 1,) for n in range(count) if n % 3),
    )
    db.execute("COMMIT")
    longest = 0.0
    for state in LISTED_STATES:
        for after in (b"", b"/home/anna/Pictures/000500000.jpg", b"/home/anna/Pictures/000999999.jpg"):
            with catalog.reading() as reader:
                started = time.process_time()
                reader.in_state(state, after, MOST_LISTED)
                longest = max(longest, time.process_time() - started)
    catalog.close()
    assert longest < 1.0
