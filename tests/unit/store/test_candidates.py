"""Questions about several people, held against an answer that tries every way in which faces can be dealt to them.

The albums are made up: two brothers (Abe and Bob), whose faces match each other's, Carl, and strangers. Catalog, index
and scoring are real; what the user said is given to the scoring directly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.matches import Box, Match
from facewatchd.store.candidates import Question, Unwanted
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.results import NAMED, Found, found
from facewatchd.store.scoring import Search, Wanted, scored
from facewatchd.values import Face, Quality, Taken, TakenFrom
from tests.support.galleries import DIM, close_all, face, opened, stamp, unit

RNG = np.random.default_rng(14)
ABE, CARL, STRANGER, *OTHERS = unit(np.linalg.qr(RNG.normal(size=(DIM, DIM)))[0].T[:8])
BOB = unit(0.7 * ABE + np.sqrt(1 - 0.49) * OTHERS[0])
BETWEEN = unit(ABE + BOB)
LOOKS = {"abe": ABE, "bob": BOB, "between": BETWEEN, "carl": CARL, "stranger": STRANGER}
PEOPLE = [ABE, BOB, CARL]
THRESHOLD = 0.6
TABLE = Quality(clear=10, slope=0.01, floor=7)


@dataclass(frozen=True)
class Shown:
    """A face of the album."""

    look: str
    size: int = 60
    norm: float | None = None


@dataclass
class Said:
    """What the user said of one person: faces by content and number, and contents."""

    confirmed: set[tuple[int, int]] = field(default_factory=set)
    rejected: set[tuple[int, int]] = field(default_factory=set)
    stands: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Asked:
    """A question, by the positions of people in `PEOPLE`; a term may be any of several."""

    terms: tuple[tuple[int, ...], ...]
    without: tuple[int, ...] = ()
    strict: bool = False
    only: bool = False
    faces_min: int = 0
    faces_max: int | None = None
    min_size: int = 0
    directories: tuple[bytes, ...] = ()
    collapse: bool = True
    top: int = 0
    is_measured: bool = False
    """Whether norms mean something."""
    is_told: bool = True
    """Whether the unwanted can be told from the others."""

    @property
    def search(self) -> Search:
        quality = TABLE if self.is_measured else None
        numbers = {
            name: getattr(self, name) for name in ("strict", "only", "faces_min", "faces_max", "min_size", "top")
        }
        return Search(THRESHOLD, directories=self.directories, collapse=self.collapse, quality=quality, **numbers)


class Album:
    """Photos by path, each of a content, and the faces on each content."""

    def __init__(self, directory: Path, contents: Sequence[Sequence[Shown]], paths: Mapping[bytes, int]) -> None:
        self.contents = contents
        self.paths = paths
        self.gallery: Gallery = opened(directory)
        noise = np.random.default_rng(len(paths))
        self.rows = [
            [unit(LOOKS[each.look] + 0.1 * unit(noise.normal(size=DIM))) for each in faces] for faces in contents
        ]
        self.ids: dict[tuple[int, int], int] = {}
        self.content_ids: dict[int, int] = {}
        for inode, (path, content) in enumerate(paths.items()):
            self._record(path, content, inode)

    def _record(self, path: bytes, content: int, inode: int) -> None:
        digest = b"%d" % content
        if content in self.content_ids:
            self.gallery.record([Outcome(path, stamp(inode), digest)])
            return
        faces = [
            face(row, Box(100 * number, 0, each.size, each.size + 9), each.norm)
            for number, (row, each) in enumerate(zip(self.rows[content], self.contents[content], strict=True))
        ]
        self.gallery.record([Outcome(path, stamp(inode), digest, 900, 480, faces)])
        with self.gallery.catalog.reading() as reader:
            record = reader.photo(path)
            assert record is not None
            assert record.content_id is not None
            self.content_ids[content] = record.content_id
            for number, (face_id, _) in enumerate(reader.faces(record.content_id) or []):
                self.ids[content, number] = face_id

    def wanted(self, person: int, said: Said) -> Wanted:
        def ids(faces: set[tuple[int, int]]) -> frozenset[int]:
            return frozenset(self.ids[each] for each in faces if each in self.ids)

        photos = frozenset(self.content_ids[each] for each in said.stands if each in self.content_ids)
        return Wanted(
            PEOPLE[person][None],
            (None,),
            person=person,
            confirmed=ids(said.confirmed),
            rejected=ids(said.rejected) - ids(said.confirmed),
            photos=photos,
        )

    def ask(self, asked: Asked, said: Sequence[Said]) -> Found:
        search, people = asked.search, [self.wanted(person, each) for person, each in enumerate(said)]
        with self.gallery.catalog.reading() as reader:

            def score(person: int, search: Search) -> object:
                return scored(self.gallery.index, reader, people[person], search)

            question = Question(
                [[score(way, search) for way in term] for term in asked.terms],  # type: ignore[misc]
                [
                    Unwanted(
                        [score(person, replace(search, min_size=0))],  # type: ignore[list-item]
                        people[person].rejected,
                        frozenset(range(len(asked.terms))) if asked.is_told else frozenset(),
                    )
                    for person in asked.without
                ],
            )
            return found(reader, question, search)


@dataclass(frozen=True)
class Way:
    """One way in which the faces of a content can be dealt: the number of each term's face, None without one."""

    faces: tuple[int | None, ...]
    weights: tuple[float, ...]


