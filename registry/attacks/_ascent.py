"""The search that first-order attacks share: ascend from a start, keep the best, drop who is beaten, start again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from matx.errors import OptionError, did_you_mean
from matx.interfaces import Goal, LogitObjective, Objective, check_objective
from matx.threat import ThreatModel, exact_number

KEEPS = ("best", "last")

Start = Callable[[Goal, int], Tensor]
"""(goal, restart) -> (N, C, H, W): where a search starts."""
Move = Callable[[Goal, Tensor, Tensor, int], Tensor]
"""(goal, images, gradient, iteration) -> (N, C, H, W): one step of it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how often to search, and what to hand back."""

    steps: int
    restarts: int = 1
    keep: str = "best"
    early_exit: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Examples of N samples, how high they stand, and whether they fool the model; all-False where nobody asked."""

    images: Tensor
    values: Tensor
    wrong: Tensor

    def select(self, rows: Tensor) -> Found:
        return Found(images=self.images[rows], values=self.values[rows], wrong=self.wrong[rows])

    def better(self, other: Found) -> Found:
        """Per sample the better of two: one that fools the model before one that does not, then the higher value."""
        higher = torch.where(self.wrong == other.wrong, other.values > self.values, other.wrong)
        return self.replaced(other, higher)

    def higher(self, other: Found) -> Found:
        """Per sample the one of the higher value."""
        return self.replaced(other, other.values > self.values)

    def replaced(self, other: Found, where: Tensor) -> Found:
        return Found(
            images=torch.where(per_sample(where, self.images), other.images, self.images),
            values=torch.where(where, other.values, self.values),
            wrong=torch.where(where, other.wrong, self.wrong),
        )

    def put(self, rows: Tensor, part: Found) -> None:
        """Write the samples of `part` into these rows."""
        self.images[rows], self.values[rows], self.wrong[rows] = part.images, part.values, part.wrong


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(N,) shaped to broadcast over (N, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def check_options(name: str, *, steps: int, restarts: int, keep: str, objective: str) -> None:
    """Refuse what no search of this kind can do."""
    for option, value in (("steps", steps), ("restarts", restarts)):
        if value < 1:
            raise OptionError(f"attacks.{name}.{option}: got {value}, allowed: 1 or more")
    if keep not in KEEPS:
        raise OptionError(f"attacks.{name}.keep: got {keep!r}, allowed: {', '.join(KEEPS)}{did_you_mean(keep, KEEPS)}")
    check_objective(objective)


def check_fraction(where: str, value: float) -> None:
    """Refuse a share outside (0, 1]."""
    if not 0 < value <= 1:
        raise OptionError(f"{where}: got {value}, allowed: over 0, up to 1")


def positive(where: str, value: float | str) -> float:
    """The value of an option such as 0.01 or '2/255'; OptionError unless it is over 0."""
    number = float(exact_number(value, where))
    if number <= 0:
        raise OptionError(f"{where}: got {value!r}, allowed: a number over 0, or a fraction like '2/255'")
    return number


def warn_if_short(name: str, threat: ThreatModel, steps: int) -> None:
    """l1 attacks of a few steps are far from converged, and training on them overfits to their weakness."""
    if threat.norm == "l1" and steps < 10:
        logging.getLogger("matx").warning("attacks.%s: %d steps are few for l1; use 10 or more to train", name, steps)


def look(goal: Goal, objective: Objective, images: Tensor, *, gradient: bool, judge: bool) -> tuple[Found, Tensor]:
    """One forward: what the images are worth and, if asked, the gradient of the sum of their values.

    `judge` asks for `wrong`; it costs a forward of its own only where the objective is not one of the model's logits.
    """
    point = images.detach().requires_grad_(gradient)
    logits: Tensor | None = None
    with torch.set_grad_enabled(gradient):
        if isinstance(objective, LogitObjective):
            values, answers = objective.evaluate(point)
            logits = answers if objective.model is goal.model else None
        else:
            values = objective(point)
    slope = torch.zeros_like(images)
    if gradient and values.requires_grad:
        (given,) = torch.autograd.grad(values.sum(), point, allow_unused=True)
        slope = slope if given is None else given
    wrong = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    if judge:
        with torch.no_grad():
            wrong = (goal.model(images.detach()) if logits is None else logits).argmax(-1) != goal.labels
    return Found(images=images.detach(), values=values.detach().float(), wrong=wrong), slope


def search(goal: Goal, objective: Objective, start: Start, move: Move, plan: Plan) -> Tensor:
    """The best example over restarts: one that fools the model first, then the one of the highest value.

    With `early_exit` a sample's search ends at its first example that fools the model.
    """
    best: Found | None = None
    for restart in range(plan.restarts):
        here = replace(goal, generator=goal.generator.at("restart", restart))
        if best is None:
            best = _ascend(here, objective, start(here, restart), move, plan)
        elif not plan.early_exit:
            best = best.better(_ascend(here, objective, start(here, restart), move, plan))
        else:
            rows = (~best.wrong).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            some = here.select(rows)
            found = _ascend(some, objective.select(rows), start(some, restart), move, plan)
            best.put(rows, best.select(rows).better(found))
    assert best is not None
    return best.images


def _ascend(goal: Goal, objective: Objective, images: Tensor, move: Move, plan: Plan) -> Found:
    """One search of `steps` gradients, and one more forward only where somebody reads its values."""
    judge = plan.early_exit or plan.restarts > 1
    done = _nothing(images)
    rows = torch.arange(len(images), device=images.device)
    best = _nothing(images)
    for iteration in range(plan.steps):
        now, gradient = look(goal, objective, images, gradient=True, judge=judge)
        best = best.higher(now) if plan.keep == "best" else now
        if plan.early_exit and bool(now.wrong.any()):
            done.put(rows[now.wrong], now.select(now.wrong))
            stay = (~now.wrong).nonzero().squeeze(1)
            goal, objective, rows, best = goal.select(stay), objective.select(stay), rows[stay], best.select(stay)
            images, gradient = images[stay], gradient[stay]
            if len(rows) == 0:
                return done
        images = move(goal, images, gradient, iteration)
    if plan.keep == "best" or plan.restarts > 1:
        now, _ = look(goal, objective, images, gradient=False, judge=judge)
        best = now if plan.keep == "last" else best.better(now) if plan.early_exit else best.higher(now)
    else:
        best = replace(best, images=images)
    if len(rows) == len(done.images):
        return best
    done.put(rows, best)
    return done


def _nothing(images: Tensor) -> Found:
    low = torch.full((len(images),), -torch.inf, device=images.device)
    return Found(images=images.detach().clone(), values=low, wrong=torch.zeros_like(low, dtype=torch.bool))
