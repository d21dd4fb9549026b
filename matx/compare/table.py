"""The comparison itself: every method against the first, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from matx.compare.gather import ComparedColumn, Figures, Method, gather
from matx.compare.statistics import Interval, crossed_bootstrap, mcnemar, paired_bootstrap, paired_t
from matx.errors import RunError

__all__ = ["ENOUGH_SEEDS", "Comparison", "Difference", "compare"]

ENOUGH_SEEDS = 5
"""Under so many paired seeds a difference gets no word such as higher."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A method's figure minus the first method's, in one column."""

    column: str
    by_seed: tuple[tuple[int, float], ...]
    """(seed, difference) of every seed that both have."""
    mean: float
    t: Interval | None
    """Over seeds; None for a single one."""
    bootstrap: Interval | None
    """Over seeds and images together, or over images alone for a single seed; None without values per image."""
    p: float | None
    """McNemar's, for a single seed of single peers."""

    @property
    def single(self) -> bool:
        """Whether it speaks of these two models, not of the methods."""
        return len(self.by_seed) == 1

    @property
    def word(self) -> str:
        """higher or lower where the t interval and the bootstrap both exclude 0, otherwise no difference shown.

        Empty under ENOUGH_SEEDS, and for runs without per-image flags. The t interval alone speaks of these very test
        images: methods that are equal on all images differ on some hundreds of them, whatever the seed.
        """
        if len(self.by_seed) < ENOUGH_SEEDS or self.t is None or self.bootstrap is None:
            return ""
        if not (self.t.excludes_zero and self.bootstrap.excludes_zero):
            return "no difference shown"
        return "higher" if self.mean > 0 else "lower"


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Methods, the first of which the others are compared with."""

    methods: tuple[Method, ...]
    columns: tuple[ComparedColumn, ...]
    checkpoint: str
    dataset: str
    differences: dict[str, tuple[Difference, ...]]
    """{name of a method: a difference for each column}."""
    remarks: tuple[str, ...]
    """Sentences on what differs and does not make the runs incomparable."""


def compare(paths: Sequence[Path], *, checkpoint: str = "best") -> Comparison:
    """Compare run folders; those that differ in their seed alone are one method. RunError where it would mislead."""
    gathered = gather(paths, checkpoint=checkpoint)
    first, others = gathered.methods[0], gathered.methods[1:]
    return Comparison(
        methods=gathered.methods,
        columns=gathered.columns,
        checkpoint=checkpoint,
        dataset=gathered.dataset,
        differences={
            other.name: tuple(_difference(column.heading, _pairs(first, other)) for column in gathered.columns)
            for other in others
        },
        remarks=gathered.remarks,
    )


def _pairs(first: Method, other: Method) -> list[tuple[Figures, Figures]]:
    seeds = sorted(first.by_seed.keys() & other.by_seed.keys())
    if not seeds:
        raise RunError(
            f"compare: {first.name} has seeds {_listed(first)}, {other.name} has {_listed(other)}; "
            "allowed: at least one seed that both have, because runs are paired by seed"
        )
    return [(first.by_seed[seed], other.by_seed[seed]) for seed in seeds]


def _listed(method: Method) -> str:
    return ", ".join(str(run.seed) for run in method.runs)


def _difference(column: str, pairs: Sequence[tuple[Figures, Figures]]) -> Difference:
    by_seed = tuple((base.seed, other.means[column] - base.means[column]) for base, other in pairs)
    values = np.array([value for _, value in by_seed])
    flagged = all(column in base.images and column in other.images for base, other in pairs)
    bootstrap, p = None, None
    if flagged:
        images = np.stack([other.images[column] - base.images[column] for base, other in pairs])
        bootstrap = crossed_bootstrap(images) if len(pairs) > 1 else paired_bootstrap(images[0])
        if len(pairs) == 1:
            p = mcnemar(pairs[0][0].images[column], pairs[0][1].images[column])
    return Difference(
        column=column, by_seed=by_seed, mean=float(values.mean()), t=paired_t(values), bootstrap=bootstrap, p=p
    )
