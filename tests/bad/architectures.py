"""Bad architectures; each wraps a small network with one fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from matx.errors import ModelError

_BUILT = count()
_SHARED: list[nn.Module] = []


class Net(nn.Module):
    """Two layers, and the fault."""

    def __init__(self, size: int, classes: int, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.first, self.second = nn.Linear(size, 6), nn.Linear(6, classes)
        self.drop = nn.Dropout(0.5)
        self.calls = 0
        if fault == "unused":
            self.spare = nn.Parameter(torch.ones(3))
        if fault == "frozen":
            self.first.weight.requires_grad_(False)
        if fault == "beside":
            self.shift = float(next(_BUILT))
        if fault == "start":
            nn.init.constant_(self.second.bias, float(next(_BUILT)))
        if fault == "buffer":
            self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        if self.fault == "input":
            images = images.detach()
        if self.fault == "dropout":
            self.drop.train()
        if self.fault == "buffer":
            self.seen.add_(1)
        logits = self.second(self.drop(torch.tanh(self.first(images.flatten(1)))))
        if self.fault == "softmax":
            return logits.softmax(1)
        if self.fault == "log_softmax":
            return logits.log_softmax(1)
        if self.fault == "batch":
            return logits - logits.mean(0)
        if self.fault == "shape":
            return logits[:, :-1]
        return logits + self.shift if self.fault == "beside" else logits


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A small network with one fault."""

    fault: str

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        if self.fault == "refuses":
            raise ModelError("too small, too large, too square")
        if self.fault == "same":
            _SHARED[:] = _SHARED or [Net(64, num_classes, "")]
            return _SHARED[0]
        return Net(image_shape[0] * image_shape[1] * image_shape[2], num_classes, self.fault)


def _case(contract: str, fault: str, words: str) -> tuple[str, Callable[[], Any], str]:
    return contract, lambda: Bad(fault=fault), words


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    _case("gives_logits", "softmax", "probabilities, not logits"),
    _case("gives_logits", "log_softmax", "log-probabilities"),
    _case("gives_logits", "shape", "gives shape (4, 3)"),
    _case("gives_logits", "refuses", "takes no image"),
    _case("gradient_reaches_everything", "unused", "no gradient reaches its parameter spare"),
    _case("gradient_reaches_everything", "frozen", "freezes its parameter first.weight"),
    _case("gradient_reaches_everything", "input", "no gradient reaches the input"),
    _case("copies_and_restores", "beside", "beside its state_dict"),
    _case("starts_as_the_seed_says", "start", "under the same seed"),
    _case("starts_as_the_seed_says", "same", "the same network twice"),
    _case("treats_samples_separately_in_eval", "dropout", "the second time in eval mode"),
    _case("treats_samples_separately_in_eval", "batch", "lets other images of a batch change an image"),
    _case("treats_samples_separately_in_eval", "buffer", "changed seen in eval mode"),
]
"""(contract, a component that breaks it, words of the sentence)."""
