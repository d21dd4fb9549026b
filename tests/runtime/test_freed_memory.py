"""Memory that tensors free is kept for the next ones."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, torch
from matx.runtime.environment import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        taken = [torch.zeros(500_000) for _ in range(8)]
        del taken
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
first, kept = faults(), keep_freed_memory(torch.device("cpu"))
faults()
print(first, kept, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NOT RUN: the option is glibc's")
def test_freed_memory_is_kept_for_the_next_tensors() -> None:
    run = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    first, kept, after = run.stdout.split()
    assert kept == "True", "glibc refused the option"
    assert int(after) < 0.1 * int(first), f"{after} page faults after {first}: freed memory is not kept"
