import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from matx import losses
from matx.errors import OptionError

LABELS = torch.tensor([0, 3, 4, 1, 1, 2])


def logits(seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    powers = [math.exp(value / temperature) for value in row]
    return np.array(powers) / math.fsum(powers)


def kl(q: np.ndarray, p: np.ndarray) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(q, p, strict=True))


def each(rule: Callable[[np.ndarray, int], float], z: Tensor) -> Tensor:
    """The rule on every (view, sample), as (views, N)."""
    values = [[rule(z[v, n].numpy(), int(LABELS[n])) for n in range(z.shape[1])] for v in range(len(z))]
    return torch.tensor(values, dtype=torch.float64)


def close(got: Tensor, wanted: Tensor, what: str) -> None:
    assert got.shape == wanted.shape, f"{what}: one value a view and sample"
    assert (got - wanted.to(got)).abs().max() < 1e-12, f"{what} differs from its formula in float64"


def test_cross_entropy() -> None:
    z = logits()
    close(losses.cross_entropy(z, LABELS), each(lambda row, y: -math.log(softmax(row)[y]), z), "cross_entropy")

    def smoothed(row: np.ndarray, y: int) -> float:
        return -0.9 * math.log(softmax(row)[y]) - 0.1 * float(np.mean(np.log(softmax(row))))

    close(losses.cross_entropy(z, LABELS, smoothing=0.1), each(smoothed, z), "smoothed cross_entropy")
    mine = losses.cross_entropy(z[0], LABELS, smoothing=0.1).mean()
    assert torch.allclose(mine, F.cross_entropy(z[0], LABELS, label_smoothing=0.1)), "torch smooths otherwise"


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_family(temperature: float) -> None:
    student, teacher = logits(1), logits(2)
    divergence, soft = torch.zeros(2, 2, 6, dtype=torch.float64)
    for v in range(2):
        for n in range(6):
            q, p = softmax(teacher[v, n].numpy(), temperature), softmax(student[v, n].numpy(), temperature)
            divergence[v, n] = kl(q, p)
            soft[v, n] = -math.fsum(a * math.log(b) for a, b in zip(q, p, strict=True))
    close(losses.kl_divergence(teacher, student, temperature=temperature), divergence, "kl_divergence")
    close(losses.soft_cross_entropy(student, teacher, temperature=temperature), soft, "soft_cross_entropy")
    mine = losses.distillation(student, teacher, temperature=temperature)
    close(mine, temperature**2 * divergence, "distillation")
    log_p, q = F.log_softmax(student[0] / temperature, -1), F.softmax(teacher[0] / temperature, -1)
    theirs = F.kl_div(log_p, q, reduction="batchmean") * temperature**2
    assert torch.allclose(mine[0].mean(), theirs), "the mean is the batch mean, not the element-wise mean"


def test_js_divergence() -> None:
    rows = [logits(seed) for seed in (1, 2, 3)]
    wanted = torch.zeros(2, 6).double()
    for v in range(2):
        for n in range(6):
            ps = [softmax(z[v, n].numpy()) for z in rows]
            wanted[v, n] = sum(kl(p, np.mean(ps, axis=0)) for p in ps) / 3
    close(losses.js_divergence(*rows), wanted, "js_divergence")
    assert losses.js_divergence(rows[0], rows[0]).abs().max() < 1e-12, "equal answers diverge by nothing"


def test_mse() -> None:
    first, second = logits(1), logits(2)
    wanted = torch.tensor(((first - second).numpy() ** 2).mean(-1))
    close(losses.mse(first, second), wanted, "mse")


def test_margins_and_dlr() -> None:
    z = logits(3)

    def margin(row: np.ndarray, y: int) -> float:
        return max(value for c, value in enumerate(row) if c != y) - row[y]

    def dlr(row: np.ndarray, y: int) -> float:
        ranked = sorted(row, reverse=True)
        return margin(row, y) / (ranked[0] - ranked[2] + 1e-12)

    def targeted(row: np.ndarray, y: int) -> float:
        ranked, target = sorted(row, reverse=True), (y + 1) % 5
        return (row[target] - row[y]) / (ranked[0] - (ranked[2] + ranked[3]) / 2 + 1e-12)

    close(losses.margin(z, LABELS), each(margin, z), "margin")
    close(losses.dlr(z, LABELS), each(dlr, z), "dlr")
    close(losses.targeted_dlr(z, LABELS, (LABELS + 1) % 5), each(targeted, z), "targeted_dlr")
    wrong = z.argmax(-1) != LABELS
    assert torch.equal(losses.margin(z, LABELS) > 0, wrong), "a positive margin means a wrong answer"
    shifted = losses.dlr(7 * z + 3, LABELS)
    assert torch.allclose(shifted, losses.dlr(z, LABELS)), "dlr ignores shift and scale of the logits"


def test_extreme_logits_stay_finite() -> None:
    z = torch.tensor([[1e4, -1e4, 0.0, 5.0, 1.0], [0.0] * 5]).requires_grad_()
    labels = torch.tensor([1, 0])
    total = (
        losses.cross_entropy(z, labels).sum()
        + losses.kl_divergence(z.flip(0), z).sum()
        + losses.js_divergence(z, z.flip(0)).sum()
        + losses.margin(z, labels).sum()
        + losses.dlr(z, labels).sum()
        + losses.targeted_dlr(z, labels, labels + 1).sum()
    )
    (gradient,) = torch.autograd.grad(total, z)
    assert total.isfinite(), "a loss of extreme logits is not finite"
    assert gradient.isfinite().all(), "a gradient at extreme logits is not finite"


def test_too_few_classes_are_refused_clearly() -> None:
    labels = torch.tensor([0, 1])
    assert losses.dlr(torch.randn(2, 3), labels).shape == (2,), "three classes suffice for dlr"
    with pytest.raises(OptionError) as caught:
        losses.dlr(torch.randn(2, 2), labels)
    assert "got 2 classes, allowed: at least 3" in str(caught.value), "the message does not say how many are needed"
    with pytest.raises(OptionError) as caught:
        losses.targeted_dlr(torch.randn(2, 3), labels, 1 - labels)
    assert "got 3 classes, allowed: at least 4" in str(caught.value), "the message does not say how many are needed"
