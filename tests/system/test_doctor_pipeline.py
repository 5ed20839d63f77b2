"""`facewatchd doctor`: the trial of a whole daemon, and what it says of one that does not do its work.

The faults are real ones: code that runs first in the daemon's process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facewatchd.doctor import pipeline
from facewatchd.doctor.checks import Finding
from facewatchd.errors import FacewatchError
from facewatchd.models import registry
from tests.support import hooks, packs, tiny_pack
from tests.support.findings import findings
from tests.support.processes import DEADLINE, until

Hook = Callable[[str], None]
NOTE = "import os, sys\nif 'run' in sys.argv:\n    open({path!r}, 'w').write(str(os.getpid()))\n"
BLOCK = "    import threading; threading.Event().wait()\n"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a place for temporary files of our own; the latter's name is too long for a socket's address."""
    place = tmp_path / ("long" * 25) / "tmp"
    place.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The tiny pack, which sees no face on a photograph."""
    return tiny_pack.build(tmp_path / "home" / ".insightface", registry.DEFAULT)


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    """Have code run first in every process, and the daemon's process id noted in the file ``pid``."""
    place = tmp_path / "hook"
    place.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(place))

    def hook(code: str) -> None:
        hooks.add(place, NOTE.format(path=str(tmp_path / "pid")) + code)

    yield hook
    hooks.check(place)


def found(model: str) -> Finding:
    return findings("pipeline", model=model)[0]


def test_how_far_decoding_is_confined_is_said() -> None:
    assert [each.status for each in pipeline._confined("full")] == ["ok"]
    (partial,) = pipeline._confined("partial: no Landlock (Function not implemented)")
    assert (partial.status, partial.detail) == ("warn", "partial: no Landlock (Function not implemented)")


def assert_nothing_is_left(tmp_path: Path, temporary: Path) -> None:
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert list(temporary.glob("facewatchd*")) == []


def test_the_whole_way_in_a_temporary_directory(tmp_path: Path, temporary: Path, hook: Hook) -> None:
    hook("")
    finding, confined = findings("pipeline", model=str(packs.opencv_root() / "models/opencv"))
    assert finding.status == "ok", finding.detail
    assert confined.name == "confinement"
    assert finding.detail.startswith("6 faces indexed, found again, and followed through a rename in ")
    assert_nothing_is_left(tmp_path, temporary)
    assert not (tmp_path / "home").exists()


def test_a_daemon_that_ends_badly(tmp_path: Path, temporary: Path, hook: Hook) -> None:
    hook(
        "    from facewatchd.scan import work_queue as queue\n"
        "    def ends(self):\n"
        "        print('facewatchd: the roof is on fire', file=sys.stderr, flush=True)\n"
        "        os._exit(9)\n"
        "    queue.WorkQueue.close = ends\n"
    )
    finding = found(str(packs.opencv_root() / "models/opencv"))
    assert (finding.status, finding.detail) == ("fail", "the daemon ended with status 9: the roof is on fire")
    assert_nothing_is_left(tmp_path, temporary)


def test_without_a_model_there_is_nothing_to_try() -> None:
    assert findings("pipeline") == []


