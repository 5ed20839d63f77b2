"""The benchmarks run, and what they say of bounds is so. What they measure is not tested: machines are noisy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import gallery, report
from tests.support.paths import PROJECT


@pytest.mark.parametrize(
    ("value", "bound", "at_least", "kept"),
    [(1.0, 1.0, True, True), (0.9, 1.0, True, False), (1.0, 1.0, False, True), (1.1, 1.0, False, False)],
)
def test_a_bound_is_kept_or_missed(value: float, bound: float, at_least: bool, kept: bool) -> None:
    check = report.Check("speed", value, bound, at_least)
    assert check.kept is kept
    assert str(check).startswith("ok " if kept else "MISS")


def test_a_report_is_a_table_with_its_checks() -> None:
    one = report.Report("Speed", ["what", "ms"])
    one.row("walk", 1234.5)
    one.row("run", 0.12345)
    one.check("ratio", 3.0, 2.0)
    lines = one.markdown().splitlines()
    assert lines[:6] == ["## Speed", "", "| what | ms    |", "| ---- | ----- |", "| walk | 1,234 |", "| run  | 0.123 |"]
    assert lines[-1] == "MISS ratio: 3, at most 2"


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (report.percentile(values, 99), report.percentile(values, 50), report.percentile([7.0], 99)) == (100, 51, 7)


def test_made_up_people_are_what_they_are_said_to_be() -> None:
    people = gallery.make(20_000)
    sizes = np.bincount(people.identity)
    assert (len(people.vectors), sizes.min(), sizes.max()) == (20_000, 1, pytest.approx(gallery.MOST, rel=0.05))
    assert np.allclose(np.linalg.norm(people.vectors, axis=1), 1, atol=1e-5)
    alone = people.vectors[sizes[people.identity] == 1][:500]
    strangers = (alone @ alone.T)[np.triu_indices(len(alone), 1)]
    assert strangers.std() == pytest.approx(1 / np.sqrt(gallery.EFFECTIVE_DIM), rel=0.2)
    largest = people.vectors[people.of(int(sizes.argmax()))]
    alike = (largest @ largest.T)[np.triu_indices(len(largest), 1)]
    assert 0.97 < alike.max() < 1, "bursts"
    assert np.quantile(alike, 0.01) > 0.3
    assert gallery.make(50).vectors.tobytes() == gallery.make(50).vectors.tobytes()


def test_they_run_and_write_what_they_print(tmp_path: Path, tiny_root: Path) -> None:
    names = ["searching", "parameters", "starting"]
    options = [
        "--quick",
        "--faces",
        "3000",
        "--pack",
        str(tiny_root / "models" / "tiny"),
        "--work",
        str(tmp_path),
        "--json",
        str(tmp_path / "json"),
    ]
    command = [sys.executable, "-m", "tests.benchmarks", *names, *options]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert run.returncode in (0, 1), run.stderr
    document = json.loads((tmp_path / "json").read_text())
    assert document["machine"]["cores"] >= 1
    assert [one["title"] for one in document["reports"]] == [
        "Search at scale",
        "Parameters of the index, 3,000 faces",
        "Start",
    ]
    (faces, recall, worst, *_), *_ = document["reports"][0]["rows"]
    assert (faces, recall > 0.9, worst > 0.5) == (3000, True, True)
    assert "MISS" in run.stdout or run.returncode == 0


def test_one_that_does_not_exist_is_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "flying"], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 2
    assert "there is no benchmark flying" in run.stderr
