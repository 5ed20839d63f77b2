"""`facewatchd doctor`: what hnswlib was compiled for, read off its file and held against the processor."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import platform
import sys
from pathlib import Path

import pytest

from facewatchd.doctor import processor, software
from facewatchd.doctor.checks import Finding
from tests.support.findings import findings, statuses

needs_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="hnswlib has code of its own for x86 only")
NATIVE = b"GNU C++14 12.2.0 -march=znver3 -mmmx -msse4.1 -mavx -mavx2 -mavx512f -mlzcnt -mno-fma4 -msha -O3"
GENERIC = b"GNU C++14 12.2.0 -mtune=generic -march=x86-64 -g -O3"
ZEN3 = "fpu sse pni sse4_1 avx avx2 abm"
ZEN4 = f"{ZEN3} avx512f"


def compiled(*distances: bytes, record: bytes = b"") -> bytes:
    """What is left in a shared object of its functions' names and the compiler's flags."""
    names = [b"_ZN7hnswlibL24InnerProductSIMD16Ext%sEPKvS1_S1_" % name for name in distances]
    return b"\x7fELF\0" + b"\0".join([*names, record]) + b"\0"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on the path of imports, and a file for the processor's features in it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "hnswlib", raising=False)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return tmp_path


def found(machine: Path, build: bytes, flags: str) -> Finding:
    (machine / f"hnswlib{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(build)
    (machine / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nvmx flags\t: ept\n" * 2)
    importlib.invalidate_caches()
    (finding,) = findings("processor")
    return finding


@needs_x86
def test_the_installed_build_is_for_this_machine() -> None:
    (finding,) = findings("processor")
    assert finding.status == "ok"
    assert finding.detail.startswith("hnswlib is compiled for ")
    spec = importlib.util.find_spec("hnswlib")
    assert spec is not None
    assert spec.origin is not None
    build = processor.Build.of(Path(spec.origin))
    assert build.distances[0] == "SSE"
    assert build.needs <= processor.features()


@needs_x86
def test_the_installed_build_with_its_names_taken_out(machine: Path, tmp_path: Path) -> None:
    sys.path.remove(str(machine))
    spec = importlib.util.find_spec("hnswlib")
    assert spec is not None
    data = Path(str(spec.origin)).read_bytes()
    sys.path.insert(0, str(machine))
    stripped = data.replace(b"InnerProductSIMD16Ext", b"InnerProductXXXX16Ext").replace(b"GNU C++", b"GNU XXX")
    finding = found(machine, stripped, ZEN4)
    assert (finding.status, finding.detail) == (
        "ok", "what hnswlib is compiled for cannot be told: its file is stripped",
    )  # fmt: skip


def test_a_build_for_more_than_the_processor_has(machine: Path) -> None:
    finding = found(machine, compiled(b"SSE", b"AVX", b"AVX512", record=NATIVE), ZEN3)
    assert (finding.status, finding.hint) == ("warn", software.BUILD_HERE)
    assert finding.detail == (
        "hnswlib is compiled for avx512f, which this processor has not: it may end in SIGILL"
    )  # fmt: skip
    older = found(machine, compiled(b"SSE", b"AVX", record=NATIVE.replace(b"-mavx512f ", b"")), "sse pni sse4_1 avx")
    assert "compiled for abm, avx2, which" in older.detail


def test_names_alone_tell_of_a_build_for_more(machine: Path) -> None:
    finding = found(machine, compiled(b"SSE", b"AVX", b"AVX512"), ZEN3)
    assert finding.status == "warn"
    assert "compiled for avx512f, which" in finding.detail


def test_flags_alone_tell_of_a_build_for_more(machine: Path) -> None:
    assert "compiled for avx512f, which" in found(machine, compiled(record=NATIVE), ZEN3).detail


@pytest.mark.parametrize("record", [GENERIC, b""])
def test_a_build_for_less_is_slower(machine: Path, record: bytes) -> None:
    finding = found(machine, compiled(b"SSE", record=record), ZEN4)
    assert (finding.status, finding.hint) == ("warn", software.BUILD_HERE)
    assert finding.detail == "hnswlib is compiled for SSE at most, and this processor has AVX512: it is slower"


@pytest.mark.parametrize(
    ("distances", "flags"),
    [((b"SSE", b"AVX", b"AVX512"), ZEN4), ((b"SSE", b"AVX"), ZEN3), ((b"SSE",), "sse sse2")],
)
def test_a_build_for_just_this(machine: Path, distances: tuple[bytes, ...], flags: str) -> None:
    best = distances[-1].decode()
    assert found(machine, compiled(*distances), flags) == Finding(
        "processor", "ok", f"hnswlib is compiled for {best}, the best that this processor has"
    )


def test_another_architecture(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    finding = found(machine, compiled(), "")
    assert (finding.status, finding.hint) == ("ok", "")
    assert finding.detail.startswith("aarch64: ")


def test_a_processor_that_is_not_described(machine: Path) -> None:
    finding = found(machine, compiled(b"SSE"), "")
    assert (finding.status, finding.detail) == ("ok", f"{machine}/cpuinfo does not say what this processor can do")
    (machine / "cpuinfo").unlink()
    assert statuses(findings("processor")) == [("processor", "ok")]