def test_a_model_that_finds_no_face(tmp_path: Path, temporary: Path, hook: Hook, tiny: Path) -> None:
    """And a daemon that does not listen to SIGTERM: it is gone all the same."""
    hook(
        "    import signal\n"
        "    def deaf(number, handler, real=signal.signal):\n"
        "        return real(number, signal.SIG_IGN if number == signal.SIGTERM else handler)\n"
        "    signal.signal = deaf\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "ENDING", 0.5)
        finding = found(str(tiny))
    assert finding.status == "fail"
    assert "no face" in finding.detail
    assert finding.hint == "`facewatchd run -v` on a directory with a photo in it says more"
    assert_nothing_is_left(tmp_path, temporary)


def test_a_decoder_that_is_broken(tmp_path: Path, temporary: Path, hook: Hook, tiny: Path) -> None:
    hook(
        "if {'indexing', 'queries'} & set(sys.argv):\n"
        "    from facewatchd import errors; from facewatchd.photos import decode as photos\n"
        "    def broken(file):\n"
        "        raise errors.UnreadablePhotoError('the decoder is broken')\n"
        "    photos.decode = broken\n"
    )
    finding = found(str(tiny))
    assert finding.status == "fail"
    assert "the decoder is broken" in finding.detail
    assert_nothing_is_left(tmp_path, temporary)


def test_a_daemon_that_does_not_start(tmp_path: Path, temporary: Path, hook: Hook, tiny: Path) -> None:
    hook("    print('facewatchd: the moon is not right', file=sys.stderr, flush=True)\n    os._exit(1)\n")
    finding = found(str(tiny))
    assert (finding.status, finding.detail) == ("fail", "the daemon did not start: the moon is not right")
    assert_nothing_is_left(tmp_path, temporary)


def test_a_daemon_that_says_nothing(
    tmp_path: Path, temporary: Path, hook: Hook, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(BLOCK)
    monkeypatch.setattr(pipeline, "DEADLINE", 3.0)
    finding = found(str(tiny))
    assert (finding.status, finding.detail) == ("fail", "the daemon did not answer in 3 s: it printed nothing")
    assert list(temporary.glob("facewatchd*")) == []


def test_a_daemon_that_goes_away(tmp_path: Path, temporary: Path, hook: Hook, tiny: Path) -> None:
    hook(
        "    from facewatchd.api import query\n"
        "    def gone(*_):\n"
        "        print('facewatchd: good bye', file=sys.stderr, flush=True)\n"
        "        os._exit(0)\n"
        "    query.Queries.query = gone\n"
    )
    finding = found(str(tiny))
    assert (finding.status, finding.detail) == ("fail", "the daemon went away: good bye")
    assert_nothing_is_left(tmp_path, temporary)


@pytest.mark.parametrize(
    ("names", "complete", "reason"),
    [
        (["photo.jpg"], True, "the daemon, asked who is on renamed.jpg, finds photo.jpg"),
        ([], True, "the daemon, asked who is on renamed.jpg, finds nothing"),
        (["renamed.jpg"], False, "the daemon reports that its answer is not complete"),
    ],
)
def test_answers_that_are_not_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], complete: bool, reason: str
) -> None:
    def answer(*_: Any, **__: Any) -> dict[str, Any]:
        matches = [{"path": f"/x/{name}", "similarity": 1.0, "also": []} for name in names]
        return {"matches": matches, "complete": complete}

    trial = pipeline.Trial(tmp_path, "opencv")
    monkeypatch.setattr(trial, "_call", answer)
    with pytest.raises(FacewatchError) as raised:
        trial._found(Path("/x/renamed.jpg"), {"path": "/x/renamed.jpg"})
    assert raised.value.message == reason


def test_no_room_for_temporary_files(monkeypatch: pytest.MonkeyPatch, tiny: Path, temporary: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline.shutil, "copyfile", full)
    finding = found(str(tiny))
    assert (finding.status, finding.hint) == ("fail", "set TMPDIR to a directory with room in it")
    assert list(temporary.glob("facewatchd*")) == []


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_nothing_is_left_when_it_is_ended(
    tmp_path: Path, temporary: Path, hook: Hook, number: signal.Signals, status: int
) -> None:
    hook(BLOCK)
    with (tmp_path / "out").open("wb") as out:
        doctor = subprocess.Popen([sys.executable, "-m", "facewatchd", "doctor"], stdout=out, stderr=out)
    try:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        doctor.send_signal(number)
        assert doctor.wait(DEADLINE) == status
    finally:
        doctor.kill()
        doctor.wait(DEADLINE)
    assert b"Traceback" not in (tmp_path / "out").read_bytes()
    assert_nothing_is_left(tmp_path, temporary)
