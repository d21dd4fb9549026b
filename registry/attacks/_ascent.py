"""The search of first-order attacks: ascend from a start, keep the best, drop broken samples, start again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from matx.interfaces import AttackInput, LogitObjective, Objective

Start = Callable[[AttackInput, int], Tensor]
"""(given, restart) -> (N, C, H, W): where a search starts."""
Move = Callable[[AttackInput, Tensor, Tensor, int], Tensor]
"""(given, images, gradient, iteration) -> (N, C, H, W): one step of it."""


_LONGEST_CYCLE = 8
"""Every so many steps an iterate is remembered, to notice samples that come back to it."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How long and how often to search, and which iterate to return."""

    steps: int
    restarts: int = 1
    keep: str = "best"
    early_exit: bool = False
    momentum: float = 0.0
    """The decay of the accumulated gradient g <- momentum g + gradient / mean|gradient|; 0: the gradient itself."""
    repeats: bool = False
    """With early_exit: a step depends on the images only, so a sample that comes back to an iterate repeats itself from
    then on, and leaves too. l_inf searches of many steps end in such short cycles, and nothing they return changes."""

    @property
    def flag_wrong(self) -> bool:
        """Whether the search reads which examples are misclassified."""
        return self.early_exit or self.restarts > 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Examples of N samples."""

    images: Tensor
    values: Tensor
    """(N,): of the objective."""
    wrong: Tensor
    """(N,): misclassified; all False where that was not evaluated."""

    def select(self, rows: Tensor) -> Found:
        return Found(images=self.images[rows], values=self.values[rows], wrong=self.wrong[rows])

    def better(self, other: Found) -> Found:
        """Per sample the better of two: misclassified before correct, then the higher value."""
        return self.replaced(other, torch.where(self.wrong == other.wrong, other.values > self.values, other.wrong))

    def higher(self, other: Found) -> Found:
        """Per sample the one of the higher value."""
        return self.replaced(other, other.values > self.values)

    def replaced(self, other: Found, where: Tensor) -> Found:
        return Found(
            images=chosen(where, other.images, self.images),
            values=torch.where(where, other.values, self.values),
            wrong=torch.where(where, other.wrong, self.wrong),
        )


@dataclass(kw_only=True, eq=False)
class ShrinkingBatch:
    """The results of samples that have left a batch; `rows` are the places, in the full batch, of the others."""

    done: Found
    rows: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.rows = torch.arange(len(self.done.values), device=self.done.values.device)

    def drop(self, leaving: Tensor, found: Found) -> Tensor:
        """Store what was found for the samples that leave; the places in the batch of the others."""
        self._store(self.rows[leaving], found.select(leaving))
        stay = (~leaving).nonzero().squeeze(1)
        self.rows = self.rows[stay]
        return stay

    def results(self, best: Found) -> Found:
        """Every sample's result, with `best` for those still in the batch."""
        if len(self.rows) == len(self.done.values):
            return best
        self._store(self.rows, best)
        return self.done

    def _store(self, rows: Tensor, part: Found) -> None:
        self.done.images[rows], self.done.values[rows], self.done.wrong[rows] = part.images, part.values, part.wrong


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(N,) shaped to broadcast over (N, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def chosen(where: Tensor, some: Tensor, others: Tensor) -> Tensor:
    """Per sample `some` where that holds, else `others`; over two axes torch is several times faster than over four."""
    return torch.where(where[:, None], some.flatten(1), others.flatten(1)).reshape(others.shape)


def nothing(images: Tensor) -> Found:
    """These images, valued below anything."""
    low = torch.full((len(images),), -torch.inf, device=images.device)
    return Found(images=images.detach().clone(), values=low, wrong=torch.zeros_like(low, dtype=torch.bool))


def evaluate(given: AttackInput, images: Tensor, *, gradient: bool, flag_wrong: bool) -> tuple[Found, Tensor]:
    """One forward: the images' values under given.objective and, with `gradient`, the gradient of their sum.

    `flag_wrong` costs a forward of its own only where the objective is not one of the model's logits.
    """
    objective = given.objective_for("cross_entropy")
    point = images.detach().requires_grad_(gradient)
    logits: Tensor | None = None
    with torch.set_grad_enabled(gradient):
        if isinstance(objective, LogitObjective):
            values, own = objective.evaluate(point)
            logits = own if objective.model is given.model else None
        else:
            values = objective(point)
        total = values.sum()
    slope: Tensor | None = None
    if total.requires_grad:
        (slope,) = torch.autograd.grad(total, point, allow_unused=True)
    wrong = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    if flag_wrong:
        with torch.no_grad():
            wrong = (given.model(images.detach()) if logits is None else logits).argmax(-1) != given.labels
    return Found(images=images.detach(), values=values.detach().float(), wrong=wrong), (
        torch.zeros_like(images) if slope is None else slope
    )


def best_of(
    given: AttackInput,
    objectives: Sequence[Objective],
    restarts: int,
    run: Callable[[AttackInput, int], Found],
    *,
    early_exit: bool,
) -> Tensor:
    """The best example over objectives and restarts: misclassified first, then the highest value.

    Several are compared on the network itself, which costs a forward each where the model is a copy of it. With
    `early_exit` later runs see only the samples that are still robust.
    """
    several = len(objectives) * restarts > 1
    best: Found | None = None
    for index, objective in enumerate(objectives):
        for restart in range(restarts):
            names = ("restart", restart) if index == 0 else ("restart", restart, "objective", index)
            here = replace(given, objective=objective, generator=given.generator.at(*names))
            if best is None:
                best = _judged(here, run(here, restart)) if several else run(here, restart)
            elif not early_exit:
                best = best.better(_judged(here, run(here, restart)))
            else:
                rows = (~best.wrong).nonzero().squeeze(1)
                if len(rows) == 0:
                    return best.images
                batch = ShrinkingBatch(done=best)
                batch.rows = rows
                some = here.select(rows)
                best = batch.results(best.select(rows).better(_judged(some, run(some, restart))))
    return given.images if best is None else best.images


def _judged(given: AttackInput, found: Found) -> Found:
    """The same examples with the network's own values and flags."""
    if given.judge is given.model:
        return found
    return evaluate(given.judged(), found.images, gradient=False, flag_wrong=True)[0]


def search(given: AttackInput, objective: str, start: Start, move: Move, options: SearchOptions) -> Tensor:
    """The best example of `restarts` plain ascents (see `best_of`)."""

    def run(here: AttackInput, restart: int) -> Found:
        return _ascend(here, start(here, restart), move, options)

    return best_of(given, [given.objective_for(objective)], options.restarts, run, early_exit=options.early_exit)


def _repeated(images: Tensor, anchor: Tensor) -> Tensor:
    same: Tensor = (images == anchor).flatten(1).all(1)
    return same


def _ascend(given: AttackInput, images: Tensor, move: Move, options: SearchOptions) -> Found:
    """One search of `steps` gradients, and one more forward only where its values are read."""
    batch, best, velocity = ShrinkingBatch(done=nothing(images)), nothing(images), torch.zeros_like(images)
    anchor = torch.full_like(images, -1.0)
    for iteration in range(options.steps):
        now, gradient = evaluate(given, images, gradient=True, flag_wrong=options.flag_wrong)
        best = best.higher(now) if options.keep == "best" else now
        leaving = now.wrong
        if options.early_exit and options.repeats and options.keep == "best":
            leaving = leaving | _repeated(images, anchor)
            anchor = images if iteration % _LONGEST_CYCLE == 0 else anchor
        if options.early_exit and bool(leaving.any()):  # waits for the device: a smaller batch is worth more
            stay = batch.drop(leaving, best.better(now))
            given, best, images = given.select(stay), best.select(stay), images[stay]
            gradient, velocity, anchor = gradient[stay], velocity[stay], anchor[stay]
            if len(stay) == 0:
                break
        if options.momentum > 0:
            size = per_sample(gradient.abs().flatten(1).mean(1), gradient)
            velocity = options.momentum * velocity + gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
            gradient = velocity
        images = move(given, images, gradient, iteration)
    if len(images) > 0 and (options.keep == "best" or options.restarts > 1):
        now, _ = evaluate(given, images, gradient=False, flag_wrong=options.flag_wrong)
        keep_higher = best.better(now) if options.early_exit else best.higher(now)
        best = now if options.keep == "last" else keep_higher
    return batch.results(replace(best, images=images) if options.keep == "last" else best)
