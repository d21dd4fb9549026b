"""The same network with fewer operations and less memory to move: its graph, and how its weights follow the network's.

Batch norms are folded into the convolutions before them, W' = W gamma / sqrt(var + eps),
b' = beta + (b - mean) gamma / sqrt(var + eps), a normaliser's division into the first convolution, W' = W / std, and a
ReLU overwrites its input where nothing else reads that: the same function up to the rounding of fp32.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

__all__ = ["Folding", "fold"]


@dataclass(frozen=True, eq=False)
class Folding:
    """A frozen graph in eval mode, and which tensors of the network each of its own is made of."""

    graph: fx.GraphModule
    norms: dict[str, str] = field(default_factory=dict)
    """{convolution: the batch norm that was folded into it}."""
    scales: dict[str, str] = field(default_factory=dict)
    """{convolution: the constant that its input was divided by}."""
    overwritten: int = 0
    """How many ReLUs overwrite their input."""

    @property
    def lighter(self) -> bool:
        """Whether the graph has fewer operations, or moves less memory, than the network."""
        return bool(self.norms or self.scales or self.overwritten)

    @torch.no_grad()
    def refresh(self, module: nn.Module) -> None:
        """Compute the graph's tensors anew from those of the network, in place; in fp32 before any cast."""
        theirs = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        fused = self.norms | self.scales
        for name, tensor in (*self.graph.named_parameters(), *self.graph.named_buffers()):
            if name.rpartition(".")[0] not in fused and name in theirs:
                tensor.copy_(theirs[name])
        for convolution in fused:
            norm = module.get_submodule(self.norms[convolution]) if convolution in self.norms else None
            scale = theirs[self.scales[convolution]] if convolution in self.scales else None
            weight, bias = _fused(module.get_submodule(convolution), norm, scale)
            target: Any = self.graph.get_submodule(convolution)
            target.weight.copy_(weight)
            if target.bias is not None:
                target.bias.copy_(bias)


def fold(module: nn.Module) -> Folding:
    """The network traced in eval mode and folded; an exception of any kind where it cannot be traced."""
    traced = fx.symbolic_trace(copy.deepcopy(module).eval().requires_grad_(False))
    norms, scales = _fold_norms(traced), _fold_scales(traced)
    overwritten = _overwrite(traced)
    traced.delete_all_unused_submodules()
    traced.recompile()
    folding = Folding(traced, norms, scales, overwritten)
    folding.refresh(module)
    return folding


def _fused(convolution: Any, norm: Any, scale: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution with the norm behind it and the division before it."""
    weight, bias = convolution.weight, convolution.bias
    if scale is not None:
        weight = weight / scale
    if norm is None:
        return weight, bias
    factor = (norm.running_var + norm.eps).rsqrt()
    factor = factor if norm.weight is None else factor * norm.weight
    shift = (-norm.running_mean if bias is None else bias - norm.running_mean) * factor
    return weight * factor.reshape(-1, 1, 1, 1), shift if norm.bias is None else shift + norm.bias


def _pairs(traced: fx.GraphModule) -> Iterator[tuple[fx.Node, fx.Node]]:
    """(node, the node that it reads first), for all that read one; the graph may change meanwhile."""
    for node in list(traced.graph.nodes):
        if node.args and isinstance(node.args[0], fx.Node):
            yield node, node.args[0]


def _fold_norms(traced: fx.GraphModule) -> dict[str, str]:
    """Make every (convolution, batch norm) pair one; {convolution: norm}."""
    parts: dict[str, Any] = dict(traced.named_modules())
    found = {}
    for node, before in _pairs(traced):
        if node.op != "call_module" or before.op != "call_module":
            continue
        convolution, norm = parts[str(before.target)], parts[str(node.target)]
        only_use = len(before.users) == 1 and _uses(traced, before) == 1 and _uses(traced, node) == 1
        kinds = type(convolution) is nn.Conv2d and type(norm) in (nn.BatchNorm2d, nn.SyncBatchNorm)
        if only_use and kinds and norm.track_running_stats:
            if convolution.bias is None:
                convolution.bias = nn.Parameter(convolution.weight.new_zeros(len(convolution.weight)), False)
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
            found[str(before.target)] = str(node.target)
    return found


def _fold_scales(traced: fx.GraphModule) -> dict[str, str]:
    """Make a division by a constant a channel, as of a normaliser, part of the one convolution behind it."""
    parts: dict[str, Any] = dict(traced.named_modules())
    found = {}
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
            before.replace_all_uses_with(divided)
            traced.graph.erase_node(before)
            found[str(node.target)] = str(scale.target)
    return found


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
