"""The commands that ask a running daemon: ``status``, ``scan``, ``why``, ``pause``, ``resume`` and ``verify``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from facewatchd.client import status as status_text
from facewatchd.client.answer import reading_answer
from facewatchd.client.connection import DEFAULT_TIMEOUT, Connection
from facewatchd.client.query import local_path, path_param, photo_path
from facewatchd.console.output import size_and_place
from facewatchd.console.streams import on_terminal, say, takes_colour, write, write_json
from facewatchd.errors import NoDaemonError
from facewatchd.matches import Box
from facewatchd.text import counted, printable


def status(options: argparse.Namespace) -> int:
    """Print the daemon's state, once or whenever it changes."""
    if options.follow:
        return _follow(options)
    document = _call(options, "status")
    if options.json:
        write_json(document)
    else:
        write(status_text.text(status_text.Status.of(document), colour=takes_colour(sys.stdout)))
    return 0


def _follow(options: argparse.Namespace) -> int:
    answered = False

    def ask() -> Any:
        nonlocal answered
        try:
            document = _call(options, "status")  # one connection a request: none is held for hours
        except NoDaemonError as exc:
            if not answered:
                raise
            raise NoDaemonError("the daemon went away", "start it again: facewatchd run DIR") from exc
        answered = True
        return document

    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it is ended
        status_text.follow(ask, as_json=options.json, on_terminal=on_terminal(), colour=takes_colour(sys.stdout))
    return 0


def scan(options: argparse.Namespace) -> int:
    """Have directories compared with the disk."""
    params: dict[str, Any] = {"force": True} if options.force else {}
    if options.paths:
        params["paths"] = [path_param(local_path(path)) for path in options.paths]
    result = _call(options, "scan", **params)
    with reading_answer():
        write(f"queued {int(result['queued'])}\n")
    return 0


def why(options: argparse.Namespace) -> int:
    """Print the state of one file, the reason, and its faces."""
    result = _call(options, "why", **path_param(photo_path(options.path)))
    if options.json:
        write_json(result)
        return 0
    with reading_answer():
        lines = [f"{printable(result['state'])}: {printable(result['reason'])}"]
        for face in result["faces"]:
            words = "".join(f", {printable(word)}" for word in face.get("quality", ()))
            words += _LOOKS.get(face.get("look"), "")
            place = size_and_place(Box(*face["box"]))
            lines.append(f"  face {int(face['face_id'])} at {place}, score {face['score']:.2f}{words}")
    write("".join(f"{line}\n" for line in lines))
    return 0


_SECOND = ", found at the second look:"
_LOOKS = {
    "turned-90": f"{_SECOND} turned by 90 degrees",
    "turned-180": f"{_SECOND} turned by 180 degrees",
    "turned-270": f"{_SECOND} turned by 270 degrees",
    "tile": f"{_SECOND} in a tile",
}


def pause(options: argparse.Namespace) -> int:
    """Pause indexing; print the daemon's state."""
    return _switch(options, "pause")


def resume(options: argparse.Namespace) -> int:
    """Go on with indexing; print the daemon's state."""
    return _switch(options, "resume")


def _switch(options: argparse.Namespace, method: str) -> int:
    result = _call(options, method)
    with reading_answer():
        write(f"{printable(result['state'])}\n")
    return 0


def verify(options: argparse.Namespace) -> int:
    """Print the points on which disk, catalog and index disagree; status 1 where a finding is left."""
    result = _call(options, "verify", None, **({"repair": True} if options.repair else {}))
    with reading_answer():
        count, repaired = int(result["count"]), bool(result["repaired"])
        lines = [printable(problem) for problem in result["problems"]]
        photos, faces = counted(int(result["photos"]), "photo"), counted(int(result["faces"]), "face")
        compared = f"{photos} and {faces} compared with the disk and the index"
        lines += [f"out of reach, and not compared: {printable(directory)}" for directory in result["skipped"]]
    if not count:
        lines.append(f"{compared}: no difference")
    elif repaired:
        lines.append(f"{compared}: {counted(count, 'finding')}, repaired or queued for repair")
    else:
        lines.append(f"{compared}: {counted(count, 'finding')}")
    write("".join(f"{line}\n" for line in lines))
    if count and not repaired:
        say(f"facewatchd: {_after_findings(options.repair)}")
        return 1
    return 0


def _after_findings(tried: bool) -> str:
    if tried:
        return "some findings cannot be repaired; stop the daemon, move its catalog away, and start it to index anew"
    return "to repair these findings: facewatchd verify --repair"


def _call(options: argparse.Namespace, method: str, timeout: float | None = DEFAULT_TIMEOUT, /, **params: Any) -> Any:
    with Connection(options.socket, timeout) as daemon:
        return daemon.call(method, **params)
