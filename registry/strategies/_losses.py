"""The term that most losses have."""

from __future__ import annotations

from torch import Tensor

from matx.exchange import Exchange
from matx.losses import cross_entropy


def label_loss(exchange: Exchange, peer: str, source: str, *, smoothing: float = 0.0) -> Tensor:
    """The mean cross-entropy of a peer's training logits on a source with the labels."""
    return cross_entropy(exchange.logits(peer, source), exchange.labels, smoothing=smoothing).mean()
