"""The allowed set of perturbations: a ball of one norm, intersected with the box [0,1] of images."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from matx.errors import OptionError
from matx.options import declare
from matx.randomness import SampleGenerator

__all__ = ["NORMS", "Norm", "ThreatModel", "exact_number"]

Norm = Literal["linf", "l2", "l1"]
NORMS: tuple[Norm, ...] = get_args(Norm)


def exact_number(value: float | str, parameter: str) -> Fraction:
    """A number or a fraction such as '8/255' as an exact fraction (a float counts as the decimal that it prints as)."""
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise OptionError(parameter, got=repr(value), allowed="a number, or a fraction like '8/255'") from None


@declare
@dataclass(frozen=True, kw_only=True, eq=False)
class ThreatModel:
    """All images x' in [0,1] with ||x' - x||_norm <= eps, on the pixel scale [0,1].

    `eps` is a number or an exact fraction such as `'8/255'`. It is kept as written; `radius` is its value, and two
    threat models are equal when norm and exact value are ('8/255' equals '16/510'). Over 1 it is refused in linf: that
    would be the whole box, and is mostly a forgotten '/255'.

    >>> import matx
    >>> threat = matx.ThreatModel(norm="linf", eps="8/255")
    >>> threat.key, round(threat.radius, 4), threat == matx.ThreatModel.parse("linf:16/510")
    ('linf:8/255', 0.0314, True)
    """

    norm: Norm
    eps: float | str

    def __post_init__(self) -> None:
        if self.exact <= 0:
            raise self._bad_eps()
        if self.norm == "linf" and self.exact > 1:
            near = f"; did you mean '{self.exact}/255'?" if self.exact.denominator == 1 and self.exact <= 255 else ""
            allowed = f"at most 1, for pixels lie in [0,1]{near}"
            raise OptionError("eps", got=f"{self.eps!r} in linf", allowed=allowed)

    @classmethod
    def parse(cls, text: str) -> ThreatModel:
        """The threat model that a key such as `linf:8/255` names (the inverse of `key`)."""
        norm, colon, eps = text.partition(":")
        if not colon:
            raise OptionError("threat", got=repr(text), allowed="NORM:EPS, as in linf:8/255, l2:0.5, l1:12")
        return cls(norm=cast(Norm, norm), eps=eps)

    @cached_property
    def exact(self) -> Fraction:
        """eps as an exact fraction (a float counts as the decimal that it prints as)."""
        return exact_number(self.eps, "eps")

    def _bad_eps(self) -> OptionError:
        return OptionError("eps", got=repr(self.eps), allowed="a number over 0, or a fraction like '8/255'")

    @property
    def radius(self) -> float:
        """eps as a number."""
        return float(self.exact)

    @property
    def key(self) -> str:
        """`norm:eps` as written, for tables and results."""
        return f"{self.norm}:{self.eps}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ThreatModel) and (self.norm, self.exact) == (other.norm, other.exact)

    def __hash__(self) -> int:
        return hash((self.norm, self.exact))

    def size(self, delta: Tensor) -> Tensor:
        """(N,) float64: the norm of each (N, ...) perturbation."""
        flat = delta.detach().flatten(1).double()
        if self.norm == "l2":
            length: Tensor = torch.linalg.vector_norm(flat, dim=1)
            return length
        return flat.abs().amax(1) if self.norm == "linf" else flat.abs().sum(1)

    def contains(self, images: Tensor, clean: Tensor) -> Tensor:
        """(N,) bool: inside box and ball, up to the rounding of fp32 pixels (2^-24 each) and 1e-5 of the radius."""
        count = clean[0].numel()
        rounding = {"linf": 1.0, "l2": count**0.5, "l1": float(count)}[self.norm] * 2.0**-24
        flat = images.flatten(1)
        boxed: Tensor = (flat.amin(1) >= 0) & (flat.amax(1) <= 1)
        near = self.size(images.double() - clean.double()) <= self.radius * (1 + 1e-5) + rounding
        return torch.logical_and(boxed, near)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """The Euclidean projection of (N, ...) images onto ball and box together (exact, not one after the other).

        linf: clamp. l2: delta_i = sign(y_i) min(cap_i, s |y_i|) with the largest s <= 1 whose norm fits. l1: delta_i =
        sign(y_i) min(cap_i, max(|y_i| - lambda, 0)) with the smallest lambda >= 0 whose norm fits (Croce and Hein 2021,
        arXiv 2103.01208). cap_i is the distance to the side of the box that y_i points to.
        """
        if self.norm == "linf":
            eps = self.radius
            inside: Tensor = torch.minimum(torch.maximum(images, clean - eps), clean + eps).clamp(0.0, 1.0)
            return inside
        flat, base = images.flatten(1), clean.flatten(1)
        moved: Tensor = flat.clamp(0.0, 1.0)
        away = moved - base
        length = away.norm(dim=1) if self.norm == "l2" else away.abs_().sum(1)
        # Rounding leaves a projected image a little outside; that counts as inside, so that projecting is idempotent.
        rounding = torch.finfo(flat.dtype).eps * (8 * self.radius + 2 * flat.shape[1] ** 0.5)
        rows = (length > self.radius + rounding).nonzero().squeeze(1)  # waits for the device: the others are done
        if len(rows) > 0:
            onto = _onto_l2 if self.norm == "l2" else _onto_l1
            if len(rows) == len(flat):  # as in most steps of an attack: nothing is gathered and put back
                moved = onto(flat - base, base, self.radius)
            else:
                moved[rows] = onto(flat[rows] - base[rows], base[rows], self.radius)
        return moved.reshape(images.shape)

    def steepest(self, gradient: Tensor, images: Tensor | None = None, *, sparsity: float | Tensor = 0.05) -> Tensor:
        """The direction of norm 1 (in this norm) along which a linear function with that gradient grows fastest.

        linf: sign(g). l2: g / ||g||. l1: the signs of the round(sparsity d), at least 1, largest entries of |g|, and of
        those equal to the last of them, over their number; `sparsity` is one share or (N,) shares. Sparsity 1/d is the
        exact steepest ascent; more entries make an l1 attack usable (Tramer and Boneh 2019, arXiv 1904.13000). With
        `images`, entries that point out of the box from its edge are left out first. A zero gradient gives a zero
        direction, never NaN.
        """
        flat = gradient.flatten(1)
        if images is not None:
            pixels = images.flatten(1)
            most = torch.finfo(flat.dtype).max  # where a pixel can still move that way, else 0
            flat = flat.clamp(pixels.clone().gt_(0.0) * -most, pixels.clone().lt_(1.0) * most)
        if self.norm == "linf":
            direction = flat.sign()
        elif self.norm == "l2":
            largest = flat.abs().amax(1, keepdim=True)
            scaled = flat / largest.clamp_min(torch.finfo(flat.dtype).tiny)
            direction = scaled / scaled.norm(dim=1, keepdim=True).clamp_min(1.0)
        else:
            direction = _sparse_signs(flat, sparsity)
        return direction.reshape(gradient.shape)

    def random_start(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        """A random point of the set: linf uniform; l2 Gaussian and l1 Laplace direction, length uniform in [0, eps)."""
        shape = tuple(images.shape[1:])
        if self.norm == "linf":
            delta = (2.0 * generator.uniform(shape) - 1.0) * self.radius
        else:
            direction = generator.normal(shape) if self.norm == "l2" else generator.laplace(shape)
            order = 2 if self.norm == "l2" else 1
            length = direction.flatten(1).norm(p=order, dim=1).clamp_min(1e-12)
            scale = self.radius * generator.at("length").uniform(()) / length
            delta = direction * scale.reshape(-1, *[1] * len(shape))
        return self.project(images + delta.to(images.dtype), images)


def _sparse_signs(flat: Tensor, sparsity: float | Tensor) -> Tensor:
    """The signs of each row's largest entries, a share of `sparsity` of them, over their number; (N, d)."""
    size, count = flat.abs(), flat.shape[1]
    if isinstance(sparsity, Tensor):
        counts = (sparsity * count).round().clamp(1, count).to(torch.int64).unsqueeze(1)
        most = int(counts.amax()) if len(flat) > 0 else 1
        smallest = size.topk(most, dim=1).values.gather(1, counts - 1)
    else:
        smallest = _nth_largest(size, max(1, min(count, round(sparsity * count))))
    signs = flat.sign() * size.ge_(smallest)  # in place: numbers 0 and 1 take a fraction of the time of masks on CPUs
    return signs / signs.abs().sum(1, keepdim=True).clamp_min(1.0)


