"""Which runs of the embedded recipes there are, and the commands that make them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import commands

TRIALS = 6
"""Of a first study: the recipe as it was, which is one of the corners, and the corners."""
SEEDS = range(10, 20)
NOISY_SEEDS = range(10, 15)
LINF = ("at", "mat", "trades", "self_distillation", "label_smoothing", "mat_frozen")
UNION = ("at_union", "mat_union")
NOISY = (
    "noisy_labels_at",
    "noisy_labels_at_usual",
    "noisy_labels",
    "noisy_labels_self_distillation",
    "noisy_labels_smoothing",
)
USUAL = {"noisy_labels_at_usual": ("noisy_labels_at", "optimizers.sgd.weight_decay=5e-4")}
"""{method: (its recipe, what it sets)}: plain training before its search, which shows the overfitting."""
SEARCHED_AS = {"mat_frozen": "frozen_peer"}
"""{method: its study}, where that has another name: it was searched before its recipe was called mat_frozen."""
CONFIRMED = "250"
"""On how many test images AutoAttack runs."""
SECOND = "Experiment.peers={'b': @b/Peer()}"
"""With this, `at` trains the second peer of mat by itself, from the weights from which it starts in mat."""


def folder(method: str, seed: int) -> Path:
    """Where a run lies."""
    return Path("runs") / f"{method}-seed{seed}"


def seeds_of(method: str) -> range:
    """The fresh seeds of a method."""
    return NOISY_SEEDS if method in NOISY else SEEDS


def settings(method: str, seed: int) -> list[str]:
    """What a run or a search sets beside its recipe: the weights of the frozen peer, trained on the same seed."""
    if method in USUAL:
        return ["-s", USUAL[method][1]]
    if method != "mat_frozen":
        return []
    return ["-s", f"b/Peer.weights='{run('at', seed, second=True)}'"]


def search(method: str) -> None:
    """The study of a method."""
    commands.searched(recipe(method), Path("studies") / method, TRIALS, settings(method, 0))


def recipe(method: str) -> Path:
    """The recipe of a method."""
    return Path("gin") / f"{USUAL[method][0] if method in USUAL else method}.gin"


def run(method: str, seed: int, *, second: bool = False) -> Path:
    """One run; `second`: of mat's second peer."""
    more = ["-s", SECOND] if second else settings(method, seed)
    return commands.trained(recipe(method), folder(f"{method}_b" if second else method, seed), seed, more)


def evaluate(method: str, seed: int) -> None:
    """A run, and its averaged weights, best and last."""
    options = ("--ema-only", "--no-sanity", "--no-ensemble", *generalist(method))
    commands.evaluated(run(method, seed), "average", *options)


def confirm(method: str) -> None:
    """Of the first seed: AutoAttack and the sanity checks, on the first test images."""
    options = ("--suite", "autoattack", "--images", CONFIRMED, "--no-ensemble", "--checkpoint", "best")
    commands.evaluated(run(method, seeds_of(method)[0]), "autoattack", *options, *generalist(method))


def generalist(method: str) -> tuple[str, ...]:
    """Of an evaluation: the peer that is scored, where others are trained beside it."""
    return ("--peer", "generalist") if method in UNION else ()


def make(stage: str, methods: Sequence[str]) -> None:
    """A stage of these methods, in their order; seed by seed, so that methods stay paired where time runs out."""
    if stage == "search":
        for method in methods:
            search(method)
    elif stage == "seeds":
        for seed in SEEDS:
            for method in methods:
                if seed in seeds_of(method):
                    evaluate(method, seed)
    elif stage == "confirm":
        for method in methods:
            confirm(method)
