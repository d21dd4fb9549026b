"""The same network with fewer operations and less memory to move."""

from __future__ import annotations

import copy
import logging
import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["folded"]

_TOLERANCE = 1e-4
"""The largest difference of a logit, relative to the largest logit, that counts as rounding."""


def folded(module: nn.Module, images: Tensor) -> nn.Module:
    """A frozen copy in eval mode with fewer operations, for attacks to search on.

    Batch norms are folded into the convolutions before them, W' = W gamma / sqrt(var + eps),
    b' = beta + (b - mean) gamma / sqrt(var + eps), a normaliser's division into the first convolution, W' = W / std,
    and a ReLU overwrites its input where nothing else reads that: the same function up to the rounding of fp32, checked
    on the images and on noise. Where there is nothing to do, or the copy gives other logits (a network that cannot be
    traced, or that draws at random), the module itself is returned.
    What counts as broken is for the module to say.
    """
    if _has_hooks(module):
        return module
    try:
        light = _fold(copy.deepcopy(module).eval().requires_grad_(False))
    except Exception as error:  # tracing fails in as many ways as there are networks; each means: leave it as it is
        logging.getLogger("matx").debug("a network cannot be traced, so it stays as it is: %s", error)
        return module
    return light if light is not None and _agree(module, light, images) else module


def _has_hooks(module: nn.Module) -> bool:
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def _fold(module: nn.Module) -> fx.GraphModule | None:
    """The traced module, folded; None where there was nothing to do."""
    traced = fx.symbolic_trace(module)
    count = _fold_norms(traced) + _fold_scales(traced) + _overwrite(traced)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced if count else None


def _pairs(traced: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.Node]]:
    """(node, the node that it reads first), for all that read one; the graph may change meanwhile."""
    for node in list(traced.graph.nodes):
        if node.args and isinstance(node.args[0], fx.Node):
            yield node, node.args[0]


def _fold_norms(traced: fx.GraphModule) -> int:
    """Make every (convolution, batch norm) pair one; how many there were."""
    parts: dict[str, Any] = dict(traced.named_modules())
    count = 0
    for node, before in _pairs(traced):
        if node.op != "call_module" or before.op != "call_module":
            continue
        convolution, norm = parts[str(before.target)], parts[str(node.target)]
        only_use = len(before.users) == 1 and _uses(traced, before) == 1 and _uses(traced, node) == 1
        if (
            only_use
            and isinstance(convolution, nn.Conv2d)
            and type(norm) is nn.BatchNorm2d
            and norm.track_running_stats
        ):
            traced.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm).requires_grad_(False))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
            count += 1
    return count


def _fold_scales(traced: fx.GraphModule) -> int:
    """Make a division by a constant a channel, as of a normaliser, part of the one convolution behind it; how many."""
    parts: dict[str, Any] = dict(traced.named_modules())
    count = 0
    for node, before in _pairs(traced):
        convolution = parts.get(str(node.target)) if node.op == "call_module" else None
        if type(convolution) is not nn.Conv2d or convolution.groups > 1 or _uses(traced, node) > 1:
            continue
        if before.target is not operator.truediv or len(before.users) != 1:
            continue
        divided, scale = before.args
        if not isinstance(divided, fx.Node) or not isinstance(scale, fx.Node) or scale.op != "get_attr":
            continue
        constant = operator.attrgetter(str(scale.target))(traced)
        if constant.shape == (1, convolution.in_channels, 1, 1):
            convolution.weight = nn.Parameter(convolution.weight / constant, requires_grad=False)
            before.replace_all_uses_with(divided)
            traced.graph.erase_node(before)
            count += 1
    return count


def _overwrite(traced: fx.GraphModule) -> int:
    """Let each ReLU overwrite the convolution's output, or the sum, that only it reads; how many there were."""
    parts: dict[str, Any] = dict(traced.named_modules())
    count = 0
    for node, before in _pairs(traced):
        if not _is_relu(node, parts) or len(before.users) != 1:
            continue
        convolution = before.op == "call_module" and type(parts[str(before.target)]) is nn.Conv2d
        if convolution or before.target in (operator.add, torch.add):  # neither keeps its output for the backward
            with traced.graph.inserting_after(node):
                node.replace_all_uses_with(traced.graph.call_function(torch.relu_, (before,)))
            traced.graph.erase_node(node)
            count += 1
    return count


def _is_relu(node: fx.Node, parts: dict[str, Any]) -> bool:
    if node.op == "call_module":
        return type(parts[str(node.target)]) is nn.ReLU  # whatever the module is called
    return node.target in (torch.relu, F.relu, "relu")


def _uses(traced: fx.GraphModule, node: fx.Node) -> int:
    """How often the graph calls the node's module."""
    return sum(other.op == "call_module" and other.target == node.target for other in traced.graph.nodes)


@torch.no_grad()
def _agree(module: nn.Module, light: nn.Module, images: Tensor) -> bool:
    probes = torch.cat([images, (images * 7.31).frac()])  # far from the data, but a function of it only
    first, second = module(probes), light(probes)
    scale = first.abs().max().clamp_min(torch.finfo(first.dtype).tiny)
    return first.shape == second.shape and bool((first - second).abs().max() <= _TOLERANCE * scale)
