"""square, gaussian and transfer: what they draw, what they ask, and what they choose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.errors import MatxError, OptionError
from matx.interfaces import Attack, FreeObjective
from matx.losses import margin
from matx.randomness import SampleGenerator
from registry.architectures._networks import tiny_net
from registry.attacks._incremental import Maps
from registry.attacks._squares import Window, pyramids, tiles

THREATS = ("linf:0.1", "l2:0.8", "l1:3")


def made(name: str, key: str, **options: Any) -> Attack:
    component: Any = matx.attacks[name]
    attack: Attack = component(threat=matx.ThreatModel.parse(key), **options)
    return attack


class Watched(nn.Module):
    """A network that refuses to be differentiated and remembers how many images it was shown."""

    def __init__(self, classes: int = 4, side: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(classes, 2 * side * side, generator=generator))
        self.shown: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        assert not images.requires_grad, "a black-box attack asked for a gradient"
        self.shown.append(len(images))
        logits: Tensor = torch.tanh(images.flatten(1) - 0.5) @ self.weight.T
        return logits


def attack_input(model: Watched, count: int = 6, key: int = 1, low: float = 0.3, **more: Any) -> matx.AttackInput:
    generator = torch.Generator().manual_seed(2)
    images = low + (1.0 - 2 * low) * torch.rand(count, 2, 8, 8, generator=generator)
    labels = model(images).argmax(1)
    model.shown.clear()
    draws = SampleGenerator(key, torch.arange(count))
    return matx.AttackInput(model=model, images=images, labels=labels, generator=draws, **more)


def test_a_window_cuts_what_it_pastes_and_lies_where_its_corner_says() -> None:
    draws = SampleGenerator(5, torch.arange(200))
    images = torch.arange(200 * 2 * 5 * 7, dtype=torch.float32).reshape(200, 2, 5, 7)
    window = Window.draw(draws, 3, 5, 7)
    places = [(int(t), int(c)) for t, c in zip(window.top, window.left, strict=True)]
    content = window.cut(images)
    emptied = window.paste(images, torch.zeros_like(content))
    for image, inside, rest, (top, left) in zip(images, content, emptied, places, strict=True):
        expected = image.clone()
        expected[:, top : top + 3, left : left + 3] = 0.0
        assert torch.equal(inside, image[:, top : top + 3, left : left + 3]), "a window cuts something else"
        assert torch.equal(rest, expected), "pasting changes pixels outside of the window, or leaves some inside"
    corners = set(places)
    assert corners == {(t, c) for t in range(3) for c in range(5)}, "some places are never drawn, or lie outside"


@pytest.mark.parametrize(("norm", "power"), [("l2", 2), ("l1", 4)])
def test_pyramids_are_two_of_opposite_sign_and_norm_one(norm: str, power: int) -> None:
    order = {"l2": 2, "l1": 1}[norm]
    for side in (1, 2, 3, 5, 8):
        bump = pyramids(side, norm, torch.device("cpu"))
        assert float(bump.norm(p=order)) == pytest.approx(1.0, abs=1e-6), f"side {side} is not of norm 1"
        assert bool((bump[: side // 2] > 0).all()), "the upper pyramid is not positive"
        assert bool((bump[side // 2 :] < 0).all()), "the lower pyramid is not negative"
    lower = -pyramids(5, norm, torch.device("cpu"))[2:]  # three rows, five columns, its peak in the middle
    step = float(lower[1, 1] / lower[1, 2])
    peak, next_to_it = 1 + 2.0**-power + 3.0**-power, 2.0**-power + 3.0**-power
    assert step == pytest.approx(next_to_it / peak, rel=1e-5), "the pyramid is not as steep as published"


def test_tiles_cover_images_of_any_shape() -> None:
    for shape in ((3, 32, 32), (1, 8, 8), (2, 4, 9), (1, 1, 1), (3, 11, 7)):
        canvas = tiles(SampleGenerator(1, torch.arange(3)), shape, "l2")
        assert canvas.shape == (3, *shape), f"tiles of {shape} have another shape"
        share = float((canvas != 0).float().mean())
        assert share > 0.5, f"tiles cover only {share:.2f} of {shape}"
    assert not torch.equal(canvas[0], canvas[1]), "two samples start from the same tiles"


@pytest.mark.parametrize("key", THREATS)
def test_square_is_feasible_uses_the_budget_and_more_queries_never_hurt(key: str) -> None:
    model = Watched()
    given = attack_input(model)
    objective = FreeObjective(lambda images, labels: margin(model(images), labels), {"labels": given.labels})
    given = replace(given, objective=objective)  # goes on after the sample is misclassified
    values = [margin(model(given.images), given.labels)]
    for queries in (1, 10, 60):
        attack = made("square", key, queries=queries)
        found = attack(given)
        assert bool(attack.threat.contains(found, given.images).all()), f"{key}: outside after {queries} queries"
        values.append(margin(model(found), given.labels))
        assert bool((values[-1] >= values[-2]).all()), f"{key}: {queries} queries gave less than fewer"
    used = attack.threat.size(found - given.images) / attack.threat.radius
    assert bool((used > 0.99).all()), f"{key}: the budget is not used: {used}"
    assert bool((values[-1] > values[0] + 0.1).all()), f"{key}: sixty queries hardly raise it"


@pytest.mark.parametrize("key", THREATS)
def test_square_does_not_depend_on_the_batch(key: str) -> None:
    model = Watched()
    given, attack = attack_input(model), made("square", key, queries=25, restarts=2)
    whole = attack(given)
    for rows in (torch.tensor([4]), torch.tensor([5, 0, 2])):
        part = attack(given.select(rows))
        assert torch.allclose(part, whole[rows], atol=1e-6), f"{key}: another batch, another example"
    other = attack(replace(given, generator=SampleGenerator(9, torch.arange(6))))
    assert not torch.allclose(other, whole), "another seed draws the same windows"


def test_square_asks_no_more_than_it_may_and_nothing_of_what_is_wrong_already() -> None:
    model = Watched()
    given = attack_input(model, 5)
    wrong = replace(given, labels=torch.where(torch.arange(5) < 2, (given.labels + 1) % 4, given.labels))
    found = made("square", "linf:0.0001", queries=30)(wrong)
    assert torch.equal(found[:2], given.images[:2]), "a misclassified image was moved"
    assert sum(model.shown) == 5 + 3 * 31, (
        f"asked {sum(model.shown)} images: first all, then 3 at the start and 30 times"
    )
    model.shown.clear()
    found = made("square", "linf:0.4", queries=200)(given)
    assert bool((model(found).argmax(1) != given.labels).all()), "a large radius does not fool a simple model"
    assert sum(model.shown) < 5 * 100, "samples are still asked after they are fooled"


@pytest.mark.parametrize("key", ["linf:0.001", "l2:0.01", "l1:0.05"])
def test_asking_ahead_changes_nothing_but_the_number_of_forwards(key: str) -> None:
    model = Watched()
    given = attack_input(model, count=3)
    single = made("square", key, queries=400)(given)
    forwards = len(model.shown)
    model.shown.clear()
    ahead = made("square", key, queries=400, rows=24)(given)
    torch.testing.assert_close(ahead, single, rtol=0, atol=1e-6, msg="several queries at once led elsewhere")
    assert len(model.shown) < 0.8 * forwards, f"{len(model.shown)} forwards instead of {forwards}: none was saved"
    assert max(model.shown) <= 24, f"more than `rows` images in a forward: {max(model.shown)}"


@pytest.mark.parametrize("key", ["linf:0.003", "l2:0.05"])
def test_following_a_network_changes_nothing(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = torch.fx.symbolic_trace(tiny_net(num_classes=4, width=8).eval().requires_grad_(False))
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    draws = SampleGenerator(1, torch.arange(5))
    given = matx.AttackInput(model=network, images=images, labels=network(images).argmax(1), generator=draws)
    attack, found, followed = made("square", key, queries=150, rows=16), [], []
    asked = Maps.logits
    monkeypatch.setattr(Maps, "logits", lambda *given: followed.append(1) or asked(*given))
    for cost in (0.0, 10.0):
        monkeypatch.setattr("registry.attacks._proposals._WORTH_IT", cost)
        found.append(attack(given))
        assert bool(followed) == (cost > 0), "the network was followed, or not, against what it costs"
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-6, msg="what was followed led elsewhere")
    assert not torch.equal(found[0], images), "nothing was accepted: the test shows nothing"


def test_squares_shrink_as_published() -> None:
    attack: Any = made("square", "linf:0.1")
    for query, share in ((0, 0.8), (10, 0.8), (11, 0.4), (51, 0.2), (201, 0.1), (2001, 0.8 / 64), (8001, 0.8 / 512)):
        side = attack._side(query, 224, 224)
        assert side == round(224 * math.sqrt(share)), f"query {query}: side {side} does not cover {share} of the image"
    stretched = replace(attack, queries=1000, rescale_schedule=True)
    assert stretched._side(2, 224, 224) == attack._side(20, 224, 224), "the schedule is not stretched to 1,000 queries"
    pyramid = replace(attack, threat=matx.ThreatModel.parse("l2:1"))
    sides = {pyramid._side(query, 32, 32) for query in range(5000)}
    assert min(sides) == 3, "windows of l2 shrink below 3"
    assert all(side % 2 for side in sides), f"windows of l2 are of even side: {sides}"
    assert attack._side(0, 4, 9) <= 4, "a window is larger than the image"


@pytest.mark.parametrize("key", THREATS)
def test_noise_has_the_size_of_the_threat_model_and_the_worst_of_more_draws_is_worse(key: str) -> None:
    model = Watched()
    given = attack_input(model, 40)
    found = made("gaussian", key)(given)
    assert model.shown == [], "one draw asks the model"
    attack = made("gaussian", key, draws=8)
    used = attack.threat.size(found - given.images) / attack.threat.radius
    assert bool(((used > 0.98) & (used < 1 + 1e-4)).all()), f"{key}: the noise is not at the edge: {used}"
    assert abs(float((found - given.images).mean())) < 0.01, "the noise has a direction"
    one = made("gaussian", key, objective="margin")(given)
    eight = made("gaussian", key, objective="margin", draws=8)(given)
    before, after = (margin(model(x), given.labels) for x in (one, eight))
    assert bool((after >= before).all()), "the worst of eight draws is better than the first of them"
    assert bool((after > before).any()), "eight draws are one"


def test_transfer_takes_the_worst_view_of_every_sample_into_its_own_threat_model() -> None:
    model = Watched()
    given = attack_input(model, 30)
    torch.manual_seed(0)
    views = {"b": given.images + 0.3 * torch.randn(2, *given.images.shape), "c": given.images[None].clone()}
    given = replace(given, sources=views)
    attack = made("transfer", "linf:0.1", sources=("b", "c"))
    found = attack(given)
    assert bool(attack.threat.contains(found, given.images).all()), "a source's image was not projected"
    each = [attack.threat.project(view, given.images) for view in (*views["b"], *views["c"])]
    scores = torch.stack([margin(model(view), given.labels) for view in each])
    assert torch.equal(margin(model(found), given.labels), scores.amax(0)), "not the view of the highest margin"
    assert len(scores.argmax(0).unique()) > 1, "one view is the worst of all samples, so the choice was not tested"
    wrong = (scores > 0).any(0)
    assert torch.equal(model(found).argmax(1) != given.labels, wrong), "a misclassified view did not go first"
    rows = torch.tensor([3, 11])
    assert torch.equal(attack(given.select(rows)), found[rows]), "the choice depends on the batch"


def test_transfer_says_which_source_it_lacks() -> None:
    given = attack_input(Watched(), 2)
    given = replace(given, sources={"b": given.images[None]})
    with pytest.raises(OptionError, match="got c, allowed here: b"):
        made("transfer", "linf:0.1", sources=("b", "c"))(given)
    with pytest.raises(OptionError, match="at least one other peer"):
        made("transfer", "linf:0.1", sources=())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("square", {"queries": 0}),
        ("square", {"rows": -1}),
        ("square", {"restarts": 0}),
        ("square", {"p": 0.0}),
        ("gaussian", {"draws": 0}),
    ],
)
def test_options_out_of_range_are_refused_by_name(name: str, options: dict[str, Any]) -> None:
    (option,) = options
    with pytest.raises(MatxError, match=rf"attacks\.{name}\.{option}: got .*allowed"):
        made(name, "l2:0.5", **options)
