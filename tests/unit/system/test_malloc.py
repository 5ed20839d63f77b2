"""What a process keeps of the memory that it frees."""

from __future__ import annotations

import subprocess
import sys

ROUNDS = 20
PROGRAM = f"""
import sys
from facewatchd.system import malloc as memory
getattr(memory, sys.argv[1])()
def faults():
    return int(open("/proc/self/stat").read().rpartition(")")[2].split()[7])
def rounds(count):
    before = faults()
    for _ in range(count):
        b"x" * 36_000_000
    return faults() - before
rounds(2)
print(rounds({ROUNDS}))
"""


def test_a_process_that_decodes_keeps_an_images_memory_for_the_next_one() -> None:
    assert _faults("keep_freed_memory") < ROUNDS


def test_the_daemon_gives_large_blocks_back_at_once() -> None:
    assert _faults("return_freed_memory") >= ROUNDS


def _faults(policy: str) -> int:
    """How many pages the system cleared while `ROUNDS` images came and went."""
    result = subprocess.run([sys.executable, "-c", PROGRAM, policy], capture_output=True, text=True, check=True)
    return int(result.stdout)
