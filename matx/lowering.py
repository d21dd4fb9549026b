"""A traced network in bf16: weights are cast once, images, normalisers, normalisation and softmax stay in fp32."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

__all__ = ["lower"]

_PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Linear)
"""Modules that run in the low type: where the time goes."""
_FP32_MODULES = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.Softmax, nn.LogSoftmax, _InstanceNorm)
_FP32_FUNCTIONS: tuple[Any, ...] = (
    F.layer_norm, F.group_norm, F.rms_norm, F.instance_norm, F.normalize, F.softmax, F.log_softmax,
    torch.softmax, torch.log_softmax, torch.layer_norm, torch.group_norm,
)  # fmt: skip
_FP32_METHODS = ("softmax", "log_softmax")


def lower(graph: fx.GraphModule, images: Tensor, dtype: torch.dtype) -> None:
    """Run convolutions and products in the low type, in place; images come, and logits leave, in fp32."""
    parts: dict[str, Any] = dict(graph.named_modules())
    products = {name for name, part in parts.items() if type(part) in _PRODUCTS}
    for name in products:
        parts[name].to(dtype)
    for node in list(graph.graph.nodes):
        if node.op == "call_module" and str(node.target) in products:
            _cast_input(graph, node, dtype)
        elif _in_fp32(node, parts):
            _cast_input(graph, node, torch.float32)
            with graph.graph.inserting_after(node):
                low = graph.graph.call_method("to", (node, dtype))
            node.replace_all_uses_with(low, delete_user_cb=lambda user, low=low: user is not low)
        elif node.op == "output":
            _cast_input(graph, node, torch.float32)
    graph.recompile()
    _erase_idle_conversions(graph, images)


def _in_fp32(node: fx.Node, parts: dict[str, Any]) -> bool:
    """Whether an operation sums over channels or exponentiates. Batch norm reads bf16 with fp32 statistics as it is."""
    if node.op == "call_module":
        part = parts[str(node.target)]
        return isinstance(part, _FP32_MODULES) and not isinstance(part, _BatchNorm)
    return node.target in (_FP32_FUNCTIONS if node.op == "call_function" else _FP32_METHODS)


def _cast_input(graph: fx.GraphModule, node: fx.Node, dtype: torch.dtype) -> None:
    source = node.args[0]
    if not isinstance(source, fx.Node):
        raise TypeError(f"{node} reads no single tensor")
    with graph.graph.inserting_before(node):
        cast = graph.graph.call_method("to", (source, dtype))
    node.update_arg(0, cast)


def _erase_idle_conversions(graph: fx.GraphModule, images: Tensor) -> None:
    """Leave out the conversions of what has the type already."""
    with torch.no_grad():
        ShapeProp(graph).propagate(images)
    for node in list(graph.graph.nodes):
        if node.op == "call_method" and node.target == "to" and isinstance(node.args[0], fx.Node):
            meta = node.args[0].meta.get("tensor_meta")
            if meta is not None and meta.dtype == node.args[1]:
                node.replace_all_uses_with(node.args[0])
                graph.graph.erase_node(node)
    graph.recompile()
