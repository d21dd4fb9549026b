"""The figures of the study: accuracy over epochs, gain against overfitting, and whose examples fool whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import vl_convert

from matx.pages import Figure
from matx.pages.figures import lines, matrix, points

from ..stored import Method, read
from .collect import OUT
from .page import PICTURES, picture, right, seeds_of

COMPARED = ("at", "mat")


def drawn() -> dict[str, Figure]:
    """{name: figure} of what is there."""
    methods, _ = read(OUT)
    if not all(name in methods for name in COMPARED):
        return {}
    at, mat = (methods[name] for name in COMPARED)
    found = {"curves": curves((at, mat)), "gain": gain(at, mat)}
    transfers = mat.stored["transfer"]
    return found | ({"transfer": transfer(transfers)} if transfers else {})


def curves(methods: Sequence[Method]) -> Figure:
    """Accuracy on the examples of training, and on validation images under PGD-10: the mean and the range of seeds."""
    rows = []
    for method in methods:
        for kind, shown in (("train", "training images"), ("validation", "validation images")):
            for epoch, values in enumerate(zip(*(run[kind] for run in method.stored["runs"]), strict=True), start=1):
                if None not in values:
                    low, mean, high = (100 * float(of(values)) for of in (np.min, np.mean, np.max))
                    rows.append({"series": f"{method.name}, {shown}", "x": epoch, "y": mean, "low": low, "high": high})
    return lines("", PICTURES["curves"], rows, across="epoch", up="robust accuracy, %")


def gain(at: Method, mat: Method) -> Figure:
    """Each seed: what plain training lost from its best epoch to its last, and what mutual training gained on it."""
    rows = []
    for column in ("PGD-100, best", "PGD-100, last"):
        for seed in (seed for seed in seeds_of(mat, column) if seed in seeds_of(at, column)):
            best, last = (percent(at, name, seed) for name in ("PGD-100, best", "PGD-100, last"))
            gained = percent(mat, column, seed) - percent(at, column, seed)
            rows.append({"series": column.rpartition(" ")[2], "x": best - last, "y": gained, "what": f"seed {seed}"})
    across, up = "lost by plain training, points", "gained by mutual training, points"
    return points("", PICTURES["gain"], rows, across=across, up=up)


def percent(method: Method, column: str, seed: int) -> float:
    """A figure of a seed in per cent."""
    return 100 * float(right(method, column, [seed]).mean())


def transfer(found: Sequence[Mapping[str, Any]]) -> Figure:
    """Who is right on examples found against whom."""
    rows = [{"column": one["source"], "row": one["model"], "value": 100 * one["value"]} for one in found]
    return matrix("", PICTURES["transfer"], rows, across="examples found against", up="asked")


def write() -> None:
    """Draw all that is there, on white, so that it can be read on dark pages too."""
    for name, figure in drawn().items():
        spec = {**figure.spec, "background": "white", "padding": 12, "width": 520}
        picture(name).parent.mkdir(exist_ok=True)
        picture(name).write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
