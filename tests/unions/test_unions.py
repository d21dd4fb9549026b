"""The unions against plain loops, and what they cost."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import matx
from matx.errors import OptionError
from matx.interfaces import Attack, Crafted
from matx.randomness import SampleGenerator
from registry.unions.msd import MSD

THREATS = [matx.ThreatModel(norm=n, eps=e) for n, e in (("linf", 0.08), ("l2", 0.4), ("l1", 1.1))]
ANYTHING = matx.ThreatModel(norm="linf", eps=1)


class Counted(nn.Module):
    """A small model that counts its forwards and the images in them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.SiLU(), nn.Linear(32, 5))
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        logits: Tensor = self.body(images)
        return logits


def attack_input(count: int = 20, **more: Any) -> matx.AttackInput:
    model = Counted().requires_grad_(False)
    images = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    model.batches.clear()
    generator = SampleGenerator(5, torch.arange(count))
    return matx.AttackInput(model=model, images=images, labels=labels, generator=generator, **more)


def members(**options: Any) -> list[Attack]:
    return [matx.attacks["pgd"](threat=threat, **{"steps": 10, "random_start": False, **options}) for threat in THREATS]


def union(name: str, **options: Any) -> Any:
    return matx.unions[name](**options)


def views_of(union: Any, attacks: Sequence[Attack], given: matx.AttackInput) -> Tensor:
    """The views of a union without memory, which must leave its state empty."""
    crafted = crafted_by(union, attacks, given)
    assert (union.start(), crafted.state) == ({}, {}), f"{union!r} has no memory, but a state"
    return crafted.views


def crafted_by(union: Any, attacks: Sequence[Attack], given: matx.AttackInput) -> Crafted:
    made = union(attacks, given, union.start())
    assert isinstance(made, Crafted), "a union returns Crafted"
    return made


def winners_of(union: Any, attacks: Sequence[Attack], given: matx.AttackInput) -> Tensor:
    winners = crafted_by(union, attacks, given).winners
    assert winners is not None, f"{union!r} says its winners"
    return winners


def loss(given: matx.AttackInput, images: Tensor) -> Tensor:
    return F.cross_entropy(given.model(images), given.labels, reduction="none")


@pytest.mark.parametrize("name", ["average", "worst_case", "random_choice", "msd"])
def test_one_attack_is_that_attack(name: str) -> None:
    given, attack = attack_input(), members()[0]
    got = views_of(union(name), [attack], given)
    assert torch.equal(got, attack(given)[None]), f"{name} of one attack is not the attack"


def test_average_keeps_every_view_in_order() -> None:
    given = attack_input()
    views = views_of(union("average"), members(), given)
    assert views.shape == (3, 20, 1, 6, 6), "one view per attack"
    for view, attack in zip(views, members(), strict=True):
        assert torch.equal(view, attack(given)), "a view is not its attack's result"
    assert union("average").views(3) == 3, "the declared number of views is wrong"


def test_worst_case_takes_the_highest_loss_per_sample() -> None:
    given = attack_input(40)
    views = torch.stack([attack(given) for attack in members()])
    worst = views_of(union("worst_case"), members(), given)
    losses = torch.stack([loss(given, view) for view in views])
    wanted = torch.stack([views[best, row] for row, best in enumerate(losses.argmax(0))])
    assert torch.equal(worst[0], wanted), "not the example of the highest loss"
    assert len(losses.argmax(0).unique()) > 1, "the case shows nothing: one attack wins everywhere"


def test_worst_case_s_winner_has_the_highest_loss() -> None:
    given = attack_input(40)
    losses = torch.stack([loss(given, attack(given)) for attack in members()])
    winners = winners_of(union("worst_case"), members(), given)
    assert winners.shape == (1, 40, 3), "one row of shares for each view and sample"
    assert torch.equal(winners[0].argmax(-1), losses.argmax(0)), "the winner is the argmax of the training loss"
    assert torch.equal(winners[0].sum(-1), torch.ones(40)), "the shares of a sample sum to 1"
    assert len(winners[0].argmax(-1).unique()) > 1, "the case shows nothing: one attack wins everywhere"


def test_exact_ties_share_a_win() -> None:
    given = attack_input(4)
    marks: list[Attack] = [_Still(threat=ANYTHING, at=at) for at in (0.5, 0.5, 0.5)]
    shares = winners_of(union("worst_case"), marks, given)
    assert torch.allclose(shares, torch.full((1, 4, 3), 1 / 3)), "three equal losses are a third of a win each"
    values = loss(given, torch.full_like(given.images, 0.9)) > loss(given, torch.full_like(given.images, 0.5))
    two: list[Attack] = [_Still(threat=ANYTHING, at=at) for at in (0.5, 0.9, 0.5)]
    wanted = torch.where(values[:, None], torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.5, 0.0, 0.5]))
    assert torch.equal(winners_of(union("worst_case"), two, given)[0], wanted), "a loser has no share"


