"""The benchmark of thresholds, on made-up faces for which the right answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facewatchd.values import Quality
from tests.benchmarks import labelling, thresholds
from tests.benchmarks.thresholds import Faces
from tests.support.albums import shoot

DIM = 64
RNG = np.random.default_rng(5)


def rows(count: int) -> np.ndarray:
    """Directions of people, none like another. Shape (count, DIM), unit length."""
    return np.linalg.qr(RNG.normal(size=(DIM, DIM)))[0][:count]


def write(file: Path, sets: list[str], people: list[int], ages: list[int], embeddings: np.ndarray) -> Path:
    """A file of two recognisers behind one detector, the second with other axes."""
    other = embeddings[:, ::-1]
    np.savez(file, d_set=sets, d_person=people, d_age=ages, d_one=embeddings, d_two=other, d_score=np.ones(len(people)))
    return file


@pytest.fixture
def faces(tmp_path: Path) -> Faces:
    """Four people in two files. Two numbers are one person; two children are alike; covered mouths are nobody's.

    Of the first person, two faces are 0.8 alike and the third is 0.6 like both.
    """
    one, two, child, third, away, spare = rows(6)
    first = [one, 0.8 * one + 0.6 * away, 0.6 * one + 0.2 * away + np.sqrt(0.6) * spare]
    people = [1, 1, 1, 2, 3, 4, 5, 6, 7]
    embeddings = np.stack([*first, two, two, child, child, third, third]) * np.arange(5, 14)[:, None]
    sets = ["web"] * 5 + ["ages"] * 2 + ["masked"] * 2
    files = [write(tmp_path / "a.npz", sets, people, [-1] * 5 + [3, 4] + [-1] * 2, embeddings)]
    files.append(write(tmp_path / "b.npz", ["web"], [1], [30], 7 * third[None]))
    found = {faces.recogniser: faces for faces in thresholds.read(files)}
    assert set(found) == {"one", "two"}
    return found["one"]


def test_files_are_read_together_and_two_numbers_may_be_one_person(faces: Faces) -> None:
    assert len(faces.people) == 10
    assert len(faces.numbers) == 8, "a number counts in its own file"
    assert faces.norms.round(3).tolist() == [5, 6, 7, 8, 9, 10, 11, 12, 13, 7]
    assert faces.doubles == {(2, 3)}, "neither the children nor the covered mouths"


def test_pairs_of_one_person_are_those_of_people(faces: Faces) -> None:
    pairs, people = thresholds.found(faces, 0.7, 5)
    assert (pairs[0], people[0]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert len(pairs) == 6
    assert thresholds.found(faces, 0.5, 0)[0][0] == 1


def test_pairs_of_people_count_once_and_without_children_doubles_and_covered_mouths(faces: Faces) -> None:
    adults = faces.adults
    assert adults.numbers[:3].tolist() == [1, 2, 3]
    assert len(adults.numbers) == 4
    assert thresholds._are_two(adults).sum() == 10, "six pairs but one, both ways"
    assert thresholds._shares(adults, 0.5).sum() == 0
    assert thresholds.Curve(adults, 3).rate(0.5).tolist() == [0.0] * 4
    children = faces.of((faces.ages > 0) & (faces.ages < 5))
    assert thresholds._shares(children, 0.5).sum() == 2, "each is like the other"


def test_a_file_is_made_from_directories_of_photos(
    tmp_path: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, (person, also) in enumerate([(1, 2), (1, None), (2, None), (2, 1)]):
        persons = [person] if also is None else [person, also]
        shoot(tmp_path / "family" / f"{person}" / f"{seed}.jpg", persons, seed)
    (tmp_path / "family" / "2" / "torn.jpg").write_bytes(b"torn")
    file, pack = tmp_path / "family.npz", tiny_root / "models" / "tiny"
    assert labelling.main([str(file), "--pack", str(pack), str(tmp_path / "family")]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("4 faces of 2 people; ")
    assert "torn.jpg" in told.err
    (faces,) = thresholds.read([file])
    assert (faces.name, faces.sets.tolist(), faces.people.tolist()) == ("tiny + faces", ["family"] * 4, [0, 0, 1, 1])
    assert faces.threshold is None
    assert faces.norms == pytest.approx(27, abs=1)
    assert thresholds.found(faces, 0.9, 0)[0][0] == 1
    assert thresholds._shares(faces, 0.5).sum() == 0


def test_norms_are_judged_at_equal_rates_of_false_matches() -> None:
    """Two strangers, blurred, are more alike than one person's clear faces; with a table they are not."""
    one = thresholds.Pairs(np.array([0.5, 0.6]), (np.array([20.0, 20]), np.array([20.0, 20])), np.ones(2))
    blurred = np.array([5.0] * 2 + [20] * 98), np.array([5.0] * 2 + [20] * 98)
    two = thresholds.Pairs(np.array([0.7, 0.7] + [0.1] * 98), blurred, np.ones(100))
    assert thresholds.found_at(one, two, None, 0.01) == 0
    table = Quality(clear=10, slope=0.04, floor=5)
    assert two.least(table)[:3].tolist() == pytest.approx([0.3, 0.3, 0.1])
    assert thresholds.found_at(one, two, table, 0.01) == 1
    assert thresholds.fitted(one, two, [Quality(10, 0, 5), table]) == table
