"""A daemon with a gallery of many small children says how many of its answers to expect wrong, and is about right.

The photos of these galleries are files that the daemon finds as they were recorded, so no model looks at them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facewatchd.models import registry
from tests.benchmarks.expectation import Labelled
from tests.benchmarks.options import SHARED, SHARED_NUMBERS, SHARED_PACK
from tests.support import drawn_faces
from tests.support.crowds import people, photos_of, record
from tests.support.fake_daemon import run_with_terminal
from tests.support.processes import Daemon

ADULTS, CHILDREN, ANNA = 500, 150, 30


@pytest.fixture(scope="module")
def rows() -> NDArray[np.float32]:
    """One face each of some adults and of small children, then one adult on many photos."""
    rng = np.random.default_rng(0)
    adults, children = people(rng, ADULTS, drawn_faces.DIM), people(rng, CHILDREN, drawn_faces.DIM, alike=0.37)
    anna = photos_of(rng, people(rng, 1, drawn_faces.DIM)[0], ANNA, 0.75)
    return np.concatenate([adults, children, anna])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path, rows: NDArray[np.float32]) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("crowd")
    pack = registry.choose("tiny", tiny_root, notify=print)
    record(directory / "home" / "data" / pack.id, directory / "photos", pack.id, rows)
    with Daemon(directory / "home", directory / "photos", model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        assert daemon.settle()["faces"] == len(rows)
        yield daemon


def photo(daemon: Daemon, number: int) -> Path:
    return daemon.roots[0] / f"{number:05}.jpg"


def expected(daemon: Daemon, number: int, **params: Any) -> tuple[float, list[dict[str, Any]], str]:
    """How many are expected wrong, the matches, and what the number is worth, of a question with a photo."""
    result = daemon.call("query", photos=[{"path": str(photo(daemon, number))}], top=0, explain=True, **params)
    return result["expected_false"]["count"], result["matches"], result["expected_false"]["basis"]


def test_of_a_child_many_are_expected_wrong_and_of_an_adult_none(daemon: Daemon, rows: NDArray[np.float32]) -> None:
    threshold = daemon.status()["model"]["threshold"]
    predicted = counted = 0.0
    for child in range(ADULTS, ADULTS + 30):
        number, matches, basis = expected(daemon, child)
        assert basis == "at-most", "the recogniser of the test pack was not measured"
        assert len(matches) == (rows @ rows[child] >= threshold).sum()
        assert {match["verdict"] for match in matches if not match["itself"]} <= {"likely", "look"}
        predicted += number
        counted += len(matches) - 1
    assert counted > 300
    assert 1 / 3 < predicted / counted <= 3
    number, matches, _ = expected(daemon, len(rows) - 1)
    assert len(matches) >= ANNA - 1
    assert number < 2
    assert [match["verdict"] for match in matches[: ANNA // 2]] == ["sure"] * (ANNA // 2)


def test_the_words_fall_with_the_similarity(daemon: Daemon) -> None:
    for number in (ADULTS + 1, ADULTS + ANNA, 3):
        words = [match["verdict"] for match in expected(daemon, number, threshold=0.2)[1]]
        assert words == sorted(words, key=["sure", "likely", "look"].index)


def test_a_threshold_is_answered_for_what_it_is(daemon: Daemon) -> None:
    low, default, high = (expected(daemon, ADULTS + 1, threshold=each)[0] for each in (0.25, 0.4, 0.6))
    assert low > 1.5 * default
    assert default > 10 * high


def test_it_is_the_same_right_after_a_start(daemon: Daemon) -> None:
    before = [expected(daemon, number)[0] for number in (0, ADULTS, ADULTS + 5)]
    assert daemon.stop() == 0
    daemon.start()
    assert [expected(daemon, number)[0] for number in (0, ADULTS, ADULTS + 5)] == before


def test_a_terminal_says_it_in_words(daemon: Daemon) -> None:
    command = [sys.executable, "-m", "facewatchd.client.app", "--socket", str(daemon.socket), "-n", "0", "--explain"]
    _, out, err = run_with_terminal([*command, photo(daemon, ADULTS)], NO_COLOR="1")
    assert out.decode().splitlines()[0].split() == ["SIMILARITY", "VERDICT", "BOX", "PATH"]
    assert "look" in out.decode()
    (line,) = [line for line in err.decode().splitlines() if "somebody else" in line]
    assert line.startswith("up to ")


def test_json_has_it_where_it_is_asked_for(daemon: Daemon) -> None:
    document = json.loads(daemon.query("--json", "--explain", photo(daemon, ADULTS)).stdout)
    assert document["expected_false"].keys() == {"count", "basis"}
    assert all("verdict" in match for match in document["matches"])
    document = json.loads(daemon.query("--json", photo(daemon, ADULTS)).stdout)
    assert "expected_false" not in document
    assert not any("verdict" in match for match in document["matches"])


needs_shared = pytest.mark.skipif(
    not (SHARED_NUMBERS.is_file() and SHARED_PACK.is_dir()), reason="the labelled faces in ../shared are not here"
)


@pytest.fixture(scope="module")
def faces() -> Labelled:
    return Labelled.read(SHARED_NUMBERS, "mobilefacenet")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory, faces: Labelled) -> Iterator[Daemon]:
    """Knows all labelled faces, a photo each."""
    directory = tmp_path_factory.mktemp("labelled")
    root = SHARED / "insightface"
    pack = registry.choose(SHARED_PACK.name, root, notify=print)
    record(directory / "home" / "data" / pack.id, directory / "photos", pack.id, faces.embeddings, faces.norms.tolist())
    with Daemon(directory / "home", directory / "photos", model=SHARED_PACK.name, model_root=root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


@needs_shared
def test_of_real_small_children_the_number_is_right_within_a_factor_of_3(labelled: Daemon, faces: Labelled) -> None:
    for low, high in ((0, 4), (5, 12)):
        askers = np.flatnonzero((faces.sets == "utk") & (faces.ages >= low) & (faces.ages <= high))[:40]
        predicted = counted = 0.0
        for face in askers.tolist():
            number, matches, _ = expected(labelled, face)
            found = np.array([int(Path(match["path"]).stem) for match in matches])
            wrong = np.isin(found, faces.strangers(face, found)).sum()
            predicted, counted = predicted + number, counted + wrong
        assert counted > 100
        assert 1 / 3 < predicted / counted < 3, (low, high)


@needs_shared
def test_small_children_are_told(labelled: Daemon, faces: Labelled) -> None:
    babies = np.flatnonzero((faces.sets == "utk") & (faces.ages >= 0) & (faces.ages <= 4))[:20]
    grown = np.flatnonzero(faces.sets == "glint")[:20]

    def children(askers: NDArray[np.int64]) -> int:
        """Of how many it is said that they are small children."""
        found = [expected(labelled, face)[1][0] for face in askers.tolist()]
        return sum("child" in match["reasons"] for match in found)

    def asked(askers: NDArray[np.int64]) -> int:
        """The same, of the faces asked for, without reasons."""
        photos = [{"path": str(photo(labelled, face))} for face in askers.tolist()]
        return sum(labelled.call("query", photos=[each], verdicts=True)["query"][0]["child"] for each in photos)

    assert children(babies) == asked(babies) >= 16
    assert children(grown) == asked(grown) <= 2


@needs_shared
def test_a_terminal_says_of_a_small_child_that_they_look_alike(labelled: Daemon, faces: Labelled) -> None:
    child = int(np.flatnonzero((faces.sets == "utk") & (faces.ages <= 2) & (faces.ages >= 0))[0])
    command = [sys.executable, "-m", "facewatchd.client.app", "--socket", str(labelled.socket)]
    _, _, err = run_with_terminal([*command, photo(labelled, child)], NO_COLOR="1")
    assert b"small children look alike to the model" in err


@needs_shared
def test_of_people_on_many_photos_few_are_expected_wrong(labelled: Daemon, faces: Labelled) -> None:
    askers = np.flatnonzero(faces.sets == "glint")[:40]
    said = [expected(labelled, face) for face in askers.tolist()]
    matches = sum(len(found) for _, found, _ in said)
    assert matches > 400
    assert sum(number for number, _, _ in said) < 0.1 * matches
    for (_, found, _), face in zip(said, askers.tolist(), strict=True):
        sure = np.array([int(Path(match["path"]).stem) for match in found if match["verdict"] == "sure"])
        assert np.isin(sure, faces.strangers(face, sure)).mean() < 0.1


def test_status_stays_silent_in_a_gallery_that_the_threshold_bears(daemon: Daemon) -> None:
    assert daemon.status()["problems"] == []
