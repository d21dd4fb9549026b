"""Memory that tensors free is kept for the next ones."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_KEPT = """
import torch
from pathlib import Path
from matx.runtime.environment import keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
def kept():
    before = resident()
    for _ in range(3):
        tensors = [torch.zeros(500_000) for _ in range(32)]
        full = resident()
        del tensors
    return (resident() - before) / (full - before)
usual, option, ours = kept(), keep_freed_memory(torch.device("cpu")), kept()
print(usual, option, ours)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT RUN: the option is glibc's")
def test_freed_memory_is_kept_for_the_next_tensors() -> None:
    """By the pages that stay with the process: the faults that they save are not counted on every machine."""
    run = subprocess.run([sys.executable, "-c", _KEPT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    usual, option, ours = run.stdout.split()
    assert option == "True", "glibc refused the option"
    assert float(usual) < 0.5, f"{usual} of 64 MB stay by themselves: the case shows nothing"
    assert float(ours) > 0.9, f"{ours} of 64 MB stay: freed memory is not kept"
