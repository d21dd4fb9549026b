"""`matx.attack`: examples of any module, in one call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.errors import DataError, OptionError, RegistrationError


@pytest.fixture
def problem() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    images = torch.rand(12, 1, 8, 8)
    return model, images, model.eval()(images).argmax(1).detach()


@pytest.mark.parametrize("name", ["pgd", "autoattack", "fab", "square"])
@pytest.mark.parametrize("threat", ["linf:0.1", "l2:0.5"])
def test_examples_lie_inside(problem: tuple[nn.Module, Tensor, Tensor], name: str, threat: str) -> None:
    model, images, labels = problem
    options = {"steps": 5, "queries": 20} if name == "autoattack" else {} if name == "square" else {"steps": 5}
    found = matx.attack(model, images, labels, name, threat, **options)
    inside = matx.ThreatModel.parse(threat).contains(found, images)
    assert inside.all(), f"{int((~inside).sum())} of 12 examples of {name} lie outside {threat}"


def test_examples_break_the_model(problem: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = problem
    found = matx.attack(model, images, labels, "pgd", matx.ThreatModel(norm="linf", eps=0.1), steps=20)
    wrong = int((model(found).argmax(1) != labels).sum())
    assert wrong >= 10, f"PGD breaks nearly all images of an undefended network, not {wrong} of 12"


def test_the_batch_size_changes_no_draw(problem: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = problem
    whole = matx.attack(model, images, labels, seed=3)
    parts = matx.attack(model, images, labels, seed=3, batch_size=5)
    other = matx.attack(model, images, labels, seed=4)
    assert (whole - parts).abs().max() <= 1e-6, "draws depend on an image's place, not on its batch"
    assert (whole - other).abs().max() > 1e-3, "another seed starts elsewhere"


def test_the_model_is_left_as_it_was(problem: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = problem
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    matx.attack(model, images, labels)
    assert model.training, "the mode is put back"
    assert all(p.requires_grad and p.grad is None for p in model.parameters()), "parameters have no gradient, as before"
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert not changed, f"an attack changed {changed}"


def test_errors_are_sentences(problem: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = problem
    cases = [
        (lambda: matx.attack(model, images * 255, labels), DataError, r"got values in \[.*allowed: \[0, 1\]"),
        (lambda: matx.attack(model, images[0], labels), DataError, r"allowed: \(N, C, H, W\)"),
        (lambda: matx.attack(model, images, labels[:3]), DataError, r"labels: got torch.int64 of shape \(3,\)"),
        (lambda: matx.attack(model, images, labels, "pdg"), RegistrationError, "did you mean 'pgd'"),
        (lambda: matx.attack(model, images, labels, stepz=3), OptionError, "did you mean 'steps'"),
        (lambda: matx.attack(model, images, labels, batch_size=0), OptionError, "batch_size: got 0"),
        (lambda: matx.attack(model, images, labels, "pgd", "linff:1"), OptionError, "linf"),
    ]
    for call, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            call()
