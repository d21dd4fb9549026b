"""Every packaged recipe loads without a warning, survives flattening, and takes one training step; a new one too."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import matx
from matx.config import Loaded, find_recipe, load_experiment, packaged_recipes
from matx.engine import StepRecord, fit, start
from matx.experiment import peer_infos
from matx.run import run
from matx.runtime import checkpoint
from matx.runtime.folder import RunFolder
from matx.runtime.identity import settings

RECIPES = packaged_recipes()
TRUE_NETWORKS = ("paper/cifar10_mat_2", "paper/union_avg")
"""Those that keep their architecture in the step; the others take a tiny one."""
SHAPES = {"cifar10": (3, 32, 10), "cifar100": (3, 32, 100), "image_folder": (3, 64, 100), "digits": (1, 8, 10)}


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """For each dataset, noise of its shape and classes as an .npz, and weights of a tiny network for it."""
    folder, found = tmp_path_factory.mktemp("synthetic"), {}
    for name, (channels, side, classes) in SHAPES.items():  # the digits themselves come with scikit-learn
        rng = np.random.default_rng(0)
        labels = np.concatenate([np.arange(23) % 10, [classes - 1]])
        images = rng.integers(0, 256, (24, side, side, channels), np.uint8)
        files = {"data": str(folder / f"{name}.npz"), "weights": str(folder / f"{name}.pt")}
        np.savez(files["data"], x_train=images, y_train=labels, x_test=images, y_test=labels)
        network = matx.architectures["tiny"](width=2)((channels, side, side), classes)
        torch.save(network.state_dict(), files["weights"])
        found[name] = files
    return found


def overrides(loaded: Loaded, synthetic: dict[str, dict[str, str]], *, tiny: bool) -> list[str]:
    """What makes a recipe small: synthetic images, two at a time, a tiny network, weights that exist."""
    experiment = loaded.experiment
    dataset = matx.datasets.name_of(experiment.dataset)
    found = ["Experiment.batch_size=2"]
    if tiny:
        found += ["*/Peer.architecture=@architectures.tiny()", "architectures.tiny.width=2"]
    if dataset != "digits":
        found += ["Experiment.dataset=@datasets.npz()", f"datasets.npz.path={synthetic[dataset]['data']!r}"]
        found += [f"datasets.npz.class_names={[str(label) for label in range(SHAPES[dataset][2])]!r}"]
    given = [name for name, peer in experiment.peers.items() if peer.weights is not None]
    return found + [f"{name}/Peer.weights={synthetic[dataset]['weights']!r}" for name in given]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_sound_and_takes_a_step(name: str, synthetic: dict[str, dict[str, str]], tmp_path: Path) -> None:
    loaded = load_experiment([name])
    assert loaded.warnings == (), f"{name} binds something that has no effect"
    flat = tmp_path / "flat.gin"
    flat.write_text(loaded.text, encoding="utf-8")
    again = load_experiment([flat])
    assert settings(again.experiment) == settings(loaded.experiment), (
        f"the flattened text of {name} is another experiment"
    )
    small = load_experiment([name], overrides(loaded, synthetic, tiny=name not in TRUE_NETWORKS)).experiment
    record = next(fit(start(small, small.dataset())))
    assert isinstance(record, StepRecord), "training begins with a step"
    assert record.images == 2, "the step saw the batch"
    trained = set(small.strategy.needs(peer_infos(small)).train)
    assert set(record.losses) == trained, f"{name}: every peer that is trained has a loss"
    values = [value for terms in record.losses.values() for value in terms.values()]
    assert all(math.isfinite(value) for value in values), f"{name}: a loss is not finite: {record.losses}"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_s_head_says_what_whoever_runs_it_wants_to_know(name: str) -> None:
    lines = find_recipe(name).read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines[: next((i for i, line in enumerate(lines) if not line), len(lines))])
    evaluated = name.startswith(("suites/", "metrics/")) and name != "metrics/run"
    verb = "matx eval RUN" if evaluated else "matx run "
    assert verb in head, f"the head of {name} shows the command"
    for word in ("# Hardware and time: ", "# Expect: "):
        assert word in head, f"the head of {name} has a line {word!r}"
    if name.startswith("paper/"):
        assert "# Beside: " in head, f"the head of {name} names the table that it stands beside"
        assert f"matx run {name}\n" in head, f"the head of {name} names itself"
    assert all(len(line) <= 120 for line in lines), f"{name} has lines of at most 120 characters"


def test_fine_tuning_starts_from_the_run_that_it_names(synthetic: dict[str, dict[str, str]], tmp_path: Path) -> None:
    """E-AT as fine-tuning: an l_inf run on digits, then the recipe on its weights, to the end."""

    def small(name: str, *more: str) -> Any:
        bindings = [
            "Experiment.dataset=@datasets.digits()", "*/Peer.architecture=@architectures.tiny()", "Experiment.epochs=1",
            "architectures.tiny.width=4", "Experiment.train_limit=96", "Experiment.batch_size=32",
            "Evaluation.validation_images=20", "Evaluation.images=10", "Experiment.augment=None",
            "Evaluation.attacks=[@linf/val/attacks.pgd(), @l1/val/attacks.pgd()]", *more,
        ]  # fmt: skip
        return load_experiment([name], bindings)

    first = run(small("paper/union_linf"), out=tmp_path / "linf", device="cpu")
    tuned = small("paper/union_eat_finetune", f"generalist/Peer.weights='{first.path}'")
    training = start(tuned.experiment, tuned.experiment.dataset())
    stored = checkpoint.load(first.best).training["learners"]["generalist"]["module"]
    live = training.learners["generalist"].module.state_dict()
    assert all(torch.equal(value, stored[key]) for key, value in live.items()), "fine-tuning starts from the best epoch"
    second = run(tuned, out=tmp_path / "eat", device="cpu")
    assert isinstance(second, RunFolder), "the run ends in its folder"
    assert second.finished, "fine-tuning runs to its report"
    ended = checkpoint.load(second.last).training["learners"]["generalist"]["module"]
    assert not all(torch.equal(value, stored[key]) for key, value in ended.items()), "and it learns"
