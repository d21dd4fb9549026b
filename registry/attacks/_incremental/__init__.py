"""Evaluating a network again after a small change: only what the change can reach is computed.

A window of an image that changes reaches a small area of the first maps, a larger one of the next, and so on (Nakandala
et al. 2019, "Incremental and approximate inference for faster occlusion-based deep CNN explanations"). With the maps of
the unchanged image at hand, a convolution computes that area only. The logits are those of a whole forward up to
rounding.

    network = follow(model, images)            # None: a model that is no traced graph, or images on an accelerator
    plan = plan_for(network, side)             # for windows of this side
    maps = Maps.of(plan, images)
    logits = maps.logits(rows, tops, lefts, content)  # as if windows of these images had that content
    maps.accept(rows)                          # from now on they do, for these rows
"""

from __future__ import annotations

from torch import Tensor, fx

from registry.attacks._incremental.maps import Maps
from registry.attacks._incremental.network import Network
from registry.attacks._incremental.plan import WindowPlan, plan_for

__all__ = ["Maps", "Network", "WindowPlan", "follow", "plan_for"]


def follow(model: object, images: Tensor) -> Network | None:
    """The network of a model that is a traced graph in eval mode; None for any other, and off the CPU, where a whole
    forward costs less than many small operations."""
    if not isinstance(model, fx.GraphModule) or model.training or images.device.type != "cpu" or len(images) == 0:
        return None
    return Network.of(model, images[:1])
