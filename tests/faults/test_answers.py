"""A decoding process that lies: the photo in its hand is blamed, never the disk, and everything else goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import invariant
from tests.support.albums import album, shoot
from tests.support.processes import Daemon, until

Amount = Callable[[int, int], int]

LIES = {
    "a score that is no number": "face['score'] = float('nan')",
    "a huge box": "face['box'] = [0, 0, 1 << 70, 9]",
    "a frame of three gigabytes": "raw = struct.pack('!Q', 3 << 30) + b'{}'",
    "an embedding that is no number": "embedding[:] = float('nan')",
    "another dimension": "embedding = np.concatenate([embedding, embedding])",
    "more faces than embeddings": "answer['faces'] *= 2",
    "texts": "face['box'] = ['1', '2', '30', '40']",
    "half an answer": "raw = struct.pack('!Q', 100) + b'{'",
    "more embeddings than faces": "answer['faces'] = []",
    "an embedding that is zero": "embedding[:] = 0",
    "a huge number": "answer['width'] = 10 ** 400",
    "no landmarks": "face['landmarks'] = []",
    "no faces": "del answer['faces']",
    "a date of no kind": "answer['taken'] = {'at': 1e300, 'offset': 0, 'source': 'exif'}",
    "a size of nothing": "answer['width'] = answer['height'] = 0",
    "an error of a kind that is not ours": "answer = {'error': 'SystemExit', 'message': '', 'hint': ''}",
    "no JSON": "raw = struct.pack('!Q', 4) + b'\\xff' * 4",
    "deep JSON": "raw = struct.pack('!Q', 100_000) + b'[' * 100_000",
    "nothing": "raw = bytes(8)",
}
"""What is done to an honest answer: to the document, to its first face, to the embedding, or all of it replaced."""
LYING = """
import os, sys
if {{"indexing", "queries"}} & set(sys.argv):
    import json, struct, threading
    import numpy as np
    from facewatchd.photos import decode as photos
    from facewatchd.inference import wire
    lies, hand = {lies!r}, threading.local()
    def noting(file, decode=photos.decode):
        hand.size = file.seek(0, os.SEEK_END)
        return decode(file)
    photos.decode = noting
    def lying(channel, seen, send=wire.send_analysis):
        lie = lies.get(hand.size)
        if lie is None:
            return send(channel, seen)
        (only,) = seen.faces
        face = {{"box": only.box, "score": only.score, "landmarks": only.landmarks.tolist()}}
        face |= {{"norm": only.norm, "look": only.look}}
        honest = {{"width": seen.width, "height": seen.height, "faces": [face], "worth": 0, "thumbnails": []}}
        told = {{"answer": honest, "face": face}}
        told |= {{"embedding": np.array(only.embedding), "raw": b""}}
        exec(lie, {{"np": np, "struct": struct}}, told)
        if told["raw"]:
            return channel.socket.sendall(told["raw"])
        channel.send(json.dumps(told["answer"]).encode(), told["embedding"].tobytes(), b"")
    wire.send_analysis = lying
if "run" in sys.argv:
    from facewatchd.inference import deadlines
    deadlines.REST_LIMIT, deadlines.LOOK_EVERY = 1.0, 0.1
"""
MOST_MEMORY = 500_000_000
"""Bytes that the daemon's own process may take: what it is told to wait for has no part in it."""


class Liars:
    """Photos of one person, each of another size, about each of which another lie is told."""

    def __init__(self, directory: Path, lies: Mapping[str, str]) -> None:
        self.good = shoot(directory / "good.jpg", [1], 600)
        self.paths = {what: self._made(directory / f"{what}.jpg", 1000 + n) for n, what in enumerate(lies)}
        self.by_size = {self.paths[what].stat().st_size: lie for what, lie in lies.items()}

    def _made(self, path: Path, more: int) -> Path:
        path.write_bytes(self.good.read_bytes() + bytes(more))
        return path


@pytest.fixture
def liars(tmp_path: Path, amount: Amount) -> Liars:
    (tmp_path / "liars").mkdir()
    return Liars(tmp_path / "liars", dict(list(LIES.items())[: amount(8, len(LIES))]))


