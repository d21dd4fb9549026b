"""The allowed set of perturbations: a ball of one norm, intersected with the box [0,1] of images."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from matx.draws import SampleGenerator
from matx.errors import OptionError, did_you_mean

__all__ = ["NORMS", "ThreatModel", "exact_number"]

NORMS = ("linf", "l2", "l1")


def exact_number(value: float | str, where: str) -> Fraction:
    """A number or a fraction such as '8/255' as an exact fraction (a float counts as the decimal that it prints as)."""
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise OptionError(f"{where}: got {value!r}, allowed: a number, or a fraction like '8/255'") from None


@dataclass(frozen=True, kw_only=True, eq=False)
class ThreatModel:
    """All images x' in [0,1] with ||x' - x||_norm <= eps, on the pixel scale [0,1].

    `eps` is a number or an exact fraction such as `'8/255'`. It is kept as written; `radius` is its value, and two
    threat models are equal when norm and exact value are ('8/255' equals '16/510').
    """

    norm: str
    eps: float | str

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            hint = did_you_mean(str(self.norm), NORMS)
            raise OptionError(f"ThreatModel.norm: got {self.norm!r}, allowed: {', '.join(NORMS)}{hint}")
        if self.exact <= 0:
            raise self._bad_eps()

    @classmethod
    def parse(cls, text: str) -> ThreatModel:
        """The threat model that a key such as `linf:8/255` names (the inverse of `key`)."""
        norm, colon, eps = text.partition(":")
        if not colon:
            raise OptionError(f"threat: got {text!r}, allowed: NORM:EPS, as in linf:8/255, l2:0.5, l1:12")
        return cls(norm=norm, eps=eps)

    @property
    def exact(self) -> Fraction:
        """eps as an exact fraction (a float counts as the decimal that it prints as)."""
        return exact_number(self.eps, "ThreatModel.eps")

    def _bad_eps(self) -> OptionError:
        return OptionError(f"ThreatModel.eps: got {self.eps!r}, allowed: a number over 0, or a fraction like '8/255'")

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
        order = {"linf": torch.inf, "l2": 2.0, "l1": 1.0}[self.norm]
        size: Tensor = torch.linalg.vector_norm(flat, order, dim=1)
        return size

    def contains(self, images: Tensor, clean: Tensor) -> Tensor:
        """(N,) bool: inside box and ball, up to the rounding of fp32 pixels (2^-24 each) and 1e-5 of the radius."""
        count = clean[0].numel()
        rounding = {"linf": 1.0, "l2": count**0.5, "l1": float(count)}[self.norm] * 2.0**-24
        flat = images.flatten(1)
        boxed: Tensor = (flat.amin(1) >= 0) & (flat.amax(1) <= 1)
        return boxed & (self.size(images.double() - clean.double()) <= self.radius * (1 + 1e-5) + rounding)

    def project(self, images: Tensor, clean: Tensor) -> Tensor:
        """The Euclidean projection of (N, ...) images onto ball and box together (exact, not one after the other).

        linf: clamp. l2: delta_i = sign(y_i) min(cap_i, s |y_i|) with the largest s <= 1 whose norm fits. l1: delta_i =
        sign(y_i) min(cap_i, max(|y_i| - lambda, 0)) with the smallest lambda >= 0 whose norm fits (Croce and Hein 2021,
        arXiv 2103.01208). cap_i is the room towards the side of the box that y_i points to.
        """
        if self.norm == "linf":
            eps = self.radius
            inside: Tensor = torch.minimum(torch.maximum(images, clean - eps), clean + eps).clamp(0.0, 1.0)
            return inside
        flat, base = images.flatten(1), clean.flatten(1)
        delta = flat - base
        room = torch.where(delta > 0, 1.0 - base, base)
        size = delta.abs()
        shrink = _shrink_l2 if self.norm == "l2" else _shrink_l1
        moved: Tensor = base + torch.sign(delta) * shrink(size, room, self.radius)
        return moved.clamp(0.0, 1.0).reshape(images.shape)

    def steepest(self, gradient: Tensor, images: Tensor | None = None, *, sparsity: float = 0.05) -> Tensor:
        """The direction of norm 1 (in this norm) along which a linear function with that gradient grows fastest.

        linf: sign(g). l2: g / ||g||. l1: the signs of the ceil(sparsity d) largest entries of |g| over their number
        (sparsity 1/d is the exact steepest ascent; more entries make an l1 attack usable, Tramer and Boneh 2019, arXiv
        1904.13000). With `images`, entries that point out of the box from its edge are left out first. A zero gradient
        gives a zero direction, never NaN.
        """
        flat = gradient.flatten(1)
        if images is not None:
            pixels = images.flatten(1)
            blocked = ((pixels <= 0.0) & (flat < 0)) | ((pixels >= 1.0) & (flat > 0))
            flat = flat.masked_fill(blocked, 0.0)
        if self.norm == "linf":
            direction = flat.sign()
        elif self.norm == "l2":
            largest = flat.abs().amax(1, keepdim=True)
            scaled = flat / largest.clamp_min(torch.finfo(flat.dtype).tiny)
            direction = scaled / scaled.norm(dim=1, keepdim=True).clamp_min(1.0)
        else:
            count = max(1, min(flat.shape[1], round(sparsity * flat.shape[1])))
            top = flat.abs().topk(count, dim=1).indices
            direction = torch.zeros_like(flat).scatter_(1, top, flat.gather(1, top).sign())
            direction = direction / direction.abs().sum(1, keepdim=True).clamp_min(1.0)
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


def _shrink_l2(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """min(room, s size) with the largest s <= 1 of Euclidean norm <= eps: an active set that only grows.

    With the entries beyond s room / size clipped, s = sqrt((eps^2 - clipped room^2) / (free size^2)); each round clips
    more of them and raises s, so it ends after finitely many rounds (few in practice).
    """
    fits = torch.minimum(size, room).norm(dim=1, keepdim=True) <= eps
    scale = (eps / size.norm(dim=1, keepdim=True).clamp_min(1e-30)).clamp_max(1.0)
    for _ in range(size.shape[1]):
        clipped = scale * size > room
        used = torch.where(clipped, room, 0.0).square().sum(1, keepdim=True)
        free = torch.where(clipped, 0.0, size).square().sum(1, keepdim=True)
        raised = ((eps**2 - used).clamp_min(0.0) / free.clamp_min(1e-30)).sqrt().clamp_max(1.0)
        raised = torch.where(fits, 1.0, torch.maximum(scale, raised))
        if torch.equal(raised, scale):
            break
        scale = raised
    return torch.minimum(room, scale * size)


def _shrink_l1(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """min(room, max(size - lambda, 0)) with the smallest lambda >= 0 of l1 norm <= eps.

    The norm falls piecewise linearly in lambda with breakpoints size - room (an entry leaves its cap, slope -1 begins)
    and size (it reaches 0, slope ends); sort them, accumulate, interpolate.
    """
    capped = torch.minimum(size, room)
    fits = capped.sum(1, keepdim=True) <= eps
    starts, ends = (size - capped), size
    points, order = torch.cat([starts, ends], 1).sort(1)
    turn = torch.cat([torch.ones_like(starts), -torch.ones_like(ends)], 1).gather(1, order)
    slope = turn.cumsum(1)
    fall = (slope[:, :-1] * points.diff(dim=1)).cumsum(1)
    norms = capped.sum(1, keepdim=True) - torch.cat([torch.zeros_like(fall[:, :1]), fall], 1)
    # norms[k] is the norm at lambda = points[k]; the last k at or above eps begins the segment that holds lambda.
    at = ((norms >= eps).sum(1, keepdim=True) - 1).clamp(0, points.shape[1] - 2)
    lam = points.gather(1, at) + (norms.gather(1, at) - eps) / slope.gather(1, at).clamp_min(1.0)
    lam = torch.where(fits, 0.0, lam.clamp_min(0.0))
    return torch.minimum(room, (size - lam).clamp_min(0.0))
