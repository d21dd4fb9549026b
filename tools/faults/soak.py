"""A long training, seen from outside: memory and open files of `matx run` after each epoch, with its validation."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .bench import recipe
from .commands import start

__all__ = ["SOAK", "Soak", "faults_of", "in_words", "read_soak", "soaked", "write_soak"]

SOAK = Path(__file__).parent / "soak.json"
"""What the long soak found, as committed."""
STEPS = 3000
"""Of the long soak."""
_STEPS_AN_EPOCH, _IMAGES = 10, 500
_EVERY = 0.2
"""Seconds between two looks."""
_GROWTH = 24_000_000
"""Bytes by which an allocator's pools may differ; over 3,000 steps 8 kB a step."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, kw_only=True)
class Soak:
    """What was seen of one training; bytes are those in memory."""

    steps: int
    epochs: int
    looks: int
    first: int
    """Bytes in the second epoch, when everything has been used once."""
    most: int
    """Most bytes from then on."""
    along: Sequence[int]
    """Most bytes in each tenth of the epochs."""
    files_first: int
    """Most open files in the second epoch."""
    files_most: int
    """Most open files from then on."""
    seconds: float


@dataclass(frozen=True)
class _Look:
    epoch: int
    resident: int
    files: int


def soaked(folder: Path, steps: int = STEPS) -> Soak:
    """Train so many steps in an empty folder, each epoch with its validation and a checkpoint, then evaluate."""
    epochs = steps // _STEPS_AN_EPOCH
    (folder / "quick.gin").write_text(recipe())
    longer = ("-s", f"Experiment.epochs={epochs}", "-s", f"Experiment.train_limit={_IMAGES}")
    began = time.monotonic()
    command = start(("run", "quick.gin", "--out", "run", "--device", "cpu", *longer), folder)
    assert command.process.pid is not None, "the command was started"
    process, metrics, looks = Path(f"/proc/{command.process.pid}"), folder / "run" / "metrics.jsonl", list[_Look]()
    while command.process.is_alive():
        done = metrics.read_bytes().count(b'"kind": "epoch"') if metrics.exists() else 0
        if done < epochs:
            looks += _look(process, done + 1)
        time.sleep(_EVERY)
    ended = command.wait()
    assert ended.code == 0, f"a long training ended with exit code {ended.code}: {ended.error}"
    assert (folder / "run" / "results.json").is_file(), "a long training ended without results"
    second = [look for look in looks if look.epoch == 2]
    later = [look for look in looks if look.epoch >= 2]
    assert second, "nothing was seen of the second epoch"
    return Soak(
        steps=_STEPS_AN_EPOCH * epochs,
        epochs=epochs,
        looks=len(looks),
        first=second[-1].resident,
        most=max(look.resident for look in later),
        along=[max(look.resident for look in later if _tenth(look.epoch, epochs) == part) for part in range(10)],
        files_first=max(look.files for look in second),
        files_most=max(look.files for look in later),
        seconds=round(time.monotonic() - began, 1),
    )


def _tenth(epoch: int, epochs: int) -> int:
    return (epoch - 1) * 10 // epochs


def _look(process: Path, epoch: int) -> Sequence[_Look]:
    """What a process has now; nothing where it has ended."""
    try:
        resident = int((process / "statm").read_text().split()[1]) * _PAGE
        return [_Look(epoch, resident, len(os.listdir(process / "fd")))]
    except (OSError, IndexError):
        return []


def faults_of(soak: Soak) -> list[str]:
    """What grew, in sentences."""
    found = []
    if soak.most - soak.first > _GROWTH:
        found.append(f"memory grows from {soak.first / 1e6:.1f} MB to {soak.most / 1e6:.1f} MB")
    if soak.files_most > soak.files_first + 1:
        found.append(f"open files grow from {soak.files_first} to {soak.files_most}")
    return found


def in_words(soak: Soak) -> str:
    """The figures in a sentence."""
    return (
        f"{soak.steps:,} steps in {soak.epochs:,} epochs, each with its validation, and the evaluation in "
        f"{soak.seconds / 60:.0f} minutes. Memory, looked at {soak.looks:,} times: {soak.first / 1e6:.1f} MB in the "
        f"second epoch, at most {', '.join(f'{size / 1e6:.1f}' for size in soak.along)} MB in the tenths of the "
        f"training. Open files: {soak.files_first} in the second epoch, later at most {soak.files_most}."
    )


def read_soak() -> Soak:
    """What the long soak found."""
    return Soak(**json.loads(SOAK.read_text(encoding="utf-8")))


def write_soak(soak: Soak) -> None:
    """Keep what the long soak found."""
    SOAK.write_text(json.dumps(asdict(soak), indent=1) + "\n", encoding="utf-8")
