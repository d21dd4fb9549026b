"""What docs/results.md says of CIFAR-10."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..stored import Method, Right, read
from ..tables import confirmations, difference, spread, table, trials
from .collect import OUT
from .plan import COSTS, IMAGES
from .runs import METHODS

RIVALS = ("at", "self_distillation", "trades")
"""Among these, and `at` with averaged weights, mat's rival is chosen, by the best validation score of their trials."""
COLUMNS = {
    "clean, best": ("apgd best", "clean"),
    "APGD, best": ("apgd best", "robust"),
    "APGD, last": ("apgd last raw", "robust"),
    "PGD-100, best": ("best", "robust"),
    "PGD-100, last": ("last raw", "robust"),
}
"""{what is shown: (place, metric)}; `best` is of the weights that chose the epoch, `last` of the raw ones."""


PICTURES = {
    "curves": "Robust accuracy over epochs of plain and mutual training, on training and on validation images",
    "gain": "Gain of mutual over plain training against what the latter loses from best to last, a dot a seed",
    "transfer": "Accuracy of each network on the examples that were found against each",
}
"""{name: what it shows} of the figures, docs/results/pictures/cifar10_NAME.svg."""


NOT_ASKED = "not asked"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A difference that was asked for before the first fresh run."""

    asked: str
    method: str
    minus: str
    column: str


def questions(rival: str) -> Sequence[Question]:
    """In their order: each counts only where the one before it was shown; the last two are exploratory in any case."""
    return (
        Question(asked="1, the strongest rival", method="mat", minus=rival, column="APGD, best"),
        Question(asked="2, plain training", method="mat", minus="at", column="APGD, best"),
        Question(asked="2, plain training", method="mat", minus="at", column="APGD, last"),
        Question(asked="2, the paper's own measure", method="mat", minus="at", column="PGD-100, last"),
        Question(asked="3, a frozen peer", method="mat", minus="mat_frozen", column="APGD, best"),
        Question(asked="3, a frozen peer in eval mode", method="mat", minus="mat_frozen_eval", column="APGD, best"),
        Question(asked=NOT_ASKED, method="mat_frozen", minus=rival, column="APGD, best"),
        Question(asked=NOT_ASKED, method="mat_frozen", minus="at", column="APGD, best"),
    )


def strongest(searches: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The rival: of the searched ones that with the highest validation score of any trial."""
    scores: dict[str, float] = {}
    for name in RIVALS:
        for trial in searches[name]:
            if trial["values"]:
                averaged = name == "at" and trial["params"].get("Evaluation.select") == "average"
                row = "at_averaged" if averaged else name
                scores[row] = max(scores.get(row, 0.0), trial["values"][0])
    return max(scores, key=lambda row: scores[row])


def place(method: Method, column: str) -> str:
    """Where a column of a method is stored."""
    where = COLUMNS[column][0]
    if where.endswith("best"):
        return f"{where} {'ema' if method.stored['averaged'] else 'raw'}"
    return where


def right(method: Method, column: str, seeds: Sequence[int], metric: str | None = None) -> Right:
    """(seeds, images) of these seeds; by the column's own metric, or by another one at its place."""
    return method.right(place(method, column), metric or COLUMNS[column][1], seeds)


def seeds_of(method: Method, column: str) -> tuple[int, ...]:
    """The seeds of which a column is there."""
    return tuple(seed for seed in method.seeds if method.has(place(method, column), seed))


def figures(methods: Sequence[Method]) -> list[str]:
    """Means over seeds in per cent, with the lowest and the highest seed; of fewer seeds, their number."""
    rows = []
    for method in methods:
        cells = [cell(method, column) for column in COLUMNS]
        seconds = sum(run["seconds"]["training"] for run in method.stored["runs"]) / len(method.seeds)
        seeds = ", ".join(map(str, method.seeds))
        rows.append([f"`{method.name}`", method.cost, f"{tflop(method):.1f}", f"{seconds:.0f}", seeds, *cells])
    return table(["method", "passes an image", "TFLOP", "seconds of training", "seeds", *COLUMNS], rows)


def tflop(method: Method) -> float:
    """Of a training: passes, with those of frozen peers, at what one pass of this network costs."""
    one = json.loads(COSTS.read_text(encoding="utf-8"))["an image"]["at"]
    passes = method.stored["passes"] + method.stored["teachers"]
    return float(passes * IMAGES * method.stored["epochs"] * one["gflop"] / one["passes"] / 1000)


def cell(method: Method, column: str) -> str:
    """A figure of a method."""
    seeds = seeds_of(method, column)
    if not seeds:
        return "-"
    fewer = "" if seeds == method.seeds else f"; {len(seeds)} of {len(method.seeds)} seeds"
    return spread(right(method, column, seeds)) + fewer


def answers(methods: Mapping[str, Method], rival: str) -> list[str]:
    """The asked differences; what comes behind one that is not shown is exploratory."""
    rows, status = [], "asked"
    for question in questions(rival):
        shown, shared = worded(question), common(methods, question)
        status = "exploratory" if question.asked == NOT_ASKED else status
        if not shared:
            rows.append([question.asked, shown, "-", "-", "not run", status])
            continue
        base, other = methods[question.minus], methods[question.method]
        clean, robust = (
            difference(
                right(base, question.column, shared, metric), right(other, question.column, shared, metric), shared
            )
            for metric in ("clean", "robust")
        )
        rows.append([question.asked, shown, str(len(shared)), clean, robust, status])
        if "**no difference shown**" in robust or "**too few seeds**" in robust:
            status = "exploratory"
    return table(["question", "difference", "seeds", "clean there", "robust", "status"], rows)


def common(methods: Mapping[str, Method], question: Question) -> list[int]:
    """The seeds on which both sides of a difference were measured."""
    if question.method not in methods or question.minus not in methods:
        return []
    base = seeds_of(methods[question.minus], question.column)
    return [seed for seed in seeds_of(methods[question.method], question.column) if seed in base]


def worded(question: Question) -> str:
    """A difference in words."""
    return f"`{question.method}` minus `{question.minus}`, {question.column}"


def picture(name: str) -> Path:
    """Where a figure lies."""
    return OUT.with_name("pictures") / f"cifar10_{name}.svg"


def pictures() -> list[str]:
    """The figures that were drawn."""
    found = []
    for name, shows in PICTURES.items():
        if picture(name).is_file():
            found += [f"![{shows}](results/pictures/{picture(name).name})", ""]
    return found


def lines(said: Mapping[str, str]) -> list[str]:
    """The section; `said` are the words around the tables. None where no fresh seed is finished."""
    if not OUT.is_file():
        return []
    methods, searches = read(OUT)
    there = [methods[name] for name in METHODS if name in methods]
    found = [said["cifar10"], ""]
    if there:
        found += [*figures(there), "", *answers(methods, strongest(searches)), ""]
        if any(method.stored["confirmed"] for method in there):
            found += [*confirmations(there), ""]
        found += pictures()
    return [*found, said["cifar10 said"], "", *trials(searches, tuple(METHODS)), ""]
