import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from matx.errors import OptionError
from matx.randomness import SampleGenerator
from matx.threat import NORMS, ThreatModel, exact_number

RADII = {"linf": 0.1, "l2": 0.6, "l1": 1.5}


def draws(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def images(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random pixels, many of them exactly black or white."""
    return (1.6 * draws(seed, *shape, dtype=dtype) - 0.3).clamp(0, 1)


def oracle(norm: str, eps: float, point: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """The projection of one image, by bisecting the Lagrange multiplier of the ball in float64."""
    delta = point - clean
    room = np.where(delta > 0, 1 - clean, clean)

    def moved(multiplier: float) -> np.ndarray:
        if norm == "linf":
            size = np.minimum(np.abs(delta), eps)
        elif norm == "l2":
            size = np.abs(delta) / (1 + multiplier)
        else:
            size = np.maximum(np.abs(delta) - multiplier, 0)
        return np.sign(delta) * np.minimum(size, room)

    def length(multiplier: float) -> float:
        return float(np.linalg.norm(moved(multiplier), {"linf": np.inf, "l2": 2, "l1": 1}[norm]))

    low, high = 0.0, 1e6
    if length(low) <= eps:
        return clean + moved(low)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if length(middle) > eps else (low, middle)
    return clean + moved(high)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("spread", [0.05, 0.5, 5.0])
def test_projection_is_the_bisection_oracles(norm: str, spread: float) -> None:
    clean = images(1, 40, 12)
    points = clean + spread * (2 * draws(2, 40, 12) - 1)
    got = ThreatModel(norm=norm, eps=RADII[norm]).project(points, clean)
    wanted = np.stack([oracle(norm, RADII[norm], p, c) for p, c in zip(points.numpy(), clean.numpy(), strict=True)])
    assert np.abs(got.numpy() - wanted).max() < 1e-9, "the projection differs from bisection in float64"


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_projection_solves_the_quadratic_programme(norm: str) -> None:
    eps, size = RADII[norm], 5
    clean = images(3, 8, size)
    points = clean + 2 * (2 * draws(4, 8, size) - 1)
    got = ThreatModel(norm=norm, eps=eps).project(points, clean)
    for point, base, found in zip(points.numpy(), clean.numpy(), got.numpy(), strict=True):
        # delta = up - down with up in [0, 1 - x] and down in [0, x] makes the l1 ball smooth.
        def distance(split: np.ndarray, point: np.ndarray = point, base: np.ndarray = base) -> float:
            return float(((base + split[:size] - split[size:] - point) ** 2).sum())

        def slack(split: np.ndarray) -> float:
            up, down = split[:size], split[size:]
            return float(eps - split.sum() if norm == "l1" else eps**2 - ((up - down) ** 2).sum())

        bounds = [(0.0, float(room)) for room in np.concatenate([1 - base, base])]
        start = np.array([min(0.01, high) for _, high in bounds])
        best = minimize(
            distance, start, bounds=bounds, constraints={"type": "ineq", "fun": slack}, method="SLSQP", tol=1e-14
        )
        mine = float(((found - point) ** 2).sum())
        assert mine <= best.fun + 1e-6, f"scipy found a nearer point: {best.fun} against {mine}"


@pytest.mark.parametrize("norm", NORMS)
def test_projection_of_images_in_single_precision(norm: str) -> None:
    eps = {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}[norm]
    threat = ThreatModel(norm=norm, eps=eps)
    clean = images(5, 6, 3, 32, 32, dtype=torch.float32)
    points = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(6)) * 0.3
    got = threat.project(points, clean)
    wanted = threat.project(points.double(), clean.double())
    assert (got - wanted).abs().max() < 1e-6, "single precision moves pixels by more than rounding"
    assert threat.contains(got, clean).all(), "a projected image is not inside"
    assert torch.equal(threat.project(got, clean), got), "projecting twice differs from projecting once"
    assert (threat.size(got - clean) - eps).abs().max() < 1e-5 * max(1.0, eps), "the budget is not used up"


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_feasible_lies_nearer(norm: str) -> None:
    """<y - p, z - p> <= 0 for every feasible z characterises the projection p of y onto a convex set."""
    threat = ThreatModel(norm=norm, eps=RADII[norm])
    clean = images(7, 200, 20)
    points = clean + 1.5 * (2 * draws(8, 200, 20) - 1)
    got = threat.project(points, clean)
    for seed in range(20):
        other = threat.project(clean + draws(seed, 200, 20) - draws(seed + 99, 200, 20), clean)
        assert threat.contains(other, clean).all(), "the comparison point is not feasible"
        assert ((points - got) * (other - got)).sum(1).max() < 1e-9, "a feasible point lies nearer"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", [1e-7, 1e-3, "whole"])
@pytest.mark.parametrize("fill", [0.0, 1.0, 0.5])
def test_edges_of_box_and_radius(norm: str, eps: float | str, fill: float) -> None:
    whole = {"linf": 1, "l2": 1e6, "l1": 1e6}[norm]
    threat = ThreatModel(norm=norm, eps=whole if eps == "whole" else eps)
    clean = torch.full((9, 1, 4, 4), fill)
    points = clean + 3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    got = threat.project(points, clean)
    assert threat.contains(got, clean).all(), "the projection leaves ball or box"
    if eps == "whole":
        assert torch.equal(got, points.clamp(0, 1)), "in a huge ball only the box remains"


@pytest.mark.parametrize("norm", NORMS)
def test_inside_stays_and_shapes_are_kept(norm: str) -> None:
    threat = ThreatModel(norm=norm, eps=RADII[norm])
    clean = images(9, 5, 3, 6, 4, dtype=torch.float32)
    near = (clean + 1e-4).clamp(0, 1)
    assert torch.equal(threat.project(near, clean), near), "an image inside was moved"
    assert torch.equal(threat.project(clean, clean), clean), "the clean image was moved"
    assert threat.project(clean[:0], clean[:0]).shape == (0, 3, 6, 4), "an empty batch is not kept"
    far = (clean + 1).to(memory_format=torch.channels_last)
    assert torch.equal(threat.project(far, clean), threat.project(far.contiguous(), clean)), "memory format matters"


def test_naive_order_wastes_budget() -> None:
    """Projecting onto the l1 ball and clipping then leaves budget unused (D6: others divide by the norm)."""
    threat = ThreatModel(norm="l1", eps=2.0)
    clean = images(10, 50, 64)
    points = threat.project(clean + draws(11, 50, 64) - 0.5, clean) + 0.8 * (draws(12, 50, 64) > 0.7)
    got = threat.project(points, clean)
    delta = points - clean
    scaled = (clean + delta * (2.0 / delta.abs().sum(1, keepdim=True)).clamp_max(1)).clamp(0, 1)
    assert threat.size(got - clean).min() > 2 - 1e-9, "the exact projection uses the budget up"
    nearer = (got - points).norm(dim=1) < (scaled - points).norm(dim=1)
    assert nearer.all(), "division by the norm came nearer than the projection"


def test_contains_knows_the_border() -> None:
    clean = torch.full((1, 100), 0.5)
    for norm, one in (("linf", 0.1), ("l2", 0.01), ("l1", 0.001)):
        threat = ThreatModel(norm=norm, eps=0.1)
        assert threat.contains(clean + one, clean).all(), f"{norm}: the border belongs to the ball"
        assert not threat.contains(clean + 1.01 * one, clean).any(), f"{norm}: one per cent outside was accepted"
    assert not ThreatModel(norm="linf", eps=1).contains(torch.full((1, 4), 1.0001), torch.ones(1, 4)).any(), (
        "a pixel above 1 was accepted"
    )
    assert not ThreatModel(norm="l2", eps=1).contains(torch.full((1, 4), torch.nan), torch.ones(1, 4)).any(), (
        "NaN was accepted"
    )


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", torch.inf)])
def test_steepest_reaches_the_dual_norm(norm: str, dual: float) -> None:
    gradient = torch.randn(30, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    threat = ThreatModel(norm=norm, eps=1.0)
    direction = threat.steepest(gradient, sparsity=1 / 48)
    assert torch.allclose(threat.size(direction), torch.ones(30).double()), "a direction has norm 1"
    gain = (gradient * direction).flatten(1).sum(1)
    assert torch.allclose(gain, gradient.flatten(1).norm(p=dual, dim=1)), "the gain is the dual norm of the gradient"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", [0.0, 1e-40, 1e-30, 1e30])
def test_steepest_of_extreme_gradients_is_finite(norm: str, scale: float) -> None:
    """D7: a zero gradient divided by its norm gives NaN elsewhere."""
    gradient = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0)) * scale
    threat = ThreatModel(norm=norm, eps=1.0)
    direction = threat.steepest(gradient, sparsity=0.3)
    assert direction.isfinite().all(), "the direction is not finite"
    wanted = 0.0 if scale == 0 else 1.0
    if scale != 1e-40:
        assert torch.allclose(threat.size(direction).float(), torch.tensor(wanted), atol=1e-5), "norm 1, or 0 for zero"


def test_steepest_l1_counts_and_blocks() -> None:
    threat = ThreatModel(norm="l1", eps=1.0)
    gradient = torch.tensor([[5.0, -4.0, 3.0, -2.0, 1.0]]).repeat(2, 1)
    both = threat.steepest(gradient, sparsity=torch.tensor([0.2, 0.6]))
    for row, share in enumerate((0.2, 0.6)):
        single = threat.steepest(gradient[row : row + 1], sparsity=share)
        assert torch.equal(both[row], single[0]), "a share per sample gives what the one share gives"
    assert both[1].tolist() == pytest.approx([1 / 3, -1 / 3, 1 / 3, 0, 0]), "signs of the three largest over three"
    edge = torch.tensor([[1.0, 0.0, 0.5, 0.5, 0.5]])
    blocked = threat.steepest(gradient[:1], edge, sparsity=0.4)
    assert blocked[0].tolist() == [0, 0, 0.5, -0.5, 0], "entries that point out of the box are left out"


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_fill_the_set_whatever_the_batch(norm: str) -> None:
    threat = ThreatModel(norm=norm, eps=RADII[norm])
    clean = images(13, 400, 1, 4, 4, dtype=torch.float32)
    generator = SampleGenerator(7, torch.arange(400))
    starts = threat.random_start(clean, generator)
    assert threat.contains(starts, clean).all(), "a start lies outside"
    rows = torch.tensor([5, 399, 17])
    some = threat.random_start(clean[rows], generator.select(rows))
    assert torch.equal(some, starts[rows]), "a start depends on the batch"
    grey = torch.full_like(clean, 0.5)
    sizes = threat.size(threat.random_start(grey, generator) - grey) / threat.radius
    assert sizes.max() > 0.9, "no start comes near the border"
    if norm != "linf":
        assert abs(float(sizes.mean()) - 0.5) < 0.05, "lengths are uniform in [0, eps)"
    assert abs(float((starts - clean).mean())) < 0.05 * threat.radius, "starts lean to one side"


def test_threat_models_compare_by_exact_value() -> None:
    assert ThreatModel(norm="linf", eps="8/255") == ThreatModel(norm="linf", eps="16/510"), "equal fractions differ"
    assert hash(ThreatModel(norm="l2", eps=0.5)) == hash(ThreatModel(norm="l2", eps="1/2")), "equal values hash apart"
    assert ThreatModel(norm="linf", eps=0.031) != ThreatModel(norm="linf", eps="8/255"), "0.031 is not 8/255"
    assert ThreatModel.parse("l1:2.0").key == "l1:2.0", "a key does not read back as written"
    assert ThreatModel(norm="linf", eps="8/255").radius == 8 / 255, "radius is not the value of the fraction"
    assert exact_number("2/255", "x") == exact_number("4/510", "x"), "fractions are not reduced"


@pytest.mark.parametrize(
    ("norm", "eps", "said"),
    [
        ("Linf", 0.1, "did you mean 'linf'"),
        ("l3", 0.1, "allowed: 'linf', 'l2', 'l1'"),
        ("l2", 0, "allowed: a number over 0"),
        ("l2", -1, "got -1"),
        ("l2", "8/0", "got '8/0'"),
        ("l2", "eight", "got 'eight'"),
        ("l2", float("nan"), "got nan"),
        ("l2", float("inf"), "got inf"),
        ("linf", "8", "did you mean '8/255'?"),
        ("linf", 8, "got 8 in linf, allowed: at most 1, for pixels lie in [0,1]; did you mean '8/255'?"),
        ("linf", 8.0, "did you mean '8/255'?"),
        ("linf", 1.5, "got 1.5 in linf, allowed: at most 1"),
        ("linf", 256, "got 256 in linf, allowed: at most 1"),
    ],
)
def test_bad_threat_models_are_refused(norm: str, eps: float | str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        ThreatModel(norm=norm, eps=eps)
    assert said in str(caught.value), f"the message does not say {said!r}: {caught.value}"


def test_a_key_without_a_colon_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        ThreatModel.parse("linf")
    assert "NORM:EPS" in str(caught.value), "the message does not show the form of a key"
