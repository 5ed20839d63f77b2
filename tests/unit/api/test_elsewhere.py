"""Questions over several machines: the answer is that of one machine which has all photos.

Catalogs, indexes and all stages of a question are real. The engine is played by a comparison with all faces
(`tests.support.other_machines`).
"""

from __future__ import annotations

import base64
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.api import replies
from facewatchd.api.elsewhere import Elsewhere
from facewatchd.api.explain import Explainer
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters
from facewatchd.api.search import Answer, Searcher
from facewatchd.config import Shared
from facewatchd.expectation.sampler import Sampler
from facewatchd.inference.pool import Inference
from facewatchd.inference.wire import Analysis
from facewatchd.matches import Box, Match
from facewatchd.photos import files
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import read
from facewatchd.shared.link import LinkError
from facewatchd.shared.values import Detail
from facewatchd.shared.wire import State
from facewatchd.store.catalog import Outcome
from facewatchd.store.flat import FlatIndex
from facewatchd.store.scoring import Search, Sort
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.threads.liveness import Liveness
from facewatchd.values import Face, ModelInfo, Quality, Stamp, Taken, TakenFrom
from tests.support.galleries import DIM, close_all, gallery_with, unit
from tests.support.known_people import PlayedResolver, scorer
from tests.support.other_machines import PlayedLink

TABLE = Quality(clear=10, slope=0.05, floor=5)
INFO = ModelInfo("test-00000000", "test", DIM, 0.5, TABLE)
PEOPLE = np.eye(4, DIM, dtype=np.float32)
MACHINES = ("a", "b")
LANDMARKS = np.zeros((5, 2), np.float32)


@dataclass(frozen=True)
class Photo:
    """A content, with where its copies are: a path and a machine each."""

    number: int
    faces: list[Face]
    taken: Taken | None
    picture: bytes
    copies: list[tuple[bytes, str]]

    @property
    def data(self) -> bytes:
        return b"photo %d" % self.number

    @property
    def digest(self) -> bytes:
        return files.digest(self.data)


def like(rng: np.random.Generator, person: int, similarity: float) -> np.ndarray:
    """An embedding with this similarity to a person."""
    other = rng.normal(size=DIM)
    other[: len(PEOPLE)] = 0
    other = unit(other[None])[0]
    return unit((similarity * PEOPLE[person] + np.sqrt(1 - similarity**2) * other)[None])[0]


def face(rng: np.random.Generator, person: int, at: int, similarity: float | None = None) -> Face:
    size = int(rng.choice([20, 45, 60, 90]))
    box = Box(10 + 200 * at, int(rng.integers(0, 40)), size, size + 7)
    alike = float(rng.uniform(0.35, 0.99)) if similarity is None else similarity
    norm = None if rng.random() < 0.2 else float(rng.uniform(4, 14))
    return Face(box, 0.9, LANDMARKS, like(rng, person, alike), norm, sharpness=float(rng.uniform(1, 9)))


def world(seed: int, count: int) -> list[Photo]:
    """Photos of four people: bursts, copies, dates of every kind.

    A frame of a burst is sharper on the first machine: there, those stand for others whatever another machine has.
    """
    rng = np.random.default_rng(seed)
    photos: list[Photo] = []
    while len(photos) < count:
        people = rng.permutation(len(PEOPLE))[: int(rng.integers(1, 4))].tolist()
        frames = int(rng.integers(2, 5)) if rng.random() < 0.4 else 1
        faces = [face(rng, person, at) for at, person in enumerate(people)]
        picture = rng.bytes(8)
        at = float(1_400_000_000 + rng.integers(0, 200_000_000)) + 0.5
        for frame in range(frames):
            shown = [
                replace(each, embedding=unit((each.embedding + 0.02 * rng.normal(size=DIM))[None])[0]) for each in faces
            ]
            taken = Taken(at + 2 * frame, None, TakenFrom.EXIF) if frames > 1 or rng.random() < 0.5 else None
            number = len(photos)
            copies = _copies(rng, number)
            if all(machine != MACHINES[0] for _, machine in copies):
                shown = [replace(each, sharpness=each.sharpness / 10) for each in shown]
            photos.append(Photo(number, shown, taken, picture, copies))
    return photos


