"""Evaluation: counts that a linear model gives in closed form, flags that were planted, draws keyed by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.data import MemorySplit
from matx.errors import OptionError
from matx.interfaces import Attack, AttackInput, value_and_gradient
from matx.measure import EvaluationSettings, Flags, Rate, by_threat, flags_of, measure
from matx.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Steepest:
    """One step of the whole radius: exact on a linear model under linf."""

    kind: ClassVar[Literal["maximise", "minimum_norm"]] = "maximise"
    threat: ThreatModel

    def __call__(self, given: AttackInput) -> Tensor:
        _, gradient = value_and_gradient(given.objective_for("margin"), given.images)
        return self.threat.project(given.images + self.threat.radius * gradient.sign(), given.images)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(threat=ThreatModel(norm="linf", eps=0.1))]


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Darkens the first pixel of the samples with these indices, and notes which samples it was given."""

    kind: ClassVar[Literal["maximise", "minimum_norm"]] = "maximise"
    threat: ThreatModel
    breaks: tuple[int, ...] = ()
    by: float = 0.2
    sources: tuple[str, ...] = ()
    seen: list[int] = field(default_factory=list)

    def __call__(self, given: AttackInput) -> Tensor:
        self.seen.extend(given.generator.indices.tolist())
        hit = torch.isin(given.generator.indices, torch.tensor(self.breaks, dtype=torch.int64))
        images = given.images.clone()
        images[hit, 0, 0, 0] -= self.by
        return images

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(threat=ThreatModel(norm="linf", eps=0.3))]


@dataclass(frozen=True, kw_only=True)
class Shake:
    """A random point of the set, drawn from the given generator alone."""

    kind: ClassVar[Literal["maximise", "minimum_norm"]] = "maximise"
    threat: ThreatModel

    def __call__(self, given: AttackInput) -> Tensor:
        return self.threat.random_start(given.images, given.generator.at("shake"))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(threat=ThreatModel(norm="linf", eps=0.1))]


