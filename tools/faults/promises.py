"""Components that break what their kind promises: stopped and named, or without effect on any figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from math import ceil
from pathlib import Path

from .bench import PLUGINS, Bench, different, recipe
from .commands import Ended, matx
from .outcomes import Case, Found, Outcome

__all__ = ["CASES", "judged"]

_SECTION = "Components that break a promise"
_PLUGIN = ("--plugin", PLUGINS / "breaking.py", "--device", "cpu")
_FIGURES = ("flags.npz", "metrics.jsonl")
_METRIC = """include 'base/threat/stand_in.gin'
Evaluation.metrics = [@metrics.breaking()]
metrics.breaking.how = '{how}'
"""
_WAYS = {
    "writes into its images or labels: in place, through `.data`, through numpy": ("images", "data", "numpy", "labels"),
    "returns images outside of the ball, NaN, of another shape, type or precision, or with their graph": (
        "outside", "nan", "shape", "type", "double", "graph"
    ),
    "raises, or ends the process": ("raises", "exits"),
    "draws from or seeds the global generators": ("draws", "seeds"),
    "changes the model's mode, its `requires_grad` and gradients, its weights, or torch's default type": (
        "mode", "gradients", "weights", "default"
    ),
}  # fmt: skip


def _attack(where: str, ways: Sequence[str], bench: Bench, folder: Path, number: int) -> Found:
    """The attack of training, or of the final evaluation."""
    how = ways[number % len(ways)]
    return _tried("attacks.breaking", how, ("-s", f"{where}/attacks.breaking.how='{how}'"), bench, folder)


def _component(kind: str, ways: Sequence[str], bench: Bench, folder: Path, number: int) -> Found:
    """A strategy or a dataset."""
    how = ways[number % len(ways)]
    single = {"strategies": "Experiment.strategy", "datasets": "Experiment.dataset"}[kind]
    name = f"{kind}.breaking"
    return _tried(name, how, ("-s", f"{single}=@{name}()", "-s", f"{name}.how='{how}'"), bench, folder)


def _metric(ways: Sequence[str], bench: Bench, folder: Path, number: int) -> Found:
    """A metric of `matx eval`."""
    how = ways[number % len(ways)]
    (folder / "run").symlink_to(bench.run())
    (folder / "broken.gin").write_text(_METRIC.format(how=how))
    ended = matx("eval", "run", "--out", "eval", "--no-sanity", *_PLUGIN, "--metric", "broken.gin", folder=folder)
    done = (folder / "eval" / "results.json").exists()
    return judged(ended, how) or Found(
        Outcome.SILENT, f"{how}: {'figures' if done else 'nothing'}: {ended.said[-200:]}"
    )


def _tried(name: str, how: str, words: Sequence[str], bench: Bench, folder: Path) -> Found:
    """Run it, and, where it goes through, compare with a component that keeps its promises."""
    honest = [re.sub(r"how='\w+'", "how='nothing'", word) for word in words]
    run = ("run", "quick.gin", "--out", "run", *_PLUGIN)
    wanted = bench.straight(f"honest {name}", *run, *honest, text=recipe("attacks.breaking")) / "run"
    (folder / "quick.gin").write_text(recipe("attacks.breaking"))
    ended = matx(*run, *words, folder=folder)
    failed = judged(ended, how)
    if failed is not None:
        return failed
    if not (folder / "run" / "results.json").exists():
        return Found(Outcome.SILENT, f"{how}: exit code 0 without results: {ended.said[-200:]}")
    names = different(folder / "run", wanted, _FIGURES)
    return Found(Outcome.SILENT, f"{how}: {', '.join(names)} differ") if names else Found(Outcome.HARMLESS, how)


def judged(ended: Ended, seen: str, named: str = r"reaking|peer '\w+'|loss: not finite .*\(one ") -> Found | None:
    """How a command failed, which must name what is to blame; None: it did not fail."""
    said = f"{seen}: {ended.error}"
    if ended.code is None:
        return Found(Outcome.HANG, said)
    if ended.code == 0:
        return None
    if "Traceback (most" in ended.said:
        return Found(Outcome.TRACEBACK, said)
    if "defect of matx" in ended.said:
        return Found(Outcome.BLAMED, said)
    if ended.code < 0:
        return Found(Outcome.LOST, f"{seen}: ended by signal {-ended.code}")
    if "No such option" in ended.said or "Usage: " in ended.said or not re.search(named, ended.error):
        return Found(Outcome.UNNAMED, said)
    return Found(Outcome.REFUSED if ended.code == 2 else Outcome.NAMED, said)


def _cases(fault: str, ways: Sequence[str], attempt: object, short: int = 0) -> Case:
    assert callable(attempt), "a case is a function"
    return Case(section=_SECTION, fault=fault, short=short, long=len(ways) * ceil(6 / len(ways)), attempt=attempt)


_LOSSES = ("nan", "inf", "gradient", "vector", "detached", "labels", "raises", "default")
_IMAGES = ("nan", "bright", "negative", "many", "classes", "raises")
_COLUMNS = ("raises", "short", "nan", "images", "labels", "default")
CASES = [
    *(
        _cases(f"an attack in {phase} that {what}", ways, partial(_attack, where, ways), short=phase == "training")
        for phase, where in (("training", "training"), ("the final evaluation", "test"))
        for what, ways in _WAYS.items()
    ),
    _cases(
        "a strategy whose loss is NaN, infinite, of no finite gradient, no scalar, without a graph; that writes into "
        "the labels; that raises; that changes torch's default type",
        _LOSSES,
        partial(_component, "strategies", _LOSSES),
        short=1,
    ),
    _cases(
        "a dataset with NaN, with 255 for 1, a label of -1 or of 2e9, more classes than names; that raises",
        _IMAGES,
        partial(_component, "datasets", _IMAGES),
        short=1,
    ),
    _cases(
        "a metric that raises, forgets a sample, gives NaN, writes into images or labels, changes torch's default type",
        _COLUMNS,
        partial(_metric, _COLUMNS),
        short=1,
    ),
]
