"""The decision boundary as a plane: where it lies near a point, and the way to it that stays inside the box."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from matx.errors import ModelError, OptionError
from matx.interfaces import AttackInput, Model

_TINY = 1e-30


@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """The boundary between the label and one other class, linearised: gap + normal . delta = 0, one plane a row."""

    gap: Tensor
    """(n,) fp32, z_other - z_label: positive where the other class is ahead."""
    normal: Tensor
    """(n, d) fp32, the gradient of the gap by the image."""


def only_labels(name: str, given: AttackInput) -> None:
    """Refuse an objective of a strategy: an attack that looks for the boundary of the labels has no use for it."""
    if given.objective is not None:
        raise OptionError(
            "",
            owner=f"attacks.{name}",
            got="an objective from the strategy, but it searches for the boundary of the labels",
            allowed="attacks that maximise an objective, such as attacks.pgd",
        )


def logits_of(model: Model, images: Tensor, rows: int) -> Tensor:
    """(n, classes) fp32 logits without a graph, at most so many rows a forward."""
    with torch.no_grad():
        logits = torch.cat([model(images[at : at + rows]).float() for at in range(0, len(images), rows)])
    if logits.shape[1] < 2:
        raise ModelError(f"attack: got a model of {logits.shape[1]} class, allowed: at least 2")
    return logits


def likeliest(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """(n, k) int64: the other classes of the largest logits, first the largest; k = min(count, classes - 1), 0: all."""
    others, most = logits.scatter(1, labels[:, None], -torch.inf), logits.shape[1] - 1
    return others.topk(min(count or most, most), dim=1).indices


def nearest_plane(model: Model, images: Tensor, labels: Tensor, others: Tensor | int, norm: str) -> Plane:
    """The closest, by |gap| / ||normal||_dual, of the planes against some other classes, linearised at the images.

    `others` is (n, k) classes, or a number: the so many likeliest at each point (0: all).
    """
    with torch.enable_grad():
        point = images.detach().requires_grad_()
        logits = model(point).float()
        given = logits.detach()
        rivals = likeliest(given, labels, others) if isinstance(others, int) else others
        gaps = logits.gather(1, rivals) - logits.gather(1, labels[:, None])
    gap, normal = gaps.detach()[:, 0], _gradient(gaps[:, 0], point, keep=rivals.shape[1] > 1).flatten(1)
    nearest = _distance(norm, gap, normal) if rivals.shape[1] > 1 else gap
    for k in range(1, rivals.shape[1]):
        slope = _gradient(gaps[:, k], point, keep=k + 1 < rivals.shape[1]).flatten(1)
        distance = _distance(norm, gaps.detach()[:, k], slope)
        closer = distance < nearest
        nearest = torch.where(closer, distance, nearest)
        gap = torch.where(closer, gaps.detach()[:, k], gap)
        normal = torch.where(closer[:, None], slope, normal)
    return Plane(gap=gap, normal=normal)


def _gradient(values: Tensor, point: Tensor, *, keep: bool) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(point)
    (gradient,) = torch.autograd.grad(values.sum(), point, retain_graph=keep, allow_unused=True)
    return torch.zeros_like(point) if gradient is None else gradient.float()


def _distance(norm: str, gap: Tensor, slope: Tensor) -> Tensor:
    """(n,): how far the planes are, |gap| over the dual norm of their normals."""
    order = {"linf": 1.0, "l2": 2.0, "l1": torch.inf}[norm]
    length: Tensor = torch.linalg.vector_norm(slope, order, dim=1)
    return gap.abs() / length.clamp_min(1e-12)


def onto_plane(norm: str, points: Tensor, normals: Tensor, needs: Tensor) -> Tensor:
    """The smallest delta (in the norm) with normals . delta = needs and points + delta in [0,1]; exact, batched.

    (..., n, d), (n, d), (..., n) -> (..., n, d): several points may ask for the way to one plane. Every entry moves by
    u_i in [0, cap_i] towards sign(need w_i), cap_i being the distance to that side of the box. With a = |w| and
    c = |need| the optimum is

        linf: u_i = min(cap_i, lambda) where a_i > 0      l2: u_i = min(cap_i, lambda a_i)      with sum a_i u_i = c
        l1:   entries filled to their caps in falling order of a_i, the last one in part, until sum a_i u_i = c

    Where the box does not reach the plane: the corner next to it, u_i = cap_i wherever a_i > 0.
    """
    towards = normals * torch.where(needs < 0, -1.0, 1.0)[..., None]
    slack = torch.gt(towards, 0, out=torch.empty_like(points)).sub_(points).abs_()
    weight = normals.abs()
    unit = weight.amax(1, keepdim=True).clamp_min(_TINY)
    weight, need = weight / unit, (needs.abs()[..., None] / unit).clamp_max(1 / _TINY)
    if norm == "l1":
        moved = _fill_in_order(weight, slack, need)
    else:
        moved = _fill_together((weight > 0).to(weight.dtype) if norm == "linf" else weight, weight, slack, need)
    return moved.copysign(towards)


def _fill_together(rate: Tensor, weight: Tensor, slack: Tensor, need: Tensor) -> Tensor:
    """u = min(slack, level rate) with weight . u = need; slack where even that is not enough.

    weight . u is concave and piecewise linear in the level, so Newton's method from 0 rises to the solution and meets
    it exactly as soon as the set of full entries no longer grows.
    """
    pull, most = weight * rate, weight * slack
    level = (need / pull.sum(1, keepdim=True).clamp_min(_TINY)).clamp_max(1 / _TINY)
    mask = torch.empty_like(slack)  # fp32: on CPUs a product with it is several times as fast as torch.where
    while True:
        filled = level * rate
        used = (most * torch.ge(filled, slack, out=mask)).sum(-1, keepdim=True)
        slope = (pull * torch.lt(filled, slack, out=mask)).sum(-1, keepdim=True)
        raised = torch.maximum(level, ((need - used) / slope.clamp_min(_TINY)).clamp_max(1 / _TINY))
        if not (raised > level).any():
            return torch.minimum(slack, filled)
        level = raised


def _fill_in_order(weight: Tensor, slack: Tensor, need: Tensor) -> Tensor:
    """u filled to the slack in falling order of the weight until weight . u = need."""
    falling, order = weight.sort(dim=1, descending=True, stable=True)
    order = order.expand_as(slack)
    cap = slack.gather(-1, order)
    total = (falling * cap).cumsum(-1)
    before = torch.cat([torch.zeros_like(total[..., :1]), total[..., :-1]], -1)
    filled = torch.minimum(cap, ((need - before) / falling.clamp_min(_TINY)).clamp_min(0.0))
    filled = torch.where(falling > 0, filled, 0.0)
    return torch.zeros_like(filled).scatter_(-1, order, filled)
