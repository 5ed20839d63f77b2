"""Models: pixels to faces, on the tiny pack."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from facewatchd.config import Faces
from facewatchd.errors import ModelError
from facewatchd.matches import Box
from facewatchd.models import registry
from facewatchd.models.base import Model, clipped, detector_side, left_to_right, norm_of, unit_length
from facewatchd.values import Face
from tests.support import drawn_faces, drawn_model, tiny_pack
from tests.support.albums import shoot
from tests.support.detections import Image8, assert_sound, canvas, jpeg, load, overlap, portrait, read

BOXES = [(60, 40, 200, 200), (420, 60, 120, 120), (640, 300, 90, 90), (200, 420, 160, 160)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An InsightFace root with the tiny pack."""
    root = tmp_path_factory.mktemp("insightface")
    tiny_pack.build(root)
    return root


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return load(tiny, "tiny")


def scene() -> Image8:
    image = canvas()
    for person, box in enumerate(BOXES, start=1):
        drawn_faces.draw_face(image, box, person)
    return image


# Shared helpers


def test_a_box_is_rounded_and_clipped_to_the_image() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    assert clipped((-4.4, 10.6, 50.4, 120), image) == Box(0, 11, 50, 89)
    assert clipped((199.6, 0, 260, 50), image) is None
    assert clipped((10, 10, math.nan, 50), image) is None


@pytest.mark.parametrize("vector", [[0.0, 0.0], [math.inf, 1.0], [math.nan, 1.0], []])
def test_a_vector_without_direction_has_no_unit_length(vector: list[float]) -> None:
    assert unit_length(vector) is None


def test_unit_length_takes_any_shape_and_size() -> None:
    unit = unit_length([[3e20, 4e20]])
    assert unit is not None
    assert unit.tolist() == pytest.approx([0.6, 0.8])


def test_a_norm_is_the_length_that_the_recogniser_gave() -> None:
    assert norm_of([[3.0, 4.0]]) == 5.0
    assert norm_of([0.6, 0.8]) is None, "its embeddings are always of length 1"
    assert [norm_of(vector) for vector in ([0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0], [2e6, 0.0], [])] == [None] * 5


def test_faces_are_ordered_from_left_to_right_then_from_above() -> None:
    boxes = [Box(50, 9, 1, 1), Box(7, 80, 1, 1), Box(7, 3, 1, 1)]
    nothing = np.zeros((5, 2), np.float32)
    ordered = left_to_right(Face(box, 1.0, nothing, np.zeros(2, np.float32)) for box in boxes)
    assert [face.box[:2] for face in ordered] == [(7, 3), (7, 80), (50, 9)]


@pytest.mark.parametrize(
    ("size", "side"),
    [((1, 1), 640), ((640, 480), 640), ((641, 10), 672), ((500, 900), 928), ((4032, 3024), 960), ((9, 20_000), 960)],
)
def test_the_detector_s_side_follows_the_photo(size: tuple[int, int], side: int) -> None:
    assert detector_side(*size, None, 960) == side
    assert detector_side(*size, 320, 960) == 320
    assert detector_side(*size, 4096, 960) == 4096


# The InsightFace path, on the tiny pack


def test_drawn_faces_are_found_where_they_are(model: Model) -> None:
    faces = model.faces(scene())
    assert_sound(faces, scene(), drawn_faces.DIM)
    assert len(faces) == len(BOXES)
    for face, box in zip(faces, sorted(BOXES), strict=True):
        assert overlap(face.box, box) > 0.85
        assert face.score > 0.9
        left_eye, right_eye, *_, right_mouth = face.landmarks
        assert box[0] < left_eye[0] < right_eye[0] < box[0] + box[2]
        assert box[1] < left_eye[1] < right_mouth[1] < box[1] + box[3]


