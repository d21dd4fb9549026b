"""Crafting copies: the same function with fewer operations or in bf16, which follows the network; or none."""

from __future__ import annotations

import linecache

import pytest
import torch
from torch import Tensor, nn
from torch.fx import graph_module

from matx.copies import crafting_copy


def folded(module: nn.Module, images: Tensor) -> nn.Module:
    """The graph of the copy; the module itself where it has none."""
    copy = crafting_copy(module, images)
    return module if copy is None else copy.folding.graph


def images(count: int = 8) -> Tensor:
    return torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def settled(module: nn.Module) -> nn.Module:
    """In eval mode, with statistics and weights of the norms that are not those of a fresh network."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 2.0)
            nn.init.uniform_(part.bias, -1.0, 1.0)
    module.train()
    module(images(64))
    return module.eval()


class Residual(nn.Module):
    """Two pairs and a shortcut; the last norm stands before its convolution, and stays."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.second, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.norm3, self.third = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.first(x)).relu()
        x = x + self.norm2(self.second(x))
        logits: Tensor = self.third(self.norm3(x).relu()).mean((2, 3))
        return logits


class Twice(Residual):
    """One convolution serves two norms: folding either would change the other."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.norm1(self.second(x)) + self.norm2(self.second(x.relu()))
        logits: Tensor = self.third(self.norm3(x)).mean((2, 3))
        return logits


class Untraceable(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if bool(x.sum() > 0) else -x)


class Random(Residual):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.randn(x.shape))


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def test_the_folded_network_is_the_same_function_with_fewer_norms() -> None:
    module = settled(Residual())
    light, x = folded(module, images()), images(20)
    assert norms(light) == 1, "the two norms behind convolutions stay, or the one before its convolution goes"
    torch.testing.assert_close(light(x), module(x), rtol=1e-4, atol=1e-5, msg="folding changes the answers")
    first, second = (torch.autograd.grad(net(point).sum(), point)[0] for net, point in _pairs(module, light, x))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5, msg="folding changes the gradients")
    assert norms(module) == 3, "the module itself was folded"
    assert all(parameter.requires_grad for parameter in module.parameters()), "the module itself was frozen"


def _pairs(module: nn.Module, light: nn.Module, x: Tensor) -> list[tuple[nn.Module, Tensor]]:
    return [(net, x.clone().requires_grad_()) for net in (module, light)]


@pytest.mark.parametrize("kind", [Twice, Untraceable, Random])
def test_what_cannot_be_folded_is_returned_itself(kind: type[Residual]) -> None:
    module = settled(kind())
    assert folded(module, images()) is module, f"{kind.__name__} was replaced"


def test_a_network_without_norms_or_with_hooks_is_returned_itself() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(128, 3))
    assert folded(plain, images()) is plain, "there is nothing to fold"
    hooked = settled(Residual())
    hooked.first.register_forward_hook(lambda module, inputs, output: 2 * output)
    assert folded(hooked, images()) is hooked, "a hook would be lost"


class Scaled(nn.Module):
    """A normaliser before its convolution, and ReLUs behind a convolution and behind a sum."""

    scale: Tensor

    def __init__(self, size: tuple[int, ...] = (1, 2, 1, 1)) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.2, 0.4, 2).reshape(1, -1, 1, 1).expand(size).clone())
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first((x - 0.5) / self.scale))
        logits: Tensor = torch.relu(self.second(x) + x).mean((2, 3))
        return logits


def calls(module: nn.Module) -> str:
    assert isinstance(module, torch.fx.GraphModule), "the network was not traced"
    return module.code


def test_a_normalisers_division_goes_into_the_convolution_and_relus_overwrite() -> None:
    module = Scaled().eval()
    light, x = folded(module, images()), images(20)
    assert "/" not in calls(light), "the division is still there"
    assert calls(light).count("torch.relu_(") == 2, "a ReLU allocates its output"
    torch.testing.assert_close(light(x), module(x), rtol=1e-4, atol=1e-5, msg="folding changes the answers")
    first, second = (torch.autograd.grad(net(point).sum(), point)[0] for net, point in _pairs(module, light, x))
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-5, msg="folding changes the gradients")


def test_a_division_by_what_differs_from_pixel_to_pixel_stays() -> None:
    module = Scaled((1, 2, 8, 8)).eval()
    assert "/" in calls(folded(module, images())), "a scale a pixel is no part of a convolution"


class Read(Scaled):
    """What the first ReLU reads is read by the sum, too."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x / self.scale)
        logits: Tensor = (self.second(torch.relu(x)) + x).mean((2, 3))
        return logits


