"""Asking a network again after a window changed: what is computed is enough, and the answers are the whole ones'."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from registry.architectures._networks import preact_resnet, small_resnet, tiny_net
from registry.attacks._incremental import Maps, follow, plan_for
from registry.attacks._incremental.reach import Reach, Sliding


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_reach_holds_all_that_a_change_touches(kernel: int, stride: int, padding: int, dilation: int) -> None:
    length, size = 17, 3
    sliding = Sliding(kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    reach = Reach.of_window(size, length).behind(sliding)
    weight = torch.ones(1, 1, kernel)
    for place in range(length - size + 1):
        changed = torch.zeros(1, 1, length)
        changed[..., place : place + size] = 1.0
        touched = F.conv1d(changed, weight, stride=stride, padding=padding, dilation=dilation)[0, 0].nonzero()[:, 0]
        start = int(reach.starts[place])
        assert len(touched) == 0 or start <= int(touched.min()), f"place {place}: an output before the reach changes"
        assert len(touched) == 0 or int(touched.max()) < start + reach.size, f"place {place}: one behind it changes"
        assert 0 <= start <= reach.length - reach.size, f"place {place}: the reach leaves the axis"
    assert reach.length == sliding.outputs(length), "the axis is as long as torch makes it"


class Branches(nn.Module):
    """What nets are made of beside plain chains: strides without overlap, groups, dilation, poolings, gates, joins."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, 3, 1, 1), 0.5))
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.wide = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.skip = nn.Conv2d(4, 6, 1, stride=2)
        self.deep = nn.Conv2d(4, 6, (3, 5), stride=(2, 2), padding=(1, 2))
        self.gate = nn.Linear(6, 6)
        self.end = nn.Linear(6 * 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.first((x - 0.5) * self.scale))
        x = self.pool(x + self.norm(self.wide(x)))
        y = torch.relu(self.deep(x)) + self.skip(x)
        y = y * torch.sigmoid(self.gate(y.mean((2, 3))))[:, :, None, None]
        logits: Tensor = self.end(torch.cat([y.amax((2, 3)), y.mean((2, 3))], 1))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "tiny": lambda: tiny_net(width=4),
    "small_resnet": lambda: small_resnet(width=4),
    "preact_resnet": lambda: preact_resnet(width=4),
    "branches": Branches,
    "unpadded": lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3), nn.Flatten(1), Sums()),
}


class Sums(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, ::2].sum(1), x[:, 1::2].sum(1)], 1)


@pytest.mark.parametrize("side", [1, 2, 3, 7, 20, 24])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_answers_are_those_of_a_whole_forward(name: str, side: int) -> None:
    torch.manual_seed(0)
    module = NETWORKS[name]()
    module(drawn(16, 3, 24, 24))  # so that the norms have statistics of their own
    traced, x = fx.symbolic_trace(module.eval().requires_grad_(False)), drawn(6, 3, 24, 24, seed=1)
    network = follow(traced, x)
    assert network is not None, f"{name} cannot be followed"
    maps, generator = Maps.of(plan_for(network, side), x), torch.Generator().manual_seed(2)
    for turn in range(8):
        rows = torch.randperm(12, generator=generator) % 6  # every image twice, in any order
        tops, lefts = torch.randint(24 - side + 1, (2, 12), generator=generator)
        if turn == 0:
            tops, lefts = torch.tensor([0, 24 - side]).repeat(6), torch.tensor([0, 24 - side]).repeat_interleave(6)
        content, whole = drawn(12, 3, side, side, seed=turn), x[rows].clone()
        for one, top, left, inside in zip(whole, tops, lefts, content, strict=True):
            one[:, top : top + side, left : left + side] = inside
        torch.testing.assert_close(
            maps.logits(rows, tops[None], lefts[None], content[None]), traced(whole), rtol=1e-4, atol=1e-5,
            msg=f"{name}, side {side}, turn {turn}: the answers are not those of a whole forward",
        )  # fmt: skip
        asked = torch.stack([(rows == image).nonzero()[turn % 2, 0] for image in (0, 3, 5)])
        maps.accept(asked)
        x[rows[asked]] = whole[asked]
        if turn == 4:
            keep = torch.tensor([0, 1, 2, 3, 5])
            maps, x = maps.select(keep), x[keep]
            maps, x = maps.select(torch.tensor([0, 1, 2, 3, 4, 4])), x[torch.tensor([0, 1, 2, 3, 4, 4])]


@pytest.mark.parametrize("side", [1, 4, 9])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_two_windows_of_an_image_may_change_at_once_wherever_they_lie(name: str, side: int) -> None:
    torch.manual_seed(0)
    module = NETWORKS[name]()
    module(drawn(16, 3, 24, 24))
    traced, x = fx.symbolic_trace(module.eval().requires_grad_(False)), drawn(20, 3, 24, 24, seed=1)
    network = follow(traced, x)
    assert network is not None, f"{name} cannot be followed"
    maps, generator = Maps.of(plan_for(network, side), x), torch.Generator().manual_seed(2)
    for turn in range(3):
        first = torch.randint(24 - side + 1, (2, 20), generator=generator)
        away = torch.randint(-side - 2, side + 3, (2, 20), generator=generator)  # apart, side by side, one over another
        second = (first + away).clamp(0, 24 - side)
        whole, content = x.clone(), drawn(2, 20, 3, side, side, seed=turn)
        for tops, lefts, inside in zip((first[0], second[0]), (first[1], second[1]), content, strict=True):
            for one, top, left, values in zip(whole, tops, lefts, inside, strict=True):
                one[:, top : top + side, left : left + side] = values
        for (tops, lefts), inside in zip((first, second), content, strict=True):
            for one, top, left, values in zip(whole, tops, lefts, inside, strict=True):
                values[:] = one[:, top : top + side, left : left + side]
        tops, lefts = torch.stack([first[0], second[0]]), torch.stack([first[1], second[1]])
        torch.testing.assert_close(
            maps.logits(torch.arange(20), tops, lefts, content), traced(whole), rtol=1e-4, atol=1e-5,
            msg=f"{name}, side {side}, turn {turn}: the answers are not those of a whole forward",
        )  # fmt: skip
        maps.accept(torch.arange(0, 20, 2))
        x[::2] = whole[::2]


def test_small_windows_of_a_plain_network_cost_little() -> None:
    network = follow(fx.symbolic_trace(tiny_net().eval()), drawn(1, 3, 32, 32))
    assert network is not None, "a plain network can be followed"
    shares = [sum(plan_for(network, side).work) / plan_for(network, side).total for side in (2, 5, 10, 32)]
    assert shares[0] < 0.1 < shares[2] < 0.3, f"windows of 2 and 10 of 32 pixels need {shares[0]:.2f}, {shares[2]:.2f}"
    assert shares == sorted(shares), f"larger windows need more, got {shares}"
    assert shares[3] == 1.0, "a window of the whole image needs all"


class Overwritten(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2.0
        z = torch.relu_(y)
        return (y + z).mean((2, 3))


def test_what_cannot_be_followed_is_refused() -> None:
    x = drawn(2, 3, 8, 8)
    module = tiny_net(width=4).eval()
    assert follow(module, x) is None, "a module that is no graph"
    assert follow(fx.symbolic_trace(module).train(), x) is None, "statistics of a batch are not local"
    assert follow(fx.symbolic_trace(Overwritten()).eval(), x) is None, "the order of what overwrites is not followed"
    assert follow(fx.symbolic_trace(module), x[:0]) is None, "no images"