def test_the_model_without_insightface_sees_the_same_faces(model: Model, tmp_path: Path) -> None:
    other = drawn_model.InsightFaceModel(
        tmp_path, model_id="tiny-0", name="tiny", threshold=0.5, threads=1, faces=Faces()
    )
    group = read(shoot(tmp_path / "group.jpg", [3, 4, 5], 5))
    for image in (scene(), jpeg(scene(), 60, 0.7), jpeg(scene(), 80, 2.0), canvas(), group):
        faces, expected = other.faces(image), model.faces(image)
        assert_sound(faces, image, drawn_faces.DIM)
        assert len(faces) == len(expected)
        for one, right in zip(faces, expected, strict=True):
            assert overlap(one.box, right.box) > 0.85
            assert one.score == pytest.approx(right.score, abs=0.1)
            assert one.embedding @ right.embedding > 0.98
            assert one.norm == pytest.approx(right.norm, rel=0.1)
            np.testing.assert_allclose(one.landmarks, right.landmarks, atol=0.05 * right.box.w)


def test_one_person_is_alike_and_two_are_not_after_jpeg_and_scaling(model: Model) -> None:
    first = model.faces(scene())
    for quality, scale in ((60, 1.0), (85, 0.6), (75, 2.0)):
        again = model.faces(jpeg(scene(), quality, scale))
        similarity = np.array([[one.embedding @ other.embedding for other in again] for one in first])
        assert np.diag(similarity).min() > 0.9
        assert (similarity - np.diag(np.diag(similarity))).max() < 0.3


def test_embeddings_are_those_of_the_colours_and_the_alignment(model: Model) -> None:
    """With red and blue swapped they would be the opposite, with a shifted crop another person's."""
    for face, (_, person) in zip(model.faces(scene()), sorted(zip(BOXES, range(1, 5), strict=True)), strict=True):
        assert face.embedding @ drawn_faces.embedding(person) > 0.95


def test_photographs_without_drawn_faces_have_none(model: Model) -> None:
    assert model.faces(portrait()) == []


def test_a_face_that_fills_the_frame_is_found(model: Model) -> None:
    image = canvas(500, 500)
    drawn_faces.draw_face(image, (0, 0, 500, 500), 3)
    (face,) = model.faces(image)
    assert overlap(face.box, (0, 0, 500, 500)) > 0.95


