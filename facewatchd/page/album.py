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
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from facewatchd.client.album import MOST_MATCHES
from facewatchd.errors import FacewatchError, UsageError
from facewatchd.page import view
from facewatchd.page.question import Question, sent, words
from facewatchd.page.uploads import Upload, Uploads
from facewatchd.page.view import Room
from facewatchd.text import listed

SECONDS = 120.0
"""For the largest album, which takes 20."""
_COMMAND = "import sys; from facewatchd.client.app import main; sys.exit(main())"
_PERSON = re.compile(r"@.+|(face|group):[0-9]{1,18}", re.DOTALL)
"""A WHO that is no photo: nothing is read by its path for a page."""
_LONGEST, _LONGEST_SENT = 100, 60
"""Characters of the album's name, and of the end of the name of a photo that was sent."""


async def album(request: Request) -> Response:
    """Return the album of the question in the address. Raises `FacewatchError`."""
    asked, page = Question.of(request.query_params), view.of(request)
    photos = _sent(asked, page.uploads)
    given = arguments(asked, {who: word for who, (word, _) in photos.items()})
    found = await page.daemon.call("query", **asked.params(page.uploads), top=1)
    if not found["total"]:
        raise UsageError("no photo would be in this album", "ask for more")
    with tempfile.TemporaryDirectory(prefix="facewatchd-") as directory:
        file = Path(directory) / "album.html"
        for word, upload in photos.values():
            photo = file.parent / word.rpartition("#")[0]
            photo.parent.mkdir(parents=True, exist_ok=True)
            photo.write_bytes(upload.data)
        async with page.albums:
            await _make(file, page.daemon.socket, given)
        made = file.read_bytes()
    name = _file_name(asked)
    plain = "".join(each if each.isascii() and (each.isalnum() or each in " -_.,") else "_" for each in name)
    disposition = f"attachment; filename=\"{plain}.html\"; filename*=UTF-8''{quote(name)}.html"
    return Response(made, media_type="text/html", headers={"content-disposition": disposition})


def _sent(asked: Question, uploads: Uploads) -> dict[str, tuple[str, Upload]]:
    """The photos among the people of a question which the browser sent, each with what it is for the command: the
    path below its directory, with a directory of its own and the name that the file had, and the number of the face.
    """
    found: dict[str, tuple[str, Upload]] = {}
    for who in _people(asked):
        key, face = sent(who) or ("", 0)
        if (upload := uploads.get(key)) is not None:
            name = "".join(each for each in Path(upload.name).name if each.isprintable() and each != "#")
            found[who] = (f"./photos/{key}/{name[-_LONGEST_SENT:].lstrip('.') or 'photo'}#{face}", upload)
    return found


def _people(asked: Question) -> tuple[str, ...]:
    return (*asked.who, *asked.with_, *asked.without)


def arguments(asked: Question, photos: Mapping[str, str] | None = None) -> list[str]:
    """Return a question as arguments of the command. Raises `UsageError` for one that they cannot ask.

    ``photos``: what photos that the browser sent are called there.
    """
    photos = photos or {}
    if not asked.who or not all(each in photos or _PERSON.fullmatch(each) for each in _people(asked)):
        raise UsageError("an album is made of people with names", "name the person, then ask again")
    options = {"since": asked.since, "until": asked.until, "threshold": asked.threshold, "sort": asked.sort}
    return [
        *(f"--with={photos.get(each, each)}" for each in asked.with_),
        *(f"--without={photos.get(each, each)}" for each in asked.without),
        *(f"--{name}={value}" for name, value in options.items() if value),
        *(["--local"] if asked.here else []),
        f"--top={MOST_MATCHES}",
        "--",
        *(photos.get(each, each) for each in asked.who),
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
        message, _, hint = lines[-1].removeprefix("facewatch-query: ").partition("; ")
        raise FacewatchError(message, hint)


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
