"""Exports and imports: what comes out goes in, whatever was said, and what is wrong goes nowhere."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facewatchd.api import exchange
from facewatchd.api.exchange import Exchange
from facewatchd.api.export_format import LINES
from facewatchd.api.parameters import ExportParameters, ImportContentsParameters, ImportPeopleParameters
from facewatchd.errors import NotReadyError
from facewatchd.indexing.writer import Writer
from facewatchd.people.statements import Ignored, NewStatement, RelativeBox
from facewatchd.people.store import PeopleStore
from facewatchd.scan.roots import Roots
from facewatchd.server.jsonrpc import ParamsError
from facewatchd.store.catalog import Outcome
from facewatchd.store.gallery import Gallery
from facewatchd.values import ModelInfo, Taken, TakenFrom
from tests.support.galleries import DIM, face, opened, stamp, unit

INFO = ModelInfo("test-00000000", "test", DIM, 0.4)
ROWS = unit(np.random.default_rng(5).normal(size=(8, DIM)))
BOXES = [RelativeBox(x / 10, y / 10, 0.1, 0.15) for x in (1, 4, 7) for y in (1, 5)]
DIGESTS = [bytes([number]) * 32 for number in range(4)]


class Place:
    """A data directory with people and a gallery, and the methods."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.gallery = opened(directory)
        self.clock = 1_800_000_000.0
        self.people = PeopleStore(directory / "people.sqlite3", lambda: self.clock)
        writer = cast("Writer", _Here(self.gallery))
        roots = cast("Roots", _Root())
        self.methods = Exchange(self.gallery.catalog, self.people, writer, roots, INFO)

    def say(self, name: str, *said: NewStatement) -> None:
        self.clock += 1
        self.people.say(name, said, "user")

    def lines(self, *parts: str, embeddings: bool = False) -> list[dict[str, Any]]:
        """All lines of some parts of an export."""
        found: list[dict[str, Any]] = []
        for part in parts:
            after: int | None = 0
            while after is not None:
                page = self.methods.export(ExportParameters(part, after, embeddings=embeddings))
                found += json.loads(json.dumps(page["lines"]))
                after = cast("int | None", page["next"])
        return found

    def take(self, lines: Sequence[dict[str, Any]], **options: Any) -> dict[str, Any]:
        return self.methods.import_people(ImportPeopleParameters(encoded(lines), **options))

    def take_contents(self, lines: Sequence[dict[str, Any]], **options: Any) -> dict[str, Any]:
        return self.methods.import_contents(ImportContentsParameters(encoded(lines), **options))

    def known(self) -> object:
        """What counts, in a form that two places can be compared by."""
        people = self.people.people()
        names = {person.id: person.name for person in people.people}
        statements = sorted(
            (names[each.person], each.is_person, each.digest, each.box or (), each.source, each.at)
            for each in people.statements
        )
        return [(person.name, person.born, person.hidden) for person in people.people], statements