class Expected:
    """The answer, content by content and way by way."""

    def __init__(self, album: Album, asked: Asked, said: Sequence[Said]) -> None:
        self.album, self.asked, self.said = album, asked, said

    def matches(self, content: int, number: int, person: int, min_size: int) -> bool:
        shown, said = self.album.contents[content][number], self.said[person]
        if shown.size < min_size:
            return False
        if (content, number) in said.confirmed:
            return True
        if (content, number) in said.rejected:
            return False
        similarity = self.similarity(content, number, person)
        if not self.asked.is_measured or shown.norm is None:
            return similarity >= THRESHOLD
        return shown.norm >= 7 and similarity >= THRESHOLD + 0.01 * max(0, 10 - shown.norm)

    def similarity(self, content: int, number: int, person: int) -> float:
        return float(self.album.rows[content][number] @ PEOPLE[person])

    def weight(self, content: int, number: int, person: int) -> float:
        confirmed = (content, number) in self.said[person].confirmed
        return self.similarity(content, number, person) + (2 if confirmed else 0)

    def best_ways(self, content: int) -> list[Way]:
        """Those with the highest least weight, and of them those with the most faces."""
        every = list(self._ways(content))
        best = max((self._rank(way) for way in every), default=None)
        return [way for way in every if self._rank(way) == best]

    @staticmethod
    def _rank(way: Way) -> tuple[float, int]:
        return round(min(way.weights), 5), sum(number is not None for number in way.faces)

    def _ways(self, content: int) -> Iterator[Way]:
        numbers = range(len(self.album.contents[content]))
        offers: list[list[tuple[int | None, float]]] = []
        for term in self.asked.terms:
            others = {way for each in self.asked.terms if each is not term for way in each}
            offered: list[tuple[int | None, float]] = []
            for number in numbers:
                ways = [way for way in term if self.matches(content, number, way, self.asked.min_size)]
                own = any((content, number) in self.said[way].confirmed for way in ways)
                if ways and (own or not any((content, number) in self.said[other].confirmed for other in others)):
                    offered.append((number, max(self.weight(content, number, way) for way in ways)))
            if any(content in self.said[way].stands for way in term):
                offered.append((None, -2.0))
            offers.append(offered)
        for chosen in product(*offers):
            taken = [number for number, _ in chosen if number is not None]
            if len(taken) == len(set(taken)):
                yield Way(tuple(number for number, _ in chosen), tuple(weight for _, weight in chosen))

    def passes(self, content: int, way: Way) -> bool:
        asked, faces = self.asked, self.album.contents[content]
        large = sum(each.size >= asked.min_size for each in faces)
        taken = {number: weight for number, weight in zip(way.faces, way.weights, strict=True) if number is not None}
        if large < asked.faces_min or large > (len(faces) if asked.faces_max is None else asked.faces_max):
            return False
        if asked.only and large != len(taken):
            return False
        if any(self._is_seen(content, person, taken) for person in asked.without):
            return False
        return not (asked.strict and self.is_doubtful(content, way))

    def _is_seen(self, content: int, person: int, taken: Mapping[int, float]) -> bool:
        if content in self.said[person].stands:
            return True
        for number in range(len(self.album.contents[content])):
            if not self.matches(content, number, person, 0):
                continue
            if not self.asked.is_told or number not in taken or self.weight(content, number, person) >= taken[number]:
                return True
        return False

    def is_doubtful(self, content: int, way: Way) -> bool:
        for number, each in enumerate(self.album.contents[content]):
            blurred = self.asked.is_measured and each.norm is not None and each.norm < 7
            cleared = all((content, number) in self._cleared(person) for person in self.asked.without)
            if (each.size < 32 or blurred) and number not in way.faces and not cleared:
                return bool(self.asked.without)
        return False

    def _cleared(self, person: int) -> set[tuple[int, int]]:
        return self.said[person].rejected - self.said[person].confirmed

    def names(self, content: int) -> list[bytes]:
        names = [path for path, each in self.album.paths.items() if each == content]
        within = self.asked.directories
        return [name for name in names if not within or any(name.startswith(each + b"/") for each in within)]


