"""Memory and open files stay flat over 16 epochs; `python -m tools.faults --soak` looks at 3,000 steps from outside."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from matx.interfaces import AttackInput
from matx.run import run
from tests.sample_runs import Watched, sample

PAGE = os.sysconf("SC_PAGE_SIZE")
EPOCHS = 16
_GROWTH = 24e6
"""Bytes by which an allocator's pools may differ."""


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="no /proc: memory and open files cannot be read")
def test_memory_and_open_files_stay_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def look(given: AttackInput) -> None:
        if given.step % 4 == 2 and given.step:
            seen.append((resident(), len(os.listdir("/proc/self/fd"))))

    monkeypatch.setattr(Watched, "FATE", staticmethod(look))
    loaded = sample(epochs=EPOCHS, checkpoint_every=2)
    every = replace(loaded.experiment.evaluation, validation_images=50)
    run(replace(loaded, experiment=replace(loaded.experiment, evaluation=every)), out=tmp_path / "run", device="cpu")
    memory, files = zip(*seen, strict=True)
    after_first = memory[len(memory) // EPOCHS * 2]
    figures = f"{after_first / 1e6:.1f} MB after the second epoch, at most {max(memory) / 1e6:.1f} MB"
    assert max(memory) - after_first < _GROWTH, f"memory grows: {figures}"
    assert max(files) <= max(files[:4]) + 1, f"open files grow from {files[0]} to {max(files)}"
