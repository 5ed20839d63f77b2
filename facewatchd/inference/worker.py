"""The child: ``python -m facewatchd.inference.worker PURPOSE LIFE LINE ...``, the numbers of inherited descriptors.

It loads the model that it is told, then has a thread for each line that decodes what comes and answers with what was
seen, until the daemon is no more. All lines but `AHEAD` have their turn at the same time: on the others the next photo
lies ready, not decoded.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from facewatchd.console import logs
from facewatchd.errors import FacewatchError, OutOfMemoryError
from facewatchd.inference.budget import Room
from facewatchd.inference.confinement import Confinement
from facewatchd.inference.wire import AHEAD, Line, Seen, Setup, send_error, send_info, send_seen
from facewatchd.models.base import Model
from facewatchd.photos import files
from facewatchd.system import malloc

log = logging.getLogger(__name__)

MEMORY = 6 << 30
"""Bytes of data that the process may have: a photo of 250 megapixels takes four of them in the worst of its modes."""
FILE_BYTES = 4
"""Bytes of a file that count as a pixel: some decoders know nothing but a file that is in memory as a whole."""
_room = Room(files.MAX_PIXELS)
"""Pixels of all photos in hand: the largest one takes most of the memory, and a second one beside it waits."""
FIRST_TO_GO = "900"
"""Where memory runs out, the kernel ends this process before the daemon, and before what the user looks at."""


def main(arguments: Sequence[str]) -> int:
    """Serve until the daemon goes."""
    _, life, *ends = arguments
    _end_with(int(life))
    _stand_back()
    malloc.keep_for_the_next_photo()
    lines = [Line(socket.socket(fileno=int(end))) for end in ends]
    try:
        setup = Setup.from_json(lines[0].receive_json())
        confinement = Confinement()
        try:
            confinement.before_loading(setup.pack.files, setup.pack.backend())
            model = setup.pack.load(setup.threads, setup.faces)
        except FacewatchError as exc:
            send_error(lines[0], exc)
            return 1
        confinement.before_photos()
        send_info(lines[0], model.info, confinement.state)
    except (OSError, EOFError):
        return 0
    turns = threading.Semaphore(len(lines) - AHEAD)
    threads = [threading.Thread(target=_serve, args=(line, model, turns), name=f"line {line}") for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def _end_with(life: int) -> None:
    """Have the kernel end this process when the daemon is gone, also when a decoder never comes back.

    The daemon holds the other end of the pipe. When that closes, SIGIO is sent, whose default is to terminate.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def _stand_back() -> None:
    """Leave it to the daemon when to end, be the first to go where memory runs out, and leave no photos in a dump."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logs.to_stderr(logging.WARNING)


def _serve(line: Line, model: Model, turns: threading.Semaphore) -> None:
    try:
        line.send_json({"thread": threading.get_native_id()})
        while True:
            _answer(line, model, turns)
    except (OSError, EOFError):
        return  # the daemon is gone
    except BaseException as exc:  # noqa: BLE001 - the daemon waits for this line
        log.error("inference ended: %s", exc)
        os._exit(1)


def _answer(line: Line, model: Model, turns: threading.Semaphore) -> None:
    photo = line.receive_photo()
    try:
        with turns, files.opened(photo) as file:
            seen = _see(file, model)
    except FacewatchError as exc:
        send_error(line, exc)
    except MemoryError:
        send_error(line, OutOfMemoryError("there is not enough memory for it", "make a smaller copy of it"))
    except Exception as exc:  # noqa: BLE001 - one photo: the daemon tells, and goes on
        send_error(line, FacewatchError(f"internal error: {exc}", "please report it"))
    else:
        send_seen(line, seen)


def _see(file: BinaryIO, model: Model) -> Seen:
    size = file.seek(0, os.SEEK_END)
    with _room.taken(files.pixels_of(file) + size // FILE_BYTES):
        pixels = files.decode(file)
        height, width = pixels.shape[:2]
        return Seen(width, height, model.faces(pixels))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