@pytest.fixture
def daemon(tmp_path: Path, tiny_root: Path, liars: Liars) -> Iterator[Daemon]:
    resources = "threads = 2\nunload_after = 0"
    daemon = Daemon(tmp_path / "home", tmp_path / "photos", model="tiny", model_root=tiny_root, resources=resources)
    daemon.hook(LYING.format(lies=liars.by_size))
    with daemon:
        yield daemon


def memory(daemon: Daemon) -> int:
    """The most bytes of memory that the daemon's own process ever had."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def expect_blamed(reason: str, what: str) -> None:
    assert ("hung" if what == "half an answer" else "sent an invalid answer") in reason, (what, reason)


def test_photos_that_are_lied_about_are_set_aside_and_the_others_recorded(daemon: Daemon, liars: Liars) -> None:
    (root,) = daemon.roots
    before = album(root, 10)
    daemon.start()
    daemon.settle()
    places = {what: Path(shutil.copy(path, root)) for what, path in liars.paths.items()}
    beside = album(root / "more", 20, first_seed=100)
    status = daemon.settle(180)
    assert (status["photos"], status["failed"]) == (30 + len(places), len(places))
    assert status["problems"] == [], "nothing is wrong but the photos"
    for what, place in places.items():
        why = daemon.call("why", path=str(place))
        assert why["state"] == "failed"
        expect_blamed(why["reason"], what)
    assert memory(daemon) < MOST_MEMORY
    everyone = before | beside
    photo, person = next(iter(everyone.items()))
    assert daemon.paths(photo) == {path for path, other in everyone.items() if other == person}
    what, place = places.popitem()
    shutil.copy(liars.good, place)
    until(lambda: daemon.call("why", path=str(place))["state"] == "indexed")
    invariant.check(daemon, failed=places.values())


def test_a_query_photo_that_is_lied_about_is_an_error_and_the_next_is_answered(daemon: Daemon, liars: Liars) -> None:
    (root,) = daemon.roots
    shutil.copy(liars.good, shoot(root / "found.jpg", [2], 5).parent / "same.jpg")
    daemon.start()
    daemon.settle()
    for what, path in list(liars.paths.items())[:3]:
        result = daemon.query(path)
        assert (result.returncode, result.stdout) == (2, "")
        expect_blamed(result.stderr, what)
        assert result.stderr.count("\n") == 1
        assert daemon.query(liars.good, "-l").stdout == f"{root / 'same.jpg'}\n"
    assert daemon.status()["problems"] == []
    assert memory(daemon) < MOST_MEMORY


LOADING = {
    "another model than before": 'document["model"]["dim"] = 7',
    "threads that are none of its own": 'document["thread"] = os.getppid()',
}
"""What the daemon says of an indexing process, and what that changes in what it says of itself."""
LYING_AT_FIRST = """
import os, sys
if "indexing" in sys.argv and os.path.exists({gate!r}):
    with open({gate!r}) as file:
        lie = file.read()
    from facewatchd.inference import wire
    def lying(self, document, send=wire.Channel.send_json):
        if next(iter(document)) in lie:
            exec(lie)
        send(self, document)
    wire.Channel.send_json = lying
if "run" in sys.argv:
    from facewatchd.indexing import workers as indexer
    indexer.MODEL_RETRY = 0.2
"""


def test_a_process_that_lies_while_it_loads_is_no_photos_fault(tmp_path: Path, tiny_root: Path) -> None:
    root, gate = tmp_path / "photos", tmp_path / "gate"
    photo = shoot(root / "photo.jpg", [1], 1)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.hook(LYING_AT_FIRST.format(gate=str(gate)))
    with daemon:
        for said, lie in LOADING.items():
            new = gate.with_name("new")
            new.write_text(lie)
            new.rename(gate)
            if daemon.process is None:
                daemon.start()
            expected = f"the model tiny cannot be loaded: its process sent an invalid answer ({said})"
            until(lambda expected=expected: expected in str(daemon.status()["problems"]))
            assert daemon.call("why", path=str(photo))["state"] == "pending"
            assert daemon.status()["failed"] == 0
        gate.unlink()
        until(lambda: daemon.status()["problems"] == [])
        invariant.check(daemon)
