"""The process that looks at photos: what it answers, how it ends, and who gets it when. With the pack ``tiny``."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from facewatchd.config import Faces
from facewatchd.errors import TooLargeError, UnreadablePhotoError
from facewatchd.inference import worker
from facewatchd.inference.failures import ClosedError, NoModelError, SetbackError
from facewatchd.inference.pool import Inference
from facewatchd.inference.validation import InvalidAnswerError
from facewatchd.inference.wire import AHEAD, Again, Analysis, Channel, Setup, receive_analysis
from facewatchd.models import registry
from facewatchd.photos import decode, files, likeness
from facewatchd.photos.description import Description
from facewatchd.photos.regions import PICASA, TAKEOUT, XMP, Area, Named, Region
from facewatchd.values import Look, Taken, TakenFrom, Ways
from tests.support import hooks, xmp_packets
from tests.support.albums import shoot
from tests.support.processes import DRAWN, until

PARALLEL = 2


@pytest.fixture
def pack(tiny_root: Path) -> registry.Pack:
    found = registry.find("tiny", tiny_root)
    assert found is not None
    return found


@contextlib.contextmanager
def opened(pack: registry.Pack, *, idle: bool) -> Iterator[Inference]:
    with contextlib.closing(Inference(Setup("indexing", pack, Faces(), 1, idle=idle), PARALLEL)) as inference:
        yield inference


@pytest.fixture
def inference(pack: registry.Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inference]:
    """Of normal priority, and with `drawn_model` in the place of InsightFace: it is the process that is tested."""
    hooked = tmp_path / "hook"
    hooks.add(hooked, DRAWN)
    monkeypatch.setenv("PYTHONPATH", str(hooked))
    with opened(pack, idle=False) as inference:
        yield inference
    hooks.check(hooked)


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    return shoot(tmp_path / "photo.jpg", [3, 5], 1).read_bytes()


def child() -> int:
    """The one process that this one started for inference."""
    found = [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if f") S {os.getpid()} " in stat.read_text() or f") R {os.getpid()} " in stat.read_text()
    ]
    (pid,) = (pid for pid in found if "inference.worker" in Path(f"/proc/{pid}/cmdline").read_text())
    return pid


def received(channel: Channel) -> bytes:
    with files.opened(channel.receive_photo().photo) as file:
        return file.read()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_it_sees_what_the_model_sees(pack: registry.Pack, photo: bytes) -> None:
    model = pack.load(1, Faces())
    with opened(pack, idle=True) as inference:
        assert inference.start() == model.info
        seen, faces = inference.analyse(photo), model.faces(decode.decode(io.BytesIO(photo)))
    assert (seen.width, seen.height, len(seen.faces)) == (320, 240, 2)
    assert seen.picture == likeness.fingerprint(decode.decode(io.BytesIO(photo)))
    for one, other in zip(seen.faces, faces, strict=True):
        assert (one.box, one.score) == (other.box, other.score)
        assert np.array_equal(one.landmarks, other.landmarks)
        assert np.array_equal(one.embedding, other.embedding)
        assert one.sharpness == other.sharpness
        assert one.embedding.dtype == one.landmarks.dtype == np.float32


def test_headers_are_read_without_decoding_and_the_next_photo_is_answered(inference: Inference, tmp_path: Path) -> None:
    path = shoot(tmp_path / "photo.jpg", [3, 5], 1)
    with Image.open(path) as image:
        made = image.getexif()
        made.get_ifd(0x8769)[0x9003] = "2019:06:30 12:00:00"
        image.save(path, exif=made)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\xff\xda") + 20])
    taken = Taken(1561896000, None, TakenFrom.EXIF)
    with path.open("rb") as file:
        assert inference.describe(file.fileno()) == Description(320, 240, 1, taken)
        with pytest.raises(UnreadablePhotoError, match="truncated"):
            inference.analyse(file.fileno())
    with pytest.raises(UnreadablePhotoError, match="headers"):
        inference.describe(b"\xff\xd8\xff")
    assert (inference.analyse(whole).taken, len(inference.analyse(whole).faces)) == (taken, 2)


def test_names_are_read_from_a_photo_and_from_files_beside_it(inference: Inference, tmp_path: Path) -> None:
    path, people = shoot(tmp_path / "photo.jpg", [3, 5], 1), [("Anna", (0.25, 0.25, 0.5, 0.25))]
    with Image.open(path) as image:
        image.save(path, xmp=xmp_packets.digikam(people, (320, 240)))
    region = Region("Anna", "mwg", Area(0.25, 0.25, 0.5, 0.25), (320, 240))
    with path.open("rb") as file:
        assert inference.describe(file.fileno(), names=True).named == Named((region,))
        assert inference.describe(file.fileno()).named == Named()
    sidecars = {
        XMP: (xmp_packets.windows(people), Region("Anna", "microsoft", Area(0.25, 0.25, 0.5, 0.25))),
        PICASA: (
            b"[Contacts2]\n1=Anna;;\n[a.jpg]\nfaces=rect64(ffffffff),1",
            Region("Anna", "picasa", Area(0, 0, 1, 1), photo="a.jpg"),
        ),
        TAKEOUT: (b'{"people": [{"name": "Anna"}]}', Region("Anna", "takeout", None)),
    }
    for kind, (data, expected) in sidecars.items():
        path.write_bytes(data)
        with path.open("rb") as file:
            assert inference.names(file.fileno(), kind) == Named((expected,))
    for odd in (b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", b"<?xml version='1.0' encoding='koi8-r'?><x/>"):
        path.write_bytes(odd)
        with path.open("rb") as file:
            assert inference.names(file.fileno(), XMP) == Named(aside=("its XMP is no XML that can be read",))
    most = "".join(f"[{number}.jpg]\nfaces=rect64(ffffffff),1\n" for number in range(9999))
    path.write_text(f"[Contacts2]\n1={chr(0x1F600) * 200};;\n{most}")
    with path.open("rb") as file:
        named = inference.names(file.fileno(), PICASA)
    assert 900 < len(named.regions) < 9999
    assert len(named.aside) == 1


def test_a_photo_without_a_face(inference: Inference, tmp_path: Path) -> None:
    assert inference.analyse(shoot(tmp_path / "none.jpg", [], 1).read_bytes()).faces == []


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", UnreadablePhotoError, "empty"),
        (b"no photo", UnreadablePhotoError, "not an image"),
        (b"\xff\xd8\xff\xe0 and no more", UnreadablePhotoError, "JPEG"),
        (b"BM" + bytes(12) + b"\x28\0\0\0" + b"\0\0\1\0" * 2 + b"\1\0\x18\0" + bytes(24), TooLargeError, "megapixels"),
    ],
)
def test_its_errors_are_the_decoders(
    inference: Inference, data: bytes, error: type[Exception], message: str, photo: bytes
) -> None:
    with pytest.raises(error, match=message):
        inference.analyse(data)
    assert len(inference.analyse(photo).faces) == 2


def test_it_is_in_the_idle_class_and_the_first_to_go(pack: registry.Pack) -> None:
    with opened(pack, idle=True) as inference:
        inference.start()
        pid = child()
        threads = [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "900"
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert ["Max", "core", "file", "size", "0"] in [line.split()[:5] for line in limits]


def test_it_leaves_it_to_the_daemon_when_to_end(inference: Inference, photo: bytes) -> None:
    inference.start()
    pid = child()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    inference.analyse(photo)
    assert child() == pid


def test_at_rest_it_is_given_back_and_comes_again(pack: registry.Pack, photo: bytes) -> None:
    now = 100.0
    inference = Inference(Setup("queries", pack, Faces(), 1, idle=False), PARALLEL, clock=lambda: now)
    before = descriptors()
    assert not inference.release_after(5), "there is nothing yet"
    inference.analyse(photo)
    now += 4
    assert not inference.release_after(5)
    now += 1
    assert inference.release_after(5)
    assert not inference.release_after(5)
    assert descriptors() == before
    assert len(inference.analyse(photo).faces) == 2
    inference.close()
    assert descriptors() == before


def test_killed_between_two_photos_it_is_started_again(inference: Inference, photo: bytes) -> None:
    before = descriptors()
    for _ in range(3):
        inference.analyse(photo)
        os.kill(child(), signal.SIGKILL)
    assert len(inference.analyse(photo).faces) == 2
    inference.close()
    assert descriptors() == before


def test_many_callers_while_it_is_killed_again_and_again(inference: Inference, photo: bytes) -> None:
    answers: list[object] = []

    def ask(number: int) -> None:
        if number % 50 == 25:
            with contextlib.suppress(ValueError, OSError):  # there is none just now
                os.kill(child(), signal.SIGKILL)
        answers.append(answer(inference, photo))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(200)))
    blamed = answers.count("crashed")
    assert blamed <= 4, "only one that was alone in hand can be blamed"
    assert answers.count(2) == 200 - blamed


def answer(inference: Inference, photo: bytes) -> object:
    while True:
        try:
            return len(inference.analyse(photo).faces)
        except NoModelError:
            continue  # killed while it was loading
        except UnreadablePhotoError as exc:
            return exc.message.partition(":")[0]


def test_a_model_that_does_not_load_is_no_photos_fault(tiny_root: Path, tmp_path: Path, photo: bytes) -> None:
    directory = tmp_path / "broken"
    directory.mkdir()
    for name in ("det_tiny.onnx", "rec_tiny.onnx"):
        (directory / name).write_bytes((tiny_root / "models" / "tiny" / name).read_bytes()[:100])
    broken = registry.Pack("broken", directory, "broken-00000000", 0.5)
    inference = Inference(Setup("indexing", broken, Faces(), 1, idle=True), PARALLEL)
    before = descriptors()
    for _ in range(2):
        with pytest.raises(NoModelError, match="broken"):
            inference.analyse(photo)
    inference.close()
    assert descriptors() == before


def test_closed_while_asked_nobody_waits_for_ever(inference: Inference, photo: bytes) -> None:
    with ThreadPoolExecutor(6) as pool:
        seen: list[Analysis] = []
        asked = [pool.submit(lambda: [seen.append(inference.analyse(photo)) for _ in range(100_000)]) for _ in range(6)]
        try:
            until(lambda: seen)
        finally:
            inference.close()
        for each in asked:
            with pytest.raises(ClosedError):
                each.result(30)
    with pytest.raises(ClosedError):
        inference.analyse(photo)


def test_without_descriptors_no_photo_is_blamed_and_none_is_lost(
    inference: Inference, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()

    def none_left() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socketpair", none_left)
        with pytest.raises(NoModelError, match="Too many open files"):
            inference.analyse(photo)
    assert descriptors() == before
    assert len(inference.analyse(photo).faces) == 2


def test_an_answer_that_makes_no_sense_is_a_death(
    inference: Inference, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channel would be out of step: the next photo would get this one's faces."""
    inference.start()
    first = child()

    def nonsense(channel: Channel, dim: int, again: Again | None) -> Analysis:
        channel.receive(1 << 20)
        raise InvalidAnswerError("odd")

    with monkeypatch.context() as patch:
        patch.setattr("facewatchd.inference.process.receive_analysis", nonsense)
        with pytest.raises(UnreadablePhotoError, match="twice"):
            inference.analyse(photo)
    assert len(inference.analyse(photo).faces) == 2
    assert child() != first


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 100_000])
def test_a_photo_arrives_as_it_was_sent_and_leaves_nothing_behind(data: bytes) -> None:
    before = descriptors()
    ours, theirs = (Channel(end) for end in socket.socketpair())
    for _ in range(3):
        ours.send_photo(data)
    assert [received(theirs) for _ in range(3)] == [data] * 3
    ours.close()
    with pytest.raises(EOFError):
        theirs.receive_photo()
    theirs.close()
    assert descriptors() == before


