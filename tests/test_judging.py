"""Gradients come from a crafting copy; which finished example is worse or broken the network itself says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.interfaces import CraftingModel, FreeObjective, Model, judge_of
from matx.losses import cross_entropy, kl_divergence, margin
from tests.attacks.first_order import L1, L2, LINF, Watched, attack, attack_input, network, pixels


def given_of(copy: Model, judge: torch.nn.Module, **more: Any) -> matx.AttackInput:
    """Attacks that search on one network and are judged by another."""
    return replace(attack_input(judge, pixels(40), **more), model=CraftingModel(copy, judge))


def test_an_ascent_never_asks_the_judge() -> None:
    judge = Watched(network(1))
    given = given_of(network(0), judge)
    found = attack("pgd", threat=LINF, steps=4)(given)
    assert not judge.shown, "a single ascent costs forwards of the network itself"
    plain = attack("pgd", threat=LINF, steps=4)(replace(given, model=network(0)))
    assert torch.equal(found, plain), "a judge changes a single ascent"


@pytest.mark.parametrize("name", ["pgd", "apgd"])
@pytest.mark.parametrize("early_exit", [False, True])
def test_restarts_are_compared_on_the_network_itself(name: str, early_exit: bool) -> None:
    """The one of each sample that the judge has broken, else the one of its highest loss."""
    judge = Watched(network(1))
    given = given_of(network(0), judge)
    options = {"threat": LINF, "steps": 4, "restarts": 3}
    found = attack(name, early_exit=early_exit, **options)(given)
    shown, judge.shown = judge.shown, []
    full = [x for x in shown if len(x) == len(found)]
    assert shown, "the judge was not asked"
    if not early_exit:
        assert len(full) == 3, f"the judge was asked {len(full)} times for three restarts"
        logits = torch.stack([judge.inner(x) for x in full])
        values = torch.stack([cross_entropy(z, given.labels) for z in logits])
        wrong = logits.argmax(-1) != given.labels
        values = values.masked_fill(~wrong & wrong.any(0), -torch.inf)
        wanted = torch.stack(full)[values.argmax(0), torch.arange(40)]
        assert torch.equal(found, wanted), "another restart was returned than the judge's worst"
        assert len(values.argmax(0).unique()) > 1, "the case shows nothing: one restart wins everywhere"
    broken = judge.inner(found).argmax(1) != given.labels
    ever = torch.stack([(judge.inner(x).argmax(1) != given.labels) for x in full]).any(0)
    assert (broken | ~ever).all(), "an example that breaks the network was exchanged for one that does not"


def test_the_worst_case_is_the_networks_own() -> None:
    judge = Watched(network(1))
    given = given_of(network(0), judge)
    attacks = [attack("pgd", threat=threat, steps=10) for threat in (LINF, L2, L1)]
    (view,) = matx.unions["worst_case"]()(attacks, given, {}).views
    assert [len(x) for x in judge.shown] == [120], "the judge is not asked once about all examples"
    views = torch.stack([one(given) for one in attacks])
    values = torch.stack([cross_entropy(judge.inner(x), given.labels) for x in views])
    assert torch.equal(view, views[values.argmax(0), torch.arange(40)]), "not the worst by the network itself"
    theirs = torch.stack([cross_entropy(given.model(x), given.labels) for x in views]).argmax(0)
    assert (theirs != values.argmax(0)).any(), "the case shows nothing: the copy would choose the same"


def test_transferred_examples_are_chosen_by_the_network_itself() -> None:
    judge = network(1)
    given = given_of(network(0), judge)
    views = torch.stack([attack("pgd", threat=LINF, steps=3, restarts=n)(given) for n in (1, 2)])
    chosen = attack("transfer", threat=LINF, sources=("other",))(replace(given, sources={"other": views}))
    values = torch.stack([margin(judge(x), given.labels) for x in views])
    assert torch.equal(chosen, views[values.argmax(0), torch.arange(40)]), "the copy chose among transferred examples"


def test_adaptive_counts_what_breaks_the_network_itself() -> None:
    judge = network(1)
    given = given_of(network(0), judge)
    made = matx.unions["adaptive"]()([attack("pgd", threat=LINF, steps=3)], given, {})
    right = int((judge(made.views[0]).argmax(1) == given.labels).sum())
    assert made.state["right.0"] == right, "the copy's answers are counted"


def test_an_objective_of_several_models_is_judged_by_all_of_them() -> None:
    def apart(images: Tensor, teacher: Model, student: Model) -> Tensor:
        return kl_divergence(teacher(images), student(images))

    teacher, student = (CraftingModel(network(s), network(s + 1)) for s in (0, 2))
    objective = FreeObjective(apart, models={"teacher": teacher, "student": student})
    x = pixels(6)
    wanted = kl_divergence(judge_of(teacher)(x), judge_of(student)(x))
    assert torch.equal(objective.judged()(x), wanted), "a copy answers where the networks themselves should"
    assert not torch.equal(objective(x), wanted), "the case shows nothing: the copies are the networks"
