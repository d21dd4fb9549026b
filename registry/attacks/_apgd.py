"""One run of APGD: an ascent that halves its own steps, or thins its own l1 steps, and returns to the best point.

It follows the published code (github.com/fra31/auto-attack) to the sample: rises are counted against the value of the
step before, even right after a return, and the first step's against 0, as an index of that code wraps around.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from matx.interfaces import AttackInput
from matx.threat import ThreatModel
from registry.attacks._ascent import Found, ShrinkingBatch, chosen, evaluate, per_sample


@dataclass(frozen=True, kw_only=True)
class AscentOptions:
    """What is fixed during one run."""

    threat: ThreatModel
    steps: int
    sparsity: float
    warm: bool
    """l1: the start is already an example, and says how sparse to begin."""
    flag_wrong: bool
    early_exit: bool
    eot: int = 1
    rho: float = 0.75
    exact: bool = False
    """l2: project onto ball and box together; l1: leave out entries that point out of the box. Else as published."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AscentState:
    """What changes during one run: everything has a row a sample."""

    now: Found
    previous: Tensor
    last: Tensor
    """The value that the last step reached, which is not now's after a return."""
    gradient: Tensor
    best: Found
    best_gradient: Tensor
    step: Tensor
    rises: Tensor
    """How often the value rose since the last checkpoint."""
    reduced: Tensor
    """Whether the last checkpoint halved the step."""
    best_before: Tensor
    """The best value at the last checkpoint."""
    share: Tensor
    """l1: the share of entries that a step moves, rounded up."""
    moved: Tensor
    """l1: how many entries the best example moved at the last checkpoint."""

    def select(self, rows: Tensor) -> AscentState:
        picked: dict[str, Any] = {}
        for entry in fields(self):
            value: Tensor | Found = getattr(self, entry.name)
            picked[entry.name] = value.select(rows) if isinstance(value, Found) else value[rows]
        return AscentState(**picked)


def ascend(given: AttackInput, start: Tensor, run: AscentOptions) -> Found:
    """The highest example of `steps` steps from `start`; with `early_exit` the first one that fools the model."""
    state = _begin(given, start, run)
    batch = ShrinkingBatch(done=state.best)
    checkpoints = _checkpoints(run)
    for iteration in range(run.steps + 1):
        if iteration > 0:
            state = _advance(given, state, run, iteration, gradient=iteration < run.steps)
        if run.early_exit and bool(state.now.wrong.any()):  # waits for the device: a smaller batch is worth more
            stay = batch.drop(state.now.wrong, state.now)
            given, state = given.select(stay), state.select(stay)
            if len(stay) == 0:
                break
        if iteration in checkpoints and iteration < run.steps:
            state = _adapt(given, state, run, checkpoints[iteration])
    return batch.results(state.best)


def _begin(given: AttackInput, start: Tensor, run: AscentOptions) -> AscentState:
    now, gradient = _evaluate(given, start, run, gradient=True)
    count = given.images[0].numel()
    ones = torch.ones_like(now.values)
    moved = _entries_moved(start, given.images) if run.warm else ones * count
    return AscentState(
        now=now,
        previous=start,
        last=torch.zeros_like(ones),
        gradient=gradient,
        best=Found(images=now.images.clone(), values=now.values.clone(), wrong=now.wrong.clone()),
        best_gradient=gradient,
        step=ones * _first_length(run.threat),
        rises=torch.zeros_like(ones),
        reduced=torch.ones_like(ones, dtype=torch.bool),
        best_before=now.values,
        share=moved / count / 1.5 if run.warm else ones * run.sparsity,
        moved=moved,
    )


def _first_length(threat: ThreatModel) -> float:
    return threat.radius if threat.norm == "l1" else 2.0 * threat.radius


def _entries_moved(images: Tensor, clean: Tensor) -> Tensor:
    return (images != clean).flatten(1).sum(1).float()


