"""Which backend loads a directory of ONNX files. Each takes up to a second to import, so that is done when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facewatchd.models import zoo

if TYPE_CHECKING:
    from pathlib import Path

    from facewatchd.models.pipeline import PackModel


def of(directory: Path) -> type[PackModel]:
    """Import the backend, and return its class. Raises ImportError where a library is missing."""
    if zoo.is_pack(directory):
        from facewatchd.models.opencv import OpenCVModel

        return OpenCVModel
    from facewatchd.models.insightface import InsightFaceModel

    return InsightFaceModel
