"""``facewatchd photos`` and the method ``photos``: the files in one state, in pages, each with the reason."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facewatchd.api.parameters import MOST_LISTED
from facewatchd.cli import app as cli
from facewatchd.errors import FacewatchError
from facewatchd.store import catalog_reader
from facewatchd.store.catalog import Catalog, Outcome
from facewatchd.values import LISTED_STATES, PhotoState
from tests.support.albums import shoot
from tests.support.fake_daemon import DEADLINE, FakeDaemon, error, reply, run_with_terminal
from tests.support.galleries import DIM, photo, stamp, unit
from tests.support.processes import Daemon, until

# Pages of the catalog

ROWS = unit(np.random.default_rng(0).normal(size=(4, DIM)))
NAMES = st.sampled_from([b"/p/%c" % letter for letter in b"abcdefgh"] + [b"/p/\xff\n", b"/q/a", b"/p"])
KINDS = st.sampled_from(["indexed", "no-face", "failed", "unread", "unsupported", "excluded", "gone"])
CONTENTS = st.integers(0, 3)
"""Photos of one kind share this many contents."""


def outcome(path: bytes, kind: str, content: int) -> Outcome:
    digest = f"{kind} {content}".encode()
    if kind in ("indexed", "no-face"):
        return photo(path, digest, ROWS[content : content + 1] if kind == "indexed" else [])
    if kind in ("failed", "unsupported"):
        return Outcome(path, stamp(1), digest, error=f"why {content}", unsupported=kind == "unsupported")
    return Outcome(path, None if kind == "gone" else stamp(1), error="no right" if kind == "unread" else None)


def pages(catalog: Catalog, state: PhotoState, limit: int, between: Callable[[], None] | None = None) -> list[bytes]:
    """All pages of a state, one after the other; something may happen between each two."""
    found: list[bytes] = []
    after = b""
    while True:
        with catalog.reading() as reader:
            page = reader.in_state(state, after, limit)
        assert len(page) <= limit
        found += [path for path, _ in page]
        if len(page) < limit:
            return found
        after = page[-1][0]
        if between:
            between()


@pytest.mark.parametrize("few", [0, 1, 20_000])
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(NAMES, KINDS, CONTENTS), max_size=25), limit=st.integers(1, 5))
def test_each_photo_is_listed_once_by_path_in_the_state_that_it_has(
    few: int, rows: list[tuple[bytes, str, int]], limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(catalog_reader, "_FEW", few)
        catalog = Catalog(Path(directory, "catalog.sqlite3"), "test-00000000", DIM)
        try:
            for row in rows:
                catalog.record([outcome(*row)])
            with catalog.reading() as reader:
                known = {path: reader.photo(path) for path, _, _ in rows}
            for state in PhotoState:
                expected = sorted(path for path, record in known.items() if record and record.state is state)
                assert pages(catalog, state, limit) == expected
        finally:
            catalog.close()


def test_what_stays_is_listed_once_whatever_comes_and_goes_meanwhile(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    stays = [b"/p/%02d" % number for number in range(0, 40, 2)]
    catalog.record([outcome(path, "failed", number) for number, path in enumerate(stays)])
    numbers = iter(range(100))

    def upheaval() -> None:
        number = next(numbers)
        came, went = b"/p/%02d" % (39 - 2 * (number % 20)), b"/p/%02d" % (2 * (number % 20) + 1)
        catalog.record([outcome(came, "failed", 100 + number), outcome(went, "gone", 0)])
        catalog.record([outcome(stays[number % 20], "failed", 200 + number)])  # the same file with other bytes

    found = pages(catalog, PhotoState.FAILED, 3, upheaval)
    catalog.close()
    assert found == sorted(set(found))
    assert [path for path in found if path in stays] == stays


def test_the_reason_is_what_was_recorded(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    catalog.record([outcome(b"/b", "failed", 1), outcome(b"/a", "unread", 0), outcome(b"/c", "unsupported", 2)])
    with catalog.reading() as reader:
        assert reader.in_state(PhotoState.FAILED, b"", 9) == [(b"/a", "no right"), (b"/b", "why 1")]
        assert reader.in_state(PhotoState.UNSUPPORTED, b"", 9) == [(b"/c", "why 2")]
    catalog.close()


@pytest.mark.full
def test_a_page_of_a_million_photos_takes_no_second(tmp_path: Path) -> None:
    """Contents lie in another order than paths, which is what costs most."""
    count = 1_000_000
    catalog = Catalog(tmp_path / "catalog.sqlite3", "test-00000000", DIM)
    db = catalog._db
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -400000")
    db.execute("BEGIN")
    rows = ((n + 1, n.to_bytes(8, "big"), "torn" if n % 100_000 == 7 else None, n % 100_000 == 8) for n in range(count))
    db.executemany("INSERT INTO content(id, digest, width, height, error, unsupported) VALUES (?, ?, 1, 1, ?, ?)", rows)
    db.executemany(
        "INSERT INTO photo(path, directory, device, inode, size, mtime_ns, ctime_ns, content_id)"
        " VALUES (?, x'', 1, 1, 1, 1, 1, ?)",
        ((b"/home/anna/Pictures/%09d.jpg" % n, n * 7919 % count + 1) for n in range(count)),
    )
    db.executemany(
        "INSERT INTO face(content_id, x, y, w, h, score, landmarks, embedding) VALUES (?, 1, 1, 9, 9, 1, x'', x'')",
        ((n + 1,) for n in range(count) if n % 3),
    )
    db.execute("COMMIT")
    longest = 0.0
    for state in LISTED_STATES:
        for after in (b"", b"/home/anna/Pictures/000500000.jpg", b"/home/anna/Pictures/000999999.jpg"):
            with catalog.reading() as reader:
                started = time.process_time()
                reader.in_state(state, after, MOST_LISTED)
                longest = max(longest, time.process_time() - started)
    catalog.close()
    assert longest < 1.0


# The method, of a real daemon


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Daemon]:
    """A daemon on files in every state but pending."""
    tmp_path = tmp_path_factory.mktemp("library")
    root = tmp_path / "photos"
    root.mkdir()
    shoot(root / "anna.jpg", [1], 1)
    Image.new("RGB", (400, 300), "white").save(root / "blank.png")
    whole = shoot(tmp_path / "whole.jpg", [2], 2).read_bytes()
    for name in ("torn.jpg", os.fsdecode(b"\xff torn\n.jpg")):
        (root / name).write_bytes(whole[:200])
    os.mkfifo(root / "pipe.jpg")
    (root / "notes.txt").write_text("no photo")
    with Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield daemon


def listed(daemon: Daemon, state: str, limit: int | None = None) -> list[dict[str, Any]]:
    """What all pages of a state hold."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        answer = daemon.call("photos", state=state, after=after, limit=limit)
        found += answer["photos"]
        if (after := answer["next"]) is None:
            return found


