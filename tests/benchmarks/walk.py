"""A new user's way: from an empty home to a person with a name, twenty confirmed suggestions, and her album, opened.

It is gone twice, each time with nothing but the photos in the home: by the page alone, in Chromium, after the two
commands that start the daemon and the page; and by commands alone. Each step is timed until its answer is on the screen
or the command has ended; what a person takes to think, look and type is not in it, so beside it stands what there is to
do by hand. The photos are made of few (`tests.support.portraits`), and the model is real.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from facewatchd.client.connection import Connection
from facewatchd.errors import FacewatchError
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median
from tests.support import browsers, portraits

NAME = "Anna"
CONFIRMED = 20
ALBUM = "anna.html"
PHOTOS = 110
"""On a quarter of which the person is, with either set of photos."""
CONFIG = "[resources]\nidle_priority = false\n"
"""Else programs that run beside it would be measured."""
PATIENCE = 120.0
FACE_A_SECOND = 1.0
"""Seconds that are the aim for one confirmation by keyboard."""
ALBUM_SECONDS = 3.0


@dataclass
class Step:
    """One thing that the user does, until its answer is there."""

    what: str
    by_hand: str
    """What there is to type, to click or to press."""
    seconds: float


@dataclass
class Way:
    """The steps so far."""

    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, what: str, by_hand: str) -> Iterator[None]:
        """Time what is done meanwhile."""
        started = time.perf_counter()
        yield
        self.steps.append(Step(what, by_hand, time.perf_counter() - started))


class Home:
    """An empty home with photos in it, and the commands as its user runs them."""

    def __init__(self, place: Path, model: Path | str) -> None:
        self.path = place / "home"
        self.path.mkdir(mode=0o700, parents=True)
        self.pictures = self.path / "Pictures"
        self.runtime = self.path / "run"
        self.runtime.mkdir(mode=0o700)
        config = self.path / ".config/facewatchd/config.toml"
        config.parent.mkdir(parents=True)
        config.write_text(CONFIG)
        self._model = str(model)
        names = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        self._environment = {**names, "HOME": str(self.path), "XDG_RUNTIME_DIR": str(self.runtime)}

    def fill(self, sources: Sequence[portraits.Source], count: int) -> Path:
        """Put so many photos in; return one that shows the person alone who is on most of them."""
        people = portraits.write(self.pictures, sources, count)
        counts = Counter(person for each in people.values() for person in each)
        ((most, photos),) = counts.most_common(1)
        assert photos > CONFIRMED, "too few photos of one person"
        return next(path for path, each in people.items() if list(each) == [most])

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """Run ``facewatchd run ~/Pictures`` until the end."""
        command = self._facewatchd("run", "--model", self._model, str(self.pictures))
        with (self.path / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment, cwd=self.path)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

    @contextmanager
    def page(self) -> Iterator[str]:
        """Run ``facewatchd page`` until the end; yield the address that it prints."""
        command = self._facewatchd("page", "--no-open")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._environment, cwd=self.path)
        try:
            assert process.stdout is not None
            yield next(line.strip() for line in process.stdout if line.startswith("http"))
        finally:
            process.terminate()
            process.communicate()

    def call(self, method: str, **params: Any) -> Any:
        """Ask the daemon what the user sees otherwise."""
        with Connection(self.runtime / "facewatchd/socket", timeout=PATIENCE) as connection:
            return connection.call(method, **params)

    def control(self, *arguments: str | Path) -> str:
        return self._run(self._facewatchd(*map(str, arguments)))

    def query(self, *arguments: str | Path) -> str:
        code = "import sys; from facewatchd.client.app import main; sys.exit(main())"
        return self._run([sys.executable, "-c", code, *map(str, arguments)])

    def _facewatchd(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "facewatchd", *arguments]

    def _run(self, command: Sequence[str]) -> str:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=self._environment,
            cwd=self.path,
            timeout=2 * PATIENCE,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[3:])}: {done.stderr}")
        return done.stdout


def run(options: Options) -> Iterator[Report]:
    place = Path(tempfile.mkdtemp(dir=options.work))
    try:
        with sync_playwright() as playwright:
            browser = browsers.launch(playwright)
            for name, way in (("the page", by_page), ("commands", by_commands)):
                yield _report(name, way, browser, options, place)
            browser.close()
    finally:
        shutil.rmtree(place)


def _report(name: str, way: Callable[..., Way], browser: Browser, options: Options, place: Path) -> Report:
    report = Report(f"A new user's way by {name} alone", ("step", "by hand", "s"))
    gone = []
    for number in range(options.rounds(3)):
        home = Home(place / f"{name} {number}", options.pack.spec)
        gone.append(way(home, home.fill(portraits.labelled() or portraits.shipped(), PHOTOS), browser))
    for steps in zip(*(each.steps for each in gone), strict=True):
        report.row(steps[0].what, steps[0].by_hand, median([step.seconds for step in steps]))
    report.row("all", "", median([sum(step.seconds for step in each.steps) for each in gone]))
    report.notes.append(f"{PHOTOS} photos, {len(gone)} rounds, medians; {options.pack.name}.")
    return report


def by_commands(home: Home, photo: Path, browser: Browser) -> Way:
    """Go the way by commands, from a photo of the person alone; the browser only opens the album at the end."""
    way = Way()
    with ExitStack() as stack:
        with way.step("the daemon starts", "facewatchd run ~/Pictures"):
            stack.enter_context(home.daemon())
            _until(lambda: home.call("status"))
        with way.step("all is indexed, and the first answer", "facewatch-query --wait PHOTO"):
            assert home.query("--wait", str(PATIENCE), photo)
        with way.step("a name", f"facewatchd people add {NAME} PHOTO"):
            home.control("people", "add", NAME, photo)
        with way.step("suggestions to look at", f"facewatch-query -n {CONFIRMED + 1} --sheet look.png @{NAME}"):
            answer = home.query("-n", str(CONFIRMED + 1), "--sheet", home.path / "look.png", "--json", f"@{NAME}")
        matches = json.loads(answer)["matches"]
        faces = [f"face:{match['face_id']}" for match in matches if match["path"] != str(photo)][:CONFIRMED]
        assert len(faces) == CONFIRMED
        with way.step(f"{CONFIRMED} are confirmed", f"facewatchd people add {NAME} face:ID ... ({CONFIRMED})"):
            home.control("people", "add", NAME, *faces)
        album = home.path / ALBUM
        with way.step("the album", f"facewatch-query -n 0 --html anna.html @{NAME}"):
            home.query("-q", "-n", "0", "--html", album, f"@{NAME}")
        with way.step("the album is open", "open anna.html"):
            expect_album(browser, album, CONFIRMED)
        expect_named(home, CONFIRMED)
    return way


def by_page(home: Home, photo: Path, browser: Browser) -> Way:
    """Go the way by the page, from a photo of the person alone."""
    way = Way()
    watch = browsers.Watch()
    context = browser.new_context(viewport=ViewportSize(width=1280, height=800), accept_downloads=True)
    context.set_default_timeout(PATIENCE * 1000)
    with ExitStack() as stack:
        stack.callback(context.close)
        page = context.new_page()
        with way.step("the daemon starts", "facewatchd run ~/Pictures"):
            stack.enter_context(home.daemon())
            _until(lambda: home.call("status"))
        with way.step("the page is open", "facewatchd page"):
            url = stack.enter_context(home.page())
            watch.follow(context, url.partition("/#")[0])
            browsers.enter(page, url)
            watch.forgive("status of 401")
        with way.step("all is indexed", "wait"):
            _until(lambda: not home.call("wait", timeout=PATIENCE)["pending"])
        _ask_and_name(way, page, photo)
        _confirm_and_save(way, page, home)
        with way.step("the album is open", "1 click"):
            expect_album(browser, home.path / ALBUM, CONFIRMED)
        expect_named(home, CONFIRMED)
        watch.check()
    return way


def _ask_and_name(way: Way, page: Page, photo: Path) -> None:
    with way.step("a photo is chosen, and the first answer", "drop a photo"):
        page.get_by_label("Choose a photo").set_input_files(photo)
        page.locator("#matches img").first.wait_for()
        browsers.settle(page)
    with way.step("a name", f"type {NAME}, Enter"):
        name = page.get_by_label("This is", exact=True)
        name.fill(NAME)
        name.press("Enter")
        page.locator(".notice").get_by_text(NAME).wait_for()


def _confirm_and_save(way: Way, page: Page, home: Home) -> None:
    with way.step("suggestions to look at", "3 clicks"):
        page.get_by_role("navigation", name="Rooms").get_by_role("link", name="People").click()
        page.get_by_role("main").get_by_role("link", name=NAME).first.click()
        page.get_by_role("link", name="is this").click()
        page.locator("#crop").wait_for()
        browsers.settle(page)
    with way.step(f"{CONFIRMED} are confirmed", f"{CONFIRMED} times y"):
        confirm(page, CONFIRMED)
        _until(lambda: home.call("person", name=NAME)["references"] > CONFIRMED)
    with way.step("the album", "2 clicks"):
        page.get_by_role("link", name=f"All photos of {NAME}").first.click()
        with page.expect_download() as download:
            page.get_by_role("link", name="Save as album").click()
        download.value.save_as(home.path / ALBUM)


def confirm(page: Page, count: int) -> None:
    """Say yes to so many faces by keyboard, each once its pictures are there."""
    for _ in range(count):
        browsers.settle(page)
        left = page.locator("#tally").inner_text()
        page.keyboard.press("y")
        page.wait_for_function("said => document.getElementById('tally').textContent != said", arg=left)


def expect_named(home: Home, confirmed: int) -> None:
    """Fail where the person has not this name by so many faces and the first one."""
    person = home.call("person", name=NAME)
    assert person["references"] > confirmed, person["references"]


def expect_album(browser: Browser, album: Path, matches: int) -> None:
    """Open an album from the disk; fail where it does not show so many pictures, or asks for anything else."""
    watch = browsers.Watch()
    context = browser.new_context()
    watch.follow(context, "")
    page = context.new_page()
    page.goto(album.as_uri())
    browsers.settle(page)
    sizes = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
    context.close()
    watch.check()
    assert sum(size > 0 for size in sizes) > matches, sizes


def _until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if holds():
                return
        except (FacewatchError, OSError):
            pass  # not listening yet
        time.sleep(0.02)
    raise RuntimeError("the daemon takes too long")
