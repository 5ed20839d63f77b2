"""What is made of the faces above the threshold: one result a photo and content, counted whole, cut to ``top``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.matches import Box
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search, Sort
from facewatchd.values import Face, Quality, Stamp
from tests.support.galleries import BOX, DIM, close_all, face, nearest, opened, photo, stamp, unit

RNG = np.random.default_rng(4)
ROWS = unit(RNG.normal(size=(4, DIM)))
"""Four people, none like another."""


def like(person: int, similarity: float) -> np.ndarray:
    """An embedding with this similarity to a person."""
    other = RNG.normal(size=DIM)
    other -= (other @ ROWS[person]) * ROWS[person]
    return unit((similarity * ROWS[person] + np.sqrt(1 - similarity**2) * unit(other[None])[0])[None])[0]


def test_a_collage_and_links_hide_nobody(gallery: Gallery) -> None:
    """A photo with the same face twenty times counts once, as does a file with thirty names."""
    gallery.record([photo(b"/collage", b"c", [like(0, 0.99) for _ in range(20)])])
    gallery.record([photo(b"/links/00", b"l", [like(0, 0.98)])])
    gallery.record([Outcome(b"/links/%02d" % n, stamp(2), b"l") for n in range(1, 30)])
    gallery.record([photo(b"/other/%d" % n, b"o%d" % n, [like(0, 0.9 - n / 100)]) for n in range(10)])
    answer = nearest(gallery, ROWS[0], Search(0.5, top=5))
    paths = [match.path for match in answer.matches]
    assert paths == [b"/collage", b"/links/00", b"/other/0", b"/other/1", b"/other/2"]
    assert answer.total == 12
    assert answer.matches[1].copies == tuple(b"/links/%02d" % n for n in range(1, 30))
    assert answer.matches[0].similarity == pytest.approx(0.99, abs=1e-3)
    every = nearest(gallery, ROWS[0], Search(0.5, collapse=False))
    assert len(every.matches) == every.total == 41
    assert not any(match.copies for match in every.matches)
    assert [match.path for match in nearest(gallery, ROWS[0], Search(0.5, top=3, collapse=False)).matches] == [
        b"/collage", b"/links/00", b"/links/01",
    ]  # fmt: skip


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("collapse", [True, False])
def test_pages_put_together_are_the_whole(gallery: Gallery, sort: Sort, *, collapse: bool) -> None:
    gallery.record([photo(b"/%d" % n, b"d%d" % n, [like(0, 0.9 - n / 100)]) for n in range(7)])
    gallery.record([Outcome(b"/copies/%d" % n, stamp(n), b"d2") for n in range(4)])
    whole = nearest(gallery, ROWS[0], Search(0.5, collapse=collapse, sort=sort))
    assert len(whole.matches) == (7 if collapse else 11)
    for top in (1, 3, 4):
        pages = [
            nearest(gallery, ROWS[0], Search(0.5, top, collapse=collapse, sort=sort, skip=skip))
            for skip in range(0, 14, top)
        ]
        assert [match for page in pages for match in page.matches] == whole.matches
        assert {page.total for page in pages} == {whole.total}
    assert nearest(gallery, ROWS[0], Search(0.5, collapse=collapse, sort=sort, skip=5)).matches == whole.matches[5:]


def test_years_count_all_results_whatever_is_shown(gallery: Gallery) -> None:
    names = [b"/IMG_20110304_101112.jpg", b"/IMG_20110305_101112.jpg", b"/IMG_19991231_235959.jpg"]
    gallery.record([photo(name, b"d%d" % n, [like(0, 0.9 - n / 50)]) for n, name in enumerate(names)])
    gallery.record([Outcome(b"/copies/%d" % n, stamp(n), b"d2") for n in range(2)])
    found = nearest(gallery, ROWS[0], Search(0.5, top=1, skip=1, tells_years=True))
    assert (found.years, found.total) == (((1999, 1, 0), (2011, 2, 0)), 3)
    every = nearest(gallery, ROWS[0], Search(0.5, collapse=False, tells_years=True))
    assert (every.years, every.total) == (((1999, 3, 0), (2011, 2, 0)), 5)
    assert nearest(gallery, ROWS[0], Search(0.99, tells_years=True)).years == ()


def test_years_tell_of_how_many_photos_only_the_file_has_a_date(gallery: Gallery) -> None:
    written = Stamp(1, 1, 1, 1_300_000_000 * 10**9, 1)  # in 2011
    gallery.record([photo(b"/IMG_20110304_101112.jpg", b"d1", [like(0, 0.9)])])
    gallery.record([replace(photo(b"/scan.jpg", b"d2", [like(0, 0.8)]), stamp=written)])
    assert nearest(gallery, ROWS[0], Search(0.5, tells_years=True)).years == ((2011, 2, 1),)


def test_all_results_are_told_though_few_are_shown(gallery: Gallery) -> None:
    gallery.record([photo(b"/%d" % n, b"d%d" % n, [like(0, 0.9 - n / 100)]) for n in range(3)])
    gallery.record([Outcome(b"/copy", stamp(1), b"d1"), photo(b"/other", b"o", [ROWS[1]])])
    told = {
        collapse: nearest(gallery, ROWS[0], Search(0.5, 1, collapse=collapse, tells_all=True))
        for collapse in (True, False)
    }
    assert [len(found.matches) for found in told.values()] == [1, 1]
    assert sorted(told[True].every) == [b"d0", b"d1", b"d2"]
    assert sorted(told[False].every) == [b"d0", b"d1", b"d1", b"d2"]
    assert nearest(gallery, ROWS[0], Search(0.5, 1)).every == ()


def test_one_path_stands_for_its_copies(gallery: Gallery) -> None:
    names = [b"/p/a copy.jpg", b"/p/b.jpg", b"/p/a.jpg", b"/p/backup/a.jpg"]
    gallery.record([photo(names[0], b"d", [ROWS[0]])])
    gallery.record([Outcome(name, stamp(1), b"d") for name in names[1:]])
    (match,) = nearest(gallery, ROWS[0], Search(0.5)).matches
    assert (match.path, match.copies) == (b"/p/a.jpg", (b"/p/a copy.jpg", b"/p/b.jpg", b"/p/backup/a.jpg"))
    (match,) = nearest(gallery, ROWS[0], Search(0.5, own_paths=frozenset({b"/p/a copy.jpg"}))).matches
    assert match.path == b"/p/a copy.jpg", "the query's own"
    answer = nearest(gallery, ROWS[0], Search(0.5, directories=(b"/p/backup",)))
    assert [(match.path, match.copies) for match in answer.matches] == [(b"/p/backup/a.jpg", ())], "of those below it"


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("top", [1, 2, 3])
def test_no_copy_is_lost_where_what_was_shown_is_left_out(gallery: Gallery, sort: Sort, top: int) -> None:
    """Copies are seen together, so they are shown together."""
    for name in (b"1", b"4", b"7"):
        gallery.record([photo(b"/p/%s" % name, name, [like(0, 0.9)])])
    copies = [b"/p/8", b"/p/0", b"/p/5"]
    gallery.record([Outcome(name, stamp(1), content) for name, content in zip(copies, (b"1", b"4", b"4"), strict=True)])
    seen: set[bytes] = set()
    search = Search(0.5, top=top, collapse=False, sort=sort, seen=lambda digests: seen.intersection(digests))
    shown: list[bytes] = []
    while (found := nearest(gallery, ROWS[0], search)).matches:
        shown += [match.path for match in found.matches]
        seen.update(found.digests)
    assert sorted(shown) == [b"/p/%d" % number for number in (0, 1, 4, 5, 7, 8)]


def test_what_was_asked_with_comes_first(gallery: Gallery) -> None:
    gallery.record([photo(b"/p/%d" % n, b"%d" % n, [like(0, 0.99 - n / 100)]) for n in range(5)])
    with gallery.catalog.reading() as reader:
        record = reader.photo(b"/p/3")
    assert record is not None
    assert record.content_id is not None
    own = frozenset({record.content_id})
    answer = nearest(gallery, ROWS[0], Search(0.5, top=3), own=own)
    assert [match.path for match in answer.matches] == [b"/p/3", b"/p/0", b"/p/1"]
    assert [match.itself for match in answer.matches] == [True, False, False]


def test_the_size_is_that_of_the_face_that_is_alike(gallery: Gallery) -> None:
    """Also where a larger face, of somebody else or less alike, is on the photo."""
    faces = [face(like(0, 0.95), Box(0, 0, 30, 90)), face(like(0, 0.8), Box(90, 0, 60, 60)), face(ROWS[1], BOX)]
    gallery.record([Outcome(b"/p", stamp(1), b"d", 640, 480, faces)])
    (small,) = nearest(gallery, ROWS[0], Search(0.5)).matches
    assert small.box == faces[0].box
    (large,) = nearest(gallery, ROWS[0], Search(0.5, min_size=31)).matches
    assert large.box == faces[1].box
    assert nearest(gallery, ROWS[0], Search(0.5, min_size=61)).total == 0


def test_several_people_each_with_their_face(gallery: Gallery) -> None:
    gallery.record(
        [
            photo(b"/both", b"1", [like(0, 0.8), like(1, 0.9), like(0, 0.7)]),
            photo(b"/first", b"2", [like(0, 0.95)]),
            photo(b"/second", b"3", [like(1, 0.6)]),
            photo(b"/neither", b"4", [ROWS[2]]),
        ]
    )
    answer = nearest(gallery, ROWS[:2], Search(0.5))
    assert [(match.path, match.of) for match in answer.matches] == [(b"/first", 0), (b"/both", 1), (b"/second", 1)]
    assert answer.total == 3, "a photo counts once"
    (also,) = answer.matches[1].also
    assert (also.of, also.similarity) == (0, pytest.approx(0.8, abs=1e-3))
    assert not answer.matches[0].also


TABLE = Quality(clear=10, slope=0.01, floor=7)


def test_a_blurred_face_needs_more_and_one_below_the_floor_matches_nothing(gallery: Gallery) -> None:
    """Two clear faces match from 0.50 on; norms of 8 and 9 ask for 0.02 and 0.01 more, below the floor for 0.03."""
    alike = [(0.515, 12.0), (0.515, 8.0), (0.535, 8.0), (0.535, None), (0.99, 6.9), (0.505, 10.0)]
    gallery.record([photo_of(b"/%d" % n, [face(like(0, one), norm=norm)]) for n, (one, norm) in enumerate(alike)])

    def found(norm: float | None, own: Iterable[int] = ()) -> list[int]:
        searches = [Search(0.5, quality=TABLE, exact=exact) for exact in (True, False)]
        answers = [nearest(gallery, ROWS[0], search, norms=(norm,), own=own) for search in searches]
        assert {answer.total for answer in answers} == {len(answer.matches) for answer in answers}
        first, second = (sorted(int(match.path[1:]) for match in answer.matches) for answer in answers)
        assert first == second
        return first

    assert found(None) == found(11) == [0, 2, 3, 5]
    assert found(9) == [0, 2, 3]
    assert found(8) == [3]
    assert found(7) == found(1) == [3]
    assert found(8, own=frozenset({5})) == [3, 4], "a face of the query's own photo"
    assert [match.norm for match in nearest(gallery, ROWS[0], Search(0.98)).matches] == [pytest.approx(6.9)]
    assert nearest(gallery, ROWS[0], Search(0.5)).total == 6, "a threshold that was given counts for all"


def photo_of(path: bytes, faces: list[Face]) -> Outcome:
    return Outcome(path, stamp(1), path, 640, 480, faces)


norms_of_faces = st.sampled_from([None, 25.0, 9.5, 8.0, 5.0])
directories = st.sampled_from([(), (b"/a",), (b"/a/b", b"/c"), (b"/",), (b"/none",), (b"/c/3",)])


@given(
    photos=st.lists(
        st.tuples(
            st.sampled_from([b"/a", b"/a/b", b"/ab", b"/c"]),
            st.integers(0, 5),
        ),
        max_size=14,
        unique=True,
    ),
    contents=st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.sampled_from([20, 50, 80]), norms_of_faces), max_size=4),
        min_size=6,
        max_size=6,
    ),
    top=st.integers(0, 4),
    min_size=st.sampled_from([0, 30, 70]),
    directories=directories,
    collapse=st.booleans(),
    exact=st.booleans(),
    own=st.integers(0, 5),
    quality=st.sampled_from([None, TABLE]),
    norms=st.tuples(norms_of_faces, norms_of_faces),
)
@settings(deadline=None, max_examples=60)
def test_it_is_what_a_plain_loop_finds(
    photos: list[tuple[bytes, int]],
    contents: list[list[tuple[int, int, float | None]]],
    top: int,
    min_size: int,
    directories: tuple[bytes, ...],
    collapse: bool,
    exact: bool,
    own: int,
    quality: Quality | None,
    norms: tuple[float | None, float | None],
) -> None:
    """Photos of six contents in some directories; each content has faces of three people, in three sizes."""
    embeddings = [[like(person, 0.99 - at / 50) for at, (person, *_) in enumerate(faces)] for faces in contents]
    with tempfile.TemporaryDirectory() as directory:
        gallery = opened(Path(directory))
        for number, (folder, content) in enumerate(photos):
            faces = [
                face(embedding, Box(0, 0, size, size + 5), norm)
                for embedding, (_, size, norm) in zip(embeddings[content], contents[content], strict=True)
            ]
            known = any(content == other for _, other in photos[:number])
            outcome = Outcome(b"%s/%d" % (folder, content), stamp(number), b"%d" % content, 9, 9, faces)
            gallery.record([Outcome(outcome.path, stamp(number), b"%d" % content) if known else outcome])
        ids = {}
        with gallery.catalog.reading() as reader:
            for path in reader.paths(b"/"):
                record = reader.photo(path)
                assert record is not None
                ids[int(path[-1:])] = record.content_id or 0
        own_ids = frozenset({ids.get(own, 0)})
        search = Search(0.9, top, directories, min_size, exact, collapse, quality=quality)
        answer = nearest(gallery, ROWS[:2], search, norms=norms, own=own_ids)
        close_all()

    expected = {}
    for content in range(6):
        names = [b"%s/%d" % pair for pair in photos if pair[1] == content]
        names = [name for name in names if not directories or any(_within(name, parent) for parent in directories)]
        alike = [
            float(embedding @ ROWS[person])
            for embedding, (_, size, norm) in zip(embeddings[content], contents[content], strict=True)
            for person in (0, 1)
            if size >= min_size and embedding @ ROWS[person] >= 0.9
            if quality is None or _is_told(embedding @ ROWS[person], norm, norms[person], is_own=content == own)
        ]
        if names and alike:
            expected[content] = max(alike), names
    results = len(expected) if collapse else sum(len(names) for _, names in expected.values())
    assert answer.total == results
    assert len(answer.matches) == (min(top, results) if top else results)
    keys = []
    for match in answer.matches:
        content = int(match.path[-1:])
        similarity, names = expected[content]
        assert match.similarity == pytest.approx(similarity, abs=1e-4)
        assert match.itself == (content == own)
        keys.append((not match.itself, -round(similarity, 4)))
        if collapse:
            assert {match.path, *match.copies} == set(names)
            assert match.path == min(names, key=lambda name: (len(name), name))
        else:
            assert match.path in names
    assert keys == sorted(keys)


def _is_told(similarity: float, *norms: float | None, is_own: bool) -> bool:
    """The rule of norms, said again for `TABLE`; the first is that of the face in the gallery."""
    if not is_own and norms[0] is not None and norms[0] < 7:
        return False
    blurred = [norm for norm in norms[is_own:] if norm is not None and norm < 10]
    return similarity >= 0.9 + sum(0.01 * (10 - max(7, norm)) for norm in blurred)


def _within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