def test_what_failed_can_be_learnt(library: Daemon) -> None:
    root = os.fsencode(library.roots[0])
    names = [b"\xff torn\n.jpg", b"pipe.jpg", b"torn.jpg"]
    answer = library.call("photos", state="failed")
    assert answer["next"] is None
    assert len(answer["photos"]) == library.status()["failed"] == 3
    assert [path_of(each) for each in answer["photos"]] == [root + b"/" + name for name in sorted(names)]
    for each in answer["photos"]:
        assert each["state"] == "failed"
        assert each["reason"]
        known = library.call("why", **{key: each[key] for key in ("path", "path_bytes") if key in each})
        assert known["state"] == "failed"
        assert known["reason"].startswith(each["reason"])
    for limit in (1, 2, 3, 4, MOST_LISTED):
        assert listed(library, "failed", limit) == answer["photos"]


def path_of(photo: dict[str, Any]) -> bytes:
    return base64.b64decode(photo["path_bytes"]) if "path_bytes" in photo else str(photo["path"]).encode()


def test_every_state_lists_what_why_says(library: Daemon) -> None:
    for path in library.roots[0].iterdir():
        param = {"path_bytes": base64.b64encode(os.fsencode(path)).decode()}
        state = library.call("why", **param)["state"]
        for each in LISTED_STATES:
            assert (os.fsencode(path) in map(path_of, listed(library, each))) == (each == state), (path, each)


