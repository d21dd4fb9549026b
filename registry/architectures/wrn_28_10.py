"""WRN-28-10, a wide residual network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import matx
from registry.architectures._wide import WideResNet


@matx.architectures.register("wrn_28_10")
@dataclass(frozen=True, kw_only=True)
class WRN28x10(WideResNet):
    """3x3 stem, three stages of 4 pre-activation blocks of width 16k, 32k, 64k (k = `widen`), norm, act, mean, linear.

    Source: Zagoruyko and Komodakis 2016 (arXiv 1605.07146). Output stride 4; 36.5 M parameters for 10 classes at
    k = 10. timm knows it as `wrn_28_10`.
    """

    name: ClassVar[str] = "wrn_28_10"
    depth: ClassVar[int] = 28
