"""Searches that must break few images of a sound score that the reported attacks missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from matx.data import Batch, Split, batches
from matx.distributed import SINGLE, World, in_order
from matx.interfaces import Attack, AttackInput, LogitObjective, Model, run_attack, value_and_gradient
from matx.losses import cross_entropy
from matx.measure.answers import correct
from matx.measure.sanity.effort import FULL, Effort, evenly, share_broken
from matx.measure.sanity.finding import Finding, graded
from matx.randomness import SampleGenerator, hashed
from matx.threat import ThreatModel, exact_number

__all__ = ["Bench", "ascend", "black_box", "growth", "huge_radius", "missing", "more_steps", "noise", "transfer"]

_LIMITS = {"passes": 0.002, "warns": 0.01}
_DRAWS = 20
_ENOUGH = 50
_GROWTH = ("1/4", "1/2", "1", "2")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A model (attackable, in eval mode) with the images of its score and which were robust."""

    model: Model
    split: Split
    clean: Tensor
    """(N,) bool: right on the clean image."""
    robust: Mapping[str, Tensor]
    """{threat key: (N,) bool}."""
    seed: int
    batch_size: int
    device: torch.device
    effort: Effort = FULL
    world: World = SINGLE
    """The processes that share the batches."""

    def sample(self, which: Tensor) -> Tensor:
        """Those images of the flagged ones that a search asks."""
        return evenly(which, self.effort.searches, 4)

    def each(self, which: Tensor, measure: Callable[[Batch], Tensor], copies: int = 1) -> list[Tensor]:
        """What is measured on each batch of those images; with so many copies of each no batch grows over its size."""
        rows = which.nonzero().squeeze(1)
        parts = torch.split(rows, max(1, self.batch_size // copies)) if len(rows) else ()
        own = {}
        for number in self.world.mine(len(parts)):
            (batch,) = batches(self.split, parts[number], len(parts[number]), device=self.device)
            own[number] = measure(batch).cpu()
        return in_order(self.world, own)

    def draws(self, batch: Batch, *purpose: int | str) -> SampleGenerator:
        """Randomness for one batch, other than that of the score."""
        return SampleGenerator(hashed(self.seed, "sanity", *purpose), batch.indices)

    def broken(self, which: Tensor, craft: Callable[[Batch], Tensor]) -> Tensor:
        """(N,) bool: which of those images the model gets wrong once they are crafted."""
        found = torch.zeros_like(which)
        wrong = self.each(which, lambda batch: ~correct(self.model, craft(batch), batch.labels))
        if wrong:
            found[which] = torch.cat(wrong)
        return found

    def attacked(self, which: Tensor, attack: Attack, purpose: str, copies: int = 1) -> Tensor:
        """(N,) bool: which of those images the attack breaks, in any of so many copies side by side."""

        def broken(batch: Batch) -> Tensor:
            images, labels = batch.images.repeat_interleave(copies, 0), batch.labels.repeat_interleave(copies)
            indices = (batch.indices[:, None] * copies + torch.arange(copies, device=batch.indices.device)).flatten()
            draws = SampleGenerator(hashed(self.seed, "sanity", purpose), indices)
            given = AttackInput(model=self.model, images=images, labels=labels, generator=draws, progress=1.0)
            fooled = ~correct(self.model, run_attack(attack, given), labels)
            return fooled.reshape(-1, copies).any(1)

        found, wrong = torch.zeros_like(which), self.each(which, broken, copies)
        if wrong:
            found[which] = torch.cat(wrong)
        return found


def ascend(model: Model, batch: Batch, threat: ThreatModel, draws: SampleGenerator, steps: int) -> Tensor:
    """Plain projected ascent on cross entropy from a random start: the highest of its images."""
    objective = LogitObjective(model, cross_entropy, {"labels": batch.labels})
    images = threat.random_start(batch.images, draws)
    best, height = images, torch.full_like(batch.labels, -torch.inf, dtype=torch.float32)
    for step in range(steps + 1):
        values, gradient = value_and_gradient(objective, images)
        higher = values > height
        best = torch.where(higher.reshape(-1, 1, 1, 1), images, best)
        height = torch.where(higher, values, height)
        if step < steps:
            edge = images if threat.norm == "l1" else None
            move = 2.5 * threat.radius / steps * threat.steepest(gradient, edge)
            images = threat.project(images + move, batch.images)
    return best


def growth(bench: Bench, threat: ThreatModel) -> Finding:
    """Does the loss grow with the radius, and is it above the clean one?"""
    some = _first(bench.clean, bench.effort.ascents)
    losses = [_mean_loss(bench, some, lambda batch: batch.images)]
    for factor in _GROWTH:
        eps = threat.exact * exact_number(factor, "growth")
        ball = replace(threat, eps=str(min(eps, 1) if threat.norm == "linf" else eps))

        def craft(batch: Batch, ball: ThreatModel = ball, factor: str = factor) -> Tensor:
            return ascend(bench.model, batch, ball, bench.draws(batch, "growth", factor), bench.effort.ascent_steps)

        losses.append(_mean_loss(bench, some, craft))
    drop = max((a - b) / max(a, 1e-12) for a, b in pairwise(losses))
    flat = not losses[-1] > losses[0] + 1e-6
    shown = ", ".join(f"{loss:.3g}" for loss in losses)
    return Finding(
        check="growth",
        threat=threat.key,
        status="fail" if flat else graded(drop, passes=0.01, warns=0.05),
        sentence=f"{threat.key}: mean loss {shown} at 0, 1/4, 1/2, 1 and 2 eps"
        + (": gradients lead nowhere" if flat else ""),
        value=drop,
    )


def _mean_loss(bench: Bench, which: Tensor, craft: Callable[[Batch], Tensor]) -> float:
    with torch.no_grad():
        values = bench.each(which, lambda batch: cross_entropy(bench.model(craft(batch)), batch.labels))
    return float(torch.cat(values).double().mean()) if values else 0.0


def huge_radius(bench: Bench) -> Finding:
    """In the whole box every image can become any other: ascent must break every one."""
    whole = ThreatModel(norm="linf", eps=1)
    some = _first(bench.clean, bench.effort.ascents)
    broken = bench.broken(some, lambda b: ascend(bench.model, b, whole, bench.draws(b, "huge"), steps=50))
    left = int((some & ~broken).sum()) / max(1, int(some.sum()))
    return Finding(
        check="huge radius",
        status=graded(left, passes=0.0, warns=0.01),
        sentence=f"with the whole box allowed, {left:.2%} of {int(some.sum())} images withstand plain ascent",
        value=left,
    )


def noise(bench: Bench, threat: ThreatModel) -> Finding:
    """Random points of the ball."""
    which = bench.robust[threat.key]
    asked, missed = bench.sample(which), torch.zeros_like(which)
    for draw in range(_DRAWS):

        def craft(batch: Batch, draw: int = draw) -> Tensor:
            return threat.random_start(batch.images, bench.draws(batch, "noise", draw))

        missed |= bench.broken(asked & ~missed, craft)
    return missing("noise", threat, missed, asked, which, f"{_DRAWS} random points each")


def black_box(bench: Bench, attack: Attack) -> Finding:
    """A search that asks no gradient, on images that are right when clean, robust or broken."""
    asked = bench.sample(bench.clean)
    broken = bench.attacked(asked, attack, "black box")
    robust_share = 1.0 - float(broken[asked].float().mean()) if asked.any() else 0.0
    share = robust_share * float(bench.clean.float().mean())
    what = f"{type(attack).__name__}, which leaves {share:.2%} by itself,"
    missed = broken & bench.robust[attack.threat.key]
    return missing("black box", attack.threat, missed, asked, bench.clean, what)


def transfer(bench: Bench, threat: ThreatModel, others: Mapping[str, Model]) -> Finding:
    """Examples crafted on other models by plain ascent."""
    which = bench.robust[threat.key]
    asked, broken = bench.sample(which), torch.zeros_like(which)
    for name, other in others.items():

        def craft(batch: Batch, name: str = name, other: Model = other) -> Tensor:
            return ascend(other, batch, threat, bench.draws(batch, "transfer", name), steps=20)

        broken |= bench.broken(asked & ~broken, craft)
    return missing("transfer", threat, broken, asked, which, f"examples of {', '.join(others)}")


def missing(
    check: str, threat: ThreatModel, broken: Tensor, asked: Tensor, which: Tensor, what: str, **limits: float
) -> Finding:
    """What a search breaks of the images that it asked, graded by what surely falls of all (`graded`'s `limits`)."""
    share, surely = share_broken(broken, asked, which)
    whole = bool((asked == which).all())
    of = f"{len(broken)} images" if whole else f"a sample of {int(asked.sum())} images"
    return Finding(
        check=check,
        threat=threat.key,
        status=graded(surely, **{**_LIMITS, **limits}),
        sentence=f"{threat.key}: {what} break {int(broken.sum())} of {of} that the suite missed"
        + ("" if whole else f": {share:.2%} of all, at least {surely:.2%}"),
        value=share,
    )


def more_steps(bench: Bench, threat: ThreatModel, attacks: Sequence[Attack]) -> Finding | None:
    """These attacks again at ten times steps times restarts, on the robust images; None where none has steps."""
    stronger = [more for attack in attacks if (more := _ten_times(attack, bench.effort.copies)) is not None]
    if not stronger:
        return None
    which = bench.robust[threat.key]
    asked = evenly(which, bench.effort.again, 40)
    robust = asked.clone()
    for position, attack in enumerate(stronger):
        if robust.any():
            robust &= ~bench.attacked(robust, attack, f"more steps {position}", bench.effort.copies or 1)
    share, surely = share_broken(asked & ~robust, asked, which)
    whole = bool((asked == which).all())
    sample = f" ({int((asked & ~robust).sum())} of a sample of {int(asked.sum())}; at least {100 * surely:.2f} points)"
    return Finding(
        check="more steps",
        threat=threat.key,
        status=graded(100 * surely, passes=0.5, warns=1.5),
        sentence=f"{threat.key}: ten times steps times restarts take {100 * share:.2f} points{'' if whole else sample}",
        value=100 * share,
    )


def _ten_times(attack: Attack, copies: int | None) -> Attack | None:
    """Five times the steps and twice the restarts, or ten times the steps where there are no restarts.

    With copies, which are restarts: ten times as many passes an image, and ten times the steps if that is under 50.
    """
    options: Any = attack
    names: list[str] = [entry.name for entry in fields(options)] if is_dataclass(attack) else []
    if "steps" not in names:
        return None
    steps, more = options.steps, {}
    if copies is not None:
        more = {"steps": max(10 // copies * steps, min(10 * steps, _ENOUGH))}
    elif "restarts" in names:
        more = {"steps": 5 * steps, "restarts": 2 * options.restarts}
    else:
        more = {"steps": 10 * steps}
    found: Attack = replace(options, **more)
    return found


def _first(which: Tensor, count: int) -> Tensor:
    """The first `count` of the true flags."""
    return which & (which.cumsum(0) <= count)
