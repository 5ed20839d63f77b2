"""What hnswlib was compiled for, held against this processor.

hnswlib 0.8 is compiled with ``-march=native``, and has distances of its own for SSE, AVX and AVX-512, each only in a
build for a processor that has it. Which ones a build holds, the names of its functions tell (they are chosen by what
the processor can do, and cost nothing on another). What else the compiler could use, everywhere in the code, stands in
the debugging information, where GCC writes its flags down. A build may be stripped of either.

Whether it runs, only running it tells (`software.hnswlib`): this is about why it does not, and how fast it is.
"""

from __future__ import annotations

import importlib.util
import mmap
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from facewatchd.config import Config
from facewatchd.doctor.finding import Finding
from facewatchd.doctor.software import BUILD_HERE

CPUINFO = Path("/proc/cpuinfo")
_X86 = frozenset({"x86_64", "i386", "i586", "i686"})
_RECORD = re.compile(rb"GNU C\+\+[^\0]*? -march=[^\0]*")
_DISTANCE = re.compile(rb"InnerProductSIMD16Ext(SSE|AVX512|AVX)(?=[E\0])")
_DISTANCES = {"SSE": "sse", "AVX": "avx", "AVX512": "avx512f"}
"""In hnswlib's names, and the kernel's for what they need. Slowest first."""

# What GCC uses on its own, by its name; the kernel's is the same where it is not named. Of the rest (sha, rdrand ...)
# there is nothing in hnswlib unless somebody asks for it by name.
_COMPILED = {
    "sse3": "pni",
    "ssse3": "",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "sse4a": "",
    "popcnt": "",
    "avx": "",
    "avx2": "",
    "fma": "",
    "fma4": "",
    "xop": "",
    "f16c": "",
    "bmi": "bmi1",
    "bmi2": "",
    "tbm": "",
    "lzcnt": "abm",
    "movbe": "",
    "avx512f": "",
    "avx512vl": "",
    "avx512bw": "",
    "avx512dq": "",
    "avx512cd": "",
    "avx512vbmi": "",
    "avx512ifma": "",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
}


@dataclass(frozen=True, slots=True)
class Build:
    """What is in a compiled hnswlib."""

    distances: tuple[str, ...]
    """Of `_DISTANCES`, slowest first. Empty where their names are stripped."""
    needs: frozenset[str]
    """What the compiler could use, in the kernel's names, as far as it can be told."""

    @classmethod
    def of(cls, path: Path) -> Build:
        """Read it off a shared object, without loading it. Raises OSError."""
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = {match[1].decode("ascii") for match in _DISTANCE.finditer(data)}
            record = _RECORD.search(data)
            flags = record[0].decode("ascii", "replace").split() if record else []
        distances = tuple(name for name in _DISTANCES if name in found)
        needs = {name or flag for flag, name in _COMPILED.items() if f"-m{flag}" in flags}
        return cls(distances, frozenset(needs | {_DISTANCES[name] for name in distances}))


def check(_: Config) -> Iterator[Finding]:
    """Say what a build for another processor means on this one."""
    spec = importlib.util.find_spec("hnswlib")
    if spec is None or spec.origin is None:
        return  # the check of the packages says so
    machine = platform.machine()
    if machine not in _X86:
        yield Finding("processor", "ok", f"{machine}: what hnswlib was compiled for is not known there")
        return
    has = features()
    if not has:
        yield Finding("processor", "ok", f"{CPUINFO} does not say what this processor can do")
        return
    yield _compared(Build.of(Path(spec.origin)), has)


def features() -> frozenset[str]:
    """Return what every processor of this machine can do, in the kernel's names; nothing where it does not say."""
    try:
        text = CPUINFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    flags = [set(line.partition(":")[2].split()) for line in text.splitlines() if re.match(r"flags\s*:", line)]
    return frozenset(set.intersection(*flags)) if flags else frozenset()


def _compared(build: Build, has: frozenset[str]) -> Finding:
    lacking = sorted(build.needs - has)
    if lacking:
        detail = f"hnswlib is compiled for {', '.join(lacking)}, which this processor has not: it may end in SIGILL"
        return Finding("processor", "warn", detail, BUILD_HERE)
    if not build.distances:
        return Finding("processor", "ok", "what hnswlib is compiled for cannot be told: its file is stripped")
    best = [name for name, need in _DISTANCES.items() if need in has][-1]
    if best not in build.distances:
        detail = f"hnswlib is compiled for {build.distances[-1]} at most, and this processor has {best}: it is slower"
        return Finding("processor", "warn", detail, BUILD_HERE)
    return Finding("processor", "ok", f"hnswlib is compiled for {best}, the best that this processor has")
