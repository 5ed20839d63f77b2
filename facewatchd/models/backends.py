"""Which backend loads a directory of ONNX files. Each takes up to a second to import, so that is done when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facewatchd.models import zoo

if TYPE_CHECKING:
    from pathlib import Path

    from facewatchd.config import Faces
    from facewatchd.models.base import Model


def accelerator(directory: Path) -> str:
    """Import the backend; return the name of the accelerator that it computes on, empty for none.

    Raises ImportError where a library is missing.
    """
    if zoo.is_pack(directory):
        from facewatchd.models import opencv

        return opencv.accelerator()
    from facewatchd.models import insightface

    return insightface.accelerator()


def load(directory: Path, *, model_id: str, name: str, threshold: float, threads: int, faces: Faces) -> Model:
    """Load a pack's detector and recogniser, with sessions of their own. Raises `ModelError`, and ImportError."""
    if zoo.is_pack(directory):
        from facewatchd.models.opencv import OpenCVModel

        return OpenCVModel(directory, model_id=model_id, name=name, threshold=threshold, threads=threads, faces=faces)
    from facewatchd.models.insightface import InsightFaceModel

    return InsightFaceModel(directory, model_id=model_id, name=name, threshold=threshold, threads=threads, faces=faces)
