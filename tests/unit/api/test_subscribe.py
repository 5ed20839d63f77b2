"""Subscriptions on a real catalog, one look at a time: what is sent, under which cursor, and what is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from facewatchd.api import subscribe as subscribe_module
from facewatchd.api.faces import FaceFinder
from facewatchd.api.parameters import QueryParameters, SeenParameters, SubscribeParameters
from facewatchd.api.standing import StandingQuery
from facewatchd.api.subscribe import Subscriptions
from facewatchd.errors import NotReadyError, UnknownPersonError
from facewatchd.inference.pool import Inference
from facewatchd.matches import Box
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.server.params import read
from facewatchd.server.stream import Stream
from facewatchd.store import follower as follower_module
from facewatchd.store import journal as journal_module
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.store.scoring import Search
from facewatchd.store.seen import SeenStore
from facewatchd.threads.bounded_calls import DiskCalls
from facewatchd.values import ModelInfo
from tests.support.galleries import DIM, face, photo, stamp, unit
from tests.support.known_people import PlayedResolver, scorer

INFO = ModelInfo("test-00000000", "test", DIM, 0.5)
ANNA, BEN = np.eye(2, DIM, dtype=np.float32)
ASKED: dict[str, Any] = {"embedding": ANNA.tolist()}

Sent = tuple[str, dict[str, Any]]


class Sink:
    """Does the next thing to the catalog whenever the subscription waits for it; hangs up when there is none left."""

    def __init__(self, *happens: Callable[[], object]) -> None:
        self._happens = list(happens)
        self.sent: list[Sent] = []

    def send(self, method: str, params: Mapping[str, object]) -> None:
        self.sent.append((method, dict(params)))

    def wait(self, wake: int | None, seconds: float) -> None:
        if wake is None:
            return
        if not self._happens:
            raise ConnectionAbortedError
        self._happens.pop(0)()


class World:
    def __init__(self, gallery: Gallery, directory: Path) -> None:
        self.gallery = gallery
        self.resolver = PlayedResolver()
        self.seen = SeenStore(directory / "seen.sqlite3")
        self.subscriptions = Subscriptions(gallery, self.seen, self._standing, pending=lambda: False)
        self._finder = FaceFinder(gallery.catalog, cast(Inference, None), DiskCalls())

    def _standing(self, asked: QueryParameters) -> StandingQuery:
        asks = scorer(self.gallery, INFO, self.resolver)
        search = Search(
            0.5,
            directories=asked.dirs,
            min_size=asked.min_size,
            collapse=asked.collapse,
            faces_min=asked.faces_min,
        )
        return StandingQuery(self.gallery, self._finder, asks, INFO, asked, search)

    def stream(self, **params: Any) -> Stream:
        return self.subscriptions.subscribe(read(SubscribeParameters, {**ASKED, **params}))

    def follow(self, *happens: Callable[[], object], **params: Any) -> list[Sent]:
        """What is sent while these things happen, one after the other, without ``caught-up``."""
        sink = Sink(*happens)
        with pytest.raises(ConnectionAbortedError):
            self.stream(**params).run(sink)
        return [each for each in sink.sent if each[0] != "caught-up"]

    def cursor(self) -> str:
        with self.gallery.catalog.reading() as reader:
            return str(reader.journal.cursor())

    def record(self, *outcomes: Outcome) -> Callable[[], object]:
        return lambda: self.gallery.record(outcomes)


@pytest.fixture
def world(gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(follower_module, "HOLD", 0.0)
    return World(gallery, tmp_path)


def shows(path: bytes, digest: bytes) -> Outcome:
    return Outcome(path, stamp(1), digest)


def gone(path: bytes) -> Outcome:
    return Outcome(path, None)


def brief(sent: list[Sent]) -> list[tuple[str, ...]]:
    """Methods and paths."""
    return [
        (method, params["match"]["path"])
        if method == "match"
        else (method, *(params[name] for name in ("from", "to", "path") if name in params))
        for method, params in sent
    ]


A, B = photo(b"/a", b"d1", [ANNA]), photo(b"/b", b"d2", [BEN, ANNA])


def test_only_what_matches_is_sent(world: World) -> None:
    sent = world.follow(world.record(A, photo(b"/c", b"d3", [BEN])), world.record(B))
    assert brief(sent) == [("match", "/a"), ("match", "/b")]
    assert sent[1][1]["match"]["similarity"] == 1.0
    assert brief(world.follow(world.record(gone(b"/c"), gone(b"/a")))) == [("gone", "/a")]


def test_the_last_of_a_page_has_the_cursor_behind_it(world: World) -> None:
    sent = world.follow(world.record(A, B))
    first, last = (params["cursor"] for _, params in sent)
    assert first != last
    assert brief(world.follow(since=first)) == brief(sent)
    assert world.follow(since=last) == []


def test_two_photos_that_change_places_both_stay_known(world: World) -> None:
    world.record(A, B)()
    sent = world.follow(world.record(shows(b"/a", b"d2"), shows(b"/b", b"d1")))
    assert sorted(brief(sent)) == [("match", "/a"), ("match", "/b")]


def test_what_takes_the_place_of_a_match_is_not_taken_away_with_it(world: World) -> None:
    world.record(A)()
    new = photo(b"/a", b"d2", [unit(0.9 * ANNA + 0.1 * BEN)])
    assert brief(world.follow(world.record(new))) == [("match", "/a")]
    assert brief(world.follow(world.record(photo(b"/a", b"d3", [BEN])))) == [("gone", "/a")]


def test_a_copy_is_sent_only_where_copies_are_photos(world: World) -> None:
    world.record(A)()
    assert world.follow(world.record(shows(b"/copy", b"d1"))) == []
    sent = world.follow(world.record(shows(b"/other", b"d1")), world.record(gone(b"/a")), collapse=False)
    assert brief(sent) == [("match", "/other"), ("gone", "/a")]


def test_a_face_that_is_found_later_is_sent_once(world: World) -> None:
    ben, anna = face(BEN), face(ANNA, Box(300, 0, 60, 80))
    outcome = photo(b"/a", b"d1", [])
    world.record(dataclasses.replace(outcome, faces=[ben]))()
    both = world.record(dataclasses.replace(outcome, faces=[ben, anna]))
    assert brief(world.follow(both, both)) == [("match", "/a")]
    at_its_place = world.record(dataclasses.replace(outcome, faces=[face(ANNA), anna]))
    assert brief(world.follow(at_its_place)) == [], "the photo was embedded again: nothing came"


def test_a_photo_with_other_bytes_and_the_same_faces_is_no_new_one(world: World) -> None:
    """As after a rating was written into it."""
    world.record(A)()
    rated, rated_again = (photo(b"/a", digest, [ANNA]) for digest in (b"d8", b"d9"))
    since = world.cursor()
    assert world.follow(world.record(rated), world.record(rated_again)) == []
    assert world.follow(since=since) == []
    (moved,) = brief(world.follow(world.record(gone(b"/a"), shows(b"/b", b"d9"))))
    assert moved == ("moved", "/a", "/b")
    another = photo(b"/b", b"d4", [BEN, ANNA])
    assert brief(world.follow(world.record(another))) == [("match", "/b")], "other faces"
    since = world.cursor()
    world.record(photo(b"/b", b"d5", [ANNA]))()
    world.record(photo(b"/b", b"d6", [ANNA]))()
    assert brief(world.follow(since=since)) == [("match", "/b")], "the one in its place is not what was there before"
    since = world.cursor()
    world.record(photo(b"/c", b"d7", [ANNA]))()
    world.record(photo(b"/c", b"d3", [ANNA]))()
    assert brief(world.follow(since=since)) == [("match", "/c")], "it was new before that was written into it"


def test_a_photo_that_has_enough_faces_later_is_sent_once(world: World) -> None:
    """Whosever face it is that was missing; a small one does not count where the size is asked for."""
    few = dataclasses.replace(photo(b"/a", b"d1", []), faces=[face(ANNA)])
    places = [Box(100 * number, 0, 60, 80) for number in range(1, 4)]

    def with_more(count: int, size: int = 60) -> Callable[[], object]:
        faces = [face(ANNA), *(face(BEN, Box(x, y, size, size)) for x, y, _, _ in places[:count])]
        return world.record(dataclasses.replace(few, faces=faces))

    world.record(few)()
    assert brief(world.follow(with_more(1), with_more(1), with_more(2), faces_min=2)) == [("match", "/a")]
    assert world.follow(with_more(3)) == [], "without the number, it matched before"
    world.record(few)()
    sent = world.follow(with_more(1, size=20), with_more(2, size=20), with_more(2), faces_min=3, min_size=50)
    assert brief(sent) == [("match", "/a")]


def test_names_that_are_not_utf_8(world: World) -> None:
    sent = world.follow(world.record(photo(b"/\xff", b"d1", [ANNA])), world.record(gone(b"/\xff"), shows(b"/a", b"d1")))
    assert sent[0][1]["match"]["path_bytes"] == "L/8="
    assert sent[1][1]["from_bytes"] == "L/8="
    assert (sent[1][1]["from"], sent[1][1]["to"]) == ("/�", "/a")


def test_what_was_printed_under_a_name_is_not_sent(world: World) -> None:
    world.record(A)()
    world.subscriptions.seen(SeenParameters("mail", (b"d1".hex(), b"d2".hex())))
    since = str(journal_module.Cursor(world.gallery.catalog.uuid, 0, 0))
    assert world.follow(since=since, new="mail") == []
    (sent,) = world.follow(world.record(photo(b"/c", b"d3", [ANNA])), since=since, new="mail")
    assert sent[1]["shown"] == [b"d3".hex()]
    assert brief(world.follow(since=since)) == [("match", "/a"), ("match", "/c")]
    with pytest.raises(ParamsError, match="shown must be"):
        world.subscriptions.seen(SeenParameters("mail", ("no digest",)))


def test_a_person_is_followed_with_the_references_that_there_are(world: World) -> None:
    (anna, ben) = world.gallery.catalog.record([A, photo(b"/c", b"d3", [BEN])]).added
    world.resolver.say({1: [anna]})
    asked = {"embedding": None, "who": [{"person": "person 1"}]}
    is_ben = [photo(b"/ben %d" % number, b"b%d" % number, [BEN]) for number in range(3)]
    sent = world.follow(
        world.record(is_ben[0]),
        lambda: world.resolver.say({1: [anna, ben]}),
        world.record(is_ben[1]),
        lambda: world.resolver.say({1: [anna]}, {1: [ben]}),
        world.record(is_ben[2]),
        **asked,
    )
    assert brief(sent) == [("match", "/ben 1")]
    with pytest.raises(UnknownPersonError):
        world.stream(embedding=None, who=[{"person": "nobody"}])


def test_lines_that_were_removed_end_the_stream_and_bring_everything_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MOST", 2)
    many = [photo(b"/%d" % number, b"n%d" % number, [ANNA if number < 2 else BEN]) for number in range(9)]
    sink = Sink(world.record(A), world.record(*many))
    world.stream().run(sink)
    assert brief(sink.sent)[1:] == [("match", "/a"), ("caught-up",)]
    assert sorted(brief(world.follow(since=sink.sent[-1][1]["cursor"]))) == [
        ("match", "/0"),
        ("match", "/1"),
        ("match", "/a"),
    ]


def test_a_client_that_is_cut_off_while_everything_is_sent_is_sent_everything_again(world: World) -> None:
    world.record(*(photo(b"/%d" % number, b"n%d" % number, [ANNA]) for number in range(5)))()
    since = f"{'0' * 32}.7.7"
    for _ in range(2):
        stream, sink = world.stream(since=since), Sink()
        assert stream.result == {"cursor": since, "resumed": False}
        with pytest.raises(ConnectionAbortedError):
            stream.run(sink)
        assert {params["cursor"] for method, params in sink.sent if method == "match"} == {since}
        assert [method for method, _ in sink.sent] == [*["match"] * 5, "caught-up"]
        assert sorted(params["shown"] for _, params in sink.sent[:5]) == [[(b"n%d" % n).hex()] for n in range(5)]
    assert sink.sent[-1][1]["cursor"] != since


def test_a_person_stays_the_same_under_another_name_and_merged(world: World) -> None:
    (anna, ben) = world.gallery.catalog.record([A, photo(b"/c", b"d3", [BEN])]).added
    world.resolver.say({1: [anna], 2: [ben]})
    more = iter(range(9))

    def arrives() -> None:
        number = next(more)
        world.gallery.record([photo(b"/more %d" % number, b"m%d" % number, [ANNA])])

    def named(names: dict[int, str], merged: dict[int, int]) -> Callable[[], None]:
        return lambda: world.resolver.call(names, merged)

    sent = world.follow(
        arrives,
        named({1: "Annabel", 2: "person 2"}, {}),
        arrives,
        named({2: "person 2"}, {1: 2}),
        lambda: world.resolver.say({2: [anna, ben]}),
        arrives,
        named({2: "Both"}, {}),  # the note of the merger is gone, as after another one was forgotten
        arrives,
        embedding=None,
        who=[{"person": "PERSON 1"}],
    )
    assert brief(sent) == [
        ("match", "/more 0"),
        ("renamed", "PERSON 1", "Annabel"),
        ("match", "/more 1"),
        ("renamed", "Annabel", "person 2"),
        ("match", "/more 2"),
        ("renamed", "person 2", "Both"),
        ("match", "/more 3"),
    ]


def test_a_person_who_is_forgotten_ends_it_with_a_line_that_names_nobody(world: World) -> None:
    (anna,) = world.gallery.catalog.record([A]).added
    world.resolver.say({1: [anna]})
    sink = Sink(lambda: world.resolver.say({}))
    with pytest.raises(UnknownPersonError, match="a person who is asked for is not known any more") as raised:
        world.stream(embedding=None, who=[{"person": "person 1"}]).run(sink)
    assert "person 1" not in str(raised.value)


def test_cursors_do_not_grow_old_while_nothing_matches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribe_module, "STEP", 3)
    happens = [world.record(photo(b"/%d" % number, b"n%d" % number, [BEN])) for number in range(7)]
    sink = Sink(*happens)
    with pytest.raises(ConnectionAbortedError):
        world.stream().run(sink)
    assert [(method, params["cursor"].split(".")[1]) for method, params in sink.sent] == [
        ("caught-up", "0"),
        ("caught-up", "3"),
        ("caught-up", "6"),
    ]


def test_cursors_do_not_grow_old_while_little_happens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(subscribe_module.time, "monotonic", lambda: clock[0])

    def later() -> None:
        clock[0] += subscribe_module.FRESH

    sink = Sink(world.record(photo(b"/b", b"d2", [BEN])), later, later)
    with pytest.raises(ConnectionAbortedError):
        world.stream().run(sink)
    assert [params["cursor"].split(".")[1] for _, params in sink.sent] == ["0", "1"]


def test_an_import_is_compared_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    among = StandingQuery.among

    def counted(query: StandingQuery, shown: Mapping[int, Any], **options: Any) -> Any:
        asked.append(len(shown))
        return among(query, shown, **options)

    monkeypatch.setattr(StandingQuery, "among", counted)
    many = [photo(b"/%d" % number, b"n%d" % number, [ANNA]) for number in range(2500)]
    assert len(world.follow(world.record(*many))) == 2500
    assert [count for count in asked if count] == [1000, 1000, 500]


def test_places_are_bounded_and_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribe_module, "MOST", 2)
    streams = [world.stream(), world.stream()]
    with pytest.raises(NotReadyError, match="all 2 subscriptions"):
        world.stream()
    streams.pop()
    world.stream()


@pytest.mark.parametrize("since", ["2019", "x", "0.1"])
def test_since_is_a_cursor(world: World, since: str) -> None:
    with pytest.raises(ParamsError, match="since must be a cursor; the date of a query is taken_since here"):
        world.stream(since=since)
