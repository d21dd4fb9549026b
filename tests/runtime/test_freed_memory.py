"""Memory that tensors free is kept for the next ones."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_KEPT = """
import sys
import torch
from pathlib import Path
from matx.runtime.environment import keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
if sys.argv[1] == "kept":
    assert keep_freed_memory(torch.device("cpu")), "glibc refused the option"
before = resident()
for _ in range(3):
    tensors = [torch.ones(500_000) for _ in range(32)]  # zeros may be pages that were never touched
    full = resident()
    del tensors
print((resident() - before) / (full - before))
"""


def share(how: str) -> float:
    """Of 64 MB that a process has freed, what stays with it."""
    run = subprocess.run([sys.executable, "-c", _KEPT, how], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return float(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT RUN: the option is glibc's")
def test_freed_memory_is_kept_for_the_next_tensors() -> None:
    """By the pages that stay with the process: the faults that they save are not counted on every machine."""
    ours = share("kept")
    assert ours > 0.9, f"{ours:.0%} of 64 MB stay: freed memory is not kept"
    usual = min(share("usual") for _ in range(3))  # where blocks lie decides, too: one in four processes keeps them all
    assert usual < 0.5, f"{usual:.0%} of 64 MB stay by themselves: the case shows nothing"
