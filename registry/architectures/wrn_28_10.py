"""WRN-28-10, a wide residual network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

import matx
from registry.architectures._options import check_wide, wide


@matx.architectures.register("wrn_28_10")
@dataclass(frozen=True, kw_only=True)
class Wrn28x10:
    """3x3 stem, three stages of 4 pre-activation blocks of width 16k, 32k, 64k (k = `widen`), norm, act, mean, linear.

    Source: Zagoruyko and Komodakis 2016 (arXiv 1605.07146). Output stride 4; 36.5 M parameters for 10 classes at
    k = 10. timm knows it as `wrn_28_10`.
    """

    activation: str = "relu"
    dropout: float = 0.0
    """Probability of dropping a unit between the two convolutions of a block."""
    widen: int = 10

    def __post_init__(self) -> None:
        check_wide("wrn_28_10", **asdict(self))

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return wide(28, image_shape, num_classes, **asdict(self))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Wrn28x10]:
        """A narrow one, so that the contracts are quick."""
        return [cls(widen=1)]
