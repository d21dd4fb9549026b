"""Which specialist teaches a generalist on which of its examples, and with what weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from matx.errors import OptionError
from matx.exchange import PeerInfo

__all__ = ["Lesson", "check_matches", "evenly", "matching_views", "winners_weights"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """Examples from which the generalist learns one specialist's predictions."""

    logits: Tensor
    """(views, N, classes), the generalist's."""
    target: Tensor | None
    """The specialist's, where they count."""
    weights: Tensor
    """(views, N), what each image counts."""


def evenly(logits: Tensor, share: float, views: Sequence[int] | None = None) -> Tensor:
    """(views, N) weights that sum to a share: the same for all images of these views (all), 0 elsewhere."""
    weights = logits.new_zeros(logits.shape[:2])
    rows = list(range(len(weights))) if views is None else list(views)
    weights[rows] = share / (len(rows) * weights.shape[1])
    return weights


def winners_weights(
    winners: Tensor, generalist: PeerInfo, specialists: Mapping[str, PeerInfo], shares: Mapping[str, float]
) -> dict[str, Tensor]:
    """{specialist: (views, N) weights}: its share on images won by an attack it faces, over the sum of all weights."""
    raw = {}
    for name, share in shares.items():
        faced = [float(threat in specialists[name].threats) for threat in generalist.threats]
        raw[name] = share * (winners @ winners.new_tensor(faced))
    total = torch.stack([weights.sum() for weights in raw.values()]).sum().clamp_min(1e-12)
    return {name: weights / total for name, weights in raw.items()}


def matching_views(generalist: PeerInfo, specialist: PeerInfo) -> list[int]:
    """Which of the generalist's views a specialist teaches on: those of its threat models, else (fewer views) all."""
    if generalist.views != len(generalist.threats):
        return list(range(generalist.views))
    return [view for view, threat in enumerate(generalist.threats) if threat in specialist.threats]


def check_matches(generalist: PeerInfo, specialists: Sequence[PeerInfo]) -> None:
    known = ", ".join(threat.key for threat in generalist.threats)
    covered: set[int] = set()
    for specialist in specialists:
        rows = matching_views(generalist, specialist)
        covered |= set(rows)
        if not rows:
            faced = ", ".join(threat.key for threat in specialist.threats) or "none"
            raise OptionError(
                "",
                owner="strategies.specialists",
                got=f"specialist {specialist.name!r} with threat models {faced}, none of which the generalist "
                f"{generalist.name!r} faces ({known})",
                allowed="one of those, or examples_of = 'specialists'",
            )
    for view in sorted(set(range(generalist.views)) - covered):
        raise OptionError(
            "",
            owner="strategies.specialists",
            got=f"no specialist for {generalist.threats[view].key}, which the generalist {generalist.name!r} faces",
            allowed="a specialist for each, or examples_of = 'specialists'",
        )
