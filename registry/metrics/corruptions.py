"""Accuracy on images with common corruptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

import matx
from matx.data import Batch
from matx.errors import OptionError
from matx.interfaces import Column, Figure, MetricSettings, Model
from matx.measure import Rate, correct
from matx.randomness import SampleGenerator, hashed
from registry.metrics._corrupting import CORRUPTIONS, SEVERITIES, Corruption, Name, corrupted

_ALL = "all corruptions"
_SMALL = 96


@matx.metrics.register("corruptions")
@dataclass(frozen=True, kw_only=True)
class Corruptions:
    """Accuracy under common corruptions (Hendrycks and Dietterich 2019, arXiv 1903.12261) at five severities, the mean
    over severities of each corruption and the mean over all.

    Of the paper's fifteen these are seven: gaussian_noise, shot_noise, impulse_noise, brightness, contrast, pixelate,
    jpeg_compression. Left out are defocus, glass, motion and zoom blur, snow, frost, fog and elastic. Of its four
    further ones these are three: speckle_noise, gaussian_blur, saturate (of three channels alone); spatter is left out.
    So the mean over all is not the paper's. Made here with NumPy, SciPy and Pillow, with the paper's strengths; draws
    are keyed by the sample, and images rounded to 8 bits.

    A figure counts every image once a severity. Its interval is Wilson's for that share of as many answers as there are
    images, for the answers to one image depend on each other.
    """

    names: Sequence[Name] = tuple(CORRUPTIONS)
    strengths: Literal["auto", "cifar", "imagenet"] = "auto"
    """'cifar': those of CIFAR-10-C; 'imagenet': of ImageNet-C; 'auto': of the latter if a side has over 96 pixels."""
    table: ClassVar[str] = "Accuracy under common corruptions, mean over five severities, %"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice or not self.names:
            got = f"{twice[0]!r} twice" if twice else "none"
            raise OptionError("names", got=got, allowed="one or more, each once")

    def measure(self, models: Mapping[str, Model], batch: Batch, settings: MetricSettings) -> Mapping[Column, Tensor]:
        """{corruption severity: (N,) bool}, right on the corrupted image, and their means over severities {corruption:
        (N,) fp32} and over all {all corruptions: (N,) fp32}, of each model.
        """
        draws = SampleGenerator(hashed(settings.seed, "corruptions"), batch.indices.cpu())
        right: dict[str, dict[str, list[Tensor]]] = {model: {} for model in models}
        for name, corruption in self._of(batch.images).items():
            for severity in SEVERITIES:
                strength = self._strengths(corruption, batch.images)[severity - 1]
                images = corrupted(batch.images, corruption, strength, draws.at(name, severity))
                for model, network in models.items():
                    right[model].setdefault(name, []).append(correct(network, images, batch.labels))
        return {column: values for model, found in right.items() for column, values in _columns(model, found).items()}

    def summarise(self, columns: Mapping[Column, Tensor]) -> Sequence[Figure]:
        """The mean over severities of each corruption, and over all, of each model."""
        return [_figure(column, shares, columns) for column, shares in columns.items() if shares.is_floating_point()]

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return (cls(), cls(names=("shot_noise", "jpeg_compression"), strengths="imagenet"))

    def _of(self, images: Tensor) -> dict[str, Corruption]:
        """Those that are defined for the images."""
        known = {name: CORRUPTIONS[name] for name in self.names}
        return {name: entry for name, entry in known.items() if entry.channels in (None, images.shape[1])}

    def _strengths(self, corruption: Corruption, images: Tensor) -> Sequence[tuple[float, ...]]:
        small = max(images.shape[2:]) <= _SMALL if self.strengths == "auto" else self.strengths == "cifar"
        return corruption.cifar if small else corruption.imagenet


def _columns(model: str, right: Mapping[str, Sequence[Tensor]]) -> dict[Column, Tensor]:
    found: dict[Column, Tensor] = {}
    for name, severities in right.items():
        found |= {
            Column(model, f"{name} {severity}"): flags for severity, flags in zip(SEVERITIES, severities, strict=True)
        }
        found[Column(model, name)] = torch.stack(list(severities)).float().mean(0)
    if right:
        found[Column(model, _ALL)] = torch.stack([flags for group in right.values() for flags in group]).float().mean(0)
    return found


def _figure(column: Column, shares: Tensor, columns: Mapping[Column, Tensor]) -> Figure:
    """The count over images and severities, with the interval of as many images."""
    counted = [
        flags
        for (model, name, _), flags in columns.items()
        if model == column.model and not flags.is_floating_point() and column.name in (_ALL, name.rpartition(" ")[0])
    ]
    right, n = int(torch.stack(counted).sum()), len(counted) * len(shares)
    images = Rate(correct=round(right / len(counted)), n=len(shares))
    return Figure(column=column, n=n, correct=right, value=right / n, low=images.low, high=images.high)