def test_a_relu_whose_input_others_read_overwrites_nothing() -> None:
    module = Read().eval()
    light, x = folded(module, images()), images(20)
    assert "torch.relu_(" not in calls(light), "the sum would read what the ReLU has overwritten"
    torch.testing.assert_close(light(x), module(x), rtol=1e-4, atol=1e-5, msg="folding changes the answers")


class Misnamed(Residual):
    """A module that is called relu and is another one."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.LeakyReLU(0.3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.third(self.relu(self.norm1(self.first(x)))).mean((2, 3))
        return logits


def test_a_module_is_known_by_its_type_not_by_its_name() -> None:
    module = settled(Misnamed())
    light, x = folded(module, images()), images(20)
    assert norms(light) == 0, "what is called relu was taken for one, and so nothing was folded"
    torch.testing.assert_close(light(x), module(x), rtol=1e-4, atol=1e-5, msg="folding changes the answers")


def stirred(module: nn.Module) -> None:
    """Every weight and statistic is another one."""
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(torch.empty_like(tensor).uniform_(0.7, 1.3))


@pytest.mark.parametrize("kind", [Residual, Scaled])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_refreshed_copy_follows_the_network(kind: type[nn.Module], dtype: torch.dtype) -> None:
    module, x = settled(kind()), images(20)
    copy = crafting_copy(module, images(), dtype)
    assert copy is not None, "the network has no copy"
    before = copy(x)
    tensors = [tensor.data_ptr() for tensor in copy.folding.graph.parameters()]
    stirred(module)
    stale = (copy(x) - module(x)).abs().max()
    assert torch.equal(copy(x), before), "a copy changes although nobody refreshed it"
    copy.refresh()
    near = (copy(x) - module(x)).abs().max()
    bound = 1e-5 if dtype == torch.float32 else 0.02 * module(x).abs().max()
    assert near < bound < stale, f"a refreshed copy is {float(near):.2g} off, a stale one {float(stale):.2g}"
    assert tensors == [tensor.data_ptr() for tensor in copy.folding.graph.parameters()], "a refresh moves weights"
    assert copy(x).dtype == torch.float32, "logits are not fp32"


def test_a_bf16_copy_multiplies_in_bf16_and_normalises_in_fp32() -> None:
    class Mixed(Residual):
        def __init__(self) -> None:
            super().__init__()
            self.channels, self.head = nn.LayerNorm(4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.channels(super().forward(x)).softmax(1))
            return logits

    seen: dict[str, torch.dtype] = {}
    copy = crafting_copy(settled(Mixed()), images(), torch.bfloat16)
    assert copy is not None, "the network has no copy"
    for name, part in copy.folding.graph.named_modules():
        if name:
            part.register_forward_hook(lambda _, given, __, name=name: seen.__setitem__(name, given[0].dtype))
    point = images().requires_grad_()
    copy(point).sum().backward()
    low = {name for name, dtype in seen.items() if dtype == torch.bfloat16}
    assert {"first", "second", "third", "head"} <= low, f"only {low} run in bf16"
    assert seen["channels"] == torch.float32, "the normalisation over channels is not in fp32"
    assert point.grad is not None, "there is no gradient"
    assert point.grad.dtype == torch.float32, "the gradient is not fp32"


def test_a_copy_leaves_the_network_as_it_was() -> None:
    module = settled(Residual()).train()
    kept = {name: value.clone() for name, value in module.state_dict().items()}
    copy = crafting_copy(module, images(), torch.bfloat16)
    assert copy is not None, "the network has no copy"
    copy.refresh()
    assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items()), "statistics moved"
    assert all(part.training for part in module.modules()), "the mode was not put back"
    assert all(parameter.requires_grad for parameter in module.parameters()), "the network was frozen"


def test_a_copy_that_is_gone_leaves_nothing_in_memory() -> None:
    """torch.fx keeps the source of every graph for ever; each validation makes new ones."""

    def kept() -> int:
        written = sum(name.startswith("<eval_with_key>") for name in linecache.cache)
        return written + len(graph_module._loader.eval_cache)

    module = settled(Residual())
    crafting_copy(module, images())
    before = kept()
    for _ in range(3):
        assert crafting_copy(module, images(), torch.bfloat16) is not None, "the network has no copy"
    assert kept() == before, "sources of graphs pile up"
