"""The runs behind docs/results.md: settings searched on validation images, then fresh seeds of each method.

    OMP_NUM_THREADS=1 python tools/embedded_runs.py search at mat ...   # a study for each, in studies/
    OMP_NUM_THREADS=1 python tools/embedded_runs.py seeds at mat ...    # runs and evaluations, in runs/

The same command goes on where it stopped. What a search found is written into the recipes by hand.
`tools/collect_results.py` gathers both.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from matx.cli import main as matx

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
    """The study of a method: every trial trains as long as the recipe, and is scored on validation images."""
    study = Path("studies") / method
    if not (study / "final.json").is_file():
        recipe, more = f"gin/{method}.gin", settings(method, 0)
        command("tune", recipe, *more, "--trials", str(TRIALS), "--jobs", "1", "--device", "cpu", "--study", str(study))


def run(method: str, seed: int, *, second: bool = False) -> Path:
    """One run, to its report; `second`: of mat's second peer."""
    path = folder(f"{method}_b" if second else method, seed)
    if not (path / "report.html").is_file():
        if path.exists():
            command("run", "--resume", str(path), "-q")
        else:
            recipe = f"gin/{USUAL[method][0] if method in USUAL else method}.gin"
            more = ["-s", SECOND] if second else settings(method, seed)
            command("run", recipe, *more, "--seed", str(seed), "--out", str(path), "--device", "cpu", "-q")
    return path


def evaluate(method: str, seed: int) -> None:
    """A run, and its averaged weights, best and last."""
    evaluation(method, run(method, seed), "average", "--ema-only", "--no-sanity", "--no-ensemble")


def confirm(method: str) -> None:
    """Of the first seed: AutoAttack and the sanity checks, on the first test images."""
    path, options = run(method, seeds_of(method)[0]), ("--suite", "autoattack", "--images", CONFIRMED, "--no-ensemble")
    evaluation(method, path, "autoattack", *options, "--checkpoint", "best")


def evaluation(method: str, path: Path, name: str, *options: str) -> None:
    """One evaluation of a run's scored peers, in a folder beside it."""
    options += ("--peer", "generalist") if method in UNION else ()
    out = path.with_name(f"{path.name}.{name}")
    if not (out / "report.html").is_file():
        command("eval", str(path), *options, "--out", str(out), "--device", "cpu", "-q")


def command(*words: str) -> None:
    """One command of matx, in this process; the end of all where it fails."""
    print("matx", *words, flush=True)
    code = matx(list(words))
    if code:
        sys.exit(code)


def main(stage: str, methods: Sequence[str]) -> None:
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


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
