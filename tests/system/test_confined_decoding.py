"""A confined process decodes to the same pixels and errors as one that is not, of every format and codec."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from facewatchd.errors import FacewatchError
from facewatchd.photos import decode as photos
from facewatchd.photos.samples import SPECIMENS
from tests.support import fuzzing
from tests.support.paths import SHARED

pytestmark = pytest.mark.filterwarnings(r"ignore:::(PIL|pillow_heif|tifffile)\b")
INPUTS = SHARED / "inputs"
"""Files of users' disks; without them the test proves the same for all the others."""

CONFINED = """
import hashlib, io, json, sys
from pathlib import Path
from facewatchd.photos import decode as photos
from facewatchd.errors import FacewatchError
from facewatchd.inference.confinement import Confinement
from facewatchd.models.devices import Placement

files = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}
confined = Confinement()
confined.before_loading(None, Placement())
confined.before_photos()
late, results = [], {}
asks = {"import", "open", "ctypes.dlopen"}
sys.addaudithook(lambda event, args: late.append(str(args[0])) if event in asks else None)
for name, data in files.items():
    try:
        pixels = photos.decode(io.BytesIO(data))
        results[name] = [*pixels.shape, hashlib.sha256(pixels.tobytes()).hexdigest()]
    except FacewatchError as exc:
        results[name] = [type(exc).__name__, exc.message]
    results[name] += late
    late.clear()
print(json.dumps([confined.state, results]))
"""


def decoded(data: bytes) -> list[Any]:
    """What `CONFINED` says of a file, without confinement."""
    try:
        pixels = photos.decode(io.BytesIO(data))
    except FacewatchError as exc:
        return [type(exc).__name__, exc.message]
    return [*pixels.shape, hashlib.sha256(pixels.tobytes()).hexdigest()]


def tiffs() -> dict[str, bytes]:
    """A TIFF of each depth with each compression and predictor, and with what else makes a decoder ask for more."""
    files: dict[str, bytes] = {}
    ramp = np.linspace(0, 1, 40 * 30 * 3).reshape(30, 40, 3)

    def write(name: str, samples: np.ndarray[Any, Any], **options: Any) -> None:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, samples, metadata=None, **options)
        files[f"{name}.tif"] = buffer.getvalue()

    for compression in (None, "lzw", "adobe_deflate", "packbits", "lzma", "zstd", "webp"):
        for kind in ("u1", "u2", "u4", "f2", "f4", "f8"):
            if compression == "webp" and kind != "u1":
                continue
            samples = (ramp * (np.iinfo(kind).max if kind[0] == "u" else 1)).astype(kind)
            predictors = (False,) if compression in (None, "packbits", "webp") else (False, True)
            for predictor, photometric in itertools.product(predictors, ("rgb", "minisblack", "miniswhite")):
                if compression == "webp" and photometric != "rgb":
                    continue
                shown = samples if photometric == "rgb" else samples[:, :, 0]
                name = f"{compression} {kind} {predictor} {photometric}"
                write(name, shown, compression=compression, predictor=predictor, photometric=photometric)
    deep = (ramp * 4095).astype(np.uint16)
    for bits in range(1, 16):
        few = (ramp * ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
        write(f"{bits} bits rgb", few, photometric="rgb", bitspersample=bits)
        write(f"{bits} bits grey", few[:, :, 0], photometric="miniswhite", bitspersample=bits)
        write(f"{bits} bits cmyk", np.dstack([few, few[:, :, :1]]), photometric="separated", bitspersample=bits)
    grey = (ramp[:, :, 0] * 255).astype(np.uint8)
    texts = {"latin": b"Caf\xe9 M\xfcnchen", "utf-8": "Café".encode(), "utf-16": "Café".encode("utf-16")}
    for name, text in texts.items():
        tags = [(number, 2, len(text) + 1, text + b"\0", True) for number in (270, 271, 315, 33432)]
        write(f"text {name}", grey, photometric="minisblack", compression="zstd", extratags=tags)
    for fill in (1, 2):
        write(f"fill order {fill}", deep[:, :, 0], photometric="miniswhite", extratags=[(266, 3, 1, fill, True)])
    write("tiles", grey, photometric="minisblack", tile=(16, 16), compression="zstd")
    write("planes", deep.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="lzma")
    write("big-endian big", deep, photometric="rgb", byteorder=">", bigtiff=True)
    return files


def turned_jpegs() -> dict[str, bytes]:
    """A JPEG of each EXIF orientation."""
    files: dict[str, bytes] = {}
    for orientation in range(1, 9):
        tags, buffer = Image.Exif(), io.BytesIO()
        tags[0x0112] = orientation
        fuzzing.picture().save(buffer, "JPEG", exif=tags)
        files[f"orientation {orientation}.jpg"] = buffer.getvalue()
    return files


def test_confined_or_not_the_pixels_are_the_same(tmp_path: Path, amount: Callable[[int, int], int]) -> None:
    """Every format and codec, good and damaged; and nothing is opened or imported for it."""
    good = {**fuzzing.valid(), **tiffs(), **turned_jpegs()}
    files = {**SPECIMENS, **good, **dict(fuzzing.corpus(amount(150, 4000), seed=7))}
    files |= {path.name: path.read_bytes() for path in INPUTS.glob("*.*") if path.stat().st_size < 3_000_000}
    expected = {name: decoded(data) for name, data in files.items()}
    assert [name for name in good if len(expected[name]) != 4] == []
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", CONFINED, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    state, found = json.loads(ran.stdout)
    if state.startswith("none"):
        pytest.skip(f"this kernel confines less: {state}")
    for name in files:
        assert found[name] == expected[name], name
