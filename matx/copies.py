"""Copies of networks for attacks to search on: folded, and in bf16 with weights that are cast once a refresh.

What is worse or broken is for the network itself to say (`AttackInput.judge`).
"""

from __future__ import annotations

import copy
import linecache
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.fx import graph_module
from torch.nn.modules.batchnorm import _BatchNorm

from matx.craft import forked, untouched
from matx.errors import OptionError
from matx.folding import Folding, fold
from matx.interfaces import Model
from matx.lowering import lower

__all__ = ["CraftingCopy", "crafting_copy"]

_FP32_TOLERANCE = 1e-4
"""The largest difference of a logit, relative to the largest logit, that counts as rounding in fp32 ..."""
_BF16_TOLERANCE = 0.1
"""... and in bf16: what goes beyond is no rounding, but an operation that does not work in it."""


class CraftingCopy:
    """A network's frozen copy in eval mode: the same function, up to the rounding of its type."""

    def __init__(self, module: nn.Module, folding: Folding) -> None:
        self.module = module
        self.folding = folding
        self.compiled: Model | None = None
        self.size = 1

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) fp32 images -> (N, classes) fp32 logits."""
        logits: Tensor
        if self.compiled is None or len(images) % self.size:
            logits = self.folding.graph(images)
        elif images.is_cuda:  # a captured graph overwrites what it gave before: logits and the gradient are copied
            begin: Callable[[], None] = torch.compiler.cudagraph_mark_step_begin
            begin()
            logits = self.compiled(images * 1.0).clone()
        else:
            logits = self.compiled(images)
        return logits

    def compile(self, size: int) -> None:
        """Compile forward and backward for batches of a multiple of so many images, when one first comes.

        Others, as of attacks that shrink their batch, run as they are: each size would have to be compiled. On CUDA the
        kernels of a pass are captured as one graph.
        """
        on_cuda = any(parameter.is_cuda for parameter in self.folding.graph.parameters())
        compilers = (os.environ.get("CXX", ""), "c++", "g++", "clang++", "cl")
        if not on_cuda and not any(shutil.which(name) for name in compilers if name):
            raise OptionError(
                "compile",
                owner="Experiment",
                got="'on' where no C++ compiler is installed",
                allowed="'off', or to install g++",
            )
        mode = "reduce-overhead" if on_cuda else None
        self.compiled, self.size = torch.compile(self.folding.graph, dynamic=False, mode=mode), size

    def refresh(self) -> None:
        """Take over the network's weights and statistics as they are now."""
        self.folding.refresh(self.module)


def crafting_copy(module: nn.Module, images: Tensor, dtype: torch.dtype = torch.float32) -> CraftingCopy | None:
    """A copy for attacks in eval mode; None where it would be no lighter, or not the same function.

    It is not the same, or cannot be had, where a network cannot be traced, draws at random, or has hooks. That is tried
    forward and backward, on the images and on noise, with the weights as they are and with other statistics.
    """
    if _has_hooks(module):
        return None
    try:
        with forked(0, images.device), untouched(module, training=False), _sources_forgotten():
            folding = fold(module)
            agree = _agree(module, folding, images, _FP32_TOLERANCE)
            if agree and dtype != torch.float32:
                lower(folding.graph, images, dtype)
                agree = _agree(module, folding, images, _BF16_TOLERANCE)
    except Exception as error:  # tracing fails in as many ways as there are networks; each means: leave it as it is
        logging.getLogger("matx").debug("a network has no crafting copy: %s", error)
        return None
    return CraftingCopy(module, folding) if agree and (folding.lighter or dtype != torch.float32) else None


@contextmanager
def _sources_forgotten() -> Iterator[None]:
    """Forget the text of the graphs that are made inside.

    torch.fx keeps the source of every graph, with a namespace, as long as the process lives, for tracebacks alone:
    validations, which copy each model anew, would add up to megabytes over a long training.
    """
    sources = graph_module._loader.eval_cache
    before = set(sources)
    try:
        yield
    finally:
        for key in set(sources) - before:
            del sources[key]
            linecache.cache.pop(key, None)


def _has_hooks(module: nn.Module) -> bool:
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
        for part in module.modules()
    )


def _agree(module: nn.Module, folding: Folding, images: Tensor, tolerance: float) -> bool:
    """Whether a refreshed copy gives the network's logits, and finite gradients; it is left with the network's weights.

    A fresh network's norms do nearly nothing, so it is tried with other statistics, too.
    """
    probes = torch.cat([images, (images * 7.31).frac()])  # far from the data, but a function of it only
    return all(_near(other, folding, probes, tolerance) for other in (_stirred(module), module))


def _near(module: nn.Module, folding: Folding, probes: Tensor, tolerance: float) -> bool:
    folding.refresh(module)
    with torch.no_grad():
        first = module(probes)
    with torch.enable_grad():
        point = probes.clone().requires_grad_()
        second = folding.graph(point)
        (slope,) = torch.autograd.grad(second.sum(), point)
    scale = first.abs().max().clamp_min(torch.finfo(first.dtype).tiny)
    near = first.shape == second.shape and bool((first - second).abs().max() <= tolerance * scale)
    return near and bool(slope.isfinite().all())


@torch.no_grad()
def _stirred(module: nn.Module) -> nn.Module:
    """A copy whose batch norms have other statistics and weights of the same size."""
    other = copy.deepcopy(module)
    for norm in other.modules():
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None:
            norm.running_mean.add_(0.2 * (torch.rand_like(norm.running_mean) - 0.5) * norm.running_var.sqrt())
            norm.running_var.mul_(0.5 + torch.rand_like(norm.running_var))
            if norm.affine:
                norm.weight.mul_(0.5 + torch.rand_like(norm.weight)).add_(0.1)
                norm.bias.add_(0.1 * torch.rand_like(norm.bias))
    return other