def test_winners_of_average_and_random_choice() -> None:
    given = attack_input(300)
    marks: list[Attack] = [_Still(threat=ANYTHING, at=at) for at in (0.1, 0.2, 0.3)]
    side_by_side = winners_of(union("average"), marks, given)
    assert torch.equal(side_by_side, torch.eye(3)[:, None].expand(3, 300, 3)), "view k is attack k's"
    for per in ("batch", "sample"):
        made = crafted_by(union("random_choice", per=per), marks, given)
        assert made.winners is not None, "random_choice says its winners"
        drawn = torch.tensor([0.1, 0.2, 0.3])[made.winners[0].argmax(-1)]
        assert torch.equal(made.views[0, :, 0, 0, 0], drawn), f"per {per}: the winner is not the drawn attack"
    assert crafted_by(union("msd", steps=2), members(), given).winners is None, "a step of msd mixes attacks"


def test_worst_case_costs_one_forward() -> None:
    given = attack_input(10)
    clean: list[Attack] = [_Still(threat=threat) for threat in THREATS]
    views_of(union("worst_case"), clean, given)
    assert given.model.batches == [30], "the views are not compared in one batched forward"


def test_worst_case_for_evaluation_prefers_misclassified() -> None:
    """A correct answer of high loss must not hide a wrong one of lower loss."""
    logits = {0.25: [3.0, 2.9, 2.9, 2.9], 0.75: [2.0, 2.5, -9.0, -9.0]}  # right at loss 1.3, wrong at loss 0.97

    def model(images: Tensor) -> Tensor:
        return torch.tensor([logits[float(image.flatten()[0])] for image in images])

    images = torch.full((2, 1, 1, 1), 0.5)
    generator = SampleGenerator(0, torch.arange(2))
    given = matx.AttackInput(model=model, images=images, labels=torch.zeros(2, dtype=torch.int64), generator=generator)
    pair: list[Attack] = [_Still(threat=ANYTHING, at=0.25), _Still(threat=ANYTHING, at=0.75)]
    trained = views_of(union("worst_case"), pair, given)
    found = views_of(union("worst_case", misclassified_first=True), pair, given)
    assert (trained == 0.25).all(), "training wants the highest loss"
    assert (found == 0.75).all(), "evaluation wants the misclassified example"


def test_worst_case_compares_by_a_supplied_objective() -> None:
    def brightness(images: Tensor) -> Tensor:
        return images.flatten(1).sum(1)

    given = attack_input(8, objective=matx.FreeObjective(brightness))
    views = torch.stack([attack(given) for attack in members()])
    worst = views_of(union("worst_case", misclassified_first=True), members(), given)[0]
    plain = views_of(union("worst_case"), members(), given)[0]
    wanted = brightness(views.flatten(0, 1)).reshape(3, 8).amax(0)
    assert torch.equal(brightness(plain), wanted), "the supplied objective does not decide"
    assert worst.shape == plain.shape, "flags of a free objective come from the model"


def test_random_choice_draws_per_batch_and_step() -> None:
    given = attack_input(3)
    marks: list[Attack] = [_Still(threat=ANYTHING, at=at) for at in (0.1, 0.2, 0.3)]
    drawn = Counter(
        round(float(views_of(union("random_choice"), marks, replace(given, step=step)).unique().item()), 1)
        for step in range(600)
    )
    assert set(drawn) == {0.1, 0.2, 0.3}, "an attack is never drawn, or a batch mixes attacks"
    assert min(drawn.values()) > 150, f"the draw is not uniform: {drawn}"
    again = views_of(union("random_choice"), marks, given.select(torch.tensor([2])))
    assert again.unique() == views_of(union("random_choice"), marks, given).unique(), "the draw depends on the batch"


def test_random_choice_per_sample_mixes_attacks() -> None:
    given = attack_input(300)
    marks: list[Attack] = [_Still(threat=ANYTHING, at=at) for at in (0.1, 0.2, 0.3)]
    mixed = views_of(union("random_choice", per="sample"), marks, given)[0].flatten(1)[:, 0]
    counts = [int((mixed == at).sum()) for at in (0.1, 0.2, 0.3)]
    assert sum(counts) == 300, "a sample got no attack"
    assert min(counts) > 70, f"the draw is not uniform: {counts}"
    some = views_of(union("random_choice", per="sample"), marks, given.select(torch.tensor([7, 250])))[0].flatten(1)[
        :, 0
    ]
    assert torch.equal(some, mixed[[7, 250]]), "a sample's draw depends on its batch"


