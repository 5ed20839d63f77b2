"""Devices that compute a model: their names, what each needs, and which of them computes which part of a model.

A name is a value of the configuration's key ``device``. Each device but the processor is reached through an execution
provider of ONNX Runtime, which only some of its distributions have. All distributions install the same package
``onnxruntime``: where two are installed, the files of one lie over those of the other.

This module imports no backend.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import NamedTuple

from facewatchd.config import CPU
from facewatchd.system import installation

RUNTIME = "onnxruntime"
"""The name of ONNX Runtime's package; that of its distribution for the processor, in whose place others may stand."""


class Device(NamedTuple):
    """What is known of a device other than the processor."""

    provider: str
    """ONNX Runtime's name of what computes on it."""
    distribution: str
    """The distribution of ONNX Runtime that brings the provider."""
    needs: str = ""
    """What must be installed beside it."""
    is_card: bool = True
    """Whether it is a graphics card: its processes open device files, and its time is not the processor's."""


DEVICES = {
    "cuda": Device("CUDAExecutionProvider", "onnxruntime-gpu", "NVIDIA's driver, CUDA and cuDNN"),
    "migraphx": Device("MIGraphXExecutionProvider", "onnxruntime-migraphx", "AMD's driver, ROCm and MIGraphX"),
    "rocm": Device("ROCMExecutionProvider", "onnxruntime-rocm", "AMD's driver and ROCm"),
    "openvino": Device("OpenVINOExecutionProvider", "onnxruntime-openvino", is_card=False),
}
"""By name, in the order in which `config.AUTO_DEVICE` tries them. `config.DEVICES` lists the same names."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which device computes each part of a model."""

    detector: str = CPU
    recogniser: str = CPU
    reason: str = ""
    """Why, in a few words; empty where there was no choice."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices other than the processor, each once."""
        return tuple(name for name in dict.fromkeys((self.detector, self.recogniser)) if name != CPU)

    @property
    def cards(self) -> tuple[str, ...]:
        """Those of `devices` that are graphics cards."""
        return tuple(name for name in self.devices if DEVICES[name].is_card)

    def of(self, part: str) -> str:
        """The device of the part "detector" or "recogniser"."""
        return self.detector if part == "detector" else self.recogniser

    @property
    def where(self) -> str:
        """Which device computes what."""
        if self.detector == self.recogniser:
            return self.detector
        return f"{self.recogniser} (recogniser) and {self.detector} (detector)"

    @property
    def words(self) -> str:
        """Which device computes what, and why."""
        return f"{self.where}: {self.reason}" if self.reason else self.where


ON_PROCESSOR = Placement()


def runtimes() -> list[str]:
    """The distributions that install the package onnxruntime; its own name where there is none."""
    return sorted(set(importlib.metadata.packages_distributions().get(RUNTIME, [RUNTIME])))


def to_install(name: str) -> str:
    """What to do to have a device."""
    device = DEVICES[name]
    command = f"`{installation.replaced(runtimes(), device.distribution)}`"
    return f"install {device.needs}, then {command}" if device.needs else f"install it with {command}"
