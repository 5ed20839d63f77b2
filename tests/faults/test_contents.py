"""Files that are no pictures, or monstrous ones: each has its state, nothing else stops, and memory stays bounded."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from tests.support import fuzzing, invariant, samples
from tests.support.albums import shoot
from tests.support.drawn_faces import embedding
from tests.support.prober import Prober
from tests.support.processes import Daemon, until

Start = Callable[..., Daemon]
Amount = Callable[[int, int], int]

GIGABYTE = 1 << 30


class Memory:
    """Watches the memory of a daemon and of every process below it, inside a ``with`` block."""

    def __init__(self, daemon: Daemon) -> None:
        self.peaks: dict[int, int] = {}
        """The most bytes that were ever resident, by process."""
        self._daemon = daemon
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory")

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._look()

    def expect(self, most: float) -> None:
        assert self.peaks
        assert max(self.peaks.values()) <= most, {pid: f"{peak / 1e6:.0f} MB" for pid, peak in self.peaks.items()}

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            self._look()

    def _look(self) -> None:
        assert self._daemon.process is not None
        for pid in processes_from(self._daemon.process.pid):
            for line in read(f"/proc/{pid}/status").splitlines():
                if line.startswith("VmHWM:"):
                    self.peaks[pid] = int(line.split()[1]) * 1024


def processes_from(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        for child in read(thread / "children").split():
            yield from processes_from(int(child))


def read(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:  # the process has ended
        return ""


def state(daemon: Daemon, path: Path) -> str:
    return str(daemon.call("why", path=str(path))["state"])


def found(daemon: Daemon, person: int = 1) -> set[Path]:
    answer = daemon.call("query", embedding=embedding(person).tolist(), top=0, collapse=False)
    return {Path(match["path"]) for match in answer["matches"]}


def write(root: Path, files: dict[str, bytes]) -> dict[str, Path]:
    root.mkdir(exist_ok=True)
    for name, data in files.items():
        (root / name).write_bytes(data)
    return {name: root / name for name in files}


# ------------------------------------------------------------------------------------------- too little, too much


def cut(data: bytes) -> Iterator[bytes]:
    """A file without its end: a byte of it, most of it, and a little less than all."""
    yield from (data[:length] for length in (1, 20, len(data) // 3, len(data) * 9 // 10))


def test_empty_and_truncated(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    root = tmp_path / "photos"
    files = {f"{n} {name}": part for name, data in fuzzing.valid().items() for n, part in enumerate(cut(data))}
    files |= {"empty.jpg": b"", "text.heic": b"no picture\n" * 99, "zeros.png": bytes(5000), "wrong.tif": b"GIF89a"}
    good = {name: data for name, data in fuzzing.valid().items() if fuzzing.shows_face(name)}
    write(root, {**files, **good})
    daemon = start(root, model="tiny", model_root=tiny_root)
    until(lambda: found(daemon) >= {root / name for name in good})
    status = daemon.settle()
    failed = {root / name for name in files if state(daemon, root / name) == "failed"}
    assert status["failed"] == len(failed)
    whole = {path.name for path in {root / name for name in files} - failed}
    assert whole <= {f"3 {name}" for name in fuzzing.valid()} | {"2 two.mpo", "3 two.mpo"}, "half a picture was taken"
    assert "empty" in daemon.call("why", path=str(root / "empty.jpg"))["reason"]
    read_before = status["rates"]["read"]
    daemon.call("scan")
    assert daemon.settle()["rates"]["read"] == read_before, "what failed is not tried again until it changes"
    invariant.check(daemon, failed=failed)


def patched(name: str, at: int, new: bytes) -> bytes:
    data = fuzzing.valid()[name]
    return data[:at] + new + data[at + len(new) :]


def bomb(suffix: str, side: int, *, filled: bool = True) -> bytes:
    """A few kilobytes that decode to a square of so many pixels; HEIC, and what is not ``filled``, only claims it."""
    if suffix == "png":
        rows = zlib.compress(bytes((side // 8 + 1) * side if filled else 0))
        header = struct.pack(">II5B", side, side, 1, 0, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
        body = b"".join(struct.pack(">I", len(data)) + kind + data + bytes(4) for kind, data in chunks)
        return fuzzing.mend_checksums(b"\x89PNG\r\n\x1a\n" + body)
    if suffix == "tif":
        strip = zlib.compress(bytes(-(-side // 8) * side if filled else 0))
        return tiff({256: side, 257: side, 258: 1, 259: 8, 262: 1, 273: None, 277: 1, 279: len(strip)}, strip)
    if suffix == "gif":
        return patched("animated.gif", 6, struct.pack("<HH", side, side))
    if suffix == "webp":
        return patched("animated.webp", 24, 2 * (side - 1).to_bytes(3, "little"))
    if suffix == "bmp":  # a pixel, and a jump to the next row, so often
        (offset,) = struct.unpack_from("<I", fuzzing.valid()["run-length.bmp"], 10)
        return patched("run-length.bmp", 18, struct.pack("<ii", side, side))[:offset] + b"\1\1\0\2\0\1" * side
    if suffix == "jpg":
        at = fuzzing.valid()["baseline.jpg"].index(b"\xff\xc0")
        return patched("baseline.jpg", at + 5, struct.pack(">HH", side, side))
    name = f"colour.{suffix}"
    return patched(name, fuzzing.valid()[name].index(b"ispe") + 8, struct.pack(">II", side, side))


def tiff(tags: dict[int, int | None], data: bytes) -> bytes:
    """A TIFF with these tags; the one that is None says where the data lies."""
    start = 14 + 12 * len(tags)
    entries = (struct.pack("<HHII", tag, 4, 1, start if value is None else value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + bytes(4) + data


def tile_bomb() -> bytes:
    """A TIFF of 8 x 8 pixels in a tile of 256 megapixels."""
    side, tile = 16_000, zlib.compress(bytes(16_000 * 16_000))
    tags = {256: 8, 257: 8, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: None, 325: len(tile)}
    return tiff(tags, tile)


BOMBS = ("png", "gif", "tif", "bmp", "jpg", "heic", "avif", "webp")


def test_bombs_are_refused_by_what_they_claim(start: Start, tmp_path: Path, tiny_root: Path) -> None:
    sides = dict.fromkeys(BOMBS, (15_900, 60_000)) | {"webp": (15_900, 16_383)}
    files = {f"{side}.{suffix}": bomb(suffix, side, filled=False) for suffix in BOMBS for side in sides[suffix]}
    files["tile.tif"] = tile_bomb()
    root = tmp_path / "photos"
    photo = shoot(root / "photo.jpg", [1], 1)
    write(root, files)
    daemon = start(root, model="tiny", model_root=tiny_root)
    with Memory(daemon) as memory:
        until(lambda: found(daemon) == {photo})
        daemon.settle()
    for name in files:
        why = daemon.call("why", path=str(root / name))
        assert (why["state"], "250 megapixels" in why["reason"]) == ("failed", True), (name, why)
    memory.expect(0.5 * GIGABYTE)
    invariant.check(daemon, failed=[root / name for name in files])


def test_pictures_of_nearly_250_megapixels(start: Start, tmp_path: Path, tiny_root: Path, amount: Amount) -> None:
    """They wait for one another: all at once would be far more than the process may have.

    The quick run leaves out those whose decoders take much longer. Of the others the GIF takes most, 2.4 GB: for
    a second frame, its decoder holds two pictures of four bytes a pixel and one of one.
    """
    root = tmp_path / "photos"
    photo = shoot(root / "photo.jpg", [1], 1)
    daemon = start(root, model="tiny", model_root=tiny_root, resources="threads = 6")
    files = {f"{suffix} bomb.{suffix}": bomb(suffix, 15_800) for suffix in BOMBS[: amount(2, len(BOMBS))]}
    assert max(map(len, files.values())) < 200_000
    with Memory(daemon) as memory, Prober(daemon, photo) as prober:
        write(root, files)
        until(lambda: daemon.status()["photos"] == len(files) + 1, deadline=600)  # of much work
        daemon.settle(600)
    for name in files:  # AVIF's small picture is scaled up to what it claims, with the face on it
        states = {"heic bomb.heic": {"failed"}, "avif bomb.avif": {"indexed"}}.get(name, {"no-face"})
        assert state(daemon, root / name) in states, name
    memory.expect(amount(3, 5) * GIGABYTE)
    prober.expect(answers=3)
    invariant.check(daemon, failed=[root / name for name in files if name.startswith("heic")])


LONG = 100_000


def test_pictures_of_one_row_and_of_one_column(start: Start, tmp_path: Path, tiny_root: Path, amount: Amount) -> None:
    """Both ways in each format that takes so many pixels in a row, and much longer ones."""
    root = tmp_path / "photos"
    root.mkdir()
    for across, suffix in ((across, suffix) for across in (True, False) for suffix in ("png", "tif", "bmp")):
        size = (LONG, 1) if across else (1, LONG)
        Image.new("RGB", size, "grey").save(root / f"{size[0]} x {size[1]}.{suffix}")
    for suffix, side in (("jpg", 65_500), ("gif", 65_535), ("webp", 16_383), ("avif", 32_000)):
        Image.new("RGB", (side, 1), "grey").save(root / f"{side} x 1.{suffix}")
    for size in ((400_000, 1), (1, amount(5_000_000, 200_000_000)), (500_000, 160)):
        Image.new("1", size).save(root / f"{size[0]} x {size[1]}.png")
    count = len(list(root.iterdir()))
    photo = shoot(root / "photo.jpg", [1], 1)
    daemon = start(root, model="tiny", model_root=tiny_root)
    with Memory(daemon) as memory:
        until(lambda: found(daemon) == {photo})
        daemon.settle()
    assert {path.name: state(daemon, path) for path in root.iterdir() if path != photo} == {
        path.name: "no-face" for path in root.iterdir() if path != photo
    }
    assert daemon.status()["photos"] == count + 1
    memory.expect(2.5 * GIGABYTE)
    invariant.check(daemon)


# --------------------------------------------------------------------------------------------------------- modes

MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"),
    *("I", "F", "I;16", "I;16L", "I;16B", "I;16N"),
)
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "GIF")
CLIPPED = {"WEBP", "AVIF", "GIF"}
"""Pillow writes samples of more than 8 bits to these clipped: they are white."""


def portrait(mode: str) -> Image.Image:
    """A portrait in any of Pillow's modes."""
    image = Image.open(samples.astronaut()).convert("RGB").crop((120, 0, 320, 200))
    if mode.startswith("I"):
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        if mode == "I":
            return Image.fromarray(grey.astype(np.int32))
        if mode == "I;16B":
            return Image.fromarray(grey.astype(">u2"))
        return Image.frombytes(mode, image.size, grey.astype("=u2" if mode == "I;16N" else "<u2").tobytes())
    if mode == "LAB":
        profiles = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
        return ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    if mode in ("P", "PA"):
        return image.quantize(128).convert(mode)
    steps = {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa")}
    for step in steps.get(mode, (mode,)):
        image = image.convert(step)
    return image


def saved_in_every_mode(root: Path) -> dict[Path, tuple[str, str]]:
    """Save all that the formats take; file to mode and format."""
    files = {}
    for mode in MODES:
        image = portrait(mode)
        assert image.mode == mode
        for name in FORMATS:
            path = root / f"{mode.replace(';', ' ')} {name}.{name.lower()}".replace(".heif", ".heic")
            try:
                with warnings.catch_warnings(action="ignore"):  # Pillow's own, of what it uses itself
                    image.save(path, name)
            except (OSError, ValueError, KeyError):  # it does not take this mode
                path.unlink(missing_ok=True)
            else:
                files[path] = (mode, name)
    return files


def test_every_mode_in_every_format_shows_the_face(start: Start, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    files = saved_in_every_mode(root)
    assert len(files) >= 90
    assert set(files.values()) >= {(mode, "TIFF") for mode in set(MODES) - {"La", "RGBa", "HSV", "I;16N"}}
    shown = {path for path, (mode, name) in files.items() if not (mode.startswith("I") and name in CLIPPED)}
    dithered = {path for path, (mode, _) in files.items() if mode == "1"}
    daemon = start(root)
    status = daemon.settle(120)
    assert (status["photos"], status["failed"]) == (len(files), 0)
    assert daemon.paths(root / "RGB PNG.png") >= shown - dithered
    invariant.check(daemon)


# ------------------------------------------------------------------------------------------------------- fuzzed


def test_damaged_files_of_every_format(start: Start, tmp_path: Path, tiny_root: Path, amount: Amount) -> None:
    root = tmp_path / "photos"
    photo = shoot(root / "photo.jpg", [2], 1)
    daemon = Daemon(tmp_path / "home", root, model="tiny", model_root=tiny_root)
    daemon.count_embeddings()
    files = dict(fuzzing.corpus(amount(250, 4000), seed=2026))
    with daemon:
        daemon.start()
        assert daemon.process is not None
        pid = daemon.status()["pid"]
        with Memory(daemon) as memory, Prober(daemon, photo) as prober:
            paths = write(root, files).values()
            until(lambda: daemon.status()["photos"] == len(files) + 1, deadline=600)
            daemon.settle(300)
        states = {path: state(daemon, path) for path in paths}
        assert set(states.values()) - {"unsupported"} == {"indexed", "no-face", "failed"}
        failed = {path for path, verdict in states.items() if verdict == "failed"}
        mended = sorted(failed)[:: max(1, len(failed) // 20)]
        for n, path in enumerate(mended):
            shoot(tmp_path / "new.jpg", [5], n).replace(path)
        until(lambda: found(daemon, person=5) >= set(mended))
        assert daemon.status()["pid"] == pid
        memory.expect(2 * GIGABYTE)
        prober.expect(answers=20)
        unsupported = {path for path, verdict in states.items() if verdict == "unsupported"}
        invariant.check(daemon, failed=(failed - set(mended)) | unsupported)
        invariant.check_embedded_once(daemon)
    strays = [line for line in daemon.log.read_text().splitlines() if not line.startswith("facewatchd: ")]
    assert not strays, f"libraries wrote to standard error: {strays[:5]}"
