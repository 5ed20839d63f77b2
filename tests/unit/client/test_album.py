"""``--html``: what is asked of the daemon for an album, what the file has in the end, and how large it gets."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.client import album, app
from facewatchd.client.answer import Answer
from facewatchd.client.arguments import parse
from facewatchd.client.connection import RemoteError
from facewatchd.client.connections import Call
from facewatchd.client.who import Asked
from facewatchd.errors import UnreadablePhotoError
from facewatchd.photos import crops
from facewatchd.pictures import album as pages
from tests.support.fake_daemon import FakeDaemon, error, reply
from tests.support.replies import answer, match, query_face


def picture(size: int, bytes_: int = 60) -> dict[str, Any]:
    """A picture that can be told by its size."""
    jpeg = base64.b64encode(f"{size} ".encode().ljust(bytes_, b"x")).decode()
    return {"jpeg": jpeg, "width": size, "height": size}


def result(method: str, params: dict[str, Any]) -> Any:
    """What a daemon returns beside the answer itself."""
    if method == "thumbnail":
        return picture(params.get("size", 160))
    if method == "faces":
        named = {"name": "Anna", "similarity": 0.8, "verdict": "sure", "confirmed": False, "runner_up": None}
        return {"faces": [{"box": [1, 2, 30, 40], "score": 0.9, "names": named}], "width": 100, "height": 50}
    assert method == "person"
    return {"best": 77 if params["name"] == "Anna" else None}


def answering(document: dict[str, Any]) -> Callable[[dict[str, Any]], bytes]:
    def script(request: dict[str, Any]) -> bytes:
        method, params = request["method"], request["params"]
        return reply(request, document if method == "query" else result(method, params))

    return script


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path / "socket") as fake:
        fake.script = answering(answer(b"/p/a.jpg", b"/p/b.jpg"))
        yield fake


@pytest.fixture
def ask(daemon: FakeDaemon, tmp_path: Path) -> Callable[..., int]:
    """Run the command in this process, with an album."""
    return lambda *rest: app.main(["--socket", str(daemon.path), "--html", str(tmp_path / "a.html"), *map(str, rest)])


def asked(daemon: FakeDaemon, method: str) -> list[dict[str, Any]]:
    return [request["params"] for request in daemon.requests if request["method"] == method]


def sizes(page: str) -> list[int]:
    """The sizes of the pictures in an album, in its order."""
    found = re.findall(r"base64,([^\"]+)\"", page)
    return [int(base64.b64decode(each).split()[0]) for each in found]


def test_an_album_has_the_faces_and_the_photos(ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any) -> None:
    assert ask("anna.jpg") == app.FOUND
    page = (tmp_path / "a.html").read_text()
    assert sizes(page) == [256, 256, 1024, 256, 1024]
    assert "The person on anna.jpg" in page
    assert "1 face: Anna" in page
    (question,) = asked(daemon, "query")
    assert question["verdicts"] is True
    assert asked(daemon, "thumbnail")[0] == {
        "path": str(Path("anna.jpg").absolute()),
        "box": [10, 20, 80, 90],
        "size": 256,
    }
    photos = [params for params in asked(daemon, "thumbnail") if params.get("photo")]
    assert photos == [{"face_id": 9, "photo": True, "size": 1024}] * 2
    assert asked(daemon, "faces") == [{"face_id": 9, "names": True}] * 2
    out, err = capfd.readouterr()
    assert (len(out.splitlines()), err) == (2, "")


def test_with_explain_the_reasons_are_in_it(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    document = answer(b"/p/a.jpg")
    document["matches"][0] |= {"verdict": "look", "reasons": ["small"]}
    daemon.script = answering(document | {"expected_false": {"count": 1.0, "basis": "estimate"}})
    assert ask("anna.jpg", "--explain") == app.FOUND
    page = (tmp_path / "a.html").read_text()
    assert asked(daemon, "query")[0]["explain"] is True
    assert '<p class="faint">small</p>' in page
    assert "It may well be somebody else" in page


def test_people_are_shown_by_their_clearest_face(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    anna = {"photo": None, "person": "Anna", "references": 12, "who": 0}
    ben = {"photo": None, "person": "Ben", "references": 1, "who": 0}
    term = {"similarity": 0.7, "box": [1, 2, 3, 4], "score": 0.9, "face_id": 5}
    found = match(b"/p/a.jpg", terms=[term, {**term, "face_id": 6, "similarity": 0.6}])
    daemon.script = answering(answer(query=[anna], matches=[found], **{"with": [ben]}))
    assert ask("@anna", "--with", "@ben") == app.FOUND
    page = (tmp_path / "a.html").read_text()
    assert "<h1>Anna</h1>" in page
    assert '<p class="lead">with Ben</p>' in page
    assert ("12 references" in page, "1 reference<" in page) == (True, False)  # no photo shows Ben's
    assert "Anna: 0.700" in page
    assert "Ben: 0.600" in page
    assert sorted(params["face_id"] for params in asked(daemon, "thumbnail")) == [5, 5, 6, 77]


def test_a_person_without_a_face_on_a_photo_is_shown_by_the_photo(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    stands = match(b"/p/\xff.jpg", box=None, similarity=None, score=None, face_id=None)
    daemon.script = answering(answer(matches=[stands]))
    assert ask("anna.jpg") == app.FOUND
    named = {"path_bytes": base64.b64encode(b"/p/\xff.jpg").decode()}
    assert asked(daemon, "thumbnail")[1:] == [{**named, "size": 256}, {**named, "photo": True, "size": 1024}]
    assert asked(daemon, "faces") == [{**named, "names": True}]


def test_a_photo_that_the_daemon_cannot_read_is_sent(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    (tmp_path / "q.jpg").write_bytes(b"picture")
    usual = daemon.script
    daemon.script = lambda request: (
        error(request, "unreadable-photo", f"{tmp_path}/q.jpg: cannot be read")
        if request["method"] == "thumbnail" and "box" in request["params"] and "path" in request["params"]
        else usual(request)
    )
    assert ask(tmp_path / "q.jpg") == app.FOUND
    assert asked(daemon, "thumbnail")[1]["data"] == base64.b64encode(b"picture").decode()
    assert sizes((tmp_path / "a.html").read_text())[0] == 256


def test_what_cannot_be_drawn_says_why(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    usual = daemon.script
    daemon.script = lambda request: (
        usual(request)
        if request["method"] == "query"
        else error(request, UnreadablePhotoError.kind, "/p/a.jpg: cannot be read: <gone>\x1b")
    )
    assert ask("anna.jpg") == app.FOUND
    page = (tmp_path / "a.html").read_text()
    assert not sizes(page)
    assert page.count("<span>cannot be read: &lt;gone&gt;\\x1b</span>") >= 4


def test_a_daemon_of_an_earlier_version_is_named(ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any) -> None:
    usual = daemon.script
    daemon.script = lambda request: (
        usual(request) if request["method"] == "query" else error(request, "", "unknown method", -32601)
    )
    assert ask("anna.jpg") == app.NOT_READY
    assert "of an earlier version, without thumbnail; start it again" in capfd.readouterr().err
    assert not (tmp_path / "a.html").exists()


def test_nothing_found_is_a_page_too(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    daemon.script = answering(answer(pending=3, complete=False))
    assert ask("anna.jpg") == app.NOTHING_FOUND
    page = (tmp_path / "a.html").read_text()
    assert "No photo matches." in page
    assert "Not complete: 3 photos are not searchable yet" in page


def test_a_file_that_is_there_is_not_asked_about(ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "a.html").write_text("mine")
    assert ask("anna.jpg") == app.WRONG
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert (tmp_path / "a.html").read_text() == "mine"
    assert not daemon.requests


def test_matches_beyond_the_most_are_left_out(
    ask: Any, daemon: FakeDaemon, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(album, "MOST_MATCHES", 3)
    daemon.script = answering(answer(*(b"/p/%d.jpg" % number for number in range(8))))
    assert ask("anna.jpg") == app.FOUND
    assert capfd.readouterr().err == f"{tmp_path}/a.html leaves out the last 5 matches; ask for fewer with --top\n"
    page = (tmp_path / "a.html").read_text()
    assert page.count('<li class="face') == 3
    assert "This album leaves out the last 5 matches" in page


class Pictures:
    """In the place of the connections: pictures of so many bytes a pixel, each so often an error."""

    def __init__(self, density: float, broken: int) -> None:
        self.density, self.broken = density, broken

    def results(self, calls: Iterable[Call]) -> Iterator[Any]:
        for number, (method, params) in enumerate(calls):
            if number % self.broken == self.broken - 1:
                yield RemoteError("gone")
            elif method == "thumbnail":
                size = params.get("size", 160)
                yield picture(size, round(size * size * self.density * (0.5 + number % 3 / 2)))
            else:
                yield result(method, params)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.sampled_from([0.01, 0.1, 0.3, 3.0]), st.integers(2, 50), st.integers(1, 200))
def test_no_answer_makes_an_album_that_is_too_large(count: int, density: float, broken: int, length: int) -> None:
    options = parse(["face:3", "--quiet"])
    everyone = [Asked(options.who[0])]
    document = answer(
        *(b"/" + b"n" * length + b"/%d.jpg" % number for number in range(count)),
        query=[{"photo": None, "face_id": 3, "box": [1, 2, 3, 4], "score": 0.9, "who": 0}],
    )
    found = Answer(document, everyone, every_face=False, others={})
    whole = album._Gathering(options, found, Pictures(density, broken)).album()  # type: ignore[arg-type]
    assert len(pages.render(whole)) <= album.MOST_BYTES
    if density <= 0.1 and count <= 300:
        assert len(whole.entries) == count
        assert all(isinstance(entry.photo, pages.Picture) or entry.photo == "gone" for entry in whole.entries)


@pytest.mark.parametrize(
    ("room", "photos", "batch", "size"),
    [
        (10 * 1024**2, 10, 10, 1024),
        (10 * 1024**2 - 1, 10, 10, 800),
        (300 * 400**2, 300, 32, 400),
        (100 * 320**2, 300, 32, 320),
        (31 * 320**2, 300, 32, 0),
    ],
)
def test_photos_are_as_large_as_all_can_be(room: int, photos: int, batch: int, size: int) -> None:
    assert album.photo_size(album._PHOTO_SIZES, room, photos, batch) == size


def test_many_photos_are_asked_for_as_they_were_made_while_indexing() -> None:
    assert (album.MANY_SIZE, album._ASKED_SIZE) == (crops.KEPT_PHOTO, crops.KEPT_FACE)
    assert album.MANY_SIZE in album._PHOTO_SIZES


def test_the_photo_that_was_asked_for_is_named_once(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    entries = [{**query_face(None, number, 2), "who": 0} for number in (0, 1)]
    daemon.script = answering(answer(b"/p/a.jpg", query=entries))
    assert ask("group.jpg", "--face", "all") == app.FOUND
    assert "<h1>The people on group.jpg</h1>" in (tmp_path / "a.html").read_text()


def test_nothing_is_asked_for_a_photo_of_another_machine(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    """Neither by its path, which is another photo's here, nor by the id that its face does not have."""
    away = {"host": "nas", "face_id": None, "size": [400, 300]}
    matches = [
        match(b"/p/a.jpg", **away),
        match(b"/p/a.jpg", host=None, elsewhere=[{"host": "nas", "path": "/srv/a.jpg"}]),
        match(b"/p/b.jpg", **away, terms=[{"similarity": 0.7, "box": [1, 2, 3, 4], "score": 0.9, "face_id": None}] * 2),
    ]
    daemon.script = answering(answer(matches=matches))
    assert ask("anna.jpg") == app.FOUND
    assert asked(daemon, "faces") == [{"face_id": 9, "names": True}]
    of_matches = asked(daemon, "thumbnail")[1:]
    assert of_matches == [{"face_id": 9, "size": 256}, {"face_id": 9, "photo": True, "size": 1024}]
    page = (tmp_path / "a.html").read_text()
    assert sizes(page) == [256, 256, 1024]
    assert page.count('<span class="away">') == 4
    assert "2 on nas" in page
    assert "nas:/srv/a.jpg" in page


def test_ten_thousand_photos_of_another_machine_fit(ask: Any, daemon: FakeDaemon, tmp_path: Path) -> None:
    away = {"host": "n" * 60, "face_id": None, "size": [400, 300]}
    matches = [match(b"/srv/%s/%d.jpg" % (b"d" * 300, number), **away) for number in range(10_000)]
    daemon.script = answering(answer(matches=matches))
    assert ask("anna.jpg", "-n", "0") == app.FOUND
    page = (tmp_path / "a.html").read_text()
    assert len(page.encode()) <= album.MOST_BYTES
    shown = page.count('popovertarget="p') // 2
    assert shown == album.MOST_MATCHES
    assert f"This album leaves out the last {10_000 - shown} matches" in page
