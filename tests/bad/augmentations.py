"""Bad augmentations."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from matx.randomness import SampleGenerator


def _half(images: Tensor, generator: SampleGenerator) -> Tensor:
    return images * (0.5 + 0.5 * generator.at("bad").uniform(()).reshape(-1, 1, 1, 1))


_CALLS = itertools.count(1)
_FAULTS: dict[str, Callable[[Tensor, SampleGenerator], Tensor]] = {
    "": _half,
    "bright": lambda images, generator: _half(images, generator) + 0.9,
    "cut": lambda images, generator: _half(images, generator)[..., 1:],
    "double": lambda images, generator: _half(images, generator).double(),
    "nan": lambda images, generator: _half(images, generator) / 0.0 * 0.0,
    "batch": lambda images, generator: (images - images.mean(0)).abs(),
    "global": lambda images, generator: images * torch.rand(()),
    "seeds": lambda images, generator: images * float(torch.manual_seed(0).initial_seed() == 0),
    "calls": lambda images, generator: images / next(_CALLS),
    "place": lambda images, generator: images.mul_(0.5),
}


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Darkens each image by a draw of its own, with one fault."""

    fault: str = ""

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        return _FAULTS[self.fault](images, generator)


def _case(contract: str, fault: str, words: str) -> tuple[str, Callable[[], Any], str]:
    return contract, lambda: Bad(fault=fault), words


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    _case("gives_images", "bright", "not in [0, 1]"),
    _case("gives_images", "nan", "pixels in [nan, nan]"),
    _case("gives_images", "cut", "makes (24, 3, 12, 15) (24, 3, 12, 14)"),
    _case("gives_images", "double", "makes torch.float32 torch.float64"),
    _case("belongs_to_the_sample", "batch", "differently in another batch"),
    _case("draws_from_its_generator", "global", "torch's generator changed"),
    _case("draws_from_its_generator", "seeds", "torch's generator changed"),
    _case("draws_from_its_generator", "calls", "other images the second time"),
    _case("leaves_inputs_unchanged", "place", "changes the images"),
]
"""(contract, a component that breaks it, words of the sentence)."""
