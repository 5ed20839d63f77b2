"""The page in Chromium on 100,000 faces: when the first picture is there, and when 60 thumbnails in view are.

``crowded`` makes the catalog and the photos. Times are Chromium's, from the click that leads to a page to the ``load``
of a picture: of the first one in a window as a desk has it, and of all in one that is high enough for 60. *Cold*: the
daemon never made these thumbnails. *Other browser*: it did, and the browser knows nothing. *Again*: the same browser
comes back. Beside it, in the same round, the least that can be done: *static*, the same page and pictures for a browser
that knows nothing, from the memory of a plain server; and Pillow, which opens the same photos at a reduced scale, cuts
the same faces out and encodes them, in one process for each core.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from PIL import Image, ImageOps
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from tests.benchmarks import crowded
from tests.benchmarks.daemons import Daemon
from tests.benchmarks.options import Options
from tests.benchmarks.report import Report, median
from tests.support import browsers

FACES = 100_000
PHOTOS = 600
IN_VIEW = 60
DESK = ViewportSize(width=1280, height=800)
HIGH = ViewportSize(width=1280, height=4400)
"""High enough for so many thumbnails."""
FIRST, ALL = 0.5, 2.0
"""Seconds that are the aim, to the first picture and to all in view."""
SIZE = 256
LOADED = """
window.loaded = []  // such events pass the document, and not the window
document.addEventListener("load", event => {
    if (event.target instanceof HTMLImageElement) loaded.push([performance.now(), event.target])
}, true)
"""
SEEN = """
() => {
    const inView = [...document.querySelectorAll("main img")].filter(image => {
        const box = image.getBoundingClientRect()
        return box.width && box.bottom > 0 && box.top < innerHeight
    })
    if (!inView.length || inView.some(image => !image.complete)) return null
    const times = loaded.filter(([, image]) => inView.includes(image)).map(([at]) => at).sort((a, b) => a - b)
    return times.length == inView.filter(image => image.naturalWidth).length ? times : null
}
"""
"""The moments at which the pictures in view were there, or null as long as one is to come. Of a face on a file of one
pixel there is none.
"""


def run(options: Options) -> Iterator[Report]:
    count, photos = (2_000, 180) if options.quick else (FACES, PHOTOS)
    place = Path(tempfile.mkdtemp(dir=options.work))
    try:
        daemon = crowded.make(options, place, count, photos)
        with crowded.started(daemon), sync_playwright() as playwright, serving(daemon) as url:
            browser = browsers.launch(playwright)
            yield _thumbnails(daemon, browser, url, options, count)
            for person in range(crowded.PEOPLE // 2):
                daemon.call("assign", name=f"Person {person}", who=[{"face_id": crowded.question(daemon, person)}])
            yield _rooms(browser, url, options, count)
            browser.close()
    finally:
        shutil.rmtree(place)


def _thumbnails(daemon: Daemon, browser: Browser, url: str, options: Options, count: int) -> Report:
    report = Report(
        f"The page: an answer among {count:,} faces, photos of 12 megapixels",
        ("thumbnails", "first picture s", "of static", f"{IN_VIEW} in view s", "of static", "of Pillow's"),
    )
    first: dict[str, list[float]] = {}
    every: dict[str, list[float]] = {}
    least: list[float] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for person in range(2 if options.quick else crowded.PEOPLE):
            face = crowded.question(daemon, person)
            for visit, moments in _visits(browser, url, f"/ask?who=face:{face}", HIGH if person % 2 else DESK):
                if person % 2:
                    every.setdefault(visit, []).append(moments[: IN_VIEW + 1][-1])
                else:
                    first.setdefault(visit, []).append(moments[0])
            least.append(_pillow(pool, daemon, face))
    for visit in first:
        one, all_ = median(first[visit]), median(every[visit])
        shares = (one / median(first["static"]), all_ / median(every["static"]), all_ / median(least))
        report.row(visit, one, shares[0], all_, *shares[1:])
        if visit != "static":
            report.check(f"s to the first picture, {visit}", one, FIRST)
            report.check(f"s to {IN_VIEW} thumbnails in view, {visit}", all_, ALL)
    report.row("Pillow alone", "", "", median(least), "", 1.0)
    report.notes.append(f"Medians of {len(least)} people; files in the page cache, {os.cpu_count()} cores.")
    return report


def _visits(browser: Browser, url: str, path: str, window: ViewportSize) -> Iterator[tuple[str, list[float]]]:
    """Open an answer in all ways; yield each with the moments of its pictures."""
    with entered(browser, url, window) as context:
        yield "cold", shown(context, url, path)
    with entered(browser, url, window) as context:
        yield "other browser", shown(context, url, path)
        yield "again", shown(context, url, path)
        answers = _answers(context, url.partition("/#")[0], path)
    with _static(answers) as origin:
        context = browser.new_context(viewport=window)
        context.add_init_script(LOADED)
        yield "static", shown(context, origin, path)
        context.close()


def _answers(context: BrowserContext, origin: str, path: str) -> dict[str, tuple[str, bytes]]:
    """What a page and all that it loads is answered with, by path: its type and its bytes."""
    page = context.new_page()
    page.goto(origin + path)
    page.wait_for_function(SEEN, timeout=120_000)
    names = page.evaluate("performance.getEntriesByType('resource').map(each => each.name)")
    page.close()
    answers = {}
    for name in dict.fromkeys([origin + path, *names]):
        headers = {"sec-fetch-site": "same-origin"}
        answer = context.request.get(name, headers=headers)
        answers[name.removeprefix(origin)] = answer.headers["content-type"], answer.body()
    return answers


@contextmanager
def _static(answers: dict[str, tuple[str, bytes]]) -> Iterator[str]:
    """A plain server of what is in memory; yield its origin."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, body = answers.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the tables clean."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A browser that closes a connection is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def _rooms(browser: Browser, url: str, options: Options, count: int) -> Report:
    """Every page of the menu."""
    report = Report(f"The page: its rooms among {count:,} faces", ("room", "first picture s", "all in view s"))
    with entered(browser, url, DESK) as context:
        page = context.new_page()
        page.goto(url)
        links = page.get_by_role("navigation", name="Rooms").get_by_role("link").all()
        rooms = {link.inner_text(): link.get_attribute("href") or "" for link in links}
        page.close()
        for name, path in rooms.items():
            rounds = [moments for _ in range(options.rounds(3)) if (moments := shown(context, url, path))]
            if rounds:
                first, every = (median([moments[at] for moments in rounds]) for at in (0, -1))
                report.row(name, first, every)
                report.check(f"s to the first picture of {name}", first, FIRST)
            else:
                report.row(name, "no picture", "")
    return report


