"""The sentinel: each planted fault is found by the check that is made for it, and honest models do not fail."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import matx
from matx.craft import attackable
from matx.data import Data, carve
from matx.draws import SampleGenerator
from matx.evaluate import evaluate
from matx.evaluate.sanity import Finding, inspect, verdict
from matx.evaluate.sanity.finding import graded, worst
from matx.interfaces import Attack
from matx.learner import Normalised
from matx.plugins import import_all
from matx.threat import ThreatModel

LINF = ThreatModel.parse("linf:0.1")


def made(name: str, **options: Any) -> Attack:
    attack: Attack = matx.attacks[name](**options)
    return attack


@cache
def digits() -> Data:
    import_all()
    found: Data = matx.datasets["digits"]()()
    return carve(found, validation=0.1)


@cache
def trained(seed: int = 0, adversarial: bool = False, width: int = 6) -> nn.Module:
    """A small network, a second of training on digits."""
    data = digits()
    torch.manual_seed(seed)
    network = matx.architectures["tiny"](width=width)(data.image_shape, data.num_classes)
    module: nn.Module = Normalised(network, data.mean, data.std)
    rows = torch.arange(len(data.train.labels))
    images, labels = data.train.read(rows), data.train.labels
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    attack = made("pgd", threat=LINF, steps=3)
    for epoch in range(4):
        for part in torch.randperm(len(rows), generator=torch.Generator().manual_seed(100 * seed + epoch)).split(64):
            seen = images[part]
            if adversarial:
                with attackable(module) as model:
                    draws = SampleGenerator(epoch, part)
                    seen = attack(matx.Goal(model=model, images=seen, labels=labels[part], generator=draws))
            optimizer.zero_grad()
            F.cross_entropy(module.train()(seen), labels[part]).backward()
            optimizer.step()
    return module.eval()


def inspected(
    module: nn.Module, *, count: int = 80, others: Sequence[nn.Module] = (), restarts: int = 1
) -> tuple[Finding, ...]:
    """The findings on a score by PGD-20 at linf 0.1."""
    suite = [made("pgd", threat=LINF, steps=20, restarts=restarts, early_exit=True)]
    split = digits().test
    flags = evaluate({"model": module}, split, suite, seed=1, limit=count)["model"].flags
    boxes = [made("square", threat=LINF, queries=100)]
    named = {f"other{place}": other for place, other in enumerate(others)}
    return inspect(module, split, suite, flags, seed=2, black_boxes=boxes, others=named)


def failing(findings: Sequence[Finding]) -> set[str]:
    return {finding.check for finding in findings if finding.status == "fail"}


class Around(nn.Module):
    """The honest network with something planted around it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = trained()


class Saturated(Around):
    """Gradient masking: softmax is saturated, so cross entropy has no gradient."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = 1e4 * self.network(images)
        return logits


class Probabilities(Around):
    """Gradient masking: a sharp softmax as the output."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(1e3 * self.network(images), 1)


class Noisy(Around):
    """Random inference."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images + 0.1 * torch.randn_like(images))
        return logits


class AlwaysTraining(Around):
    """Ignores `.eval()`: its normalisation stays in training mode."""

    def train(self, mode: bool = True) -> AlwaysTraining:
        super().train(True)
        return self

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits


class BatchStatistics(Around):
    """Ignores `.eval()` less visibly: each answer depends on the batch that it was asked in."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images - images.mean(0) + 0.3)
        return logits


class Threshold(Around):
    """A hard threshold: the gradient is zero wherever there is one."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images * 4).round() / 4)
        return logits


@pytest.mark.parametrize(
    ("planted", "checks"),
    [
        (Saturated, {"logits", "zero gradients", "growth", "black box", "huge radius"}),
        (Probabilities, {"logits"}),
        (Noisy, {"repetition"}),
        (AlwaysTraining, {"eval mode", "batching"}),
        (BatchStatistics, {"batching"}),
        (Threshold, {"zero gradients", "black box"}),
    ],
)
def test_each_planted_fault_fails_the_checks_made_for_it(planted: type[Around], checks: set[str]) -> None:
    found = inspected(planted())
    assert checks <= failing(found), f"{planted.__doc__} was seen by {sorted(failing(found))} alone"
    assert verdict(found) == "fail", "a failing check does not make the verdict"


@pytest.mark.parametrize(("seed", "adversarial"), [(0, False), (1, True)])
def test_an_honest_model_does_not_fail(seed: int, adversarial: bool) -> None:
    found = inspected(trained(seed, adversarial), others=[trained(2)], restarts=4)
    assert failing(found) == set(), f"an honest model fails: {[f.sentence for f in found if f.status == 'fail']}"
    names = {finding.check for finding in found}
    expected = {
        "eval mode", "repetition", "batching", "logits", "zero gradients", "huge radius", "growth", "noise",
        "black box", "transfer", "more steps",
    }  # fmt: skip
    assert names == expected, f"these checks did not run, or are new: {names ^ expected}"


def test_examples_of_another_model_reveal_a_masked_one() -> None:
    found = inspected(Threshold(), others=[trained()])
    assert "transfer" in failing(found), "examples of the network behind the threshold were not held against it"


def test_the_model_is_left_as_it_was() -> None:
    module = trained().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    inspected(module, count=20)
    assert all(part.training for part in module.modules()), "the mode of the model was changed"
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "weights or buffers were changed"
    module.eval()


def test_the_same_seed_finds_the_same() -> None:
    first, second = (inspected(trained(), count=30) for _ in range(2))
    assert first == second, "two inspections with the same seed differ"


@pytest.mark.parametrize(
    ("value", "status"), [(0.0, "pass"), (0.002, "pass"), (0.0021, "warn"), (0.01, "warn"), (0.011, "fail")]
)
def test_grades_have_their_limits_inside(value: float, status: str) -> None:
    assert graded(value, passes=0.002, warns=0.01) == status, f"{value} is not a {status}"


def test_what_is_no_number_fails() -> None:
    assert graded(float("nan"), passes=1.0, warns=2.0) == "fail", "not a number passes a check"
    assert worst("pass", "fail", "warn") == "fail", "the gravest status does not win"