class FirstPixel(nn.Module):
    """Class 1 where the first pixel is over 0.5, else class 0; the norm layer must come out as it went in."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images: Tensor) -> Tensor:
        lift = self.scale * (images[:, 0, 0, 0] - 0.5) + 0.0 * self.norm(images)[:, 0, 0, 0]
        return torch.stack([torch.zeros_like(lift), lift], 1)


def found(
    model: nn.Module, split: MemorySplit, attacks: Sequence[Attack], *, seed: int = 0, batch_size: int = 256
) -> Flags:
    """What the attacks find of one model."""
    settings = EvaluationSettings(attacks=attacks, seed=seed, batch_size=batch_size)
    return flags_of({"a": model}, split, settings)["a"]


def count(flags: torch.Tensor) -> int:
    return int(flags.sum())


def _planted_split() -> MemorySplit:
    """Ten images of class 1, the last two of which are wrong when clean."""
    images = torch.full((10, 1, 2, 2), 0.6)
    images[8:, 0, 0, 0] = 0.4
    return MemorySplit.of(images, torch.ones(10, dtype=torch.int64))


def _random_split(count: int, shape: tuple[int, int, int] = (3, 4, 4)) -> MemorySplit:
    generator = torch.Generator().manual_seed(7)
    images = torch.rand(count, *shape, generator=generator)
    return MemorySplit.of(images, torch.randint(0, 2, (count,), generator=generator))


def _linear(shape: tuple[int, int, int] = (3, 4, 4)) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 2))
    return model.eval()


@pytest.mark.parametrize(
    ("correct", "n"), [(0, 10), (1, 10), (353, 360), (360, 360), (1, 1), (500, 1000), (4371, 10000)]
)
def test_interval_is_wilsons(correct: int, n: int) -> None:
    rate, z = Rate(correct=correct, n=n), 1.959963984540054
    centre = (correct + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(correct * (n - correct) / n + z**2 / 4)  # Wilson 1927
    assert rate.low == pytest.approx(centre - half, abs=1e-12), "the lower end is not Wilson's"
    assert rate.high == pytest.approx(centre + half, abs=1e-12), "the upper end is not Wilson's"
    assert rate.low <= rate.accuracy <= rate.high, "the interval does not hold the accuracy"


def test_interval_of_a_published_example() -> None:
    rate = Rate(correct=81, n=263)
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.2553, 0.3662), "not the figures of Newcombe 1998, table I"


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_rate_is_refused(correct: int, n: int) -> None:
    with pytest.raises(OptionError, match=f"got {correct} of {n}"):
        Rate(correct=correct, n=n)


def test_linear_model_equals_its_closed_form() -> None:
    split, model, threat = _random_split(200), _linear(), ThreatModel(norm="linf", eps=0.02)
    flags = found(model, split, [Steepest(threat=threat)], batch_size=33)

    weight = (model[1].weight[1] - model[1].weight[0]).detach().double()  # z_1 - z_0 = w x + b
    bias = float((model[1].bias[1] - model[1].bias[0]).detach())
    side = torch.where(split.labels == 1, 1.0, -1.0).double()[:, None]
    pixels = split.images.flatten(1).double()
    room = torch.where(side * weight < 0, 1.0 - pixels, pixels).clamp_max(0.02)  # each pixel moves against the label
    clean = (side * (pixels * weight).sum(1, keepdim=True)).squeeze(1) + side.squeeze(1) * bias
    worst = clean - (room * weight.abs()).sum(1)

    assert count(flags.clean) == int((clean > 0).sum()), "the clean count differs from the linear algebra"
    robust = (clean > 0) & (worst > 0)
    assert torch.equal(flags.threats["linf:0.02"], robust), "a sample's flag differs from its closed form"
    assert 0 < count(flags.threats["linf:0.02"]) < count(flags.clean), "the case separates nothing"
    assert count(flags.union) == int(robust.sum()), "the union of one threat model is not that threat model"


def test_planted_flags_come_back() -> None:
    wide, other = ThreatModel(norm="linf", eps=0.3), ThreatModel(norm="l2", eps=0.3)
    first, second = Planted(threat=wide, breaks=(1, 2)), Planted(threat=wide, breaks=(3,))
    third = Planted(threat=other, breaks=(2, 4))
    flags = found(FirstPixel(), _planted_split(), [first, second, third], batch_size=3)

    assert count(flags.clean) == 8, "the two planted clean errors were not counted"
    assert count(flags.threats["linf:0.3"]) == 5, "attacks of one threat model do not count together"
    assert count(flags.threats["l2:0.3"]) == 6, "a threat model's count is not its own attacks'"
    assert count(flags.union) == 4, "the union is not the AND per image"
    assert (~flags.union).nonzero().squeeze(1).tolist() == [1, 2, 3, 4, 8, 9], "other samples are broken"
    assert first.seen == list(range(8)), "clean errors were attacked, or robust samples were not"
    assert second.seen == [0, 3, 4, 5, 6, 7], "a later attack ran on samples that were broken already"
    assert third.seen == list(range(8)), "another threat model's attack did not start from the clean flags"


def test_an_attack_outside_its_threat_model_gains_nothing() -> None:
    cheat = Planted(threat=ThreatModel(norm="linf", eps=0.05), breaks=tuple(range(10)), by=0.5)
    flags = found(FirstPixel(), _planted_split(), [cheat])
    assert count(flags.threats["linf:0.05"]) == 8, "an image outside the ball was counted as found"


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batch_size_changes_no_flag(batch_size: int) -> None:
    split, attacks = _random_split(64), [Shake(threat=ThreatModel(norm="linf", eps=0.3))] * 3
    whole = found(_linear(), split, attacks, seed=3, batch_size=50)
    other = found(_linear(), split, attacks, seed=3, batch_size=batch_size)
    assert torch.equal(whole.union, other.union), "draws depend on the batch size"
    assert 0 < count(whole.union) < count(whole.clean), "the case separates nothing"


def test_seed_and_position_key_the_draws() -> None:
    split, shake = _random_split(256), Shake(threat=ThreatModel(norm="linf", eps=0.3))
    counts = [count(found(_linear(), split, [shake] * times).union) for times in (1, 2)]
    assert counts[1] < counts[0], "the same attack named twice drew the same points twice"
    other = found(_linear(), split, [shake], seed=1).union
    assert not torch.equal(other, found(_linear(), split, [shake]).union), "seed is unused"


def test_models_face_the_same_draws_and_are_untouched() -> None:
    split, model = _planted_split(), FirstPixel().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shake = Shake(threat=ThreatModel(norm="linf", eps=0.3))
    flags = flags_of({"a": model, "b": model}, split, EvaluationSettings(attacks=[shake]))
    assert torch.equal(flags["a"].union, flags["b"].union), "two peers faced different draws"
    assert model.training, "evaluation left the model in eval mode"
    assert model.norm.training, "evaluation left a layer in eval mode"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items()), "a buffer moved"
    assert model.scale.grad is None, "evaluation wrote a parameter's gradient"
    assert model.scale.requires_grad, "evaluation left a parameter frozen"


def test_images_are_the_first_ones_and_progress_reaches_the_end() -> None:
    told: list[tuple[str, str, float]] = []
    attack = Planted(threat=ThreatModel(norm="linf", eps=0.3), breaks=(0,))
    settings = EvaluationSettings(metrics=[matx.metrics["robust"]()], attacks=[attack, attack], batch_size=2, images=3)
    measured = measure({"a": FirstPixel()}, _planted_split(), settings, told=lambda *what: told.append(what))
    (figure,) = [figure for figure in measured.figures["robust"] if figure.column.name == "union"]
    assert (figure.n, figure.correct) == (3, 2), "other images than the first three were measured"
    assert told == [("a", "linf:0.3 Planted", 0.5), ("a", "linf:0.3 Planted", 1.0)] * 2, "progress told something else"


def test_threat_models_are_grouped_by_value() -> None:
    threats = [ThreatModel(norm="linf", eps=eps) for eps in ("8/255", "16/510")]
    groups = by_threat([Shake(threat=threat) for threat in threats])
    assert [threat.key for threat in groups] == ["linf:8/255"], "equal radii were not grouped, or not as first written"


def test_attack_that_needs_foreign_examples_is_refused() -> None:
    attack = Planted(threat=ThreatModel(norm="linf", eps=0.3), sources=("b",))
    with pytest.raises(OptionError, match="reads examples of b"):
        found(FirstPixel(), _planted_split(), [attack])


def test_no_attacks_leaves_the_clean_accuracy() -> None:
    flags = found(FirstPixel(), _planted_split(), [])
    assert count(flags.union) == count(flags.clean) == 8, "a union of nothing is not the clean accuracy"


def test_rates_of_flags() -> None:
    flags = Flags(clean=torch.tensor([True, True, False]), threats={"l2:1": torch.tensor([True, False, False])})
    rates = flags.rates()
    assert list(rates) == ["clean", "l2:1", "union"], "the rates have other names"
    assert rates["l2:1"].accuracy == rates["union"].accuracy == 1 / 3, "a count is wrong"