faces = st.builds(
    Shown,
    st.sampled_from(list(LOOKS)),
    st.sampled_from([24, 60, 60, 90]),
    st.sampled_from([None, 25.0, 9.0, 5.0]),
)
contents = st.lists(st.lists(faces, max_size=4), min_size=5, max_size=5)
paths = st.dictionaries(
    st.builds(
        lambda folder, name: folder + b"/%d" % name, st.sampled_from([b"/a", b"/a/b", b"/ab"]), st.integers(0, 4)
    ),
    st.integers(0, 4),
    min_size=3,
    max_size=9,
)
places = st.tuples(st.integers(0, 4), st.integers(0, 3))
statements = st.lists(
    st.builds(Said, st.sets(places, max_size=1), st.sets(places, max_size=2), st.sets(st.integers(0, 4), max_size=1)),
    min_size=3,
    max_size=3,
)
terms = st.sampled_from(
    [((0,),), ((2,),), ((0,), (1,)), ((1,), (2,)), ((0,), (1,), (2,)), ((0,), (0,)), ((0, 2),), ((0, 2), (1,))]
)
questions = st.builds(
    Asked,
    terms,
    st.sampled_from([(), (), (1,), (2,), (1, 2), (0,)]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 0, 1, 2]),
    st.sampled_from([None, None, 2, 3]),
    st.sampled_from([0, 0, 40]),
    st.sampled_from([(), (), (b"/a",), (b"/ab", b"/a/b")]),
    st.booleans(),
    st.sampled_from([0, 2]),
    st.booleans(),
    st.booleans(),
)


