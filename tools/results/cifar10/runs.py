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
SEARCHED = ("Evaluation.validation_images=2000",)
"""A search validates on all images of its purpose."""
APGD_IMAGES = 1_000
CONFIRMED_IMAGES = 250
PLAIN = ("--no-sanity", "--no-ensemble")
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
    averaged: bool = False
    """Whether the averages of its weights choose its best epoch, and are what is attacked there."""
    last: bool = False
    """Whether APGD attacks its last checkpoint, too; by its raw weights."""
    tested: bool = True
    """Whether its runs end in PGD-100 on the test images; no: APGD alone attacks it."""
    teaches: bool = False
    """Whether it is trained as the frozen peer of another row, and has no row of its own."""
    union: bool = False
    """Whether it faces three norms, on images of 16x16 pixels."""


AVERAGE = "Evaluation.select='average'"
DECAYED, MORE_DECAYED = "optimizers.sgd.weight_decay=5e-3", "optimizers.sgd.weight_decay=1e-2"
AT = ("optimizers.sgd.lr=0.05", DECAYED)
HALF, OWN_HALF = "strategies.mat.alpha=0.5", "strategies.self_distillation.alpha=0.5"
MAT = (HALF, DECAYED)
"""What the search chose, of `at` for averaged weights; of mat they are the best, too."""
CORE: Mapping[str, Method] = {
    "at": Method(recipe="at", settings=(MORE_DECAYED,), last=True),
    "at_averaged": Method(recipe="at", settings=AT, averaged=True),
    "at_b": Method(recipe="at", settings=(MORE_DECAYED, SECOND), tested=False, teaches=True),
    "mat": Method(recipe="mat", settings=MAT, averaged=True, last=True),
    "mat_frozen": Method(recipe="mat_frozen", settings=MAT, averaged=True, frozen_peer=True, tested=False),
    "mat_frozen_eval": Method(
        recipe="mat_frozen",
        settings=(*MAT, "b/Peer.teacher_mode='eval'"),
        averaged=True,
        frozen_peer=True,
        tested=False,
    ),
    "self_distillation": Method(recipe="self_distillation", settings=(OWN_HALF, DECAYED)),
    "trades": Method(recipe="trades", settings=("strategies.trades.beta=9", DECAYED)),
}
"""What was asked, but the union."""
UNION: Mapping[str, Method] = {
    name: Method(recipe=name, seeds=SEEDS[:3], union=True)
    for name in ("union_average", "union_max", "union_eat", "union_mat", "union_self_distillation", "union_msd")
}
EXPLORED: Mapping[str, Method] = {
    "mat_examples": Method(recipe="mat", averaged=True, settings=(
        *MAT, "strategies.mat.reading='examples_only'", "Experiment.teacher_mode=None")),
    "mat_averages": Method(recipe="mat", averaged=True, settings=(
        *MAT, "strategies.mat.answers_from='average'", "Experiment.teacher_mode='eval'")),
    "at_longer": Method(recipe="at", averaged=True, settings=(*AT, "Experiment.epochs=64", "Evaluation.first=10")),
    "label_smoothing": Method(recipe="at", averaged=True, settings=(*AT, "strategies.independent.smoothing=0.3",)),
    "at_awp": Method(recipe="at", averaged=True, settings=(*AT, "Peer.weight_perturbation=0.01",)),
    "mat_awp": Method(recipe="mat", averaged=True, settings=(*MAT, "Peer.weight_perturbation=0.01")),
    "at_restarts": Method(recipe="at", averaged=True, settings=(*AT, "train/attacks.pgd.restarts=2",)),
    "mat_three": Method(recipe="mat", averaged=True, settings=(
        *MAT, "Experiment.peers={'a': @a/Peer(), 'b': @b/Peer(), 'c': @c/Peer()}")),
    "at_noisy": Method(recipe="at", averaged=True, settings=(*AT, "Experiment.label_noise=0.2",)),
    "mat_noisy": Method(recipe="mat", averaged=True, settings=(*MAT, "Experiment.label_noise=0.2")),
}  # fmt: skip
"""What comes behind, in this order; nothing in it was asked."""
METHODS = {**CORE, **UNION, **EXPLORED}
FURTHER: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "at": ((AVERAGE, MORE_DECAYED), (AVERAGE, *AT)),
    "mat": ((AVERAGE, *MAT), (AVERAGE, HALF, MORE_DECAYED)),
    "self_distillation": ((AVERAGE, OWN_HALF, DECAYED), (AVERAGE, OWN_HALF, MORE_DECAYED)),
}
"""Trials that came after the first six, of those that were close to the best; each sets this beside its recipe."""


