"""autoattack: which attacks it is made of, and that each sees only what withstood the ones before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.errors import OptionError
from matx.interfaces import FreeObjective, run_attack
from matx.randomness import SampleGenerator
from registry.attacks.apgd import APGD
from registry.attacks.autoattack import AutoAttack
from registry.attacks.fab import FAB
from registry.attacks.square import Square

LINF, L2, L1 = (matx.ThreatModel.parse(key) for key in ("linf:0.1", "l2:0.5", "l1:2"))


def network(classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.SiLU(), nn.Linear(32, classes))
    with torch.no_grad():
        model[1].weight.mul_(4.0)
    return model.requires_grad_(False).eval()


def attack_input(model: nn.Module, count: int = 12, **more: Any) -> matx.AttackInput:
    images = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    draws = SampleGenerator(2, torch.arange(count))
    return matx.AttackInput(model=model, images=images, labels=model(images).argmax(1), generator=draws, **more)


def small(threat: matx.ThreatModel, **options: Any) -> AutoAttack:
    return AutoAttack(**{"threat": threat, "steps": 10, "queries": 20, **options})


def told(attack: AutoAttack, classes: int = 10) -> list[str]:
    """The members in words."""
    words = []
    for member in attack.members(classes):
        if isinstance(member, APGD):
            extra = f" {member.targets}" if member.objective == "targeted_dlr" else ""
            balls = " shrinking" if member.epsilon_schedule else ""
            eot = f" eot {member.eot}" if member.eot > 1 else ""
            words.append(f"apgd {member.objective}{extra} x{member.restarts}{balls}{eot}")
        elif isinstance(member, FAB):
            words.append(f"fab {member.targets} x{member.restarts}")
        else:
            words.append(f"square {member.queries} x{member.restarts}")
        assert member.threat == attack.threat, "a member attacks another threat model"
    return words


@pytest.mark.parametrize("threat", [LINF, L2], ids=["linf", "l2"])
def test_standard_is_made_as_published(threat: matx.ThreatModel) -> None:
    expected = ["apgd cross_entropy x1", "apgd targeted_dlr 9 x1", "fab 9 x1", "square 5000 x1"]
    assert told(AutoAttack(threat=threat)) == expected, "standard has other members or settings"
    plus = ["apgd cross_entropy x5", "apgd dlr x5", "fab 0 x5", "square 5000 x1", "apgd targeted_dlr 9 x1", "fab 9 x1"]
    assert told(AutoAttack(threat=threat, version="plus")) == plus, "plus has other members or settings"
    rand = ["apgd cross_entropy x1 eot 20", "apgd dlr x1 eot 20"]
    assert told(AutoAttack(threat=threat, version="rand")) == rand, "rand has other members or settings"
    for member in AutoAttack(threat=threat).members(10):
        if isinstance(member, Square):
            assert not member.rescale_schedule, "Square's schedule is stretched, which standard does not do"
        else:
            assert member.steps == 100, "a member does not take 100 steps"


def test_standard_in_l1_has_its_own_settings() -> None:
    expected = [
        "apgd cross_entropy x5 shrinking", "apgd targeted_dlr 5 x1 shrinking", "fab 9 x1", "square 5000 x1",
    ]  # fmt: skip
    assert told(AutoAttack(threat=L1)) == expected, "standard in l1 has other members or settings"
    assert told(AutoAttack(threat=L1, version="rand"))[0] == "apgd cross_entropy x1 eot 20", "rand in l1 restarts"
    with pytest.raises(OptionError, match="'plus' for l1"):
        AutoAttack(threat=L1, version="plus")
    with pytest.raises(OptionError, match="did you mean 'standard'"):
        AutoAttack(threat=L1, version="standart")


@pytest.mark.parametrize("threat", [LINF, L2, L1], ids=["linf", "l2", "l1"])
def test_it_is_at_least_as_strong_as_each_member_and_stays_inside(threat: matx.ThreatModel) -> None:
    model = network()
    given = attack_input(model)
    attack = small(threat)
    found = run_attack(attack, given)
    assert bool(threat.contains(found, given.images).all()), "outside of the threat model"
    fooled = model(found).argmax(1) != given.labels
    first = attack.members(5)[0]
    single = first(replace(given, generator=given.generator.at("autoattack", 0)))
    assert bool((fooled | ~(model(single).argmax(1) != given.labels)).all()), "the first member fools more by itself"
    assert int(fooled.sum()) > 0, "nobody was fooled, so nothing was compared"


@pytest.mark.parametrize("classes", [2, 3, 4, 1000])
@pytest.mark.parametrize("version", ["standard", "rand"])
def test_few_and_many_classes_work(classes: int, version: str) -> None:
    model = network(classes)
    given = attack_input(model, 3)
    found = small(LINF, version=version, steps=2, queries=2, eot=2)(given)
    assert bool(LINF.contains(found, given.images).all()), f"outside with {classes} classes"


def test_with_fewer_than_four_classes_the_margin_replaces_dlr() -> None:
    standard, rand = AutoAttack(threat=LINF), AutoAttack(threat=LINF, version="rand")
    assert told(standard, 2)[1] == "apgd margin x1", "two classes: one target, one run of the margin"
    assert told(standard, 3)[1] == "apgd margin x2", "three classes: two targets, two runs of the margin"
    assert told(standard, 4)[1] == "apgd targeted_dlr 9 x1", "four classes are enough for the targeted DLR"
    assert told(rand, 2)[1] == "apgd margin x1 eot 20", "DLR needs three classes"
    assert told(rand, 3)[1] == "apgd dlr x1 eot 20", "three classes are enough for DLR"


def test_members_see_only_what_is_still_robust() -> None:
    model = network()
    shown: list[Tensor] = []

    def watched(images: Tensor) -> Tensor:
        shown.append(images.detach().clone())
        logits: Tensor = model(images)
        return logits

    given = attack_input(model)
    wrong = replace(
        given, model=watched, labels=torch.where(torch.arange(12) < 4, (given.labels + 1) % 5, given.labels)
    )
    found = small(matx.ThreatModel.parse("linf:0.001"), steps=3, queries=3)(wrong)
    assert torch.equal(found[:4], given.images[:4]), "an image that was wrong already was moved"
    assert max(len(images) for images in shown[1:]) <= 12, "a forward takes more images than the batch has"
    near = [int((images - given.images[0]).abs().flatten(1).amax(1).lt(0.01).sum()) for images in shown]
    assert sum(near) == 1, f"an image that was wrong already was asked {sum(near)} times"


def test_the_verdicts_do_not_depend_on_the_batch_and_repeat() -> None:
    model = network()
    given, attack = attack_input(model), small(LINF, steps=5)
    whole = attack(given)
    assert torch.equal(attack(given), whole), "the same given gives another result the second time"
    for rows in (torch.tensor([3]), torch.tensor([10, 1, 6, 2])):
        part = attack(given.select(rows))
        assert torch.allclose(part, whole[rows], atol=1e-5), "another batch, another example"


def test_it_has_its_own_objectives() -> None:
    objective = FreeObjective(lambda images: images.flatten(1).sum(1))
    with pytest.raises(OptionError, match=r"attacks\.autoattack: got an objective"):
        small(LINF)(attack_input(network(), 2, objective=objective))
