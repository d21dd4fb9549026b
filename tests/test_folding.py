"""Folding batch norms into convolutions: the same function, or the module itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from matx.folding import folded


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
