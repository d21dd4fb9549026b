"""What the recipes of gin/paper take from published code, and what they may say of a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from matx.config import load_experiment, packaged_recipes
from matx.config.recipes import find_recipe
from matx.experiment import Peer
from tools.paper.costs import image_cost, stored

MAINI = [name for name in packaged_recipes() if name.startswith("paper/maini_")]


def attacks_of(name: str, peer: str = "generalist") -> dict[str, Any]:
    """{norm: training attack} of a recipe's peer."""
    return {attack.threat.norm: attack for attack in load_experiment([name]).experiment.peers[peer].attacks}


@pytest.mark.parametrize("name", MAINI)
def test_robust_union_searches_on_the_model_as_it_trains(name: str) -> None:
    """Its training loops never call eval(), so all recipes at its radii attack in train mode."""
    modes = {peer: one.attack_mode for peer, one in load_experiment([name]).experiment.peers.items()}
    assert set(modes.values()) == {"train"}, f"{name} attacks in other modes: {modes}"


def test_maini_max_takes_the_published_step_in_linf() -> None:
    """train.py of locuslab/robust_union: alpha_l_inf = 0.005 for MAX (choice 5) alone."""
    sizes = {name: attacks_of(f"paper/maini_{name}")["linf"].step_size for name in ("max", "avg", "msd", "linf")}
    assert sizes == {"max": 0.005, "avg": 0.003, "msd": 0.003, "linf": 0.003}, f"steps in linf: {sizes}"


@pytest.mark.parametrize("name", ["l1", "avg", "max"])
def test_the_l1_search_of_robust_union_starts_again_once(name: str) -> None:
    """pgd_l1_topk: restarts = 1 beside the search from the clean image."""
    attack = attacks_of(f"paper/maini_{name}")["l1"]
    assert attack.restarts == 2, f"maini_{name} searches {attack.restarts} times"
    assert not attack.random_start, "the first search does not start at the clean image"


def test_the_claim_of_the_arxiv_abstract_is_of_its_own_data_sets() -> None:
    """Its data sets are CIFAR-10 and CIFAR-100."""
    claims = {}
    for name in packaged_recipes():
        if "_mat_" in name and not name.endswith("_wilson"):
            head = " ".join(line.removeprefix("# ") for line in find_recipe(name).read_text().splitlines())
            claims[name] = "about 8 points" in head
    assert claims, "there are recipes of mutual training"
    wrong = [name for name, claimed in claims.items() if claimed == name.startswith("paper/mini_imagenet")]
    assert not wrong, f"the claim is in the wrong heads: {wrong}"


def test_the_preset_of_team_wilson_is_their_loss() -> None:
    """mutual_trainer.py: theta 0.5, alpha 0.1, temperature 1, answers about images that are not attacked."""
    experiment = load_experiment(["paper/cifar10_mat_wilson"]).experiment
    mat: Any = experiment.strategy
    weights = {"own_label": 0.5, "own_distillation": 0.1, "peer_label": 0.0, "peer_distillation": 0.0}
    assert mat.weights() == weights, f"its weights are {mat.weights()}"
    assert (mat.reading, mat.temperature, mat.clean) == ("clean", 1.0, 0.0), "answers, temperature or a clean term"
    assert all(isinstance(peer, Peer) and peer.teacher_mode is None for peer in experiment.peers.values()), "its modes"
    assert experiment.teacher_mode is None, "peers answer in train mode, as there"


@pytest.mark.parametrize("name", ["paper/cifar10_at", "paper/cifar10_mat_2_wrn"])
def test_what_an_image_costs_is_counted_and_stored(name: str, tmp_path: Path) -> None:
    counted, known = image_cost(name, tmp_path), stored()
    assert set(known) == {recipe for recipe in packaged_recipes() if recipe.startswith("paper/")}, "not every recipe"
    assert counted == known[name], f"{name} costs something else now: python -m tools.paper --count"


def test_plain_training_costs_what_its_definition_says(tmp_path: Path) -> None:
    """Ten steps and the training pass."""
    counted = image_cost("paper/cifar10_at", tmp_path)
    assert (counted.forward, counted.backward_input, counted.backward_weights) == (11, 10, 1), "PGD-10, then one pass"
    assert counted.passes == 23, "a backward to the weights counts two"
