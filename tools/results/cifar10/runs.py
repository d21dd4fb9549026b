"""The runs of the study, and the commands that make them: trials of settings, fresh seeds, stronger attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import commands

RECIPES = Path(__file__).with_name("recipes")
IMAGES, RUNS, STUDIES = Path("cifar10_parts"), Path("runs"), Path("studies")
TRIALS, SEEDS = 6, range(10, 15)
"""Decided before the first fresh run."""
SEARCHED = ("Evaluation.every=3", "Evaluation.validation_images=2000")
"""A search validates every third epoch, on all images of its purpose."""
APGD_IMAGES = 1_000
CONFIRMED_IMAGES = 250
SECOND = "Experiment.peers={'b': @b/Peer()}"
"""With this, `at` trains the second peer of mat by itself, from the weights from which it starts in mat."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A row of the study."""

    recipe: str
    settings: tuple[str, ...] = ()
    seeds: range = SEEDS
    frozen_peer: bool = False
    """Whether its peer 'b' is the one that `at_b` trained on the same seed."""
    last: bool = False
    """Whether APGD attacks its last checkpoint, too."""
    teaches: bool = False
    """Whether it is trained as the frozen peer of another row, and has no row of its own."""
    union: bool = False
    """Whether it faces three norms, on images of 16x16 pixels."""


CORE: Mapping[str, Method] = {
    "at": Method(recipe="at", last=True),
    "at_b": Method(recipe="at", settings=(SECOND,), teaches=True),
    "mat": Method(recipe="mat", last=True),
    "mat_frozen": Method(recipe="mat_frozen", frozen_peer=True),
    "mat_frozen_eval": Method(recipe="mat_frozen", settings=("b/Peer.teacher_mode='eval'",), frozen_peer=True),
    "self_distillation": Method(recipe="self_distillation"),
    "trades": Method(recipe="trades"),
}
"""What was asked, but the union."""
UNION: Mapping[str, Method] = {
    name: Method(recipe=name, seeds=SEEDS[:3], union=True)
    for name in ("union_average", "union_max", "union_eat", "union_mat", "union_self_distillation", "union_msd")
}
EXPLORED: Mapping[str, Method] = {
    "mat_examples": Method(recipe="mat", settings=(
        "strategies.mat.reading='examples_only'", "Experiment.teacher_mode=None")),
    "mat_averages": Method(recipe="mat", settings=(
        "strategies.mat.answers_from='average'", "Experiment.teacher_mode='eval'")),
    "at_longer": Method(recipe="at", settings=("Experiment.epochs=64", "Evaluation.first=10")),
    "label_smoothing": Method(recipe="at", settings=("strategies.independent.smoothing=0.3",)),
    "at_awp": Method(recipe="at", settings=("Peer.weight_perturbation=0.01",)),
    "mat_awp": Method(recipe="mat", settings=("Peer.weight_perturbation=0.01",)),
    "at_restarts": Method(recipe="at", settings=("train/attacks.pgd.restarts=2",)),
    "mat_three": Method(recipe="mat", settings=(
        "Experiment.peers={'a': @a/Peer(), 'b': @b/Peer(), 'c': @c/Peer()}",)),
    "at_noisy": Method(recipe="at", settings=("Experiment.label_noise=0.2",)),
    "mat_noisy": Method(recipe="mat", settings=("Experiment.label_noise=0.2",)),
}  # fmt: skip
"""What comes behind, in this order; nothing in it was asked."""
METHODS = {**CORE, **UNION, **EXPLORED}


def folder(method: str, seed: int) -> Path:
    """Where a run lies."""
    return RUNS / f"{method}-seed{seed}"


def recipe(method: str) -> Path:
    """The recipe of a method."""
    return RECIPES / f"{METHODS[method].recipe}.gin"


def options(method: str, seed: int) -> list[str]:
    """What a run sets beside its recipe: its own training images, and the weights of the frozen peer."""
    how = METHODS[method]
    images = IMAGES / "16x16" if how.union else IMAGES
    settings = [f"datasets.npz.path='{images / f'{seed}.npz'}'", *how.settings]
    if how.frozen_peer:
        settings.append(f"b/Peer.weights='{run('at_b', seed)}'")
    return [word for setting in settings for word in ("-s", setting)]


def search(method: str) -> None:
    """The study of a method, on the images of seed 0: its recipe, and its corners, of which the first is the recipe."""
    more = [word for setting in SEARCHED for word in ("-s", setting)]
    commands.searched(recipe(method), STUDIES / method, TRIALS + 1, [*options(method, 0), *more])


def run(method: str, seed: int) -> Path:
    """One run: PGD-100 on the test images, best and last."""
    return commands.trained(recipe(method), folder(method, seed), seed, options(method, seed))


def evaluate(method: str, seed: int) -> None:
    """A run, the average of its best weights, and APGD on the first of its test images."""
    path, plain = run(method, seed), ("--no-sanity", "--no-ensemble")
    if METHODS[method].teaches:
        return
    commands.evaluated(path, "average", "--ema-only", "--checkpoint", "best", *plain)
    which = () if METHODS[method].last else ("--checkpoint", "best")
    attacks = RECIPES / ("union_apgd.gin" if METHODS[method].union else "apgd.gin")
    suite = ("--suite", str(attacks), "--images", str(APGD_IMAGES), "--union-only")
    commands.evaluated(path, "apgd", *suite, *which, *plain)


def confirm(method: str) -> None:
    """Of the first seed: AutoAttack and the sanity checks."""
    suite = ("--suite", "autoattack", "--images", str(CONFIRMED_IMAGES), "--checkpoint", "best", "--no-ensemble")
    commands.evaluated(run(method, SEEDS[0]), "autoattack", *suite)


def make(stage: str, methods: Sequence[str], seeds: Sequence[int] = SEEDS) -> None:
    """A stage of these methods, in their order; seed by seed, so that methods stay paired where time runs out."""
    if stage == "search":
        for method in methods:
            search(method)
    elif stage == "seeds":
        for seed in seeds:
            for method in methods:
                if seed in METHODS[method].seeds:
                    evaluate(method, seed)
    elif stage == "confirm":
        for method in methods:
            confirm(method)
