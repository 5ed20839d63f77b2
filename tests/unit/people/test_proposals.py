"""What names of other programs say of the faces on a photo, and what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from facewatchd.people.proposals import Finding, Name, OnPhoto, Verdict, findings
from facewatchd.people.statements import RelativeBox

ONE, TWO, THREE = (RelativeBox(x, 0.2, 0.1, 0.1) for x in (0.1, 0.4, 0.7))
FACES = [(11, ONE), (12, TWO), (13, THREE)]
NOWHERE = RelativeBox(0.1, 0.8, 0.1, 0.1)


def name(text: str, *readings: RelativeBox, source: str = "mwg") -> Name:
    return Name(text, source, readings)


def verdicts(found: Sequence[Finding]) -> dict[str, tuple[Verdict, int | None]]:
    return {each.name: (each.verdict, each.face) for each in found}


def on(person_of: dict[int, str] | None = None, **more: object) -> OnPhoto:
    return OnPhoto(FACES, person_of or {}, **more)  # type: ignore[arg-type]


def test_names_are_given_to_the_faces_where_they_stand() -> None:
    found = findings([[name("Anna", TWO), name("Bob", ONE), name("Carl", NOWHERE)]], on())
    assert verdicts(found) == {
        "Anna": (Verdict.NEW, 12),
        "Bob": (Verdict.NEW, 11),
        "Carl": (Verdict.NO_FACE, None),
    }
    assert found[0].box == TWO
    assert found[2].box == NOWHERE


def test_the_same_in_several_files_is_said_once_whatever_the_case() -> None:
    files = [[name("Anna", TWO), name("ANNA", TWO, source="microsoft")], [name("anna", TWO)]]
    assert verdicts(findings(files, on())) == {"Anna": (Verdict.NEW, 12)}


def test_the_reading_counts_with_which_more_names_are_about_faces() -> None:
    turned = [name("Anna", NOWHERE, ONE), name("Bob", TWO, TWO), name("Carl", NOWHERE, THREE)]
    assert [each.face for each in findings([turned], on())] == [11, 12, 13]
    both = [name("Anna", ONE, TWO), name("Bob", TWO, ONE)]
    assert [each.face for each in findings([both], on())] == [11, 12]


@pytest.mark.parametrize(
    ("photo", "expected"),
    [
        (on({12: "anna"}), Verdict.KNOWN),
        (on({12: "bob"}), Verdict.CONTRADICTS),
        (on({11: "anna"}), Verdict.CONTRADICTS),
        (on(rejected={12: frozenset({"anna"})}), Verdict.CONTRADICTS),
        (on({11: "bob"}, rejected={12: frozenset({"bob"})}), Verdict.NEW),
        (on(absent={"anna": [None]}), Verdict.CONTRADICTS),
        (on(absent={"anna": [NOWHERE], "bob": [None]}), Verdict.NEW),
    ],
)
def test_what_was_said_before_stays(photo: OnPhoto, expected: Verdict) -> None:
    (found,) = findings([[name("Anna", TWO)]], photo)
    assert found.verdict is expected
    assert bool(found.against) == (expected is Verdict.CONTRADICTS)


def test_who_was_said_not_to_be_there_is_not_proposed_without_a_face_either() -> None:
    files = [[name("Anna", NOWHERE), name("Bob", NOWHERE), name("Carl", NOWHERE), name("Dora"), name("Eve")]]
    photo = on({11: "f", 12: "g"}, absent={"anna": [ONE, NOWHERE], "bob": [None], "carl": [ONE], "dora": [None]})
    assert verdicts(findings(files, photo)) == {
        "Anna": (Verdict.CONTRADICTS, None),
        "Bob": (Verdict.CONTRADICTS, None),
        "Carl": (Verdict.NO_FACE, None),
        "Dora": (Verdict.CONTRADICTS, None),
        "Eve": (Verdict.PROPOSED, 13),
    }


def test_two_names_of_one_face_and_two_faces_of_one_name_are_said_of_none() -> None:
    found = findings([[name("Anna", ONE)], [name("Bob", ONE), name("Carl", TWO)], [name("Carl", THREE)]], on())
    assert {verdict for verdict, _ in verdicts(found).values()} == {Verdict.CONTRADICTS}
    assert [each.against for each in found] == [
        "Bob is given to the same face",
        "Anna is given to the same face",
        "it is given to several faces",
    ]


def test_a_name_without_a_place_is_proposed_where_one_face_and_one_name_are_left() -> None:
    anna, bob = name("Anna", source="takeout"), name("Bob", source="takeout")
    assert verdicts(findings([[anna, bob]], on({11: "anna", 13: "carl"}))) == {
        "Anna": (Verdict.KNOWN, None),
        "Bob": (Verdict.PROPOSED, 12),
    }
    assert verdicts(findings([[anna, bob]], on({11: "carl"})))["Anna"] == (Verdict.NO_PLACE, None)
    assert verdicts(findings([[anna]], on({11: "carl"})))["Anna"] == (Verdict.NO_PLACE, None)
    placed = [name("Carl", ONE), name("Dora", THREE)]
    assert verdicts(findings([placed, [anna, name("Carl", source="takeout")]], on()))["Anna"] == (Verdict.PROPOSED, 12)
    rejected = on({11: "bob", 13: "carl"}, rejected={12: frozenset({"anna"})})
    assert verdicts(findings([[anna]], rejected))["Anna"] == (Verdict.NO_PLACE, None)
    assert verdicts(findings([[anna]], on(standing=frozenset({"anna"}))))["Anna"] == (Verdict.KNOWN, None)
