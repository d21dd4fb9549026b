"""Epoch by epoch: runs that take turns in one process are those run apart, and the process stays as it was."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import matx
from matx.errors import RunError
from matx.run import resume
from matx.runtime.interrupt import STOPS

_FILES = ("metrics.jsonl", "results.json", "report.md", "flags.npz")


def _experiment(seed: int) -> matx.Experiment:
    attack = matx.attacks["pgd"](threat=matx.ThreatModel(norm="linf", eps=0.1), steps=2)
    peer = matx.Peer(
        architecture=matx.architectures["tiny"](width=4), attacks=[attack], optimizer=matx.optimizers["sgd"](lr=0.05)
    )
    return matx.Experiment(
        dataset=matx.datasets["digits"](),
        peers={"one": peer, "two": peer},
        strategy=matx.strategies["independent"](),
        evaluation=matx.Evaluation(attacks=[attack], validation_attacks=[attack], images=30, validation_images=20),
        epochs=2,
        batch_size=50,
        train_limit=100,
        seed=seed,
    )


def _process() -> dict[str, object]:
    """What a run could leave behind in the process."""
    logger = logging.getLogger("matx")
    return {
        "signals": [signal.getsignal(number) for number in STOPS],
        "log": (logger.level, list(logger.handlers)),
        "threads": torch.get_num_threads(),
        "draws": torch.get_rng_state().tolist(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "directory": os.getcwd(),
        "environment": dict(os.environ),
    }


def test_two_runs_that_take_turns_are_those_run_apart(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        matx.run_experiment(_experiment(seed), out=tmp_path / f"apart{seed}" / "run", device="cpu", progress=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    before = _process()
    both = [
        matx.epochs(_experiment(seed), out=tmp_path / f"turns{seed}" / "run", device="cpu", progress=False)
        for seed in (0, 1)
    ]
    for number in (1, 2):
        for training in both:
            assert next(training).epoch == number, "each asks for its own next epoch"
            assert _process() == before, "between epochs the process is as it was"
    assert [next(training, None) for training in both] == [None, None], "after the last epoch there is none"
    assert _process() == before, "after the runs the process is as it was"
    for seed in (0, 1):
        for name in _FILES:
            turns, apart = (tmp_path / f"{how}{seed}" / "run" / name for how in ("turns", "apart"))
            assert turns.read_bytes() == apart.read_bytes(), f"seed {seed}: {name} is not that of the run apart"


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_leaving_the_loop_keeps_the_epochs(tmp_path: Path) -> None:
    apart = matx.run_experiment(_experiment(0), out=tmp_path / "apart" / "run", device="cpu", progress=False)
    for epoch in matx.epochs(_experiment(0), out=tmp_path / "run", device="cpu", progress=False):
        assert set(epoch.train) == {"one", "two"}, "a record has every peer's losses"
        break
    with pytest.raises(RunError, match=r"results\.json is not there; allowed: a run folder that has been evaluated"):
        _ = matx.load(tmp_path / "run").results
    resume(tmp_path / "run")
    assert (tmp_path / "run" / "results.json").read_bytes() == (apart.path / "results.json").read_bytes(), (
        "what goes on after the loop was left is the run that was never stopped"
    )


def test_a_signal_between_epochs_is_the_callers(tmp_path: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        training = matx.epochs(_experiment(0), out=tmp_path / "run", device="cpu", progress=False)
        next(training)
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM], "the loop's body has its own signals"
        assert next(training).epoch == 2, "and the run goes on"
    finally:
        signal.signal(signal.SIGTERM, before)