def test_adaptive_weighs_by_one_minus_robust_accuracy() -> None:
    state = {"right.0": 80.0, "seen.0": 100.0, "right.1": 40.0, "seen.1": 100.0}
    assert union("adaptive").weights(2, state) == pytest.approx([0.25, 0.75]), "weights are not 1 - robust accuracy"
    assert union("adaptive").weights(2, {"right.0": 1.0, "seen.0": 9.0}) == [0.5, 0.5], "equal until both were used"
    sure = {"right.0": 9.0, "seen.0": 9.0, "right.1": 5.0, "seen.1": 5.0}
    assert union("adaptive").weights(2, sure) == [0.5, 0.5], "without errors the weights are equal"


def test_adaptive_counts_and_draws() -> None:
    given, chosen = attack_input(10), union("adaptive")
    pair = members(steps=1)[::2]
    before = {"right.0": 90.0, "seen.0": 100.0, "right.1": 30.0, "seen.1": 100.0}
    drawn = Counter[str]()
    for step in range(60):
        made = chosen(pair, replace(given, step=step), before)
        views, after = made.views, made.state
        changed = [name for name in after if after[name] != before[name] and name.startswith("seen")]
        drawn[changed[0]] += 1
        index = int(changed[0][-1])
        right = int((given.model(views[0]).argmax(1) == given.labels).sum())
        assert after[f"seen.{index}"] == 110, "the batch is not counted"
        assert after[f"right.{index}"] - before[f"right.{index}"] == right, "robust answers are not counted"
        assert torch.equal(views[0], pair[index](replace(given, step=step))), "the view is not the drawn attack's"
        assert (made.winners[..., index] == 1).all(), "the drawn attack is not the winner"
    assert drawn["seen.1"] > 40, f"the weaker threat must be drawn about seven times in eight: {drawn}"
    assert before["seen.0"] == 100, "the state that was passed in was changed"
    first = chosen(pair, given, chosen.start()).state
    assert sum(float(value) for name, value in first.items() if name.startswith("seen")) == 10, "a start counts nothing"


def test_msd_equals_a_plain_loop() -> None:
    given, chosen = attack_input(), members(step_size=0.1)
    got = views_of(MSD(steps=6), chosen, given)
    x, best, best_loss = given.images, given.images, torch.full((20,), -torch.inf)
    for step in range(6):
        point = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(given, point).sum(), point)
        candidates = [attack.step(given, x, gradient, step) for attack in chosen]
        losses = torch.stack([loss(given, candidate) for candidate in candidates])
        x = torch.stack([candidates[winner][row] for row, winner in enumerate(losses.argmax(0))])
        higher = losses.amax(0) > best_loss
        best = torch.where(higher.reshape(-1, 1, 1, 1), x, best)
        best_loss = torch.maximum(best_loss, losses.amax(0))
    assert torch.allclose(got[0], best, atol=1e-6), "msd is not the plain loop"


def test_msd_takes_one_gradient_and_one_batched_forward_a_step() -> None:
    given = attack_input(10)
    views_of(union("msd", steps=4), members(), given)
    assert given.model.batches == [10, 30] * 4, "one forward for the gradient, one for all candidates, a step"


def test_msd_stays_inside_the_union_and_beats_a_step_of_its_members() -> None:
    given = attack_input(50)
    found = views_of(union("msd", steps=20), members(steps=20), given)[0]
    inside = torch.stack([threat.contains(found, given.images) for threat in THREATS])
    assert inside.any(0).all(), "an example lies in none of the balls"
    for attack in members(steps=1, step_size=0.1):
        assert loss(given, found).mean() > loss(given, attack(given)).mean(), "weaker than one step of a member"


def test_msd_refuses_attacks_without_steps() -> None:
    with pytest.raises(OptionError) as caught:
        views_of(union("msd"), [members()[0], matx.attacks["mim"](threat=THREATS[0])], attack_input(2))
    assert "MIM" in str(caught.value), "the message does not name the attack"
    assert "move along one gradient" in str(caught.value), "the message does not say what is allowed"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("worst_case", {"objective": "margn"}, "did you mean 'margin'"),
        ("random_choice", {"per": "smaple"}, "did you mean 'sample'"),
        ("msd", {"steps": 0}, "unions.msd.steps: got 0"),
        ("msd", {"objective": "ce"}, "got 'ce'"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        union(name, **options)
    assert said in str(caught.value), f"the message does not say {said!r}: {caught.value}"


class _Still:
    """An attack that answers one grey for every image."""

    kind = "maximise"

    def __init__(self, *, threat: matx.ThreatModel, at: float = 0.5) -> None:
        self.threat, self.at = threat, at

    def __call__(self, given: matx.AttackInput) -> Tensor:
        return torch.full_like(given.images, self.at)

    @classmethod
    def examples(cls, tmp_path: Path) -> list["_Still"]:
        return [cls(threat=THREATS[0])]
