"""Check of the whole daemon: one is started, indexes a photo, finds its faces, and follows the photo's rename.

The daemon is a real one, `facewatchd run` on a temporary directory (TMPDIR is honoured) that also holds its data, its
configuration and its socket: no file of the user is read or written, and another daemon may run. It uses the model that
the user's daemon would use, and does not need the network. In any case it is ended, and the directory removed.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facewatchd.client.answer import reading_answer
from facewatchd.client.connection import Connection
from facewatchd.client.query import path_param
from facewatchd.config import CPU, Config
from facewatchd.doctor import model
from facewatchd.doctor.finding import Finding
from facewatchd.errors import FacewatchError, ModelError, NoDaemonError
from facewatchd.models import reference
from facewatchd.models.devices import DEVICES
from facewatchd.system import child_process
from facewatchd.text import counted

DEADLINE = 120.0
"""Seconds for all of it; a model loads in a few, twice."""
ENDING = 20.0
"""Seconds within which the daemon must end after SIGTERM."""
SAME = 0.99
"""Similarity of a face to itself, from the catalog or once more through the model."""
_POLL = 0.05
_GRACE = 5.0
"""Seconds that a request may take longer than its own time limit."""
_HINT = "`facewatchd run -v` on a directory with a photo in it says more"
_SUPERVISION = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""Variables of a service manager, which are not meant for the daemon started here."""


def check(loaded: Config) -> Iterator[Finding]:
    """Run the daemon on a photo of InsightFace's package. Without a model there is no finding: `model` has it."""
    pack = model.on_this_machine(loaded)
    if pack is None:
        return
    started = time.monotonic()
    try:
        with _ended_in_order(), tempfile.TemporaryDirectory(prefix="facewatchd-doctor-") as directory:
            trial = Trial(Path(os.path.realpath(directory)), pack.spec, loaded.resources.device)
            faces = trial.run()
    except FacewatchError as exc:
        yield Finding("pipeline", "fail", exc.message, exc.hint if isinstance(exc, ModelError) else _HINT)
    except OSError as exc:
        yield Finding("pipeline", "fail", f"cannot be tried: {exc}", "set TMPDIR to a directory with room in it")
    else:
        done = f"{counted(faces, 'face')} indexed, found again, and followed through a rename"
        yield Finding("pipeline", "ok", f"{done} in {time.monotonic() - started:.1f} s")
        yield from _confined(trial.confinement)


def _confined(state: str) -> Iterator[Finding]:
    """Tell how far the decoding processes of the trial were confined."""
    if any(name in state for name in DEVICES):
        yield Finding("confinement", "warn", state, '`device = "cpu"` under [resources] confines fully')
        return
    if state == "full":
        yield Finding("confinement", "ok", "decoding processes reach no file, no network and no other process")
    elif state:
        hint = "photos are decoded all the same; Linux 5.13 with Landlock switched on confines that fully"
        yield Finding("confinement", "warn", state, hint)


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Leave by an exception also on SIGTERM and SIGHUP, as on Ctrl-C."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Trial:
    """One run of a daemon in an empty directory."""

    confinement = ""
    """How far the decoding processes were confined, as the daemon reports it; empty before `run`."""

    def __init__(self, directory: Path, spec: str, device: str = CPU) -> None:
        self._directory = directory
        self._spec = spec
        self._photos = directory / "photos"
        self._socket = directory / "run" / "socket"
        self._log = directory / "log"
        self._config = directory / "config.toml"
        self._end = time.monotonic() + DEADLINE
        self._photos.mkdir()
        # The user waits for this.
        resources = f'{{idle_priority = false, device = "{device}"}}'
        self._config.write_text(f"resources = {resources}\nwatch = {{settle = 0.1}}\n", encoding="utf-8")

    def run(self) -> int:
        """Return how many faces were indexed and found. Raises `FacewatchError`."""
        photo = self._photos / "photo.jpg"
        shutil.copyfile(reference.photo(), photo)
        with self._daemon() as process:
            self._until_it_answers(process)
            try:
                faces = self._ask_about(photo)
                self.confinement = str(self._call("status").get("confinement", ""))
            except NoDaemonError as exc:
                raise FacewatchError(f"the daemon went away: {self._last_words()}") from exc
            self._stop(process)
        return faces

    def _ask_about(self, photo: Path) -> int:
        faces = self._found(photo, path_param(str(photo)))
        # The same picture in other bytes, which the catalog cannot know: the model has to look.
        sent = base64.b64encode(photo.read_bytes() + b"\0").decode("ascii")
        self._expect(self._found(photo, {"data": sent}), faces, "on the same picture")
        photo = photo.rename(self._photos / "renamed.jpg")
        self._expect(self._found(photo, path_param(str(photo))), faces, "after a rename")
        return faces

    @contextlib.contextmanager
    def _daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start the process, and end it after the block."""
        places = ("--config", self._config, "--data-dir", self._directory / "data", "--socket", self._socket)
        command = child_process.command(
            "facewatchd", "run", str(self._photos), "--model", self._spec, *map(str, places)
        )
        environment = {name: value for name, value in child_process.environment().items() if name not in _SUPERVISION}
        environment["TMPDIR"] = str(self._directory)  # where libraries leave files, they go with it
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory, env=environment
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING)
            finally:
                process.kill()
                process.wait()

    def _until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        while True:
            try:
                self._call("status")
                return
            except NoDaemonError as exc:
                if process.poll() is not None:
                    raise FacewatchError(f"the daemon did not start: {self._last_words()}") from exc
                if time.monotonic() > self._end:
                    raise FacewatchError(f"the daemon did not answer in {DEADLINE:g} s: {self._last_words()}") from exc
            time.sleep(_POLL)

    def _found(self, photo: Path, source: dict[str, Any]) -> int:
        """Query with every face of a picture; return how many of them were found on the photo."""
        answer = self._call("query", photos=[source], face="all", top=0, wait=self._left())
        with reading_answer():
            photos = [match for match in answer["matches"] if match["similarity"] >= SAME]
            names = {os.path.basename(match["path"]) for match in photos}
            same = [face for match in photos for face in (match, *match["also"]) if face["similarity"] >= SAME]
            complete = bool(answer["complete"])
        if not complete:
            raise FacewatchError("the daemon reports that its answer is not complete")
        if names != {photo.name}:
            found = ", ".join(sorted(names)) or "nothing"
            raise FacewatchError(f"the daemon, asked who is on {photo.name}, finds {found}")
        return len(same)

    def _expect(self, found: int, faces: int, where: str) -> None:
        if found != faces:
            raise FacewatchError(f"of {counted(faces, 'face')} the daemon finds {found} {where}")

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(ENDING)
        except subprocess.TimeoutExpired as exc:
            process.kill()
            raise FacewatchError(f"the daemon does not end when it is told to: {self._last_words()}") from exc
        if status:
            raise FacewatchError(f"the daemon {_ended(status)}: {self._last_words()}")

    def _call(self, method: str, **params: Any) -> Any:
        with Connection(self._socket, self._left() + _GRACE) as daemon:
            return daemon.call(method, **params)

    def _left(self) -> float:
        return max(1.0, self._end - time.monotonic())

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1].removeprefix("facewatchd: ") if lines else "it printed nothing"


def _ended(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
