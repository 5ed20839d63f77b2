"""Pictures over the socket: faces and photos as small JPEGs, made in a process without rights and kept on the disk."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facewatchd.errors import FacewatchError
from tests.support.albums import shoot
from tests.support.processes import Daemon, children, until


def picture(answer: dict[str, Any]) -> Image.Image:
    """The picture of an answer, which must be a JPEG of the size that it says, without any metadata."""
    image = Image.open(io.BytesIO(base64.b64decode(answer["jpeg"])))
    image.load()
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert image.size == (answer["width"], answer["height"])
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    return image


@dataclass(frozen=True)
class Place:
    daemon: Daemon
    root: Path

    def face(self, name: str) -> tuple[int, list[int]]:
        """The id and the box of the one face on a photo."""
        (face,) = self.daemon.call("why", path=str(self.root / name))["faces"]
        return face["face_id"], face["box"]

    def shown(self, **params: object) -> Image.Image:
        return picture(self.daemon.call("thumbnail", **params))

    def refusal(self, **params: object) -> tuple[str, str]:
        """The kind of the error, and its message."""
        with pytest.raises(FacewatchError) as raised:
            self.daemon.call("thumbnail", **params)
        return raised.value.kind, raised.value.message


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_root: Path) -> Iterator[Place]:
    """A daemon for tests that only read."""
    home = tmp_path_factory.mktemp("thumbnails")
    root = home / "photos"
    for number in range(3):
        shoot(root / f"{number}.jpg", [number + 1], number, size=(640, 480))
    (root / "copy").mkdir()
    (root / "copy" / "0 again.jpg").write_bytes((root / "0.jpg").read_bytes())
    shoot(root / "two.jpg", [1, 2], 7)
    with Daemon(home / "home", root, model="tiny", model_root=tiny_root) as daemon:
        daemon.start()
        daemon.settle()
        yield Place(daemon, root)


def purple(image: Image.Image) -> tuple[float, float, float]:
    """What part of a picture a drawn face takes, and where its middle is, as parts of width and height."""
    red, green, blue = np.moveaxis(np.asarray(image, np.int16), 2, 0)
    rows, columns = np.nonzero((green < 90) & (red > 100) & (blue > 100) & (abs(red - blue) > 50))
    return len(rows) / red.size, float(np.median(columns)) / image.width, float(np.median(rows)) / image.height


def test_a_face_is_shown_as_a_square_with_a_margin(place: Place) -> None:
    face_id, (x, _, w, h) = place.face("1.jpg")
    shown = place.shown(face_id=face_id)
    assert shown.width == shown.height <= 160
    part, right, down = purple(shown)
    assert part == pytest.approx(w * h / shown.width**2, rel=0.1)
    assert 0.3 < part < 0.45
    assert right == pytest.approx((x + w / 2) / shown.width, abs=0.02), "it stays inside the photo"
    assert down == pytest.approx(0.54, abs=0.03), "and leaves more room above the face than below"
    assert place.shown(face_id=face_id, size=64).size == (64, 64)
    assert place.shown(face_id=face_id, size=2048).size == shown.size


def test_a_photo_is_shown_whole_and_never_larger_than_it_is(place: Place) -> None:
    face_id, box = place.face("1.jpg")
    for asked in ({"face_id": face_id, "photo": True}, {"path": str(place.root / "1.jpg")}):
        assert place.shown(**asked, size=320).size == (320, 240)
        assert place.shown(**asked, size=2048).size == (640, 480)
    data = base64.b64encode((place.root / "1.jpg").read_bytes()).decode()
    assert place.shown(data=data, size=320).size == (320, 240)
    assert place.shown(data=data, box=box) == place.shown(face_id=face_id)


def test_faces_names_a_photo_by_the_id_of_a_face(place: Place) -> None:
    by_path = place.daemon.call("faces", path=str(place.root / "two.jpg"), names=True)
    ids = [face["face_id"] for face in by_path["faces"]]
    assert len(set(ids) - {None}) == 2
    told = place.daemon.call("faces", face_id=ids[1], names=True)
    assert told["faces"] == by_path["faces"]
    assert (told["path"], told["copies"]) == (str(place.root / "two.jpg"), [])
    assert (told["width"], told["height"]) == (by_path["width"], by_path["height"]) == (320, 240)
    assert told["taken_from"] == "mtime"
    copied = place.daemon.call("faces", face_id=place.face("0.jpg")[0])
    assert (copied["path"], copied["copies"]) == (str(place.root / "0.jpg"), [str(place.root / "copy" / "0 again.jpg")])
    unknown = place.daemon.call(
        "faces", data=base64.b64encode(shoot(place.root.parent / "x.jpg", [3], 99).read_bytes()).decode()
    )
    assert [face["face_id"] for face in unknown["faces"]] == [None]


def test_what_cannot_be_shown_is_said(place: Place) -> None:
    face_id, box = place.face("1.jpg")
    assert place.refusal(face_id=10**6) == ("unknown-face", "there is no face 1000000")
    kind, message = place.refusal(path=str(place.root / "none.jpg"))
    assert (kind, "none.jpg: cannot be read" in message) == ("unreadable-photo", True)
    (place.root.parent / "text.jpg").write_text("no picture")
    kind, message = place.refusal(path=str(place.root.parent / "text.jpg"))
    assert (kind, "text.jpg: not an image" in message) == ("unreadable-photo", True)
    for wrong in ({"size": 15}, {"size": 2049}, {"box": box}, {"path": "/a"}, {"box": [0, 0, 0, 5], "path": "/a"}):
        with pytest.raises(FacewatchError):
            place.daemon.call("thumbnail", **{"face_id": face_id} | wrong if "path" not in wrong else wrong)


@pytest.mark.parametrize(
    "box",
    [[0, 0, 2**62, 2**62], [0, 0, 10**9, 10**9], [5000, 5000, 10, 10], [0, 0, 30_000, 30_000], [639, 0, 2, 1]],
)
def test_a_box_that_is_not_on_the_photo_is_refused(place: Place, box: list[int]) -> None:
    """And the process that makes pictures takes no memory for what is beyond."""
    photo = place.root / "1.jpg"
    for source in ({"path": str(photo)}, {"data": base64.b64encode(photo.read_bytes()).decode()}):
        kind, message = place.refusal(**source, box=box)
        assert kind == "", "it is an error of the parameters"
        assert message.startswith("box is not inside of the photo, which has 640 x 480 pixels")
    assert place.shown(path=str(photo), box=[639, 479, 1, 1]).size


# What is kept, and what goes


def processes(daemon: Daemon) -> list[str]:
    """What the inference processes that run are for."""
    assert daemon.process is not None
    words = [Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0") for child in children(daemon.process.pid)]
    return sorted(word[word.index(b"facewatchd.inference.worker") + 1].decode() for word in words if len(word) > 4)


def kept_in(daemon: Daemon, jpeg: bytes) -> list[str]:
    """The files of the data directory that hold a part of a picture."""
    middle = jpeg[len(jpeg) // 2 :][:64]
    return [file.name for file in daemon.data.rglob("*") if file.is_file() and middle in file.read_bytes()]


def test_faces_are_pictured_while_they_are_indexed(
    start: Callable[..., Daemon], tmp_path: Path, tiny_root: Path
) -> None:
    """So are their photos. No process is needed to show them, and all but a deleted one are there after a kill."""
    root = tmp_path / "photos"
    for number in range(4):
        shoot(root / f"{number}.jpg", [number + 1], number, size=(640, 480))
    daemon = start(root, model="tiny", model_root=tiny_root)
    daemon.settle()
    place = Place(daemon, root)
    ids = [place.face(f"{number}.jpg")[0] for number in range(4)]

    def kept() -> list[bytes]:
        asked: tuple[dict[str, object], ...] = ({"size": 256}, {"size": 400, "photo": True})
        answers = [daemon.call("thumbnail", face_id=each, **params) for params in asked for each in ids]
        return [base64.b64decode(answer["jpeg"]) for answer in answers]

    jpegs = kept()
    assert processes(daemon) == ["indexing", "queries"]
    assert place.shown(face_id=ids[0], size=64).size == (64, 64)
    assert place.shown(face_id=ids[0], size=64, photo=True).size == (64, 48)
    assert processes(daemon) == ["indexing", "pictures", "queries"]
    daemon.kill()
    daemon.start()
    assert kept() == jpegs
    assert processes(daemon) == ["queries"]
    (root / "1.jpg").unlink()
    (root / "2.jpg").rename(root / "renamed.jpg")
    daemon.call("scan")
    daemon.settle()
    assert place.refusal(face_id=ids[1]) == ("unreadable-photo", f"no photo shows face {ids[1]} any more")
    until(lambda: kept_in(daemon, jpegs[1]) == kept_in(daemon, jpegs[5]) == [])
    assert place.shown(face_id=ids[2]).width == picture(daemon.call("thumbnail", face_id=ids[3])).width
    assert kept_in(daemon, jpegs[2]) == kept_in(daemon, jpegs[3]) == kept_in(daemon, jpegs[6]) != []
    assert processes(daemon) == ["queries"], "none was made anew"
