"""Sanity checks: each planted fault is found by the check that is made for it, and honest models do not fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import matx
from matx.craft import attackable
from matx.data import Data, carve
from matx.interfaces import Attack
from matx.learner import Normalised
from matx.measure import EvaluationSettings, flags_of
from matx.measure.sanity import EFFORTS, FULL, QUICK, Effort, Finding, Scored, inspect, verdict, worst
from matx.measure.sanity.effort import evenly, share_broken
from matx.measure.sanity.finding import graded
from matx.measure.sanity.model_checks import model_checks
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel

LINF = ThreatModel.parse("linf:0.1")


def made(name: str, **options: Any) -> Attack:
    attack: Attack = matx.attacks[name](**options)
    return attack


@cache
def digits() -> Data:
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
                    seen = attack(matx.AttackInput(model=model, images=seen, labels=labels[part], generator=draws))
            optimizer.zero_grad()
            F.cross_entropy(module.train()(seen), labels[part]).backward()
            optimizer.step()
    return module.eval()


def inspected(
    module: nn.Module,
    *,
    count: int = 80,
    others: Sequence[nn.Module] = (),
    restarts: int = 1,
    steps: int = 20,
    effort: Effort = FULL,
) -> tuple[Finding, ...]:
    """The findings on a score by PGD-20 at linf 0.1."""
    suite = [made("pgd", threat=LINF, steps=steps, restarts=restarts, early_exit=True)]
    split = digits().test
    settings = EvaluationSettings(attacks=suite, seed=1, images=count)
    flags = flags_of({"model": module}, split, settings)["model"]
    searches = [
        made("square", threat=LINF, queries=100),
        made("apgd", threat=LINF, steps=steps, early_exit=True),
        made("pgd", threat=LINF, steps=steps, early_exit=True, objective="margin"),
    ]
    named = {f"other{place}": other for place, other in enumerate(others)}
    return inspect(
        Scored(module=module, split=split, flags=flags), settings, searches=searches, others=named, effort=effort
    )


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
    ("planted", "effort", "checks"),
    [
        (Saturated, "quick", {"logits", "zero gradients", "growth", "black box", "huge radius"}),
        (Saturated, "full", {"logits", "zero gradients", "growth", "black box", "huge radius"}),
        (Probabilities, "quick", {"logits"}),
        (Noisy, "quick", {"repetition"}),
        (AlwaysTraining, "quick", {"eval mode", "batching"}),
        (BatchStatistics, "quick", {"batching"}),
        (Threshold, "quick", {"zero gradients", "black box"}),
        (Threshold, "full", {"zero gradients", "black box"}),
    ],
)
def test_each_planted_fault_fails_the_checks_made_for_it(planted: type[Around], effort: str, checks: set[str]) -> None:
    found = inspected(planted(), effort=EFFORTS[effort])
    assert checks <= failing(found), f"{planted.__doc__} was seen by {sorted(failing(found))} alone"
    assert verdict(found) == "fail", "a failing check does not make the verdict"


class Steep(Around):
    """Gradient masking by scale: cross entropy has gradients that vanish in fp32 for most images, not its tenth."""

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = 20.0 * self.network(images)
        return logits


@pytest.mark.parametrize("effort", EFFORTS)
def test_a_score_that_the_scale_of_the_logits_made_is_found_out(effort: str) -> None:
    """Reported is PGD on cross-entropy, of steep logits; a tenth of them, and the margin, are searched as if flat."""
    by_check = {finding.check: finding for finding in inspected(Steep(), effort=EFFORTS[effort], count=200)}
    for check in ("rescaled logits", "margin"):
        assert by_check[check].status == "fail", f"{check} lets it pass: {by_check[check].sentence}"


class Small(nn.Module):
    """Small logits, as of a model that learned soft answers: which of the first two is larger depends on the batch."""

    def forward(self, images: Tensor) -> Tensor:
        lead = 0.1 * (images.flatten(1).mean(1) - images.mean()).clamp(-0.05, 0.05) + 1e-3
        return 1e-2 * torch.stack([lead, torch.zeros_like(lead), -torch.ones_like(lead)], 1)


def test_small_margins_are_no_excuse_for_answers_that_change_with_the_batch() -> None:
    split, rows = digits().test, torch.arange(128)
    images = split.read(rows)
    logits = Small()(images)
    assert float((logits[:, 0] - logits[:, 1]).abs().max()) < 1e-3, "the margins are not small"
    checks = {finding.check: finding for finding in model_checks(Small(), images, split.labels[rows] % 3)}
    found = checks["batching"]
    assert found.value < 1e-2, "the logits differ so much that flips do not decide"
    assert found.status == "fail", f"answers that flip pass: {found.sentence}"


@pytest.mark.parametrize(("seed", "adversarial", "effort"), [(0, False, "quick"), (1, True, "full")])
def test_an_honest_model_does_not_fail(seed: int, adversarial: bool, effort: str) -> None:
    found = inspected(trained(seed, adversarial), others=[trained(2)], count=60, restarts=4, effort=EFFORTS[effort])
    assert failing(found) == set(), f"an honest model fails: {[f.sentence for f in found if f.status == 'fail']}"
    names = {finding.check for finding in found}
    expected = {
        "eval mode", "repetition", "batching", "logits", "zero gradients", "huge radius", "growth", "noise",
        "black box", "rescaled logits", "margin", "transfer", "more steps",
    }  # fmt: skip
    assert names == expected, f"these checks did not run, or are new: {names ^ expected}"


@pytest.mark.parametrize("effort", EFFORTS)
def test_a_suite_that_is_too_weak_fails(effort: str) -> None:
    found = inspected(trained(), steps=1, effort=EFFORTS[effort])
    assert "more steps" in failing(found), "one step was believed to be enough"


def test_examples_of_another_model_reveal_a_masked_one() -> None:
    found = inspected(Threshold(), others=[trained()], effort=QUICK)
    assert "transfer" in failing(found), "examples of the network behind the threshold were not tried on it"


def test_models_are_left_as_they_were() -> None:
    modules = (trained().train(), trained(2).train())
    before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in modules]
    inspected(modules[0], count=20, others=modules[1:], effort=QUICK)
    for module, stored in zip(modules, before, strict=True):
        assert all(part.training for part in module.modules()), "the mode of a model was changed"
        after = module.state_dict()
        assert all(torch.equal(stored[name], after[name]) for name in stored), "weights or buffers were changed"
        module.eval()


def test_the_same_seed_finds_the_same() -> None:
    first, second = (inspected(trained(), count=30, effort=QUICK) for _ in range(2))
    assert first == second, "two inspections with the same seed differ"


@pytest.mark.parametrize(
    ("value", "status"), [(0.0, "pass"), (0.002, "pass"), (0.0021, "warn"), (0.01, "warn"), (0.011, "fail")]
)
def test_grades_have_their_limits_inside(value: float, status: str) -> None:
    assert graded(value, passes=0.002, warns=0.01) == status, f"{value} is not a {status}"


def test_a_sample_is_graded_by_what_surely_falls() -> None:
    which = torch.arange(100) < 80
    asked = evenly(which, 20, 1000)
    assert int(asked.sum()) == 20, "the sample has another size"
    assert asked.nonzero().flatten().tolist() == list(range(0, 80, 4)), "it is not spread evenly"
    assert int(evenly(which, 20, 2).sum()) == 40, "of many images no more are asked"
    assert torch.equal(evenly(which, None, 2), which), "without a size not all are asked"
    broken = torch.zeros(100, dtype=torch.bool)
    broken[:5] = True  # two of which, 0 and 4, are in the sample
    share, surely = share_broken(broken, asked, which)
    assert share == pytest.approx(0.1 * 0.8), "the estimate is not the sample's share times what was sampled"
    assert surely == pytest.approx(0.8 * 0.0279, abs=1e-3), "what surely falls is not Wilson's lower end"
    assert share_broken(broken, which, which) == pytest.approx((0.05, 0.05)), "of all, it is no estimate"


def test_findings_concern_their_own_scores() -> None:
    general = Finding(check="logits", status="warn", sentence="", value=0.0)
    own = Finding(check="noise", status="fail", sentence="", value=0.0, threat="l2:0.5")
    assert verdict([general, own], "linf:0.1") == "warn", "a score is blamed for another's failure"
    assert verdict([general, own], "l2:0.5") == "fail", "a score is not blamed for its own"
    assert verdict([general, own]) == "fail", "the verdict of all is not the gravest"


def test_what_is_no_number_fails() -> None:
    assert graded(float("nan"), passes=1.0, warns=2.0) == "fail", "not a number passes a check"
    assert worst("pass", "fail", "warn") == "fail", "the gravest status does not win"


def test_copies_fill_batches_and_do_not_exceed_them() -> None:
    module, seen = trained(), set[int]()
    handle = module.register_forward_pre_hook(lambda _, given: seen.add(len(given[0])))
    split = digits().test
    attack = made("pgd", threat=LINF, steps=2)
    settings = EvaluationSettings(attacks=[attack], seed=1, images=30, batch_size=16)
    flags = flags_of({"model": module}, split, settings)["model"]
    found = inspect(Scored(module=module, split=split, flags=flags), settings, effort=QUICK)
    handle.remove()
    assert max(seen) <= 16, f"a forward of {max(seen)} images is more than a batch holds"
    larger = inspect(Scored(module=module, split=split, flags=flags), replace(settings, batch_size=64), effort=QUICK)
    again = [[one.sentence for one in both if one.check == "more steps"] for both in (found, larger)]
    assert again[0] == again[1], "the size of the batches changes what more steps find"
