"""What is sent to the shared engine: the fingerprint tells what has to be written anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from facewatchd.matches import Box
from facewatchd.shared.engine import Retry, Trouble
from facewatchd.shared.values import FINGERPRINT_BYTES, SharedContent
from facewatchd.store.embedded import Embedded
from facewatchd.values import Look, Taken, TakenFrom
from tests.support.galleries import DIM, face, unit

ROWS = unit(np.random.default_rng(1).normal(size=(3, DIM)))
TAKEN = Taken(1e9, 60, TakenFrom.EXIF)
CONTENT = SharedContent(
    b"\1" * 32,
    Embedded(b"\1" * 32, 640, 480, 0, TAKEN, True, b"\7" * 8, [face(ROWS[0]), face(ROWS[1], norm=20.0)]),
    (7, 8),
    (b"/a", b"/b"),
)

Change = Callable[[Embedded], Embedded]


def with_face(**changes: object) -> Change:
    return lambda one: replace(one, faces=[replace(one.faces[0], **changes), one.faces[1]])


@pytest.mark.parametrize(
    "change",
    [
        lambda one: replace(one, width=641),
        lambda one: replace(one, height=481),
        lambda one: replace(one, second_look=-1),
        lambda one: replace(one, taken=None),
        lambda one: replace(one, taken=TAKEN._replace(offset=None)),
        lambda one: replace(one, taken=None, is_dated=False),
        lambda one: replace(one, picture=None),
        lambda one: replace(one, faces=one.faces[::-1]),
        with_face(box=Box(1, 2, 60, 81)),
        with_face(score=0.91),
        with_face(norm=21.0),
        with_face(look=Look.TILE),
        with_face(sharpness=1.0),
        with_face(landmarks=np.ones((5, 2), np.float32)),
        with_face(embedding=ROWS[2]),
    ],
)
def test_whatever_changes_but_the_paths_changes_the_fingerprint(change: Change) -> None:
    assert CONTENT.embedded is not None
    assert replace(CONTENT, embedded=change(CONTENT.embedded)).fingerprint != CONTENT.fingerprint


def test_another_date_of_the_files_changes_the_fingerprint() -> None:
    assert replace(CONTENT, written=1).fingerprint != CONTENT.fingerprint


def test_a_face_with_another_id_changes_the_fingerprint() -> None:
    assert replace(CONTENT, face_ids=(7, 9)).fingerprint != CONTENT.fingerprint


def test_a_rename_leaves_the_fingerprint() -> None:
    assert len(CONTENT.fingerprint) == FINGERPRINT_BYTES
    assert replace(CONTENT, paths=(b"/c",)).fingerprint == CONTENT.fingerprint


def test_a_face_without_an_id_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        _ = replace(CONTENT, face_ids=(7,)).fingerprint


def test_a_content_without_photos_or_faces_is_gone() -> None:
    assert not CONTENT.is_gone
    assert not replace(CONTENT, embedded=replace(CONTENT.embedded, faces=()), face_ids=()).is_gone, "no face is no end"
    assert replace(CONTENT, paths=()).is_gone
    assert SharedContent(b"\1" * 32).is_gone


def test_what_ends_a_sender_for_good_is_never_tried_again() -> None:
    assert {trouble for trouble in Trouble if trouble.retry is Retry.NEVER} == {Trouble.FENCED, Trouble.REMOVED}
    assert Trouble.REFUSED.retry is Retry.SLOWLY
    assert Trouble.UNREACHABLE.retry is Retry.SOON