def _copies(rng: np.random.Generator, number: int) -> list[tuple[bytes, str]]:
    copies = []
    for copy in range(1 + int(rng.random() < 0.3) + int(rng.random() < 0.2)):
        name = f"IMG_2011{1 + number % 12:02}{1 + copy:02}_1011{number % 60:02}" if rng.random() < 0.3 else f"p{number}"
        directory = rng.choice(["x", "x/y", "z"])
        copies.append((f"/{directory}/{name}-{copy}.jpg".encode(), str(rng.choice(MACHINES))))
    return copies


class PlayedInference:
    """Finds the faces of the photos of a world."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self._photos = {photo.data: photo for photo in photos}

    def analyse(self, data: bytes | int) -> Analysis:
        return Analysis(640, 480, self._photos[bytes(cast(bytes, data))].faces)


class Machine:
    """A catalog with some photos, and what answers questions about them."""

    def __init__(self, directory: Path, photos: Sequence[Photo], machines: Sequence[str]) -> None:
        directory.mkdir()
        self.gallery = gallery_with(directory, FlatIndex(DIM))
        self.gallery.record([each for photo in photos for each in _outcomes(photo, machines)])
        self.resolver = PlayedResolver()
        finder = FaceFinder(self.gallery.catalog, cast(Inference, PlayedInference(photos)), DiskCalls())
        self.scorer = scorer(self.gallery, INFO, self.resolver)
        self.searcher = Searcher(self.gallery, finder, self.scorer, INFO)

    def ask(self, params: dict[str, Any], search: Search, link: PlayedLink | None = None) -> Answer:
        asked = read(QueryParameters, params)
        elsewhere = Elsewhere(link, None if link is None else Shared(url="postgresql:///x", name="here"))
        search = replace(search, directories=asked.dirs)
        return self.searcher.search(asked, search, elsewhere.asker(asked))

    def ids(self, photo: Photo) -> list[int]:
        """The faces of a photo, left to right; none where it is not known."""
        with self.gallery.catalog.reading() as reader:
            content = reader.content(photo.digest)
            return [] if content is None else [number for number, _ in reader.faces(content) or ()]

    def digests(self, contents: Sequence[int]) -> list[bytes]:
        with self.gallery.catalog.reading() as reader:
            return list(reader.digests(contents).values())


def _outcomes(photo: Photo, machines: Sequence[str]) -> Iterator[Outcome]:
    first = True
    for path, machine in photo.copies:
        if machine in machines:
            seconds = 1_000_000_000 + 1000 * photo.number + len(path)
            stamp = Stamp(1, photo.number, 100, seconds * 10**9, 1)
            faces = photo.faces if first else None
            yield Outcome(path, stamp, photo.digest, 640, 480, faces, taken=photo.taken, picture=photo.picture)
            first = False


def told(answer: Answer, photos: Sequence[Photo]) -> list[dict[str, Any]]:
    """What an answer says of each photo, by the bytes: which of its copies it names first is left open."""
    digest_of = {path: photo.number for photo in photos for path, _ in photo.copies}

    def of(match: Match) -> dict[str, Any]:
        faces = match.terms or (match,)
        return {
            "photo": digest_of[match.path],
            "copies": sorted([match.path, *match.copies, *(place.path for place in match.elsewhere)]),
            "burst": sorted(
                digest_of[path] for path in (*match.similar, *(each.path for each in match.similar_elsewhere))
            ),
            "faces": [
                (each.box, None if each.similarity is None else round(each.similarity, 4), each.norm, each.of)
                for each in faces
            ],
            "people": [(each.person, each.confirmed) for each in faces],
            "also": sorted((each.of, round(each.similarity, 4), each.box) for each in match.also),
            "itself": match.itself,
            "taken": (match.taken, match.taken_from),
        }

    return [of(match) for match in answer.found.matches]


def same(one: Answer, other: Answer, photos: Sequence[Photo], search: Search) -> None:
    mine, whole = told(one, photos), told(other, photos)
    if search.collapse and search.sort is Sort.PATH:  # the place of a photo is that of the copy that is named first
        assert search.top or search.skip or sorted(mine, key=str) == sorted(whole, key=str)
        names = [(match.path, match.host) for match in one.found.matches]
        assert names == sorted(names)
        mine = whole = []
    if not search.collapse and search.sort is not Sort.PATH:  # the copies of this machine are before the others
        paths = [sorted(each.pop("copies") for each in those) for those in (mine, whole)]
        assert search.top or search.skip or paths[0] == paths[1]
    assert mine == whole
    found, expected = one.found, other.found
    assert (found.total, found.exact, found.years, found.undated) == (
        expected.total, expected.exact, expected.years, expected.undated,
    )  # fmt: skip
    assert sorted(found.every) == sorted(expected.every)
    assert sorted(found.digests) == sorted(expected.digests)
    count = None if found.undecided is None else found.undecided.count
    assert count == (None if expected.undecided is None else expected.undecided.count)


SEARCHES = st.builds(
    Search,
    threshold=st.sampled_from([0.3, 0.5, 0.6]),
    top=st.sampled_from([0, 0, 3]),
    skip=st.sampled_from([0, 0, 2]),
    min_size=st.sampled_from([0, 0, 40]),
    collapse=st.booleans(),
    quality=st.sampled_from([None, TABLE]),
    strict=st.booleans(),
    only=st.sampled_from([False, False, True]),
    faces_min=st.sampled_from([0, 0, 2]),
    faces_max=st.sampled_from([None, None, 2]),
    since=st.sampled_from([None, None, 1_450_000_000.0]),
    until=st.sampled_from([None, None, 1_550_000_000.0]),
    sort=st.sampled_from(Sort),
    same_face=st.just(0.9),
    same_person=st.just(0.5),
    tells_all=st.booleans(),
    tells_years=st.booleans(),
    seen=st.sampled_from([None, lambda digests: {digest for digest in digests if digest[0] % 3 == 0}]),
)


def question(rng: np.random.Generator, photos: Sequence[Photo], people: Sequence[int]) -> dict[str, Any]:
    """The parameters of a question. ``people``: those with a name."""

    def photo() -> dict[str, Any]:
        data = photos[int(rng.integers(len(photos)))].data
        return {"data": base64.b64encode(data).decode(), "face": 0}

    def embedding() -> dict[str, Any]:
        return {"embedding": PEOPLE[int(rng.integers(len(PEOPLE)))].tolist()}

    def person() -> dict[str, Any]:
        return {"person": f"person {people[int(rng.integers(len(people)))]}"} if people else embedding()

    def anybody() -> dict[str, Any]:
        return (photo, embedding, person)[int(rng.integers(3))]()

    params: dict[str, Any] = {"who": [photo() | {"face": "all"} if rng.random() < 0.3 else anybody()]}
    if rng.random() < 0.4:
        params["with"] = [anybody() for _ in range(int(rng.integers(1, 3)))]
    if rng.random() < 0.4:
        params["without"] = [anybody()]
    return params


def known(rng: np.random.Generator, photos: Sequence[Photo], machines: Sequence[Machine]) -> None:
    """Say the same of the same faces on each machine: those on photos that all of them have."""
    everywhere = [photo for photo in photos if all(machine.ids(photo) for machine in machines)]
    confirmed: list[tuple[int, Photo, int]] = []
    rejected: list[tuple[int, Photo, int]] = []
    for photo in everywhere:
        for at, each in enumerate(photo.faces):
            person = int(np.argmax(PEOPLE @ each.embedding))
            if rng.random() < 0.3:
                confirmed.append((person, photo, at))
            elif rng.random() < 0.2:
                rejected.append((person, photo, at))
    for machine in machines:
        groups: list[dict[int, list[int]]] = [{}, {}]
        for group, said in zip(groups, (confirmed, rejected), strict=True):
            for person, photo, at in said:
                group.setdefault(person, []).append(machine.ids(photo)[at])
        machine.resolver.say(*groups)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 30), search=SEARCHES, said=st.booleans())
def test_the_answer_over_two_machines_is_that_of_one_that_has_all(seed: int, search: Search, said: bool) -> None:
    rng = np.random.default_rng(seed)
    photos = world(seed, 12)
    with tempfile.TemporaryDirectory() as place:
        try:
            here, there, whole = (
                Machine(Path(place) / name, photos, machines)
                for name, machines in (("a", ["a"]), ("b", ["b"]), ("all", MACHINES))
            )
            if said:
                known(rng, photos, [here, whole])
            params = question(rng, photos, sorted(here.resolver.known().confirmed))
            link = PlayedLink({"b": there.gallery})
            same(here.ask(params, search, link), whole.ask(params, search), photos, search)
            assert len(link.asked) == 1, "all people are asked for at once"
            link.trouble = LinkError(State.UNREACHABLE, "it is away")
            assert here.ask(params, search, link).found == here.ask(params, search).found
        finally:
            close_all()


# By hand

ANNA, BEN = PEOPLE[:2]


def by_hand(number: int, *faces: Face, on: str = "b", path: bytes = b"", taken: Taken | None = None) -> Photo:
    copies = [(path or b"/x/%d.jpg" % number, machine) for machine in on]
    return Photo(number, list(faces), taken, b"12345678", copies)


def seen(embedding: np.ndarray, at: int = 0, norm: float = 12.0) -> Face:
    return Face(Box(10 + 200 * at, 10, 90, 90), 0.9, LANDMARKS, embedding, norm, sharpness=1.0)


@pytest.fixture
def machines(tmp_path: Path) -> Callable[..., tuple[Machine, PlayedLink]]:
    """Makes this machine, ``a``, with its link to ``b``."""

    def made(*photos: Photo) -> tuple[Machine, PlayedLink]:
        here, there = (Machine(tmp_path / name, photos, [name]) for name in MACHINES)
        return here, PlayedLink({"b": there.gallery})

    return made


Made = Callable[..., tuple[Machine, PlayedLink]]
FOR_ANNA: dict[str, Any] = {"embedding": ANNA.tolist()}


def places(answer: Answer) -> list[bytes]:
    return [match.name for match in answer.found.matches]


def shared(answer: Answer) -> dict[str, Any]:
    assert answer.asking is not None
    return answer.asking.document()


def test_a_photo_of_another_machine_has_a_host_and_no_face_id(machines: Made) -> None:
    here, link = machines(by_hand(1, seen(ANNA), on="b"), by_hand(2, seen(ANNA), on="ab", path=b"/x/\xff.jpg"))
    answer = here.ask(FOR_ANNA, Search(0.5), link)
    reply = replies.answer(answer, 0.5, INFO, None)
    both, there = cast(list[dict[str, Any]], reply["matches"])
    assert (both["host"], both["elsewhere"][0]["host"], both["elsewhere"][0]["path_bytes"]) == (
        None,
        "b",
        "L3gv/y5qcGc=",
    )
    assert isinstance(both["face_id"], int)
    assert (there["host"], there["path"], there["face_id"], there["copies"]) == ("b", "/x/1.jpg", None, [])
    assert answer.asking is not None
    assert answer.asking.faces == 2
    alone = cast(list[dict[str, Any]], replies.answer(here.ask(FOR_ANNA, Search(0.5)), 0.5, INFO, None)["matches"])
    assert "host" not in alone[0]


def test_a_photo_that_was_moved_to_another_machine_is_found_with_what_was_said_of_it(machines: Made) -> None:
    photo = by_hand(1, seen(like(np.random.default_rng(1), 0, 0.2)), on="ab")
    here, link = machines(photo, by_hand(2, seen(ANNA), on="b"))
    (face_id,) = here.ids(photo)
    here.resolver.say({1: [face_id]})
    here.gallery.record([Outcome(b"/x/1.jpg", None)])
    assert places(here.ask({"who": [{"person": "person 1"}]}, Search(0.5))) == []
    (match,) = here.ask({"who": [{"person": "person 1"}]}, Search(0.5), link).found.matches
    assert (match.name, match.confirmed, match.person) == (b"b:/x/1.jpg", True, "person 1")


def test_the_answer_does_not_wait_longer_than_the_timeout(machines: Made) -> None:
    here, link = machines(by_hand(1, seen(ANNA), on="b"), by_hand(2, seen(ANNA), on="a"))
    link.waits_for = threading.Event()
    elsewhere = Elsewhere(link, Shared(url="postgresql:///x", name="here", timeout=0.1))
    asked = read(QueryParameters, FOR_ANNA)
    answer = here.searcher.search(asked, Search(0.5), elsewhere.asker(asked))
    link.waits_for.set()
    assert answer.found == here.ask(FOR_ANNA, Search(0.5)).found
    assert shared(answer) == {
        "state": "unreachable",
        "reason": "the shared engine did not answer within 0.1 s",
        "cut": False,
        "machines": [],
    }


@pytest.mark.parametrize("state", [State.UNREACHABLE, State.REFUSED, State.OFF])
def test_why_the_engine_was_not_heard_is_told(machines: Made, state: State) -> None:
    here, link = machines(by_hand(1, seen(ANNA), on="b"))
    link.trouble = LinkError(state, "it is so", "do this")
    answer = here.ask(FOR_ANNA, Search(0.5), link)
    assert (shared(answer)["state"], shared(answer)["reason"]) == (str(state), "it is so; do this")
    assert answer.asking is not None
    assert not answer.asking.is_complete


@pytest.mark.parametrize(
    ("backlog", "as_of_s", "state", "complete"),
    [(0, 5.0, "ok", True), (3, 5.0, "behind", False), (3, 1e6, "ok", True), (0, 1e6, "ok", True)],
)
def test_a_machine_that_is_switched_off_is_nothing_to_wait_for(
    machines: Made, backlog: int, as_of_s: float, state: str, complete: bool
) -> None:
    here, link = machines(by_hand(1, seen(ANNA), on="b"))
    link.backlog["b"], link.as_of_s["b"] = backlog, as_of_s
    answer = here.ask(FOR_ANNA, Search(0.5), link)
    assert answer.asking is not None
    assert (shared(answer)["state"], answer.asking.is_complete) == (state, complete)
    assert shared(answer)["machines"] == [
        {"name": "b", "faces": 1, "backlog": backlog, "pending": 0, "as_of_s": as_of_s}
    ]


def test_what_other_machines_wrote_and_cannot_be_true_is_counted(machines: Made) -> None:
    here, link = machines(by_hand(1, seen(ANNA), on="b"))
    link.left_out = 2
    answer = here.ask(FOR_ANNA, Search(0.5), link)
    assert shared(answer)["reason"] == "2 photos of other machines are left out: what was sent of them cannot be true"
    assert answer.asking is not None
    assert not answer.asking.is_complete


def test_an_answer_that_was_cut_says_so(machines: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facewatchd.api.elsewhere.MOST_A_SECOND", 1.5)
    rng = np.random.default_rng(1)
    here, link = machines(*(by_hand(n, seen(like(rng, 0, 0.9 - n / 50)), on="b") for n in range(5)))
    answer = here.ask(FOR_ANNA, Search(0.5), link)
    assert shared(answer)["cut"]
    assert places(answer) == [b"b:/x/%d.jpg" % n for n in range(3)], "the most alike"
    by_date = here.ask(FOR_ANNA, Search(0.5, sort=Sort.LATEST), link)
    assert shared(by_date)["reason"] == (
        "other machines have more faces that match, and only the most alike were asked for"
    )


def test_directories_name_the_machines_that_are_asked(machines: Made) -> None:
    here, link = machines(
        by_hand(1, seen(ANNA), on="ab", path=b"/x/1.jpg"), by_hand(2, seen(ANNA), on="b", path=b"/y/2.jpg")
    )
    search = Search(0.5)
    local = here.ask({**FOR_ANNA, "dirs": ["/x"]}, search, link)
    assert (places(local), local.asking, link.asked) == ([b"/x/1.jpg"], None, [])
    assert places(here.ask({**FOR_ANNA, "dirs": ["b:/y"]}, search, link)) == [b"b:/y/2.jpg"]
    assert sorted(places(here.ask({**FOR_ANNA, "dirs": ["b:"]}, search, link))) == [b"b:/x/1.jpg", b"b:/y/2.jpg"]
    both = here.ask({**FOR_ANNA, "dirs": ["/x", {"host": "b", "path": "/y/../y"}]}, search, link)
    assert sorted(places(both)) == [b"/x/1.jpg", b"b:/y/2.jpg"]
    with pytest.raises(ParamsError, match="the shared engine knows no machine 'nas': it knows b"):
        here.ask({**FOR_ANNA, "dirs": ["nas:/y"]}, search, link)


@pytest.mark.parametrize("name", ["x", ":/x", "b/c:/x", {"host": "b"}, {"host": 3, "path": "/x"}, 3])
def test_a_directory_that_cannot_be_is_refused(name: object) -> None:
    with pytest.raises(ParamsError, match="dirs"):
        read(QueryParameters, {**FOR_ANNA, "dirs": [name]})


def test_this_machine_may_be_named_as_others_are() -> None:
    elsewhere = Elsewhere(PlayedLink({}), Shared(url="postgresql:///x", name="here"))
    asked = elsewhere.here(read(QueryParameters, {**FOR_ANNA, "dirs": ["here:/x", "b:/x", "/y"]}))
    assert asked.dirs == (b"/x", b"b:/x", b"/y")


def test_the_engine_is_left_alone_where_this_machine_is_asked() -> None:
    link = PlayedLink({})
    elsewhere = Elsewhere(link, Shared(url="postgresql:///x", name="here"))
    assert elsewhere.asker(read(QueryParameters, {**FOR_ANNA, "shared": False})) is None
    with pytest.raises(ParamsError, match="b:/x is on another machine"):
        elsewhere.asker(read(QueryParameters, {**FOR_ANNA, "shared": False, "dirs": ["b:/x"]}))
    assert Elsewhere().asker(read(QueryParameters, FOR_ANNA)) is None
    for asked in ({"shared": True}, {"dirs": ["b:/x"]}):
        with pytest.raises(ParamsError, match=r"no shared engine is configured: add \[shared\] with its url"):
            Elsewhere().asker(read(QueryParameters, FOR_ANNA | asked))


def test_a_person_who_is_known_without_a_face_is_asked_for_too(machines: Made) -> None:
    photo = by_hand(1, on="a")
    here, link = machines(photo, by_hand(2, seen(ANNA), on="b"))
    with here.gallery.catalog.reading() as reader:
        (content,) = reader.contents_with([photo.digest]).values()
    here.resolver.say({}, photos={1: [content]})
    answer = here.ask({"who": [{"person": "person 1"}]}, Search(0.5), link)
    assert (places(answer), link.asked, shared(answer)["state"]) == ([b"/x/1.jpg"], [], "ok")


def test_embeddings_are_fetched_only_where_they_are_compared(machines: Made) -> None:
    rng = np.random.default_rng(1)
    burst = [
        by_hand(n, seen(like(rng, 0, 0.9)), on="b", taken=Taken(1e9 + n + 0.5, None, TakenFrom.EXIF)) for n in (1, 2)
    ]
    known_here = by_hand(4, seen(ANNA), seen(BEN, 1), on="a")
    here, link = machines(*burst, by_hand(3, seen(like(rng, 0, 0.8)), on="b"), known_here)
    assert len(here.ask(FOR_ANNA, Search(0.5, collapse=False), link).found.matches) == 4
    assert (link.asked, link.fetched) == ([(1, Detail.CONTENTS)], [])
    folded = here.ask(FOR_ANNA, Search(0.5, same_face=0.5, same_person=0.5), link)
    assert [sorted(map(len, fetched)) for fetched in link.fetched] == [[32, 32]], "of the frames of a burst"
    assert folded.found.total == 3
    anna, ben = here.ids(known_here)
    here.resolver.say({1: [anna], 2: [ben]})
    assert len(here.ask({"who": [{"person": "person 1"}]}, Search(0.5), link).found.matches) == 3
    assert link.asked[-1] == (1, Detail.EMBEDDINGS), "each face is compared with the people who have names"
    assert len(link.fetched) == 1


def test_where_embeddings_cannot_be_fetched_the_answer_says_so(machines: Made) -> None:
    rng = np.random.default_rng(1)
    burst = [
        by_hand(n, seen(like(rng, 0, 0.9)), on="b", taken=Taken(1e9 + n + 0.5, None, TakenFrom.EXIF)) for n in (1, 2)
    ]
    here, link = machines(*burst)
    link.cannot_fetch = LinkError(State.UNREACHABLE, "it went away")
    answer = here.ask(FOR_ANNA, Search(0.5), link)
    assert {match.host for match in answer.found.matches} == {"b"}
    assert (shared(answer)["state"], shared(answer)["reason"]) == ("unreachable", "it went away")


def test_an_answer_is_explained_over_all_machines(machines: Made) -> None:
    here, link = machines(by_hand(1, seen(ANNA), seen(like(np.random.default_rng(1), 0, 0.8), 1), on="b"))
    answer = here.ask({**FOR_ANNA, "explain": True}, Search(0.5), link)
    explainer = Explainer(here.gallery, Sampler(here.gallery, INFO, Liveness()), INFO)
    reply = replies.answer(answer, 0.5, INFO, explainer.explain(answer, 2, reasons=True))
    (match,) = cast(list[dict[str, Any]], reply["matches"])
    assert match["reasons"] == ["rival"]
    assert match["rival"] == {"face_id": None, "similarity": 0.8}
    assert link.asked == [(1, Detail.CONTENTS)]
    assert len(link.fetched) == 1


def test_a_frame_of_this_machine_stands_for_its_burst(machines: Made) -> None:
    """It can be looked at, and stays what is shown while the engine is away; of its frames the sharpest."""
    rng = np.random.default_rng(1)
    sharp = {1: 9.0, 2: 1.0, 3: 2.0}
    burst = [
        by_hand(
            number,
            replace(seen(like(rng, 0, 0.9)), sharpness=sharp[number]),
            on="b" if number == 1 else "a",
            taken=Taken(1e9 + number + 0.5, None, TakenFrom.EXIF),
        )
        for number in sharp
    ]
    here, link = machines(*burst)
    folding = Search(0.5, same_face=0.5, same_person=0.5)
    (match,) = here.ask(FOR_ANNA, folding, link).found.matches
    assert (match.name, match.similar) == (b"/x/3.jpg", (b"/x/2.jpg",))
    assert [each.name for each in match.similar_elsewhere] == [b"b:/x/1.jpg"]
    link.trouble = LinkError(State.UNREACHABLE, "it is away")
    (alone,) = here.ask(FOR_ANNA, folding, link).found.matches
    assert (alone.name, alone.similar, alone.similar_elsewhere) == (b"/x/3.jpg", (b"/x/2.jpg",), ())


def test_the_size_of_a_photo_of_another_machine_is_told(machines: Made) -> None:
    here, link = machines(by_hand(1, seen(ANNA), on="b"), by_hand(2, seen(ANNA), on="a"))
    found = here.ask(FOR_ANNA, Search(0.5), link).found.matches
    assert {match.host: match.size for match in found} == {"b": (640, 480), "": (0, 0)}


def test_the_size_is_told_of_another_machines_copy_of_a_photo_that_is_here(machines: Made) -> None:
    here, link = machines(by_hand(1, seen(ANNA), on="ab"))
    apart = here.ask(FOR_ANNA, Search(0.5, collapse=False), link).found.matches
    assert {match.host: match.size for match in apart} == {"b": (640, 480), "": (0, 0)}
    (there,) = here.ask({**FOR_ANNA, "dirs": ["b:/x"]}, Search(0.5), link).found.matches
    assert (there.host, there.size) == ("b", (640, 480))


def test_a_face_that_only_another_machine_saw_on_a_photo_of_both_is_found(tmp_path: Path) -> None:
    """As where it took a second look at the photo, and this one did not."""
    here = Machine(tmp_path / "a", [by_hand(1, on="a")], ["a"])
    there = Machine(tmp_path / "b", [by_hand(1, seen(ANNA), on="b")], ["b"])
    answer = here.ask(FOR_ANNA, Search(0.5), PlayedLink({"b": there.gallery}))
    assert places(answer) == [b"b:/x/1.jpg"]