def shown(context: BrowserContext, url: str, path: str) -> list[float]:
    """Open a page; return the seconds after which each picture in view was there, none where it has no picture."""
    page: Page = context.new_page()
    try:
        page.goto(url.partition("/#")[0] + path, wait_until="domcontentloaded")
        if not page.locator("main img").count():
            page.wait_for_load_state("load")
            return []
        return [at / 1000 for at in page.wait_for_function(SEEN, timeout=120_000).json_value()]
    finally:
        page.close()


@contextmanager
def entered(browser: Browser, url: str, window: ViewportSize) -> Iterator[BrowserContext]:
    """A browser that nothing is known to but the cookie."""
    context = browser.new_context(viewport=window)
    page = context.new_page()
    browsers.enter(page, url)
    page.close()
    context.add_init_script(LOADED)
    yield context
    context.close()


@contextmanager
def serving(daemon: Daemon) -> Iterator[str]:
    """Run ``facewatchd page``; yield its address."""
    command = [sys.executable, "-m", "facewatchd", "page", "--no-open", "--socket", str(daemon.socket)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(daemon.home)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    late = threading.Timer(60, process.kill)
    late.start()
    try:
        assert process.stdout is not None
        url = next(line.strip() for line in process.stdout if line.startswith("http"))
        late.cancel()
        yield url
    finally:
        late.cancel()
        process.terminate()
        process.communicate()


def _pillow(pool: ProcessPoolExecutor, daemon: Daemon, face: int) -> float:
    """Seconds that the thumbnails of an answer take without anything else."""
    matches = daemon.call("query", faces=[face], top=IN_VIEW)["matches"]
    started = time.perf_counter()
    list(pool.map(_cut, [match["path"] for match in matches], [match["box"] for match in matches]))
    return time.perf_counter() - started


def _cut(path: str, box: Sequence[int]) -> bytes:
    x, y, width, height = box
    with Image.open(path) as image:
        full = max(image.size)
        image.draft("RGB", (image.width * SIZE // width, image.height * SIZE // width))
        upright = ImageOps.exif_transpose(image).convert("RGB")
    scale = max(upright.size) / full
    part = upright.crop((x * scale, y * scale, (x + width) * scale, (y + height) * scale))
    written = io.BytesIO()
    part.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(written, "JPEG", quality=85)
    return written.getvalue()