class _Here:
    """In the writer's place: calls what it is given at once."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def call(self, function: Callable[[Gallery], object]) -> None:
        function(self._gallery)


class _Root:
    def of(self, path: bytes) -> bytes:
        return b"/photos"


def encoded(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


@contextlib.contextmanager
def two_places(directory: Path | None = None) -> Iterator[tuple[Place, Place]]:
    with contextlib.ExitStack() as stack:
        where = directory or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        places = Place(where / "one"), Place(where / "two")
        for place in places:
            stack.callback(place.people.close)
            stack.callback(place.gallery.catalog.close)
        yield places


@pytest.fixture
def one_and_two(tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    with two_places(tmp_path) as places:
        yield places


SAID = st.tuples(
    st.sampled_from(["Anna", "Bob", "Zoë 😀", 'O"\\Neil'.replace("\\", "")]),
    st.booleans(),
    st.sampled_from(DIGESTS),
    st.none() | st.sampled_from(BOXES),
)


@settings(deadline=None, max_examples=25)
@given(st.lists(SAID, max_size=12), st.lists(SAID, max_size=6))
def test_what_is_exported_is_imported_as_it_was_and_again_changes_nothing(first: list[Any], others: list[Any]) -> None:
    with two_places() as (one, two):
        for name, is_person, digest, box in first:
            one.say(name, NewStatement(is_person, digest, box))
        lines = one.lines("people", "photos")
        two.clock = one.clock
        two.take(lines)
        assert two.known() == one.known()
        before = two.people.people().version
        again = two.take(lines)
        assert (again["added"], again["known"]) == (0, len(one.people.people().statements))
        assert two.people.people().version == before
        # What is said later elsewhere comes over too, and the two end the same, whichever takes the other's first.
        two.clock = one.clock + 100
        for name, is_person, digest, box in others:
            two.say(name, NewStatement(is_person, digest, box))
        one.clock = two.clock
        one.take(two.lines("people"))
        two.take(one.lines("people"))
        assert latest(one) == latest(two)


def latest(place: Place) -> object:
    _, statements = cast("tuple[Any, list[Any]]", place.known())
    return {each[:4]: None for each in statements}.keys()


def test_people_keep_what_is_known_of_them(one_and_two: tuple[Place, Place]) -> None:
    one, two = one_and_two
    one.say("Anna")
    one.people.describe("Anna", "2015-03", hidden=True)
    two.take(one.lines("people"))
    assert two.known() == one.known() == ([("Anna", "2015-03", True)], [])


def test_ignored_faces_are_taken_over_in_one_step(one_and_two: tuple[Place, Place]) -> None:
    one, two = one_and_two
    assert one.lines("people")[0]["version"] == 1
    one.say("Anna")
    one.people.ignore([Ignored(DIGESTS[0], BOXES[0], in_group=True), Ignored(DIGESTS[1], BOXES[1], in_group=False)])
    lines = one.lines("people")
    assert lines[0]["version"] == 2
    two.take(lines)
    faces = {(digest, each.in_group) for digest, said in two.people.people().ignored.items() for each in said}
    assert faces == {(DIGESTS[0], True), (DIGESTS[1], False)}
    version = two.people.people().version
    two.take(lines)
    assert two.people.people().version == version
    two.people.undo()
    assert not two.people.people().ignored
    assert not two.people.people().people


def test_people_who_are_there_are_described_as_far_as_that_is_said(one_and_two: tuple[Place, Place]) -> None:
    one, two = one_and_two
    for name, born, hidden in (("Anna", "2015-03", True), ("Bob", None, False), ("Carl", "1970", False)):
        one.say(name)
        one.people.describe(name, born, hidden)
        two.say(name)
    two.people.describe("Bob", "2001", hidden=True)
    two.people.describe("Carl", "1971", hidden=True)
    before = two.known()
    lines = one.lines("people")
    assert two.take(lines)["described"] == 2
    assert two.known() == ([("Anna", "2015-03", True), ("Bob", "2001", True), ("Carl", "1970", True)], [])
    version = two.people.people().version
    assert two.take(lines)["described"] == 0
    assert two.people.people().version == version, "to import again changes nothing"
    undone = two.people.undo()
    assert undone is not None
    assert undone.names == ("Anna", "Carl")
    assert two.known() == before
    assert two.take(lines, keep=True)["described"] == 1
    assert two.known() == ([("Anna", "2015-03", False), ("Bob", "2001", True), ("Carl", "1971", True)], [])


def test_an_import_is_one_step_and_an_earlier_statement_replaces_no_later_one(
    one_and_two: tuple[Place, Place],
) -> None:
    one, two = one_and_two
    one.say("Anna", NewStatement(True, DIGESTS[0], BOXES[0]), NewStatement(True, DIGESTS[1], BOXES[0]))
    one.say("Bob", NewStatement(True, DIGESTS[2], BOXES[1]))
    two.clock = one.clock - 10
    two.say("Carl", NewStatement(True, DIGESTS[2], BOXES[1]))
    two.clock = one.clock + 10
    two.say("Anna", NewStatement(False, DIGESTS[0], BOXES[0]))
    before = two.known()
    result = two.take(one.lines("people"))
    assert (result["added"], result["outdated"], result["replaced"], result["statements"]) == (2, 1, 1, 3)
    two.people.undo()
    assert two.known() == before


@pytest.mark.parametrize("merges", [False, True])
def test_an_earlier_export_takes_nothing_from_people_who_were_renamed_or_merged_since(
    one_and_two: tuple[Place, Place], merges: bool
) -> None:
    one, _ = one_and_two
    one.clock += 0.1234567  # an export has thousandths
    one.say("Bo", NewStatement(True, DIGESTS[0], BOXES[2]))
    one.say("Kim", *(NewStatement(True, digest, BOXES[0]) for digest in DIGESTS[:2]))
    one.say("Kim", NewStatement(False, DIGESTS[2], BOXES[0]), NewStatement(True, DIGESTS[3], None))
    lines = one.lines("people")
    if merges:
        one.people.merge("Kim", "Bo")
    else:
        one.people.rename("Kim", "Kimberly")
    before = one.known()
    one.clock += 10
    result = one.take(lines)
    assert (result["added"], result["replaced"], result["known"]) == (0, 0, 5)
    assert one.known() == before, "and no person Kim is made"


@pytest.mark.parametrize("box", [BOXES[0], None])
def test_a_statement_of_a_time_to_come_turns_no_correction_round(
    one_and_two: tuple[Place, Place], box: RelativeBox | None
) -> None:
    one, two = one_and_two
    one.clock = 9e10
    one.say("Anna", NewStatement(True, DIGESTS[0], box))
    lines = one.lines("people")
    assert two.take(lines)["added"] == 1
    assert two.people.people().statements[0].at == two.clock
    assert (two.take(lines)["added"], two.take(lines)["known"]) == (0, 1)
    two.say("Anna", NewStatement(False, DIGESTS[0], box))
    before = two.known()
    result = two.take(lines)
    assert (result["added"], result["outdated"], result["replaced"]) == (0, 1, 0)
    assert two.known() == before


def test_what_one_line_takes_from_another_is_not_counted_as_said(one_and_two: tuple[Place, Place]) -> None:
    one, _ = one_and_two
    lines = [PERSON, PERSON | {"person": "Bob"}, STATEMENT, STATEMENT | {"statement": "Bob", "at": 1.6e9}]
    result = one.take(lines)
    assert (result["added"], result["replaced"], len(one.people.people().statements)) == (1, 0, 1)


def test_with_keep_nothing_that_was_said_is_replaced(one_and_two: tuple[Place, Place]) -> None:
    one, two = one_and_two
    two.say("Anna", NewStatement(False, DIGESTS[0], BOXES[0]), NewStatement(True, DIGESTS[1], BOXES[1]))
    one.clock = two.clock + 10
    one.say("Anna", NewStatement(True, DIGESTS[0], BOXES[0]), NewStatement(True, DIGESTS[2], BOXES[0]))
    one.say("Bob", NewStatement(True, DIGESTS[1], BOXES[1]))
    result = two.take(one.lines("people"), keep=True)
    assert (result["added"], result["kept"]) == (1, 2)
    assert [person.name for person in two.people.people().people] == ["Anna"], "of Bob, nothing is left to be said"


def test_photos_that_are_not_here_are_told_by_their_paths(one_and_two: tuple[Place, Place]) -> None:
    one, two = one_and_two
    one.gallery.record([Outcome(b"/photos/2019/\xff.jpg", stamp(1), DIGESTS[0], 10, 10, [])])
    one.say("Anna", NewStatement(True, DIGESTS[0], None), NewStatement(True, DIGESTS[1], None))
    lines = one.lines("people", "photos")
    assert lines[-1] == {"photo": DIGESTS[0].hex(), "paths": ["2019/\ufffd.jpg"]}
    two.gallery.record([Outcome(b"/elsewhere/b.jpg", stamp(1), DIGESTS[1], 10, 10, [])])
    assert two.take(lines)["absent"] == {"count": 1, "paths": ["2019/\ufffd.jpg"]}


def record_photos(place: Place) -> None:
    for number, digest in enumerate(DIGESTS):
        faces = [face(row, norm=None if number else 7.5) for row in ROWS[number : number + number % 3]]
        taken = Taken(1.5e9 + number, None, TakenFrom.EXIF) if number % 2 else None
        outcome = Outcome(b"/photos/%d" % number, stamp(number), digest, 640, 480, faces, taken=taken)
        place.gallery.record([outcome])


def test_faces_come_over_with_everything_that_is_known_of_them(
    one_and_two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "CONTENTS", 3)
    one, two = one_and_two
    record_photos(one)
    lines = one.lines("contents")
    assert two.take_contents(lines, check=True) == {"contents": 4, "new": 0}
    assert two.take_contents(lines) == {"contents": 4, "new": 4}
    assert two.take_contents(lines) == {"contents": 4, "new": 0}
    for number, digest in enumerate(DIGESTS):
        assert two.gallery.record([Outcome(b"/new/%d" % number, stamp(number), digest)]) == set()
    assert two.lines("contents") == lines
    assert one.lines("people", embeddings=True)[0]["model"] == INFO.id


def test_pages_are_of_one_state_of_the_people(
    one_and_two: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "STATEMENTS", 2)
    one, two = one_and_two
    one.say("Anna", *(NewStatement(True, digest, BOXES[0]) for digest in DIGESTS))
    assert len(one.lines("people")) == 2 + 4
    first = one.methods.export(ExportParameters("people"))
    assert first["next"] == 2
    one.say("Bob")
    with pytest.raises(NotReadyError, match="changed while"):
        one.methods.export(ExportParameters("people", 2, cast("int", first["version"])))
    two.clock = one.clock
    two.take(one.lines("people"))
    assert two.known() == one.known()


PERSON = {"person": "Anna", "born": None, "hidden": False}
STATEMENT = {
    "statement": "Anna",
    "is": True,
    "digest": "ab" * 32,
    "box": [0.1, 0.2, 0.3, 0.4],
    "source": "user",
    "at": 1.5e9,
}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no JSON object"),
        ("[]", "no JSON object"),
        ("\udcff", "no JSON object"),
        ("[" * 5000, "no JSON object"),
        ({"content": "ab"}, "no line of a person"),
        (PERSON | {"person": ""}, "may not be empty"),
        (PERSON | {"person": 3}, "no name"),
        (PERSON | {"person": "x" * 201}, "at most 200"),
        (PERSON | {"person": "a\nb"}, "control characters"),
        (PERSON | {"person": "ANNA"}, "two people of the name 'ANNA'"),
        (PERSON | {"person": "B", "born": "soon"}, "born is no date"),
        (PERSON | {"person": "B", "born": "2019-99-99"}, "born is no date"),
        (PERSON | {"person": "B", "born": "2019-02-30"}, "born is no date"),
        (PERSON | {"person": "B", "born": ["2019"]}, "born is no date"),
        (PERSON | {"person": "B", "hidden": 1}, "hidden is not true or false"),
        (PERSON | {"person": "B", "more": 1}, "unknown name 'more'"),
        (STATEMENT | {"statement": "Bob"}, "no line before it for the person 'Bob'"),
        (STATEMENT | {"is": "yes"}, "is is not true or false"),
        (STATEMENT | {"digest": "ab"}, "digest is no digest"),
        (STATEMENT | {"digest": "zz" * 32}, "digest is no digest"),
        (STATEMENT | {"box": [0.1, 0.2, 0.3]}, "box has not four numbers"),
        (STATEMENT | {"box": [0.1, 0.2, 0.3, "0.4"]}, "a number of the box is no number from 0 to 1"),
        (STATEMENT | {"box": [0.9, 0.2, 0.3, 0.4]}, "box does not lie on the photo"),
        (STATEMENT | {"box": [0.1, 0.2, 0, 0.4]}, "box does not lie on the photo"),
        (STATEMENT | {"box": [0.1, 0.2, 1e-200, 1e-200]}, "box does not lie on the photo"),
        (STATEMENT | {"at": float("nan")}, "NaN is no number"),
        (STATEMENT | {"at": 1e300}, "at is no number"),
        (STATEMENT | {"at": True}, "at is no number"),
        (STATEMENT | {"source": "x" * 41}, "source is no text"),
        ({"photo": "ab" * 32, "paths": [3]}, "paths are no list of strings"),
        ({"format": "other"}, "no export of facewatchd"),
        ({"format": "facewatchd", "version": 3}, "version 3, and this facewatchd reads up to 2"),
    ],
)
def test_a_line_that_is_wrong_is_named_by_its_number_and_nothing_is_said(
    tmp_path: Path, line: object, message: str
) -> None:
    text = line if isinstance(line, str) else json.dumps(line)
    data = encoded([PERSON, STATEMENT]) + text.encode("utf-8", "surrogateescape") + b"\n"
    with two_places(tmp_path) as (one, _), pytest.raises(ParamsError) as caught:
        one.methods.import_people(ImportPeopleParameters(data, first=5))
    assert str(caught.value).startswith("line 7: ")
    assert message in str(caught.value)
    assert not (tmp_path / "one" / "people.sqlite3").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "the width is no whole number"),
        ({"height": 1 << 40}, "the height is no whole number"),
        ({"faces": {}}, "the faces are no list"),
        ({"faces": [3]}, "a face is no JSON object"),
        ({"second_look": 9}, "second_look is no whole number"),
        ({"taken": [1, 2]}, "taken has not three parts"),
        ({"taken": [1.5, None, "dream"]}, "a date of no known source"),
        ({"taken": [1.5, None, "mtime"]}, "a date of no known source"),
        ({"taken": [1.5, None, "name"]}, "a date of no known source"),
        ({"taken": [1.5, None, ["exif"]]}, "a date of no known source"),
        ({"taken": [-1e11, None, "exif"]}, "a date at which no photo was taken"),
        ({"taken": [1e11, None, "exif"]}, "a date at which no photo was taken"),
        ({"taken": [1e300, None, "exif"]}, "a time is no finite number"),
        ({"taken": [1.5, 24 * 60, "exif"]}, "an offset is no whole number"),
        ({"picture": "%"}, "picture is no base64"),
        ({"picture": "AAAA"}, "the fingerprint of the picture is not 8 bytes"),
        ({"picture": ""}, "the fingerprint of the picture is not 8 bytes"),
        ({"dated": None}, "dated is not true or false"),
        ({"content": "x"}, "content is no digest"),
    ],
)
def test_a_content_that_is_wrong_is_named_by_its_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with two_places(tmp_path) as (one, two):
        record_photos(one)
        good, *_ = one.lines("contents")
        with pytest.raises(ParamsError) as caught:
            two.take_contents([good, good | change], first=3)
        assert f"line 4: {message}" in str(caught.value)
        assert two.take_contents([good]) == {"contents": 1, "new": 1}, "nothing had been recorded"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": ""}, "an embedding has 0 numbers, and the model 24"),
        ({"embedding": "AAAA" * 32}, "not of unit length"),
        ({"box": [600, 0, 60, 60]}, "a box's width"),
        ({"score": 2}, "a score is not from 0 to 1"),
        ({"landmarks": [[0, 0]]}, "the landmarks has not 5 parts"),
        ({"norm": -1}, "a norm"),
        ({"look": "sideways"}, "a look"),
        ({"sharpness": "x"}, "sharpness"),
        ({"more": 1}, "unknown name 'more'"),
    ],
)
def test_a_face_that_is_wrong_is_named_by_its_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with two_places(tmp_path) as (one, two):
        record_photos(one)
        _, good, *_ = one.lines("contents")
        good["faces"][0] |= change
        with pytest.raises(ParamsError) as caught:
            two.take_contents([good])
        assert str(caught.value).startswith("line 1: ")
        assert message in str(caught.value)


def test_numbers_of_lines_count_empty_ones(one_and_two: tuple[Place, Place]) -> None:
    one, _ = one_and_two
    data = b"\n\n" + encoded([PERSON]) + b"\n  \nx\n"
    with pytest.raises(ParamsError, match="line 6: "):
        one.methods.import_people(ImportPeopleParameters(data))


def test_the_declared_names_of_lines_are_those_that_are_written(one_and_two: tuple[Place, Place]) -> None:
    one, _ = one_and_two
    record_photos(one)
    one.say("Anna", NewStatement(True, DIGESTS[0], BOXES[0]))
    one.people.ignore([Ignored(DIGESTS[1], BOXES[1], in_group=False)])
    written = {" ".join(line) for line in one.lines("people", "photos", "contents")}
    assert written == set(LINES) - {"end"}
