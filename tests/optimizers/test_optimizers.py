"""Optimizers against plain loops, and options that are refused; that a Learner steps with them is in test_learner."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.errors import OptionError

WEIGHT, BIAS = (torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64), torch.tensor([0.25, -1.0]).double())
GRADIENTS = [torch.tensor([[0.3, -0.1], [1.0, 0.2]]).double(), torch.tensor([[-0.4, 0.6], [0.1, 0.9]]).double()]


def stepped(name: str, **options: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias after two steps with the gradients, the bias with those of the first row."""
    weight, bias = nn.Parameter(WEIGHT.clone()), nn.Parameter(BIAS.clone())
    optimizer = matx.optimizers[name](**options)({"weight": weight, "bias": bias})
    for gradient in GRADIENTS:
        weight.grad, bias.grad = gradient.clone(), gradient[0].clone()
        optimizer.step()
    return weight.detach(), bias.detach()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_sgd_equals_a_plain_loop(nesterov: bool, everywhere: bool) -> None:
    found = stepped("sgd", lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.5, decay_norm_and_bias=everywhere)
    for start, result, decay in ((WEIGHT, found[0], 0.5), (BIAS, found[1], 0.5 if everywhere else 0.0)):
        w, v = start.clone(), torch.zeros_like(start)
        for gradient in GRADIENTS:
            g = (gradient if start is WEIGHT else gradient[0]) + decay * w
            v = 0.9 * v + g
            w = w - 0.1 * (g + 0.9 * v if nesterov else v)
        assert torch.allclose(result, w, rtol=1e-12), f"{tuple(start.shape)}: {result.tolist()}, not {w.tolist()}"


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_equals_a_plain_loop_and_decays_as_it_says(name: str) -> None:
    found, _ = stepped(name, lr=0.1, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.5)
    w, m, v = WEIGHT.clone(), torch.zeros_like(WEIGHT), torch.zeros_like(WEIGHT)
    for step, gradient in enumerate(GRADIENTS, start=1):
        g = gradient + (0.5 * w if name == "adam" else 0.0)
        w = w if name == "adam" else w - 0.1 * 0.5 * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g.square()
        w = w - 0.1 * (m / (1 - 0.8**step)) / ((v / (1 - 0.95**step)).sqrt() + 1e-6)
    assert torch.allclose(found, w, rtol=1e-12), f"{name}: {found.tolist()}, not {w.tolist()}"


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("sgd", {"lr": -0.1}, r"optimizers\.sgd\.lr: got -0\.1, allowed: 0 or more"),
        ("sgd", {"momentum": 1.0}, r"optimizers\.sgd\.momentum: got 1\.0, allowed: 0 or more, below 1"),
        ("sgd", {"nesterov": True, "momentum": 0.0}, r"optimizers\.sgd\.nesterov: got True with momentum 0"),
        ("adam", {"beta2": -0.5}, r"optimizers\.adam\.beta2: got -0\.5"),
        ("adamw", {"weight_decay": float("nan")}, r"optimizers\.adamw\.weight_decay: got nan"),
        ("adamw", {"clip": -1.0}, r"optimizers\.adamw\.clip: got -1\.0"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        matx.optimizers[name](**options)
