"""A traced network, and which of its operations keep a change of some pixels local."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from registry.attacks._incremental.reach import Sliding

__all__ = ["Network"]

_POINTWISE_MODULES = (
    nn.BatchNorm2d, nn.Dropout, nn.ELU, nn.GELU, nn.Hardswish, nn.Identity, nn.LeakyReLU, nn.ReLU, nn.ReLU6, nn.Sigmoid,
    nn.SiLU, nn.Softplus, nn.Tanh,
)  # fmt: skip
_POINTWISE_FUNCTIONS = (
    operator.add, operator.iadd, operator.sub, operator.mul, operator.truediv, torch.add, torch.sub, torch.mul,
    torch.div, torch.relu, torch.relu_, F.relu, F.silu, F.gelu, F.softplus, F.elu, F.leaky_relu,
)  # fmt: skip
_IN_PLACE = ("iadd", "isub", "imul", "itruediv", "setitem")


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A graph with the shape of every tensor of it, for images of one size."""

    traced: fx.GraphModule
    shapes: Mapping[fx.Node, tuple[int, ...]]
    """Of one image; what is no tensor has none."""

    @classmethod
    @torch.no_grad()
    def of(cls, traced: fx.GraphModule, image: Tensor) -> Network | None:
        """`image` (1, C, H, W); None where the graph has several inputs, several outputs, or hidden orders."""
        inputs = [node for node in traced.graph.nodes if node.op == "placeholder"]
        if len(inputs) != 1 or any(_overwrites_what_others_read(traced, node) for node in traced.graph.nodes):
            return None
        recorder = _ShapeRecorder(traced)
        output = recorder.run(image)
        return cls(traced=traced, shapes=recorder.shapes) if isinstance(output, Tensor) else None

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that the node calls."""
        return self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None

    def sliding(self, node: fx.Node) -> tuple[Sliding, Sliding] | None:
        """By rows and by columns, for convolutions and poolings that pad with nothing but zeros."""
        module = self.module(node)
        if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            return _by_axis(module.kernel_size, module.stride, module.padding, module.dilation)
        if not isinstance(module, nn.MaxPool2d | nn.AvgPool2d) or getattr(module, "return_indices", False):
            return None
        if module.padding not in (0, (0, 0)) or module.ceil_mode:
            return None
        return _by_axis(module.kernel_size, module.stride, 0, getattr(module, "dilation", 1))

    def pointwise(self, node: fx.Node) -> bool:
        """Whether an entry of the output depends on that entry of the input maps only."""
        if any(self._mixes(other) for other in node.all_input_nodes):
            return False
        if node.op == "call_module":
            module = self.module(node)
            still = module is not None and not module.training and getattr(module, "track_running_stats", True)
            return still and type(module) in _POINTWISE_MODULES
        return node.op == "call_function" and node.target in _POINTWISE_FUNCTIONS and len(self.shapes[node]) == 4

    def _mixes(self, constant: fx.Node) -> bool:
        """Whether a constant differs from place to place."""
        shape = self.shapes.get(constant)
        return constant.op == "get_attr" and shape is not None and any(size != 1 for size in shape[-2:])

    def work(self, node: fx.Node) -> int:
        """Multiplications for one image, of convolutions and linear layers: what a forward costs, more or less."""
        module = self.module(node)
        if isinstance(module, nn.Conv2d | nn.Linear):
            places = self.shapes[node][2:] if isinstance(module, nn.Conv2d) else ()
            return module.weight.numel() * math.prod(places)
        return 0


def _overwrites_what_others_read(traced: fx.GraphModule, node: fx.Node) -> bool:
    """Whether an operation in place changes a tensor for others, too: then the order of the graph is not all."""
    name = str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")
    inside = node.op == "call_module" and getattr(traced.get_submodule(str(node.target)), "inplace", False)
    written = (name.endswith("_") and not name.endswith("__")) or name in _IN_PLACE or node.kwargs.get("inplace", False)
    if not inside and not written:
        return False
    first = node.all_input_nodes[0]
    return len(first.users) > 1 or first.op in ("placeholder", "get_attr")


def _by_axis(kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Sliding, Sliding]:
    pairs = [
        option if isinstance(option, tuple) else (option, option) for option in (kernel, stride, padding, dilation)
    ]
    rows, columns = (
        Sliding(kernel=pairs[0][axis], stride=pairs[1][axis], padding=pairs[2][axis], dilation=pairs[3][axis])
        for axis in (0, 1)
    )
    return rows, columns


class _ShapeRecorder(fx.Interpreter):
    """Runs a graph and notes the shapes."""

    def __init__(self, traced: fx.GraphModule) -> None:
        super().__init__(traced)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The node's value."""
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.shapes[n] = tuple(value.shape)
        return value
