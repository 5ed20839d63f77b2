"""The child process: ``python -m facewatchd.inference.worker PURPOSE LIFE CHANNEL ...``, with inherited descriptors.

It loads the model that the daemon names, then runs one thread for each channel. A thread decodes the photo that arrives
on its channel and answers with the faces on it, until the daemon is gone. All threads but `AHEAD` work at the same
time; on the channels of the others the next photo waits, not decoded.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from facewatchd.config import Faces
from facewatchd.console import logs
from facewatchd.errors import FacewatchError, OutOfMemoryError
from facewatchd.inference.budget import Budget
from facewatchd.inference.confinement import Confinement
from facewatchd.inference.wire import (
    AHEAD,
    Again,
    Analysis,
    Answer,
    Channel,
    Headers,
    Picture,
    Pictured,
    Question,
    Setup,
    Sidecar,
    send_analysis,
    send_description,
    send_error,
    send_info,
    send_named,
    send_picture,
)
from facewatchd.models import device_trial, second_look, trial
from facewatchd.models.base import Model
from facewatchd.models.devices import ON_PROCESSOR, Placement
from facewatchd.photos import crops, decode, describe, files, likeness, region_files, thumbnail
from facewatchd.photos.crops import Thumbnail
from facewatchd.photos.description import Description
from facewatchd.photos.regions import Named
from facewatchd.system import malloc
from facewatchd.values import Face

if TYPE_CHECKING:
    from facewatchd.values import Pixels

log = logging.getLogger(__name__)

MEMORY = 6 << 30
"""Bytes of data that the process may have: a photo of 250 megapixels takes 4 GiB in its worst mode."""
FILE_BYTES = 4
"""Bytes of a file that count as one pixel: some decoders load the whole file into memory."""
_pixels_in_hand = Budget(files.MAX_PIXELS)
"""Pixels of all photos in hand: the largest photo takes most of the memory, and a second one has to wait."""
FIRST_TO_GO = "900"
"""When memory runs out, the kernel ends this process before the daemon and before the user's programs."""


def main(arguments: Sequence[str]) -> int:
    """Serve until the daemon is gone."""
    _, life, *ends = arguments
    _end_with(int(life))
    _limit_process()
    malloc.keep_freed_memory()
    channels = [Channel(socket.socket(fileno=int(end))) for end in ends]
    try:
        setup = Setup.from_json(channels[0].receive_json())
        confinement = Confinement()
        try:
            placement, model = _loaded(setup, confinement, len(channels) - AHEAD)
        except FacewatchError as exc:
            send_error(channels[0], exc)
            return 1
        confinement.before_photos()
        send_info(channels[0], None if model is None else model.info, placement, confinement.state)
    except (OSError, EOFError):
        return 0
    turns = threading.Semaphore(len(channels) - AHEAD)
    threads = [
        threading.Thread(target=_serve, args=(channel, model, setup, turns), name=f"channel {channel}")
        for channel in channels
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def _loaded(setup: Setup, confinement: Confinement, parallel: int) -> tuple[Placement, Model | None]:
    """Take the first step of the confinement and load the model, where one is wanted. Raises `ModelError`."""
    if not setup.has_model:
        confinement.before_loading(None, ON_PROCESSOR)
        return ON_PROCESSOR, None
    offered = setup.pack.devices()  # ONNX Runtime is imported here: confined, it warns that it finds no devices
    placement = setup.placement or device_trial.placement(setup.pack, setup.device, offered)
    if placement.cards:
        trial.lift_memory_limit()
    confinement.before_loading(setup.pack.files, placement)
    return placement, setup.pack.load(setup.threads, setup.faces, placement, parallel)


def _end_with(life: int) -> None:
    """Have the kernel end this process when the daemon is gone, also while a decoder runs for ever.

    The daemon holds the other end of the pipe. When that closes, SIGIO is sent, whose default is to terminate.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def _limit_process() -> None:
    """Ignore the daemon's signals, set oom_score_adj to 900, limit data to 6 GiB and disable core dumps."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logs.to_stderr(logging.WARNING)


def _serve(channel: Channel, model: Model | None, setup: Setup, turns: threading.Semaphore) -> None:
    try:
        channel.send_json({"thread": threading.get_native_id()})
        while True:
            _answer(channel, model, setup, turns)
    except (OSError, EOFError):
        return  # the daemon is gone
    except BaseException as exc:  # noqa: BLE001 - the daemon waits for this channel
        log.error("inference ended: %s", exc)
        os._exit(1)


def _answer(channel: Channel, model: Model | None, setup: Setup, turns: threading.Semaphore) -> None:
    request = channel.receive_photo()
    try:
        with turns, files.opened(request.photo) as file:
            answer = _look(file, request.question, model, setup)
    except FacewatchError as exc:
        send_error(channel, exc)
    except second_look.GivenUpError:
        send_error(channel, FacewatchError("given up"))
    except MemoryError:
        send_error(channel, OutOfMemoryError("there is not enough memory for it", "make a smaller copy of it"))
    except Exception as exc:  # noqa: BLE001 - of one photo: the daemon reports it and goes on
        send_error(channel, FacewatchError(f"internal error: {exc}", "please report it"))
    else:
        if isinstance(answer, Named):
            send_named(channel, answer)
        elif isinstance(answer, Description):
            send_description(channel, answer)
        elif isinstance(answer, Pictured):
            send_picture(channel, answer)
        else:
            send_analysis(channel, answer)
    finally:
        if isinstance(request.question, Again):
            os.close(request.question.stop)


def _look(file: BinaryIO, question: Question, model: Model | None, setup: Setup) -> Answer:
    """Answer a question about a file. Raises `GivenUpError` where the daemon ends a second look."""
    size = file.seek(0, os.SEEK_END) // FILE_BYTES
    if isinstance(question, Headers):
        with _pixels_in_hand.reserved(size):
            return describe.describe(file, names=question.names)
    if isinstance(question, Sidecar):
        return region_files.read(file, question.kind)
    with _pixels_in_hand.reserved(decode.pixels_of(file) + size):
        if isinstance(question, Picture):
            return Pictured(*thumbnail.of_file(file, question.crop))
        assert model is not None
        pixels = decode.decode(file)
        height, width = pixels.shape[:2]
        if question is not None:
            again = _seen_again(pixels, question, model, setup.faces)
            return Analysis(width, height, again, thumbnails=_pictured(pixels, again, setup))
        found = model.faces(pixels)
        return Analysis(
            width,
            height,
            found,
            second_look.worth(width, height, found, model, setup.faces),
            describe.taken_in(file),
            likeness.fingerprint(pixels),
            _pictured(pixels, found, setup),
        )


def _pictured(pixels: Pixels, found: Sequence[Face], setup: Setup) -> list[Thumbnail]:
    if not setup.pictures:
        return []
    height, width = pixels.shape[:2]
    wanted = crops.while_indexing(face.box for face in found)
    return [thumbnail.of_pixels(pixels, crop, width, height) for crop in wanted]


def _seen_again(pixels: Pixels, again: Again, model: Model, faces: Faces) -> list[Face]:
    poll = select.poll()
    poll.register(again.stop, select.POLLIN)
    return second_look.look_again(model, pixels, again.ways, faces, lambda: not poll.poll(0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
