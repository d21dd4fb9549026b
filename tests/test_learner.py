"""A learner: normaliser, optimizer, schedule, moving average, given weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import matx
from matx import Peer
from matx.errors import CheckpointError, OptionError
from matx.learner import build_learner, forward, resolved_precision

SGD = matx.optimizers["sgd"]
DATA = matx.datasets["digits"]()()


def learner_of(name: str = "a", seed: int = 0, **options: Any) -> Any:
    settings = {"architecture": matx.architectures["tiny"](width=4), "optimizer": SGD(), **options}
    return build_learner(name, Peer(**settings), DATA, seed=seed)


def test_the_normaliser_is_inside_the_model() -> None:
    learner = learner_of().module.eval()
    images = torch.rand(3, 1, 8, 8)
    mean, std = (torch.tensor(v).reshape(1, -1, 1, 1) for v in (DATA.mean, DATA.std))
    expected = learner.network((images - mean) / std)
    assert torch.equal(learner(images), expected), "logits are not those of (images - mean) / std"


def test_sgd_follows_torch_s_convention_with_bare_norms_and_biases() -> None:
    learner = learner_of(optimizer=SGD(lr=0.1, momentum=0.0, weight_decay=0.5, decay_norm_and_bias=False))
    before = {name: value.clone() for name, value in learner.module.named_parameters()}
    for parameter in learner.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert learner.step(0.5, 0) == pytest.approx(0.05), "the rate is not lr times the factor"
    for name, parameter in learner.module.named_parameters():
        decay = 0.5 * before[name] if before[name].ndim > 1 else 0.0
        expected = before[name] - 0.05 * (1.0 + decay)
        assert torch.allclose(parameter, expected, atol=1e-6), f"{name} did not move by -lr (g + decay w)"
        assert parameter.grad is None, "gradients are left for the next step"


def test_clipping_bounds_the_step() -> None:
    learner = learner_of(optimizer=SGD(lr=1.0, momentum=0.0, weight_decay=0.0, clip=0.1))
    before = [p.clone() for p in learner.module.parameters()]
    for parameter in learner.module.parameters():
        parameter.grad = torch.full_like(parameter, 9.0)
    learner.step(1.0, 0)
    moved = (
        sum((p - b).detach().square().sum() for p, b in zip(learner.module.parameters(), before, strict=True)) ** 0.5
    )
    assert float(moved) == pytest.approx(0.1, rel=1e-4), f"a step of norm {float(moved):.3f} with clip 0.1"


@pytest.mark.parametrize(("done", "decay"), [(0, 0.1), (8, 0.5), (80, 0.9), (10**6, 0.9)])
def test_the_moving_average_follows_its_formula(done: int, decay: float) -> None:
    """Its decay is that of the peer, but at most (1 + t) / (10 + t) after t steps."""
    learner = learner_of(ema=0.9, optimizer=SGD(lr=1.0, momentum=0.0, weight_decay=0.0))
    start = {name: value.clone() for name, value in learner.module.named_parameters()}
    for parameter in learner.module.parameters():
        parameter.grad = torch.ones_like(parameter)
    learner.step(1.0, done)
    for name, value in learner.ema_module.named_parameters():
        expected = start[name] - (1 - decay)
        assert torch.allclose(value, expected, atol=1e-6), f"{name}: not {decay} old + {1 - decay:.1f} new"


def test_a_short_run_s_average_is_not_of_its_first_weights() -> None:
    """A decay of 0.999 from the first step on would leave 91 % of them after 90 steps."""
    learner = learner_of(ema=0.999, optimizer=SGD(lr=0.0))
    for parameter in learner.ema_module.parameters():
        torch.nn.init.ones_(parameter)
    for parameter in learner.module.parameters():
        torch.nn.init.zeros_(parameter)
    for done in range(90):
        learner.step(1.0, done)
    left = max(float(value.max()) for value in learner.ema_module.parameters())
    assert left < 1e-9, f"{left:.1e} of the first weights are left after 90 steps"


def test_first_weights_depend_only_on_seed_and_name() -> None:
    torch.manual_seed(5)
    first = learner_of().module.state_dict()
    torch.manual_seed(6)
    second = learner_of(optimizer=matx.optimizers["adam"](), ema=0.5).module.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first), "weights depend on more than seed and name"
    for other in (learner_of("b"), learner_of(seed=1)):
        same = all(torch.equal(first[key], value) for key, value in other.module.state_dict().items())
        assert not same, "another name or seed gives the same weights"


def test_weights_are_read_from_files_and_refused_with_a_sentence(tmp_path: Path) -> None:
    source = learner_of(seed=3)
    plain = tmp_path / "plain.pt"
    torch.save({f"module.{key}": value for key, value in source.module.network.state_dict().items()}, plain)
    frozen = learner_of(frozen=True, weights=str(plain))
    assert frozen.optimizer is None, "a frozen peer has an optimizer"
    assert not any(p.requires_grad for p in frozen.module.parameters()), "a frozen peer's weights want gradients"
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(frozen.module(images), source.module.eval()(images)), "other weights than the file's"

    other = learner_of(architecture=matx.architectures["tiny"](width=8))
    torch.save(other.module.state_dict(), tmp_path / "wide.pt")
    (tmp_path / "text.pt").write_text("no weights")
    cases = {"wide.pt": "do not fit", "text.pt": "does not hold plain weights", "none.pt": "is not there"}
    for name, sentence in cases.items():
        with pytest.raises(CheckpointError, match=sentence):
            learner_of(frozen=True, weights=str(tmp_path / name))
    with pytest.raises(OptionError, match=r"Peer\.weights: got None for a frozen peer"):
        learner_of(frozen=True)


def test_bf16_is_autocast_around_one_forward_and_gives_fp32() -> None:
    learner = learner_of()
    images = torch.rand(4, 1, 8, 8)
    learner.module.eval().requires_grad_(False)
    exact, rough = (forward(learner.module, images, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert rough.dtype == torch.float32, "logits are not fp32"
    assert 0 < float((exact - rough).abs().max()) < 0.1, "bf16 was not used, or is far off"


def test_auto_is_bf16_where_the_processor_multiplies_in_it() -> None:
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.is_file() else []
    wanted = "bf16" if {"avx512_bf16", "amx_tile"} & set(flags) else "fp32"
    assert resolved_precision("auto", "cpu") == wanted, f"auto is not {wanted} on this processor"
    assert resolved_precision("fp32", "cpu") == "fp32", "a precision that is named is not taken"