def _nth_largest(size: Tensor, n: int) -> Tensor:
    """(N, 1): each row's n-th largest entry."""
    if size.device.type != "cpu":
        return size.topk(n, dim=1).values[:, -1:]
    at = size.shape[1] - n  # numpy selects with vector instructions, in half of the time of torch
    return torch.from_numpy(np.partition(size.detach().numpy(), at, axis=1)[:, at : at + 1].copy())


def _caps(delta: Tensor, base: Tensor) -> Tensor:
    """The distance from `base` to the side of the box to which `delta` points."""
    return torch.lerp(base, 1.0 - base, delta.clone().gt_(0.0))  # a fraction of the time of torch.where on CPUs


def _onto_l2(delta: Tensor, base: Tensor, eps: float) -> Tensor:
    """clip(base + s delta) with the largest s <= 1 of norm <= eps, for samples that do not fit as they are.

    With the entries beyond s |delta| = cap clipped, s = sqrt((eps^2 - clipped cap^2) / (free delta^2)); the first s
    clips none, each round clips more of them and raises s, so it ends after finitely many rounds (few in practice).
    """
    cap, size = _caps(delta, base), delta.abs()
    caps, sizes = cap.square(), size.square()
    tiny = torch.finfo(size.dtype).tiny
    scale = (size.new_tensor(eps**2) / sizes.sum(1, keepdim=True).clamp_min(tiny)).sqrt().clamp_max(1.0)
    for _ in range(size.shape[1] + 1):
        clipped = (scale * size).sub_(cap).gt_(0.0)  # numbers 0 and 1: masks take several times as long on CPUs
        used = (caps * clipped).sum(1, keepdim=True)
        free = clipped.neg_().add_(1.0).mul_(sizes).sum(1, keepdim=True)
        raised = ((eps**2 - used).clamp_min(0.0) / free.clamp_min(tiny)).sqrt().clamp_max(1.0)
        raised = torch.maximum(scale, raised)
        if torch.equal(raised, scale):  # waits for the device, as the number of rounds depends on the images
            break
        scale = raised
    return (base + scale * delta).clamp(0.0, 1.0)


