"""What docs/results.md says of CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..stored import Method, read
from ..tables import confirmations, difference, spread, table, trials
from .collect import OUT
from .runs import METHODS

RIVALS = ("at", "self_distillation", "trades")
"""Among these the rival of mat is chosen, by the best validation score of their trials."""
COLUMNS = {
    "clean, best": ("best raw", "clean"),
    "APGD, best": ("apgd best raw", "robust"),
    "APGD, last": ("apgd last raw", "robust"),
    "PGD-100, best": ("best raw", "robust"),
    "PGD-100, last": ("last raw", "robust"),
    "PGD-100, best, averaged": ("best ema", "robust"),
}
"""{what is shown: (place, metric)}."""
CLEAN = COLUMNS["clean, best"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A difference that was asked for before the first fresh run."""

    asked: str
    method: str
    minus: str
    column: str


def questions(rival: str) -> Sequence[Question]:
    """In their order: each counts only where the one before it was shown."""
    return (
        Question(asked="1, the strongest rival", method="mat", minus=rival, column="APGD, best"),
        Question(asked="2, plain training", method="mat", minus="at", column="APGD, best"),
        Question(asked="2, plain training", method="mat", minus="at", column="APGD, last"),
        Question(asked="2, the paper's own measure", method="mat", minus="at", column="PGD-100, last"),
        Question(asked="3, a frozen peer", method="mat", minus="mat_frozen", column="APGD, best"),
        Question(asked="3, a frozen peer in eval mode", method="mat", minus="mat_frozen_eval", column="APGD, best"),
    )


def strongest(searches: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The rival: of the searched ones that with the highest validation score of any trial."""
    scores = {name: max(one["values"][0] for one in searches[name] if one["values"]) for name in RIVALS}
    return max(scores, key=lambda name: scores[name])


def figures(methods: Sequence[Method]) -> list[str]:
    """Means over seeds in per cent, with the lowest and the highest seed."""
    rows = []
    for method in methods:
        cells = [spread(method.right(*where)) if method.has(where[0]) else "-" for where in COLUMNS.values()]
        seconds = sum(run["seconds"]["training"] for run in method.stored["runs"]) / len(method.seeds)
        seeds = ", ".join(map(str, method.seeds))
        rows.append([f"`{method.name}`", method.cost, f"{seconds:.0f}", seeds, *cells])
    return table(["method", "passes an image", "seconds of training", "seeds", *COLUMNS], rows)


def answers(methods: Mapping[str, Method], rival: str) -> list[str]:
    """The asked differences; what comes behind one that is not shown is exploratory."""
    rows, status = [], "asked"
    for question in questions(rival):
        if question.method not in methods or question.minus not in methods:
            rows.append([question.asked, worded(question), "-", "-", "not run", status])
            continue
        other, base = methods[question.method], methods[question.minus]
        seeds = [seed for seed in other.seeds if seed in base.seeds]
        robust = difference(base, other, seeds, *COLUMNS[question.column])
        rows.append([question.asked, worded(question), str(len(seeds)), difference(base, other, seeds, *CLEAN), robust,
                     status])  # fmt: skip
        if "**no difference shown**" in robust or "**too few seeds**" in robust:
            status = "exploratory"
    return table(["question", "difference", "seeds", "clean, best", "robust", "status"], rows)


def worded(question: Question) -> str:
    """A difference in words."""
    return f"`{question.method}` minus `{question.minus}`, {question.column}"


def lines(said: Mapping[str, str]) -> list[str]:
    """The section; `said` are the words around the tables. None where no fresh seed is finished."""
    if not OUT.is_file():
        return []
    methods, searches = read(OUT)
    there = [methods[name] for name in METHODS if name in methods]
    found = [said["cifar10"], ""]
    if there:
        found += [*figures(there), "", *answers(methods, strongest(searches)), "", *confirmations(there), ""]
    return [*found, said["cifar10 said"], "", *trials(searches, tuple(METHODS)), ""]
