"""A module that runs in a child process: its result, its error, and what is said of one that gives neither."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from facewatchd.errors import FacewatchError
from facewatchd.system import child_process
from facewatchd.system.child_process import INSTALL_AGAIN, ChildError

CHILD = """
import os, sys
from facewatchd.errors import FacewatchError
from facewatchd.system import child_process

def work():
    {body}

print("noise of a library")
child_process.tell(work)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def child(place: Path, body: str) -> str:
    (place / "strange_child.py").write_text(CHILD.format(body=body))
    return "strange_child"


def test_the_result_is_returned(place: Path) -> None:
    assert child_process.result_of(child(place, "return sys.argv[1:]"), "a", "b c", seconds=60) == ["a", "b c"]


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("raise FacewatchError('no\\n disk', 'find one')", "no disk", "find one"),
        ("import no_such_module", "No module named 'no_such_module'", INSTALL_AGAIN),
        ("raise ValueError('strange')", "ValueError: strange", INSTALL_AGAIN),
        ("raise FacewatchError('x' * 10_000)", f"{'x' * 497}...", ""),
    ],
)
def test_an_error_of_the_child_is_raised(place: Path, body: str, message: str, hint: str) -> None:
    with pytest.raises(FacewatchError) as caught:
        child_process.result_of(child(place, body), seconds=60)
    assert not isinstance(caught.value, ChildError)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_child_that_a_signal_ends(place: Path) -> None:
    with pytest.raises(ChildError, match="ended by SIGKILL") as caught:
        child_process.result_of(child(place, "os.kill(os.getpid(), 9)"), seconds=60)
    assert caught.value.signal == signal.SIGKILL


def test_a_child_that_hangs(place: Path) -> None:
    module = child(place, "import time; time.sleep(600)")
    with pytest.raises(ChildError, match=r"did not end within 0\.5 s"):
        child_process.result_of(module, seconds=0.5)


def test_a_child_that_says_nothing_useful() -> None:
    for output in (b"", b"\n", b"{", b"[]", b"null\n", b'{"error": 1}', b"\xff", b"[" * 100_000):
        with pytest.raises(ChildError, match="printed no result"):
            child_process.told(output)
    assert child_process.told(b'noise\n{"result": null}\n') is None


def test_no_child_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "command", lambda *_: [os.devnull])
    with pytest.raises(ChildError, match="no process can be started to try it: Permission denied"):
        child_process.result_of("facewatchd", seconds=1)
