"""The answer to a question as an album: the file that ``facewatch-query --html`` writes, which the browser saves.

The command is run as a user would, in a directory of its own that is deleted afterwards: so the page and the command
make the same album, and a long one keeps no other request waiting. One is made at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.errors import FacewatchError, UsageError
from facewatchd.page import view
from facewatchd.page.question import Question, words
from facewatchd.page.view import Room
from facewatchd.page.wording import listed

MOST = 2000
"""Photos, as an album has."""
SECONDS = 120.0
"""For the largest album, which takes 20."""
_COMMAND = "import sys; from facewatchd.client.app import main; sys.exit(main())"
_PERSON = re.compile(r"@.+|(face|group):[0-9]{1,18}", re.DOTALL)
"""A WHO that is no photo: nothing is read by its path for a page."""
_LONGEST = 100
"""Characters of a file's name."""


async def album(request: Request) -> Response:
    """Return the album of the question in the address. Raises `FacewatchError`."""
    asked, page = Question.of(request.query_params), view.of(request)
    given = arguments(asked)
    found = await page.daemon.call("query", **asked.params(page.uploads), top=1)
    if not found["total"]:
        raise UsageError("no photo would be in this album", "ask for more")
    with tempfile.TemporaryDirectory(prefix="facewatchd-") as directory:
        file = Path(directory) / "album.html"
        async with page.albums:
            await _make(file, page.daemon.socket, given)
        made = file.read_bytes()
    name = _file_name(asked)
    plain = "".join(each if each.isascii() and (each.isalnum() or each in " -_.,") else "_" for each in name)
    disposition = f"attachment; filename=\"{plain}.html\"; filename*=UTF-8''{quote(name)}.html"
    return Response(made, media_type="text/html", headers={"content-disposition": disposition})


def arguments(asked: Question) -> list[str]:
    """Return a question as arguments of the command. Raises `UsageError` for one that they cannot ask."""
    people = (*asked.who, *asked.with_, *asked.without)
    if not asked.who or not all(_PERSON.fullmatch(each) for each in people):
        raise UsageError("an album is made of people with names", "name the person, then ask again")
    options = {"since": asked.since, "until": asked.until, "threshold": asked.threshold, "sort": asked.sort}
    return [
        *(f"--with={each}" for each in asked.with_),
        *(f"--without={each}" for each in asked.without),
        *(f"--{name}={value}" for name, value in options.items() if value),
        f"--top={MOST}",
        "--",
        *asked.who,
    ]


async def _make(file: Path, socket: Path | None, given: list[str]) -> None:
    options = [f"--html={file}", "--quiet", *([] if socket is None else [f"--socket={socket.absolute()}"])]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # the directory it runs in is no place to import from
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _COMMAND, *options, *given),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=file.parent,
        env=environment,
    )
    with _ended(process):
        _, said = await asyncio.wait_for(process.communicate(), SECONDS)
    if process.returncode or not file.exists():
        lines = said.decode("utf-8", "replace").strip().splitlines() or ["the album could not be made"]
        raise FacewatchError(lines[-1].removeprefix("facewatch-query: "))


@contextlib.contextmanager
def _ended(process: asyncio.subprocess.Process) -> Iterator[None]:
    """Kill the process where it does not end by itself: the browser went, or it takes too long."""
    try:
        yield
    except TimeoutError as exc:
        raise FacewatchError("the album took too long", "ask for fewer photos") from exc
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()


def _file_name(asked: Question) -> str:
    """What the file is called: after the people, and the years."""
    people = listed([words(each) for each in (*asked.who, *asked.with_)])
    years = f" {asked.since}" if asked.since else ""
    return f"{people[:_LONGEST]}{years}".replace("/", "_").strip(". ") or "album"


ROOM = Room([Route("/album", album)])