def _onto_l1(delta: Tensor, base: Tensor, eps: float) -> Tensor:
    """clip(base + sign(delta) max(|delta| - lambda, 0)) with the lambda of norm eps, for samples that do not fit."""
    lam = _l1_lambda(delta.abs(), _caps(delta, base), eps)
    return (base + delta - torch.minimum(torch.maximum(delta, -lam), lam)).clamp(0.0, 1.0)


def _l1_lambda(size: Tensor, cap: Tensor, eps: float) -> Tensor:
    """(N, 1): the lambda at which sum_i min(cap_i, max(size_i - lambda, 0)) is eps, to the rounding of that sum.

    The norm falls piecewise linearly in lambda, so Newton's method ends exactly once it is on the right piece; steps
    out of the bracket, and from the ninth on every third, are bisections, which bounds the search whatever the pieces.
    """
    # The norm is at least eps at `low` and at most eps at `high`. Projecting onto the ball and then clipping would end
    # short of the sphere wherever the box clips: l1 attacks would lose a part of their budget at every step.
    low, high = torch.zeros_like(size[:, :1]), size.amax(1, keepdim=True)
    found, lam, rows = low.clone(), low, torch.arange(len(size), device=size.device)
    unit = 2 * torch.finfo(size.dtype).eps
    for turn in range(1, 200):
        rest = size - lam
        excess = torch.minimum(rest, cap).clamp_min_(0.0).sum(1, keepdim=True) - eps
        free = torch.minimum(rest, cap - rest).gt_(0.0).sum(1, keepdim=True)
        low, high = torch.where(excess >= 0, lam, low), torch.where(excess <= 0, lam, high)
        newton, middle = lam + excess / free, 0.5 * (low + high)  # no piece: an infinite step, out of the bracket
        inside = (newton >= low) & (newton <= high)
        done = (excess.abs() <= unit * eps) | (newton == lam) | (middle <= low) | (middle >= high)
        guess = torch.where(inside, newton, middle) if turn <= 6 or turn % 3 > 0 else middle
        lam = torch.where(done, lam, guess)
        ended = int(done.sum())  # waits for the device: how many turns there are depends on the images
        if 4 * ended >= len(done):  # smaller batches are worth their copies
            found[rows] = lam
            left = (~done).nonzero()[:, 0]
            if len(left) == 0:
                break
            rows, size, cap, lam, low, high = (part[left] for part in (rows, size, cap, lam, low, high))
    return found
