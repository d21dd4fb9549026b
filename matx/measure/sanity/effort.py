"""How much the sanity checks may cost: every image that is concerned, or a sample of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from matx.errors import OptionError
from matx.measure.rates import Rate

__all__ = ["EFFORTS", "FULL", "QUICK", "Effort", "evenly", "share_broken"]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many images the checks ask, and how much is searched again."""

    name: str
    ascents: int = 128
    """'growth' and 'huge radius': at most so many images."""
    ascent_steps: int = 20
    """'growth': steps at each radius."""
    searches: int | None = None
    """'noise', 'black box', 'rescaled logits', 'margin' and 'transfer': so many of the images concerned, or a quarter;
    None: all."""
    again: int | None = None
    """'more steps': so many of the robust images, or a fortieth of them; None: all."""
    copies: int | None = None
    """'more steps': restarts that run side by side, as copies in one batch, so that few more steps follow one another;
    None: one restart after the other."""
    whole_suite: bool = True
    """'more steps' runs every attack again; False: the first search of each threat model alone."""


FULL = Effort(name="full")
QUICK = Effort(name="quick", ascents=48, ascent_steps=10, searches=64, again=24, copies=5, whole_suite=False)
EFFORTS = {effort.name: effort for effort in (QUICK, FULL)}


def evenly(which: Tensor, count: int | None, share: int) -> Tensor:
    """(N,) bool: `count` of the true flags, or one in `share` where that is more, evenly spread; None: all of them.

    >>> evenly(torch.tensor([True, True, False, True, True]), 2, 4).tolist()
    [True, False, False, True, False]
    """
    places = which.nonzero().squeeze(1)
    if count is None:
        return which
    if count < 1:
        raise OptionError(f"sanity: got a sample of {count} images, allowed: 1 or more")
    size = min(len(places), max(count, len(places) // share))
    chosen = torch.zeros_like(which)
    chosen[places[torch.arange(size) * len(places) // max(1, size)]] = True
    return chosen


def share_broken(broken: Tensor, asked: Tensor, which: Tensor) -> tuple[float, float]:
    """(share of all images that falls, share that surely falls), where `asked` of the images `which` were tried.

    The share is count(broken) / count(asked) * count(which) / N. Where only a sample was asked, what surely falls is
    the lower end of its 95 % Wilson interval, so that chance alone gives no model a failure; else both are one.
    """
    tried, part = int(asked.sum()), int(which.sum()) / len(which)
    if tried == 0:
        return 0.0, 0.0
    rate = Rate(correct=int((broken & asked).sum()), n=tried)
    return rate.accuracy * part, (rate.accuracy if bool((asked == which).all()) else rate.low) * part
