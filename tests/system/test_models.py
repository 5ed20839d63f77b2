"""Real models on photos of real people: InsightFace packs, where they are, and opencv."""

from __future__ import annotations

import itertools
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facewatchd.api import linkage
from facewatchd.errors import ModelError
from facewatchd.models import registry, zoo
from facewatchd.models.base import Model
from facewatchd.models.pipeline import aligned
from facewatchd.values import Face
from tests.support import packs, samples
from tests.support.detections import Image8, assert_sound, group_of_six, jpeg, load, portrait, read

REAL_PACKS = ("scrfd25g_mfn", "scrfd500m_mfn")


@cache
def real(name: str) -> Model:
    """A model that is loaded once for all tests; the test is skipped where it is not installed."""
    if name == "opencv":
        return load(packs.opencv_root(), name)
    if not (samples.PACKS / "models" / name).is_dir():
        pytest.skip("the real packs of ../shared are not on this machine")
    return load(samples.PACKS, name)


def opencv() -> Model:
    return real("opencv")


@cache
def labelled(name: str) -> list[tuple[str, Face]]:
    """A person and their face, of each labelled photo whose faces are all found."""
    model = real(name)
    if not samples.PHOTOS.is_dir():
        pytest.skip("the photos of ../shared are not on this machine")
    found: list[tuple[str, Face]] = []
    for file, people in samples.people().items():
        image = read(samples.PHOTOS / file)
        faces = model.faces(image)
        assert_sound(faces, image, model.info.dim)
        if len(faces) == len(people):
            found.extend(zip(people, faces, strict=True))
    return found


def assert_tells_people_apart(name: str) -> None:
    """One person is above the model's threshold, two people are below."""
    seen = labelled(name)
    assert len(seen) >= 18
    for (person, face), (other_person, other) in itertools.combinations(seen, 2):
        alike = float(face.embedding @ other.embedding) >= real(name).info.threshold
        assert alike == (person == other_person), (person, other_person)


@pytest.mark.parametrize("name", REAL_PACKS)
def test_a_real_pack_tells_people_apart(name: str) -> None:
    assert_tells_people_apart(name)