def spied(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list to which the height and width of each of the detector's inputs will be added."""
    seen: list[tuple[int, int]] = []
    detector = model._detector  # type: ignore[attr-defined]
    forward = detector.forward

    def spy(image: Image8, threshold: float) -> object:
        seen.append(image.shape[:2])
        return forward(image, threshold)

    monkeypatch.setattr(detector, "forward", spy)
    return seen


@pytest.mark.parametrize(("small", "most"), [(0, 960), (3_000_000, 1280)])
def test_the_detector_sees_a_large_photo_larger(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, small: int, most: int
) -> None:
    monkeypatch.setattr("facewatchd.models.insightface._SMALL_DETECTOR", small)
    insightface = load(tiny, "tiny")
    seen = spied(insightface, monkeypatch)
    for side in (300, 800, 2000):
        insightface.faces(np.zeros((side, side, 3), np.uint8))
    assert [side for side, _ in seen if side != 128] == [640, 800, most]


def test_a_face_that_640_pixels_do_not_show_is_found(tiny: Path) -> None:
    image = canvas(2560, 1920)
    drawn_faces.draw_face(image, (600, 400, 48, 48), 3)  # three cells at 640, where no cell is inside one
    assert load(tiny, "tiny", detector_size=640).faces(image) == []
    (face,) = load(tiny, "tiny").faces(image)
    assert face.embedding @ drawn_faces.embedding(3) > 0.9


def test_the_small_detector_size_is_used_too(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    insightface = load(tiny, "tiny", detector_size=320)
    seen = spied(insightface, monkeypatch)
    insightface.faces(np.zeros((300, 300, 3), np.uint8))
    assert seen == [(320, 320), (128, 128)]


def test_black_beside_the_photo_is_left_out_unless_a_face_is_near(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    insightface = load(tiny, "tiny", detector_size=640)
    seen = spied(insightface, monkeypatch)
    wide = np.zeros((400, 1280, 3), np.uint8)
    insightface.faces(wide)
    assert seen == [(288, 640), (128, 128)]
    tall = wide.transpose(1, 0, 2).copy()
    seen.clear()
    drawn_faces.draw_face(tall, (30, 100, 200, 200), 1)
    assert len(insightface.faces(tall)) == 1
    assert seen == [(640, 288), (128, 128)]
    seen.clear()
    drawn_faces.draw_face(tall, (190, 600, 200, 200), 2)
    assert len(insightface.faces(tall)) == 2
    assert seen == [(640, 288), (640, 640), (128, 128)]
    sessions = insightface._detector.resolution_sessions.values()  # type: ignore[attr-defined]
    assert len(set(map(id, sessions))) == 1


def test_faces_below_min_size_go(tiny: Path) -> None:
    assert [face.box.w for face in load(tiny, "tiny", min_size=110).faces(scene())] == pytest.approx(
        [200, 160, 120], abs=10
    )


def test_min_score_decides(tiny: Path) -> None:
    image = canvas()
    drawn_faces.draw_face(image, (60, 60, 150, 150), 1, strength=0.7)
    assert load(tiny, "tiny", min_score=0.8).faces(image) == []
    assert len(load(tiny, "tiny", min_score=0.5).faces(image)) == 1


def test_all_faces_of_a_photo_are_embedded_in_one_run(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []
    recogniser = model._recogniser  # type: ignore[attr-defined]
    get_feat = recogniser.get_feat

    def spy(crops: list[Image8]) -> object:
        batches.append(len(crops))
        return get_feat(crops)

    monkeypatch.setattr(recogniser, "get_feat", spy)
    model.faces(scene())
    assert batches == [len(BOXES)]


def test_a_photo_without_faces_runs_no_recogniser(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model._recogniser, "get_feat", None)  # type: ignore[attr-defined]
    assert model.faces(canvas()) == []


def test_fixed_input_sizes_give_the_same_faces(tmp_path: Path, tiny: Path) -> None:
    tiny_pack.build(tmp_path, "fixed", side=640, batch=1)
    faces = load(tmp_path, "fixed").faces(scene())
    expected = load(tiny, "tiny", detector_size=640).faces(scene())
    assert [face.box for face in faces] == [face.box for face in expected]
    for one, other in zip(faces, expected, strict=True):
        assert one.embedding @ other.embedding == pytest.approx(1, abs=1e-4)


def test_a_face_without_a_usable_embedding_is_dropped_and_logged(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    image = scene()
    drawn_faces.draw_face(image, (560, 480, 120, 120), None)
    with caplog.at_level(logging.WARNING):
        faces = model.faces(image)
    assert len(faces) == len(BOXES)
    assert "dropped a face" in caplog.text


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (40, 6000), (7, 5)])
def test_images_of_any_shape_are_looked_at(model: Model, shape: tuple[int, int]) -> None:
    assert model.faces(np.full((*shape, 3), 90, np.uint8)) == []


@pytest.mark.parametrize("size", [(80, 5000), (5000, 80)])
def test_faces_in_a_very_long_image_are_sound(model: Model, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    drawn_faces.draw_face(image, (0, 0, 80, 80), 2)
    assert_sound(model.faces(image), image, drawn_faces.DIM)


def test_an_extremely_long_image_takes_no_more_memory_than_its_pixels(model: Model) -> None:
    """Padded to a shape that the detector takes, this one would be 37 gigabytes."""
    image = np.full((900_000, 1, 3), 90, np.uint8)
    tracemalloc.start()
    try:
        assert model.faces(image) == []
        assert tracemalloc.get_traced_memory()[1] < 10 * image.nbytes
    finally:
        tracemalloc.stop()


def test_a_read_only_image_will_do(model: Model) -> None:
    image = scene()
    image.flags.writeable = False
    assert len(model.faces(image)) == len(BOXES)


def test_several_threads_get_what_one_gets(model: Model) -> None:
    images = [scene(), canvas(), jpeg(scene(), scale=0.7), jpeg(scene(), scale=1.3)]
    expected = [model.faces(image) for image in images]
    with ThreadPoolExecutor(4, "models") as pool:
        answers = list(pool.map(model.faces, images * 8))
    for faces, right in zip(answers, expected * 8, strict=True):
        assert [face.box for face in faces] == [face.box for face in right]
        for one, other in zip(faces, right, strict=True):
            np.testing.assert_array_equal(one.embedding, other.embedding)


def test_two_loads_have_sessions_of_their_own(tiny: Path) -> None:
    one, other = load(tiny, "tiny"), load(tiny, "tiny")
    assert one.info == other.info
    assert one._recogniser.session is not other._recogniser.session  # type: ignore[attr-defined]
    assert one._detector.session is not other._detector.session  # type: ignore[attr-defined]


def test_sessions_keep_to_their_threads_and_do_not_spin(model: Model) -> None:
    for session in (model._recogniser.session, model._detector.session):  # type: ignore[attr-defined]
        options = session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_info_names_the_model(tiny: Path, model: Model) -> None:
    pack = registry.find("tiny", tiny)
    assert pack is not None
    assert (model.info.id, model.info.name, model.info.dim) == (pack.id, "tiny", drawn_faces.DIM)
    assert model.info.threshold == registry.GENERIC.threshold


def test_nothing_is_printed_and_no_warning_is_given(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tiny, "tiny").faces(scene())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "message",
    [
        "OpenCV(5.0.0) /io/opencv/modules/core/src/alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate "
        "19660800 bytes in function 'OutOfMemoryError'",
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node. Status Message: "
        "bfc_arena.cc:360 AllocateRawInternal Failed to allocate memory for requested buffer of size 26214400",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc",
    ],
)
def test_a_lack_of_memory_is_no_fault_of_the_model(model: Model, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    def fail(_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(model._recogniser, "get_feat", fail)  # type: ignore[attr-defined]
    with pytest.raises(MemoryError):
        model.faces(scene())


def test_a_model_that_finds_no_memory_says_so(tiny: Path) -> None:
    """In a process of its own, whose memory is limited once the model is loaded."""
    program = """
import resource, sys
from pathlib import Path
import numpy as np
from facewatchd.config import Faces
from facewatchd.models import registry
pack = registry.find("tiny", Path(sys.argv[1]))
model = pack.load(1, Faces(detector_size=1600))
image = np.zeros((3000, 3000, 3), np.uint8)
taken = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
for spare in 5, 20, 40, 60, 80:
    resource.setrlimit(resource.RLIMIT_DATA, ((taken + (spare << 10)) << 10, -1))
    try:
        model.faces(image)
    except MemoryError:
        print("no memory")
"""
    ran = subprocess.run([sys.executable, "-c", program, str(tiny)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "no memory" in ran.stdout


@pytest.mark.parametrize("side", [112, 128, 224])
def test_alignment_is_insightface_s(side: int) -> None:
    from insightface.utils.face_align import norm_crop

    from facewatchd.models.pipeline import aligned

    image = jpeg(portrait())
    random = np.random.default_rng(2)
    points = np.array([[195, 105], [235, 103], [215, 128], [200, 148], [232, 147]], np.float32)
    for _ in range(5):
        moved = points + random.normal(0, 12, points.shape).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            expected = norm_crop(image, moved, side)
        assert np.abs(aligned(image, moved, side).astype(int) - expected).max() <= 2


def remove_recognition(directory: Path) -> None:
    (directory / "rec_tiny.onnx").unlink()


def remove_detection(directory: Path) -> None:
    (directory / "det_tiny.onnx").unlink()


def truncate(directory: Path) -> None:
    path = directory / "det_tiny.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def scribble(directory: Path) -> None:
    (directory / "rec_tiny.onnx").write_bytes(b"<html>404</html>")


@pytest.mark.parametrize("damage", [remove_recognition, remove_detection, truncate, scribble])
def test_a_broken_pack_is_one_line(tmp_path: Path, damage: object, capfd: pytest.CaptureFixture[str]) -> None:
    directory = tiny_pack.build(tmp_path, "broken")
    damage(directory)  # type: ignore[operator]
    with pytest.raises(ModelError) as caught:
        load(tmp_path, "broken")
    line = str(caught.value)
    assert "broken" in line
    assert str(directory) in line
    assert "facewatchd models fetch" in line
    assert "\n" not in line
    assert len(line) < 600
    assert capfd.readouterr().out == ""


def test_a_pack_that_vanished_is_an_error_and_not_a_download(tmp_path: Path) -> None:
    directory = tiny_pack.build(tmp_path)
    pack = registry.find("tiny", tmp_path)
    assert pack is not None
    directory.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="there is no directory"):
        pack.load(1, Faces())


def test_a_failing_run_is_a_model_error(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("out\nof memory")

    monkeypatch.setattr(model._recogniser, "get_feat", fail)  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="out of memory"):
        model.faces(scene())