@given(contents, paths, statements, st.lists(questions, min_size=6, max_size=6))
@settings(deadline=None, max_examples=50)
def test_the_answer_is_that_of_trying_every_way(
    contents: list[list[Shown]], paths: dict[bytes, int], said: list[Said], asked: list[Asked]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        album = Album(Path(directory), contents, paths)
        try:
            for each in asked:
                check(album, each, [_confirmed_once(album, said, person) for person in range(3)])
        finally:
            close_all()


def _confirmed_once(album: Album, said: Sequence[Said], person: int) -> Said:
    """A face is confirmed as one person at most, and only faces that are there can be."""
    earlier = {face for other in said[:person] for face in other.confirmed}
    own = said[person]
    there = {(content, number) for content, faces in enumerate(album.contents) for number in range(len(faces))}
    return Said((own.confirmed - earlier) & there, own.rejected & there, own.stands)


def check(album: Album, asked: Asked, said: Sequence[Said]) -> None:
    """Hold an answer against all ways; where several are as good, against what any of them gives."""
    expected, answer = Expected(album, asked, said), album.ask(asked, said)
    every = album.ask(replace(asked, top=0), said)
    assert answer.matches == every.matches[: asked.top or None]
    assert (answer.total, answer.undecided) == (len(every.matches), every.undecided)
    numbers = {face_id: place for place, face_id in album.ids.items()}
    given = {album.paths[match.path]: match for match in every.matches}
    least: set[int] = set()
    for content in set(album.paths.values()):
        ways = expected.best_ways(content) if expected.names(content) else []
        passing = [way for way in ways if expected.passes(content, way)]
        match = given.get(content)
        if match is None:
            assert len(passing) < len(ways) or not ways, f"{content} is missing from {asked}"
            continue
        shown = {
            path for each in every.matches if album.paths[each.path] == content for path in (each.path, *each.copies)
        }
        assert shown == set(expected.names(content))
        taken = tuple(None if each is None else numbers[each][1] for each in faces_of(match))
        assert taken in {way.faces for way in passing}, f"{content}: {taken} in {asked}"
        (way,) = {way for way in passing if way.faces == taken}
        assert match.similarity == (pytest.approx(lowest(expected, content, match), abs=1e-4))
        if expected.is_doubtful(content, way):
            least.add(content)
    if asked.without and not asked.strict:
        assert every.undecided is not None
        shown_doubtful = [match for match in every.matches if album.paths[match.path] in least]
        assert every.undecided.count == len(shown_doubtful)
        assert every.undecided.paths == tuple(match.path for match in shown_doubtful)[:NAMED]
    keys = [(not match.confirmed, -np.inf if match.similarity is None else match.similarity) for match in every.matches]
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    for stated in (False, True):
        similarities = [similarity for other, similarity in keys if other is stated]
        assert similarities == sorted(similarities, reverse=True)


def faces_of(match: Match) -> list[int | None]:
    return [term.face_id for term in match.terms] if match.terms else [match.face_id]


def lowest(expected: Expected, content: int, match: Match) -> float | None:
    """The least similarity of the faces, each to the person that it was taken for."""
    places = {face_id: number for (each, number), face_id in expected.album.ids.items() if each == content}
    found = []
    for term, face_id in zip(expected.asked.terms, faces_of(match), strict=True):
        if face_id is not None:
            number = places[face_id]
            ways = [way for way in term if expected.matches(content, number, way, 0)]
            best = max(ways, key=lambda way: expected.weight(content, number, way))
            found.append(expected.similarity(content, number, best))
    return min(found, default=None)


# The rules, one by one


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    close_all()


def album_of(directory: Path, **photos: str | Sequence[Shown]) -> Album:
    """Photos by name, each with faces of these looks."""
    shown = [[Shown(look) for look in faces.split()] if isinstance(faces, str) else faces for faces in photos.values()]
    return Album(directory, shown, {b"/%s" % name.encode(): number for number, name in enumerate(photos)})


def nobody() -> list[Said]:
    return [Said(), Said(), Said()]


def names(answer: Found) -> list[str]:
    return [match.path.decode()[1:] for match in answer.matches]


def test_one_face_is_never_both_brothers(directory: Path) -> None:
    album = album_of(
        directory, abe="abe", bob="bob", both="bob abe", alike="between", twice="between between", carl="carl"
    )
    both = Asked(((0,), (1,)))
    assert sorted(names(album.ask(both, nobody()))) == ["both", "twice"]
    (match,) = [match for match in album.ask(both, nobody()).matches if match.path == b"/both"]
    assert [term.face_id for term in match.terms] == [album.ids[2, 1], album.ids[2, 0]]
    assert match.similarity == min(term.similarity or 0 for term in match.terms)
    assert (match.face_id, match.box) == (match.terms[0].face_id, match.terms[0].box), "the first one's"


def test_a_brother_alone_is_not_seen_as_the_other_one(directory: Path) -> None:
    album = album_of(directory, abe="abe", bob="bob", both="bob abe", with_carl="abe carl")
    assert sorted(names(album.ask(Asked(((0,),)), nobody()))) == ["abe", "bob", "both", "with_carl"]
    assert sorted(names(album.ask(Asked(((0,),), without=(1,)), nobody()))) == ["abe", "with_carl"]
    said = nobody()
    said[1].confirmed = {(0, 0)}
    assert names(album.ask(Asked(((0,),), without=(1,)), said)) == ["with_carl"], "the user says that it is Bob"
    said[0].confirmed, said[1].confirmed = {(1, 0)}, set()
    assert sorted(names(album.ask(Asked(((0,),), without=(1,)), said))) == ["abe", "bob", "with_carl"]
    assert names(album.ask(Asked(((0,),), without=(1,), is_told=False), nobody())) == [], "all of them match both"


def test_nobody_is_seen_without_himself(directory: Path) -> None:
    album = album_of(directory, abe="abe", twice="abe abe", said="stranger")
    said = nobody()
    said[0].confirmed = {(2, 0)}
    assert names(album.ask(Asked(((0,),), without=(0,)), said)) == []


def test_what_the_user_said_decides_who_was_seen(directory: Path) -> None:
    album = album_of(directory, one="carl abe", two="carl abe", three="carl", four="carl stranger")
    said = nobody()
    said[0].rejected, said[0].stands, said[0].confirmed = {(0, 1)}, {2}, {(3, 1)}
    assert names(album.ask(Asked(((2,),), without=(0,)), said)) == ["one"]


def test_a_person_who_stands_on_a_photo_takes_no_face(directory: Path) -> None:
    album = album_of(directory, bob="bob", empty="", carl="carl", both="abe bob")
    said = nobody()
    said[0].stands = {0, 1, 2}
    answer = album.ask(Asked(((0,), (1,))), said)
    assert sorted(names(answer)) == ["bob", "both"]
    (bob,) = [match for match in answer.matches if match.path == b"/bob"]
    assert [term.face_id for term in bob.terms] == [None, album.ids[0, 0]]
    assert (bob.face_id, bob.box, bob.of) == (None, None, None)
    assert bob.similarity == bob.terms[1].similarity
    alone = album.ask(Asked(((0,),)), said).matches
    assert [(match.path, match.similarity is None) for match in alone] == [
        (b"/bob", False),
        (b"/empty", True),
        (b"/carl", True),
        (b"/both", False),
    ]
    assert [match.confirmed for match in alone] == [True, True, True, False], "whatever face is shown for it"
    either = {match.path: (match.of, match.confirmed) for match in album.ask(Asked(((0, 2),)), said).matches}
    assert either[b"/bob"] == (0, True)
    assert either[b"/carl"] == (1, False), "it is the other one who stands there"
    assert names(album.ask(Asked(((0,),), only=True), said)) == ["bob", "empty"], "nobody else, and no face of another"


def test_only_counts_every_face_of_the_size(directory: Path) -> None:
    album = album_of(
        directory,
        alone="abe",
        pair="abe carl",
        passer_by=[Shown("abe"), Shown("stranger", 24)],
        blur=[Shown("abe"), Shown("stranger", 60, 5.0)],
    )
    only = Asked(((0,),), only=True, is_measured=True)
    assert names(album.ask(only, nobody())) == ["alone"]
    assert sorted(names(album.ask(replace(only, min_size=40), nobody()))) == ["alone", "passer_by"]
    assert names(album.ask(Asked(((0,), (2,)), only=True), nobody())) == ["pair"]
    two = Asked(((0,),), faces_min=2, faces_max=2)
    assert sorted(names(album.ask(two, nobody()))) == ["blur", "pair", "passer_by"]
    assert sorted(names(album.ask(replace(two, min_size=40), nobody()))) == ["blur", "pair"]


def test_faces_too_poor_to_tell_are_named_or_left_out(directory: Path) -> None:
    album = album_of(
        directory,
        clear="carl stranger",
        blur=[Shown("carl"), Shown("stranger", 60, 5.0)],
        small=[Shown("carl"), Shown("stranger", 31)],
        own=[Shown("carl", 24)],
        no=[Shown("carl"), Shown("stranger", 24)],
    )
    said = nobody()
    said[0].rejected = {(4, 1)}
    without = Asked(((2,),), without=(0,), is_measured=True)
    answer = album.ask(without, said)
    assert answer.total == 5
    assert answer.undecided is not None
    assert (answer.undecided.count, set(answer.undecided.paths)) == (2, {b"/blur", b"/small"})
    strict = album.ask(replace(without, strict=True), said)
    assert sorted(names(strict)) == ["clear", "no", "own"]
    assert strict.undecided == answer.undecided
    two = album.ask(replace(without, without=(0, 1)), said)
    assert two.undecided is not None
    assert two.undecided.count == 3, "the small face may still be Bob's"
    norms_mean_nothing = album.ask(replace(without, is_measured=False), said)
    assert norms_mean_nothing.undecided is not None
    assert norms_mean_nothing.undecided.paths == (b"/small",)
    assert album.ask(Asked(((2,),)), said).undecided is None


def test_of_many_undecided_photos_the_first_are_named(directory: Path) -> None:
    faces = [Shown("carl"), Shown("stranger", 20)]
    album = Album(directory, [faces] * 12, {b"/%02d/x" % number: number for number in range(12)} | {b"/00/copy": 0})
    answer = album.ask(Asked(((2,),), without=(0,), top=3), nobody())
    assert answer.undecided is not None
    assert (answer.total, answer.undecided.count, len(answer.undecided.paths)) == (12, 12, NAMED)
    assert answer.undecided.paths[:3] == tuple(match.path for match in answer.matches)
    apart = album.ask(Asked(((2,),), without=(0,), collapse=False), nobody())
    assert apart.undecided is not None
    assert (apart.total, apart.undecided.count) == (13, 13)


@pytest.mark.parametrize("strict", [False, True])
def test_undecided_frames_of_a_burst_count_once(gallery: Gallery, strict: bool) -> None:
    """Three frames of one burst, each with a small face beside Carl's, and a photo of another day with one."""
    for number, at in enumerate([0.0, 1.0, 2.0, 90_000.0]):
        carl = face(unit(CARL + 0.01 * unit(RNG.normal(size=DIM))))
        small = Face(Box(200, 0, 20, 20), 0.9, carl.landmarks, STRANGER)
        name = b"/%d" % number
        taken = Taken(1.5e9 + at, None, TakenFrom.EXIF)
        gallery.record([Outcome(name, stamp(number), name, 640, 480, [carl, small], taken=taken, picture=b"\1" * 8)])
    search = Search(THRESHOLD, strict=strict, same_face=0.9)
    with gallery.catalog.reading() as reader:
        carl_found, abe_found = (
            scored(gallery.index, reader, Wanted(row[None], (None,)), search) for row in (CARL, ABE)
        )
        answer = found(reader, Question([[carl_found]], [Unwanted([abe_found])]), search)
    assert answer.total == (0 if strict else 2)
    assert answer.undecided is not None
    assert (answer.undecided.count, len(answer.undecided.paths)) == (2, 2)
    assert b"/3" in answer.undecided.paths