def test_what_waits_is_listed_as_pending(library: Daemon) -> None:
    library.control("pause")
    names = [library.roots[0] / f"new {number:02d}.jpg" for number in range(12)]
    for number, path in enumerate(names):
        shoot(path, [3], 10 + number)
    until(lambda: library.status()["pending"] == len(names))
    pending = listed(library, "pending", 5)
    assert [each["path"] for each in pending] == [str(path) for path in names]
    assert all("facewatchd resume" in each["reason"] for each in pending)
    library.control("resume")
    library.settle()
    assert listed(library, "pending") == []
    assert {str(path) for path in names} <= {each["path"] for each in listed(library, "indexed", 4)}
    for path in names:
        path.unlink()
    library.settle()


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        ({}, "state"),
        ({"state": "unknown"}, "state"),
        ({"state": "Failed"}, "state"),
        ({"state": 7}, "state"),
        ({"state": "failed", "limit": 0}, "limit"),
        ({"state": "failed", "limit": MOST_LISTED + 1}, "limit"),
        ({"state": "failed", "limit": 1.5}, "limit"),
        ({"state": "failed", "after": "relative"}, "after"),
        ({"state": "failed", "after": 7}, "after"),
        ({"state": "failed", "after": {"path": "/a", "state": "failed"}}, "after"),
        ({"state": "failed", "after": {}}, "after"),
        ({"state": "failed", "before": "/a"}, "before"),
    ],
)
def test_wrong_parameters_are_named(library: Daemon, params: dict[str, Any], wrong: str) -> None:
    with pytest.raises(FacewatchError, match=wrong):
        library.call("photos", **params)


def test_a_path_that_was_listed_may_be_given_as_it_is(library: Daemon) -> None:
    first, *rest = library.call("photos", state="failed")["photos"][1:]
    assert library.call("photos", state="failed", after=first["path"])["photos"] == rest


# The command


def test_the_command_prints_each_file_with_its_reason(library: Daemon) -> None:
    root = str(library.roots[0])
    lines = library.control("photos", "--state", "failed", errors="surrogateescape").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines[:2]] == [f"{root}/pipe.jpg", f"{root}/torn.jpg"]
    assert all(line.split("\t")[1] for line in lines)
    document = json.loads(library.control("photos", "--state", "failed", "--json").stdout)
    assert document == {"photos": listed(library, "failed")}
    paths = subprocess.run(
        [sys.executable, "-m", "facewatchd", "photos", "--state=failed", "-0", "--socket", library.socket],
        capture_output=True, timeout=DEADLINE, check=True,
    ).stdout  # fmt: skip
    assert paths.split(b"\0") == [*map(path_of, document["photos"]), b""]
    assert "failed: facewatchd photos --state failed" in library.control("status").stdout