@pytest.mark.parametrize("name", REAL_PACKS)
def test_a_real_pack_answers_as_insightface_does(name: str) -> None:
    real(name)
    model = load(samples.PACKS, name, detector_size=640)
    from insightface.app import FaceAnalysis

    analysis = FaceAnalysis(str(samples.PACKS / "models" / name), allowed_modules=["detection", "recognition"])
    analysis.prepare(0, det_thresh=0.5, det_size=(640, 640))
    whole = [group_of_six(), portrait(), *(read(samples.PHOTOS / file) for file in list(samples.people())[::4])]
    # Faces that the edge cuts are those for which the black beyond it counts.
    cut = [image[: image.shape[0] * share // 8] for image in whole[:3] for share in (3, 4, 5)]
    cut += [image[:, : image.shape[1] * 2 // 5].copy() for image in whole[:3]]
    compared = 0
    for image in whole + cut:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            expected = analysis.get(image[:, :, ::-1])
        faces = model.faces(image)
        for right in expected:
            if min(right.bbox[2:] - right.bbox[:2]) > 41 and right.det_score > 0.51:
                best = max(faces, key=lambda face: float(face.embedding @ right.normed_embedding))
                assert best.embedding @ right.normed_embedding > 0.999
                assert best.score == pytest.approx(float(right.det_score), abs=0.02)
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("name", REAL_PACKS)
def test_a_real_pack_finds_a_group_and_a_close_up(name: str) -> None:
    model = real(name)
    assert len(model.faces(group_of_six())) == 6
    (face,) = model.faces(portrait())
    x, y, w, h = face.box
    (close_up,) = model.faces(portrait()[y : y + h, x : x + w])
    assert close_up.embedding @ face.embedding > model.info.threshold


@pytest.mark.parametrize("name", [*REAL_PACKS, "opencv"])
def test_the_small_faces_of_a_group_on_a_large_photo_are_found(name: str) -> None:
    model = real(name)
    (alone,) = model.faces(portrait())
    scene, shown = small_faces()
    found = model.faces(scene)
    assert len(found) == shown
    assert all(face.embedding @ alone.embedding > model.info.threshold for face in found)
    root = packs.opencv_root() if name == "opencv" else samples.PACKS
    at_640 = load(root, name, detector_size=640).faces(scene)
    assert sum(face.embedding @ alone.embedding > model.info.threshold for face in at_640) < shown / 3


def small_faces() -> tuple[Image8, int]:
    """A photo of 12 megapixels with one portrait again and again, its face 50 to 60 pixels wide, and how often."""
    scene = Image.new("RGB", (4032, 3024), (150, 140, 130))
    sides = range(280, 340, 4)
    for number, side in enumerate(sides):
        person = Image.fromarray(portrait()).resize((side, side), Image.Resampling.LANCZOS)
        scene.paste(person, (150 + number % 5 * 780, 300 + number // 5 * 900))
    return np.asarray(scene), len(sides)


def test_opencv_tells_people_apart() -> None:
    assert_tells_people_apart("opencv")


@pytest.mark.parametrize("side", [320, 640, 992])
def test_opencv_finds_what_opencv_s_detector_finds(side: int) -> None:
    model = load(packs.opencv_root(), "opencv", detector_size=side)
    file = str(packs.opencv_root() / "models/opencv" / zoo.DETECTOR.name)
    compared = 0
    for image in (group_of_six(), portrait(), jpeg(group_of_six(), 80, 0.31), group_of_six()[:, :531].copy()):
        height, width = image.shape[:2]
        size = [max(1, round(length * side / max(width, height))) for length in (width, height)]
        detector = cv2.FaceDetectorYN.create(file, "", size, 0.7, 0.3, 5000)
        _, expected = detector.detect(cv2.cvtColor(cv2.resize(image, size), cv2.COLOR_RGB2BGR))
        expected = np.zeros((0, 15)) if expected is None else expected
        boxes, landmarks = model._look(image, side)  # type: ignore[attr-defined]
        scale = np.array([width / size[0], height / size[1]])
        np.testing.assert_allclose(boxes[:, :2], expected[:, :2] * scale, atol=0.01)
        np.testing.assert_allclose(boxes[:, 2:4], (expected[:, :2] + expected[:, 2:4]) * scale, atol=0.01)
        np.testing.assert_allclose(landmarks, expected[:, 4:14].reshape(-1, 5, 2) * scale, atol=0.01)
        np.testing.assert_allclose(boxes[:, 4], (expected[:, 14] - 0.7) / 0.6 + 0.5, atol=1e-4)
        compared += len(boxes)
    assert compared >= 8


def test_opencv_embeds_as_opencv_s_recogniser_does() -> None:
    file = packs.opencv_root() / "models/opencv" / zoo.RECOGNISER.name
    recogniser = cv2.FaceRecognizerSF.create(str(file), "")
    image = group_of_six()
    faces = opencv().faces(image)
    for face in faces:
        crop = aligned(image, face.landmarks, 112)
        expected = recogniser.feature(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)).ravel()
        assert face.embedding @ expected / np.linalg.norm(expected) > 0.9999
        assert face.norm == pytest.approx(float(np.linalg.norm(expected)), rel=1e-3)
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    other = ArcFaceONNX(str(file))
    assert (other.input_mean, other.input_std) == (0.0, 1.0)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x08\x06\x12\x07pytorch"])
@pytest.mark.parametrize("damaged", zoo.FILES, ids=["yunet", "sface"])
def test_a_broken_opencv_pack_is_one_line(tmp_path: Path, damaged: zoo.ZooFile, content: bytes) -> None:
    for file in zoo.FILES:
        (tmp_path / file.name).symlink_to(packs.opencv_root() / "models/opencv" / file.name)
    (tmp_path / damaged.name).unlink()
    (tmp_path / damaged.name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load(tmp_path, str(tmp_path))
    packs.assert_one_line(caught.value, str(tmp_path), "cannot be loaded", "models fetch")
    assert caught.value.message.rpartition("loaded: ")[2]


def test_a_lower_min_score_asks_yunet_for_proportionally_less() -> None:
    low, usual = (load(packs.opencv_root(), "opencv", min_score=score) for score in (0.3, 0.5))
    image = jpeg(group_of_six(), 30, 0.2)
    found = [low._look(image, 640), usual._look(image, 640)]  # type: ignore[attr-defined]
    scores = [boxes[:, 4] for boxes, _ in found]
    assert min(scores[0]) >= 0.3
    assert sorted(scores[0][scores[0] >= 0.5]) == pytest.approx(sorted(scores[1]))


def test_opencv_finds_a_group_and_tells_its_faces_apart() -> None:
    model = opencv()
    image = group_of_six()
    faces = model.faces(image)
    assert_sound(faces, image, 128)
    assert len(faces) == 6
    for index, face in enumerate(faces):
        assert all(face.embedding @ other.embedding < model.info.threshold for other in faces[:index])
    smaller = model.faces(jpeg(image, quality=60, scale=0.8))
    assert [max(range(6), key=lambda k: face.embedding @ faces[k].embedding) for face in smaller] == list(range(6))


def test_opencv_finds_small_faces_and_those_that_fill_the_frame() -> None:
    model = opencv()
    (face,) = model.faces(portrait())
    for scale in (0.55, 3.0):
        (scaled,) = model.faces(jpeg(portrait(), 90, scale))
        assert scaled.box.w == pytest.approx(face.box.w * scale, rel=0.3)
        assert scaled.embedding @ face.embedding > model.info.threshold
    x, y, w, h = face.box
    edge = w // 10
    (close_up,) = model.faces(portrait()[y + edge : y + h - edge, x + edge : x + w - edge])
    assert min(close_up.box.w, close_up.box.h) > w - 3 * edge
    assert close_up.embedding @ face.embedding > model.info.threshold


def test_opencv_finds_the_small_faces_of_a_group_on_a_large_photo() -> None:
    (alone,) = opencv().faces(portrait())
    scene, shown = small_faces()
    found = opencv().faces(scene)
    assert len(found) == shown
    assert all(face.embedding @ alone.embedding > opencv().info.threshold for face in found)
    assert len(load(packs.opencv_root(), "opencv", detector_size=640).faces(scene)) < shown / 2


def test_opencv_keeps_min_size_and_min_score() -> None:
    root = packs.opencv_root()
    assert load(root, "opencv", min_size=120).faces(portrait()) == []
    middle = float(np.median([face.score for face in opencv().faces(group_of_six())]))
    faces = load(root, "opencv", min_score=middle).faces(group_of_six())
    assert len(faces) == 3
    assert all(face.score > middle for face in faces)
    assert load(root, "opencv", min_score=1).faces(portrait()) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (40, 6000), (7, 5), (3000, 2200)])
def test_opencv_looks_at_images_of_any_shape(shape: tuple[int, int]) -> None:
    assert opencv().faces(np.full((*shape, 3), 90, np.uint8)) == []


def test_opencv_gives_several_threads_what_one_gets() -> None:
    model = opencv()
    images = [portrait(), jpeg(portrait(), 80), jpeg(portrait(), 90, 0.7)]
    expected = [model.faces(image) for image in images]
    with ThreadPoolExecutor(3, "opencv") as pool:
        answers = list(pool.map(model.faces, images * 2))
    for faces, right in zip(answers, expected * 2, strict=True):
        assert [face.box for face in faces] == [face.box for face in right]
        for one, other in zip(faces, right, strict=True):
            np.testing.assert_array_equal(one.embedding, other.embedding)


@pytest.mark.parametrize(("name", "noticed"), [("scrfd25g_mfn", 0.9), ("opencv", 0.6)])
def test_pairs_of_labelled_faces(name: str, noticed: float) -> None:
    limit = linkage.limit(registry.known(name).threshold)
    refused: dict[bool, list[bool]] = {True: [], False: []}
    for (person, one), (other_person, other) in itertools.combinations(labelled(name), 2):
        refused[person == other_person].append(
            len(linkage.clusters(linkage.similarities([one.embedding[None], other.embedding[None]]), limit)) > 1
        )
    assert len(refused[True]) > 25
    assert not any(refused[True])
    assert np.mean(refused[False]) > noticed
