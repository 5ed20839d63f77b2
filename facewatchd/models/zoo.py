"""The two files of the pack `opencv`: what they are, and the ways in which they are fetched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ZooFile:
    """A file of OpenCV's model zoo."""

    name: str
    directory: str
    """Where it is below the zoo's ``models``."""
    size: int
    sha256: str


DETECTOR = ZooFile(
    "face_detection_yunet_2023mar.onnx",
    "face_detection_yunet",
    232_589,
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
RECOGNISER = ZooFile(
    "face_recognition_sface_2021dec.onnx",
    "face_recognition_sface",
    38_696_353,
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
)
FILES = (DETECTOR, RECOGNISER)