def folder(method: str, seed: int) -> Path:
    """Where a run lies."""
    return RUNS / f"{method}-seed{seed}"


def recipe(method: str) -> Path:
    """The recipe of a method."""
    return RECIPES / f"{METHODS[method].recipe}.gin"


def options(method: str, seed: int) -> list[str]:
    """What a run sets beside its recipe: its own training images, its weights, and those of the frozen peer."""
    how = METHODS[method]
    settings = [images(method, seed), *how.settings]
    if how.averaged:
        settings.append(AVERAGE)
    if not how.tested:
        settings.append("Evaluation.images=1")
    if how.frozen_peer:
        settings.append(f"b/Peer.weights='{run('at_b', seed)}'")
    return flagged(settings)


def images(method: str, seed: int) -> str:
    """The setting that names the images of a seed."""
    where = IMAGES / "16x16" if METHODS[method].union else IMAGES
    return f"datasets.npz.path='{where / f'{seed}.npz'}'"


def flagged(settings: Sequence[str]) -> list[str]:
    """Settings as words of a command."""
    return [word for setting in settings for word in ("-s", setting)]


def search(method: str) -> None:
    """The study of a method, on the images of seed 0: its recipe, and its corners, of which the first is the recipe.

    Then a study of one trial for each of its further settings.
    """
    shared = [images(method, 0), *SEARCHED]
    commands.searched(recipe(method), STUDIES / method, TRIALS + 1, flagged(shared))
    for number, settings in enumerate(FURTHER.get(method, ())):
        changed = ("Tune.corners={}", *settings)
        commands.searched(recipe(method), further(method, number), 1, flagged([*shared, *changed]))


def further(method: str, number: int) -> Path:
    """Where the study of a further trial lies."""
    return STUDIES / f"{method}.further{number}"


def run(method: str, seed: int) -> Path:
    """One run: PGD-100 on the test images, best and last."""
    return commands.trained(recipe(method), folder(method, seed), seed, options(method, seed))


def evaluate(method: str, seed: int) -> None:
    """A run, and APGD on the first of its test images, at the best epoch."""
    path = run(method, seed)
    if METHODS[method].teaches:
        return
    commands.evaluated(path, "apgd", *apgd(method), *best(method), *PLAIN)


def evaluate_last(method: str, seed: int) -> None:
    """APGD on the last checkpoint of a run."""
    if METHODS[method].last:
        commands.evaluated(run(method, seed), "apgd_last", *apgd(method), "--checkpoint", "last", *PLAIN)


def apgd(method: str) -> tuple[str, ...]:
    """The attacks, how many test images they attack, and whom, where not all peers learned."""
    attacks = RECIPES / ("union_apgd.gin" if METHODS[method].union else "apgd.gin")
    whom = ("--peer", "a") if METHODS[method].frozen_peer else ()
    return ("--suite", str(attacks), "--images", str(APGD_IMAGES), "--union-only", *whom)


def best(method: str) -> tuple[str, ...]:
    """The best checkpoint of a method, by the weights that chose it."""
    return ("--checkpoint", "best", *(("--ema-only",) if METHODS[method].averaged else ()))


def confirm(method: str) -> None:
    """Of the first seed: AutoAttack and the sanity checks."""
    suite = ("--suite", "autoattack", "--images", str(CONFIRMED_IMAGES), "--no-ensemble")
    commands.evaluated(run(method, SEEDS[0]), "autoattack", *suite, *best(method))


def transfer(method: str) -> None:
    """Of the first seed of several peers: whose examples fool whom, by their raw weights."""
    images = ("--images", str(CONFIRMED_IMAGES), "--checkpoint", "best")
    commands.evaluated(run(method, SEEDS[0]), "transfer", "--transfer", *images, *PLAIN)


STAGES = ("search", "seeds", "last", "confirm", "transfer")


def make(stage: str, methods: Sequence[str], seeds: Sequence[int] = SEEDS) -> None:
    """A stage of these methods, in their order; seed by seed, so that methods stay paired where time runs out."""
    match stage:
        case "seeds" | "last":
            each = evaluate if stage == "seeds" else evaluate_last
            for seed in seeds:
                for method in methods:
                    if seed in METHODS[method].seeds:
                        each(method, seed)
        case _:
            for method in methods:
                {"search": search, "confirm": confirm, "transfer": transfer}[stage](method)
