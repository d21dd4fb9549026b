"""`step`: a co-training step against the loop that people write, its phases, the data path, the main job on digits."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch

from benchmarks.measuring import Call, Row, Settings, Tables, ratios, rounds
from benchmarks.plain import PlainMutual, PlainUnion
from benchmarks.worlds import DIGITS, NETWORKS, first_batch, made, one_step, training
from matx.config import load_experiment
from matx.engine import PHASES, Training, start

CASES = [(name, batch) for name in NETWORKS[:3] for batch in (64, 128)] + [(NETWORKS[3], 16)]
AUTO, FP32, PLAIN, PLAIN_BF16 = "matx 'auto'", "matx fp32", "plain fp32", "plain bf16 (autocast)"


def measure(settings: Settings) -> Tables:
    cases = [("tiny", 4)] if settings.brief else CASES
    tables: Tables = {"step": [], "phases": []}
    for network, batch in cases:
        found = _case(settings, network, batch)
        tables["step"] += found["step"]
        tables["phases"] += found["phases"]
    return {**tables, "data": _data(settings), "digits": _digits(settings)}


def plain(live: Training, *, bf16: bool = False) -> PlainMutual:
    """The same networks with the same weights, as people have them: contiguous, unfolded."""
    models = [copy.deepcopy(one.module).to(memory_format=torch.contiguous_format) for one in live.learners.values()]
    optimizers = [torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=5e-4) for model in models]
    return PlainMutual(models=models, optimizers=optimizers, bf16=bf16)


def _case(settings: Settings, network: str, batch: int) -> Tables:
    lives = {
        AUTO: training(network, precision="auto", batch_size=batch, device=settings.device),
        FP32: training(network, batch_size=batch, device=settings.device),
    }
    given = first_batch(lives[FP32])
    loops = {PLAIN: plain(lives[FP32]), PLAIN_BF16: plain(lives[FP32], bf16=True)}
    phases = {name: Phases(settings) for name in lives}
    for name, live in lives.items():
        live.phase = phases[name]
    calls: dict[str, Call] = {name: partial(loop.step, given.images, given.labels) for name, loop in loops.items()}
    calls |= {name: partial(one_step, live, given) for name, live in lives.items()}
    spent = rounds(settings, calls)
    head = {"network": network, "batch": batch}
    pairs = [(PLAIN, AUTO), (PLAIN, FP32), (PLAIN_BF16, AUTO), (PLAIN, PLAIN_BF16)]
    return {
        "step": [
            {**head, "above": above, "below": below, **ratios(spent[above], spent[below]),
             "s above": median(spent[above]), "s below": median(spent[below])}
            for above, below in pairs
        ],
        "phases": [
            {**head, "in": name, **phases[name].shares(1 + settings.rounds, sum(spent[name]) / settings.rounds)}
            for name in lives
        ],
    }  # fmt: skip


@dataclass(eq=False)
class Phases:
    """Seconds by phase of a training, on whose `phase` it is put."""

    settings: Settings
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = self.settings.now()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + self.settings.now() - began

    def shares(self, steps: int, step_seconds: float) -> Row:
        """Percent of a step, and how far the step would speed up if crafting cost nothing (Amdahl)."""
        percent = {name: 100 * self.seconds.get(name, 0.0) / steps / step_seconds for name in PHASES}
        return {**{f"{name} %": value for name, value in percent.items()}, "limit": 100 / (100 - percent["crafting"])}


def _data(settings: Settings) -> list[Row]:
    """Reading, moving and augmenting a batch, as a share of the step that follows."""
    augment = [made("augmentations", "pad_crop"), made("augmentations", "flip")]
    rows = []
    for network in ("tiny", "small_resnet")[: 1 if settings.brief else 2]:
        size = 8 if settings.brief else 128
        live, meter = (
            training(network, precision="auto", batch_size=size, augment=augment, device=settings.device),
            Phases(settings),
        )
        live.phase = meter
        spent = rounds(settings, {"step": partial(_read_and_step, live, meter)})["step"]
        data = meter.seconds["data"] / (1 + settings.rounds)
        rows.append(
            {"network": network, "batch": size, "data ms": 1e3 * data, "% of a step": 100 * data / median(spent)}
        )
    return rows


def _read_and_step(live: Training, meter: Phases) -> None:
    with meter("data"):
        given = first_batch(live)
    one_step(live, given)


def _digits(settings: Settings) -> list[Row]:
    """gin/mat_union.gin against the same by hand, in fp32, as the recipe says."""
    experiment = load_experiment(["mat_union"], ["Experiment.batch_size=8"] if settings.brief else []).experiment
    live = start(experiment, experiment.dataset(), device=settings.device)
    given, loop = first_batch(live), plain_union(live)
    by_hand = partial(loop.step, given.images, given.labels)
    calls: dict[str, Call] = {"matx": partial(one_step, live, given), "by hand": by_hand}
    spent = rounds(settings, calls)
    medians = {f"{name} ms": 1e3 * median(times) for name, times in spent.items()}
    return [{"job": "a step of gin/mat_union.gin", **ratios(spent["matx"], spent["by hand"]), **medians}]


def plain_union(live: Training) -> PlainUnion:
    models = {
        name: copy.deepcopy(one.module).to(memory_format=torch.contiguous_format) for name, one in live.learners.items()
    }
    optimizers = {
        name: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, weight_decay=5e-4) for name, m in models.items()
    }
    return PlainUnion(models=models, optimizers=optimizers, threats=DIGITS)