def test_one_more_photo_than_it_looks_at_lies_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes wait for their turn before anything is decoded."""
    decoding, free = threading.Semaphore(0), threading.Event()

    def analyse(file: BinaryIO, *_: object) -> Analysis:
        decoding.release()
        assert free.wait(30)
        return Analysis(len(file.read()), 1, [])

    monkeypatch.setattr(worker, "_look", analyse)
    turns = threading.Semaphore(PARALLEL)
    pairs = [[Channel(end) for end in socket.socketpair()] for _ in range(PARALLEL + AHEAD)]
    threads = [threading.Thread(target=worker._serve, args=(end, None, None, turns), daemon=True) for _, end in pairs]
    for thread in threads:
        thread.start()
    for number, (channel, _) in enumerate(pairs, 1):
        assert channel.receive_json()["thread"]
        channel.send_photo(bytes(number * 1_000_000))
    assert all(decoding.acquire(timeout=30) for _ in range(PARALLEL))
    assert not decoding.acquire(blocking=False)
    free.set()
    assert [receive_analysis(channel, 1).width for channel, _ in pairs] == [1_000_000, 2_000_000, 3_000_000]
    for (channel, end), thread in zip(pairs, threads, strict=True):
        channel.close()
        thread.join(30)
        end.close()


# Answers that cannot be

HONEST = {
    "width": 320,
    "height": 240,
    "faces": [{"box": [1, 2, 30, 40], "score": 0.9, "landmarks": [[5, 5]] * 5, "look": "first"}],
    "thumbnails": [],
    "worth": 1,
}
TAKEN = {"at": 1561896000.25, "offset": 120, "source": "exif"}
UNIT = np.array([0.6, 0.8], "<f4").tobytes()


def changed(**changes: object) -> dict[str, object]:
    return {**HONEST, "faces": [{**HONEST["faces"][0], **changes}]}  # type: ignore[index]


def answered(answer: object, embeddings: bytes = UNIT) -> Analysis:
    """What the daemon makes of an answer of a model with two dimensions."""
    ours, theirs = (Channel(end) for end in socket.socketpair())
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    try:
        theirs.send(data, embeddings, b"")
        theirs.socket.shutdown(socket.SHUT_WR)
        seen = receive_analysis(ours, 2)
        assert ours.socket.recv(1) == b"", "nothing of the answer is left for the next question"
        return seen
    finally:
        ours.close()
        theirs.close()


def test_an_honest_answer_is_believed() -> None:
    assert answered(HONEST).faces[0].box == (1, 2, 30, 40)
    assert (answered(HONEST).faces[0].look, answered(HONEST).worth) == (Look.FIRST, Ways.TURNED)
    assert answered({**HONEST, "taken": TAKEN}).taken == Taken(1561896000.25, 120, TakenFrom.EXIF)
    assert [answered(changed(norm=norm)).faces[0].norm for norm in (None, 8.5, 12)] == [None, 8.5, 12.0]


@pytest.mark.parametrize(
    ("answer", "embeddings"),
    [
        *(
            (changed(score=score), UNIT)
            for score in (float("nan"), float("inf"), -0.1, 1.1, True, "0.5", None, 10**400)
        ),
        *(
            (changed(box=box), UNIT)
            for box in ([0, 0, 2**70, 1], [-1, 0, 9, 9], [0, 0, 0, 9], [0, 0, 321, 9], [1.5] * 4)
        ),
        *((changed(box=box), UNIT) for box in ([0, 0, 9], "abcd", None, [True, True, True, True], [319, 239, 1, 2])),
        *((changed(landmarks=points), UNIT) for points in ([], [[1, 2]] * 4, [[1]] * 5, [[float("nan"), 1]] * 5, 5)),
        *((changed(norm=norm), UNIT) for norm in (0, -1.5, 1e7, float("nan"), float("inf"), True, "9", [9], 10**400)),
        *((changed(look=look), UNIT) for look in (None, "", "third", "tile", 1, ["first"])),
        *(({**HONEST, "worth": worth}, UNIT) for worth in (None, -1, 4, 1.0, True, "1")),
        *(
            ({**HONEST, "taken": {**TAKEN, "at": at}}, UNIT)
            for at in (None, True, "9", 1e12, -1e10, float("nan"), 10**400)
        ),
        *(({**HONEST, "taken": {**TAKEN, "offset": offset}}, UNIT) for offset in (1e9, 841, -841, 1.5, True, "9")),
        *(({**HONEST, "taken": {**TAKEN, "source": source}}, UNIT) for source in (None, "name", "mtime", 1, ["exif"])),
        *(({**HONEST, "taken": taken}, UNIT) for taken in (5, [], {}, {"at": 1.0}, {**TAKEN, "more": 1})),
        *((changed(sharpness=each), UNIT) for each in (-1, float("nan"), 1e10, True, "9", [9])),
        *(({**HONEST, "picture": each}, UNIT) for each in ("", "0" * 15, "0" * 18, "G" * 16, "A" * 16, 5, ["0" * 16])),
        *(({**HONEST, "width": width}, UNIT) for width in (0, -1, 2**70, 1.5, True, "9", None, 10**9)),
        *(({**HONEST, "faces": faces}, b"") for faces in (None, 5, {}, [5], "a")),
        *((HONEST, bad) for bad in (b"", UNIT[:7], UNIT * 2, bytes(8), np.array([np.nan, 1], "<f4").tobytes())),
        *((data, b"") for data in (b"", b"[]", b"nothing", b"[" * 100_000, b"9" * 5000, b"\xff", b"null")),
        *(({"error": kind, "message": "a", "hint": ""}, b"") for kind in ("SystemExit", 5, None)),
        *(({"error": "ModelError", "message": text, "hint": ""}, b"") for text in (None, 5, "a" * 10_000)),
    ],
)
def test_what_cannot_be_is_not_believed(answer: object, embeddings: bytes) -> None:
    with pytest.raises(InvalidAnswerError):
        answered(answer, embeddings)


def test_a_frame_of_three_gigabytes_is_not_waited_for() -> None:
    ours, theirs = (Channel(end) for end in socket.socketpair())
    theirs.socket.sendall((3 << 30).to_bytes(8, "big"))
    with pytest.raises(InvalidAnswerError, match="3221225472 bytes"):
        receive_analysis(ours, 2)
    ours.close()
    theirs.close()


def test_killed_while_it_loads_it_is_started_again(inference: Inference, photo: bytes) -> None:
    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            seen = pool.submit(inference.analyse, photo)
            pid = until(lambda: childs() and child())
            os.kill(pid, signal.SIGKILL)
            assert len(seen.result(60).faces) == 2
            os.kill(child(), signal.SIGKILL)
            until(lambda: not childs())


def childs() -> bool:
    try:
        return bool(child())
    except (ValueError, OSError):
        return False


def test_a_file_too_large_to_hand_on_is_tried_again_and_not_blamed(
    inference: Inference, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(self: Channel, *_: object) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    with monkeypatch.context() as patch:
        patch.setattr(Channel, "send_photo", too_large)
        with pytest.raises(SetbackError, match="File too large") as caught:
            inference.analyse(photo)
    assert not caught.value.counts
    assert len(inference.analyse(photo).faces) == 2