def _evaluate(given: AttackInput, images: Tensor, run: AscentOptions, *, gradient: bool) -> tuple[Found, Tensor]:
    """Value and gradient, averaged over `eot` forwards of a model that draws at random."""
    found, slope = evaluate(given, images, gradient=gradient, flag_wrong=run.flag_wrong)
    for _ in range(run.eot - 1):
        again, more = evaluate(given, images, gradient=gradient, flag_wrong=run.flag_wrong)
        found, slope = replace(again, values=found.values + again.values), slope + more
    return replace(found, values=found.values / run.eot), slope / run.eot


def _checkpoints(run: AscentOptions) -> dict[int, int]:
    """{steps taken: steps since the checkpoint before}: 22 % of the steps, then windows that shrink by 3 % to 6 %.

    l1: every 4 %.
    """
    windows: dict[int, int] = {}
    at, window = 0, max(run.steps * 22 // 100, 1)
    if run.threat.norm == "l1":
        window = max(run.steps * 4 // 100, 1)
    while at + window <= run.steps:
        at += window
        windows[at] = window
        if run.threat.norm != "l1":
            window = max(window - max(run.steps * 3 // 100, 1), max(run.steps * 6 // 100, 1))
    return windows


def _advance(
    given: AttackInput, state: AscentState, run: AscentOptions, iteration: int, *, gradient: bool
) -> AscentState:
    """One step, with momentum after the first one in l_inf and l2."""
    here, threat = state.now.images, run.threat
    there = _project(here + per_sample(state.step, here) * _direction(state, run), given.images, run)
    if threat.norm != "l1" and iteration > 1:
        there = _project(here + 0.75 * (there - here) + 0.25 * (here - state.previous), given.images, run)
    now, slope = _evaluate(given, there, run, gradient=gradient)
    higher = now.values > state.best.values
    return replace(
        state,
        now=now,
        previous=here,
        last=now.values,
        gradient=slope,
        best=state.best.replaced(now, higher),
        best_gradient=chosen(higher, slope, state.best_gradient),
        rises=state.rises + (now.values > state.last),
    )


def _direction(state: AscentState, run: AscentOptions) -> Tensor:
    here, count = state.now.images, state.now.images[0].numel()
    edge = here if run.exact and run.threat.norm == "l1" else None
    kept = ((1.0 - state.share) * count).clamp(0, count - 1).floor()  # of fp32 shares, as published: a move up or down
    return run.threat.steepest(state.gradient, edge, sparsity=1.0 - kept / count)


def _project(images: Tensor, clean: Tensor, run: AscentOptions) -> Tensor:
    """Into ball and box: in l2, unless `exact`, into one after the other, which may end short of the sphere."""
    if run.exact or run.threat.norm != "l2":
        return run.threat.project(images, clean)
    delta = images - clean
    size = delta.flatten(1).norm(dim=1)
    fits: Tensor = per_sample((run.threat.radius / size.clamp_min(1e-12)).clamp_max(1.0), delta)
    return (clean + fits * delta).clamp(0.0, 1.0)


def _adapt(given: AttackInput, state: AscentState, run: AscentOptions, window: int) -> AscentState:
    """At a checkpoint: shorten the step, or thin it (l1), and go back to the best point where that is called for."""
    if run.threat.norm == "l1":
        moved = _entries_moved(state.best.images, given.images)
        back = moved < 0.95 * state.moved
        full = _first_length(run.threat)
        step = torch.where(back, full, state.step / 1.5).clamp(full / 10, full)
        state = replace(state, step=step, share=moved / given.images[0].numel() / 1.5, moved=moved)
    else:
        stalled = ~state.reduced & (state.best_before >= state.best.values)
        back = (state.rises <= run.rho * window) | stalled
        step = torch.where(back, state.step / 2, state.step)
        state = replace(state, step=step, reduced=back, best_before=state.best.values)
    return replace(
        state,
        now=state.now.replaced(state.best, back),
        gradient=chosen(back, state.best_gradient, state.gradient),
        rises=torch.zeros_like(state.rises),
    )