PHOTOS = [
    {"path": "/p/ü.jpg", "state": "failed", "reason": "torn"},
    {"path": "/p/a\tb\nc\\.jpg", "state": "failed", "reason": "a pipe\x1b[2J\nor\ttwo"},
    {"path": "/p/\ufffd", "path_bytes": base64.b64encode(b"/p/\xff").decode(), "state": "failed", "reason": "torn"},
]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A daemon with three files, one on each page."""
    with FakeDaemon(tmp_path / "socket") as daemon:

        def script(request: dict[str, Any]) -> bytes:
            after = request["params"].get("after")
            at = 0 if after is None else int(after["path"])
            cursor = {"path": str(at + 1)} if at + 1 < len(PHOTOS) else None
            return reply(request, {"photos": PHOTOS[at : at + 1], "next": cursor})

        daemon.script = script
        yield daemon


def command(fake: FakeDaemon, *options: str) -> list[str | bytes | Path]:
    return [sys.executable, "-m", "facewatchd", "photos", "--state", "failed", *options, "--socket", fake.path]


def test_lines_paths_and_the_document_of_several_pages(fake: FakeDaemon) -> None:
    def run(*options: str) -> bytes:
        done = subprocess.run(command(fake, *options), capture_output=True, timeout=DEADLINE, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    assert run() == (
        "/p/ü.jpg\ttorn\n".encode()
        + b"/p/a\\tb\\nc\\\\.jpg\ta pipe\\x1b[2J\\x0aor\\x09two\n"
        + b"/p/\xff\ttorn\n"
    )  # fmt: skip
    assert run("-0") == "/p/ü.jpg\0/p/a\tb\nc\\.jpg\0/p/".encode() + b"\xff\0"
    assert json.loads(run("--json")) == {"photos": PHOTOS}
    assert run("--json").count(b"\n") == 1
    assert [request["params"].get("after") for request in fake.requests[:3]] == [None, {"path": "1"}, {"path": "2"}]


def test_on_a_terminal(fake: FakeDaemon) -> None:
    code, shown, said = run_with_terminal(command(fake))
    assert (code, said) == (0, b"")
    assert shown == (
        "/p/ü.jpg: torn\n".encode()
        + b"/p/a\\x09b\\x0ac\\.jpg: a pipe\\x1b[2J\\x0aor\\x09two\n"
        + b"/p/\\xff: torn\n"
    )  # fmt: skip
    code, shown, _ = run_with_terminal(command(fake, "--json"))
    assert json.loads(shown) == {"photos": PHOTOS}


def test_none_is_no_error_and_said_on_a_terminal(fake: FakeDaemon) -> None:
    fake.script = lambda request: reply(request, {"photos": [], "next": None})
    assert run_with_terminal(command(fake)) == (0, b"", b"no file is in the state failed\n")
    for options, expected in (((), b""), (("-0",), b""), (("--json",), b'{"photos": []}\n')):
        done = subprocess.run(command(fake, *options), capture_output=True, timeout=DEADLINE, check=True)
        assert (done.stdout, done.stderr) == (expected, b"")


@pytest.mark.parametrize(
    ("arguments", "wording"),
    [
        ([], "--state"),
        (["--state"], "--state"),
        (["--state", "faild"], "did you mean failed?"),
        (["--state", "unknown"], "'unknown' is not indexed, pending"),
        (["--state", ""], "--state: the value is empty"),
        (["--state", "failed", "more"], "more"),
        (["--state", "failed", "-0", "--json"], "exclude each other"),
    ],
)
def test_wrong_usage(arguments: list[str], wording: str, capfd: Any) -> None:
    assert cli.main(["photos", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert wording in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("result", [{}, [], None, "x", {"photos": 7, "next": None}, {"photos": [{}], "next": None}])
@pytest.mark.parametrize("option", ["-0", ""])
def test_an_answer_that_makes_no_sense_is_one_line(fake: FakeDaemon, capfd: Any, result: Any, option: str) -> None:
    fake.script = lambda request: reply(request, result)
    arguments = ["photos", "--state", "failed", *option.split(), "--socket", str(fake.path)]
    assert cli.main(arguments) == 1
    expected = "the daemon's answer has another form than this client expects; restart it: it may be of another version"
    assert capfd.readouterr() == ("", f"facewatchd: {expected}\n")


def test_no_daemon_and_its_errors(fake: FakeDaemon, tmp_path: Path, capfd: Any) -> None:
    assert cli.main(["photos", "--state", "failed", "--socket", f"{tmp_path}/none"]) == 4
    fake.script = lambda request: error(request, "", "no method 'photos'", -32601)
    assert cli.main(["photos", "--state", "failed", "--socket", str(fake.path)]) == 1
    assert capfd.readouterr().err.splitlines()[-1] == (
        "facewatchd: no method 'photos'; the daemon is of another version: restart it"
    )


@pytest.mark.parametrize("option", ["", "-0", "--json"])
def test_a_reader_that_goes_away_ends_it_quietly(fake: FakeDaemon, option: str) -> None:
    endless = {"photos": PHOTOS * 300, "next": {"path": "/"}}
    fake.script = lambda request: reply(request, endless)
    words = subprocess.list2cmdline([str(word) for word in command(fake, *option.split())])
    done = subprocess.run(
        ["sh", "-c", f"({words}; echo $? >&2) | head -c 1"], capture_output=True, timeout=DEADLINE, check=False
    )
    assert done.stderr == b"0\n"


@pytest.mark.parametrize("streams", ["2>&-", ">&-", ">/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize("option", ["", "-0", "--json"])
def test_closed_streams(fake: FakeDaemon, option: str, streams: str) -> None:
    words = subprocess.list2cmdline([str(word) for word in command(fake, *option.split())])
    done = subprocess.run(["sh", "-c", f"{words} {streams}"], capture_output=True, timeout=DEADLINE, check=False)
    assert done.returncode == (2 if ">&-" in streams.split() or ">/dev/full" in streams else 0)
    assert b"Traceback" not in done.stderr
