"""The augmentation of Li and Spratling for adversarial training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from torch import Tensor

import matx
from matx.errors import OptionError
from matx.options import Range
from matx.randomness import SampleGenerator
from registry.augmentations._torchvision import per_sample


@matx.augmentations.register("idbh")
@dataclass(frozen=True, kw_only=True)
class IDBH:
    """Flip, crop and shift, one operation of colour or shape, then erase a rectangle (Li and Spratling 2023).

    IDBH, arXiv 2301.09879, after the authors' code: their weak version for CIFAR-10 is the default, the strong one has
    erase=1, that for SVHN bias='shape', shift=8, erase=1, erase_area=0.5. It stands alone, without pad-crop and flip.
    """

    bias: Literal["color", "shape"] = "color"
    """Which operations are the likelier and the larger: those of colour, or shear and rotation."""
    shift: Annotated[int, Range(0)] = 10
    """Up to so many rows and columns together are cut off, drawn anew for each image."""
    erase: Annotated[float, Range(0, 1)] = 0.5
    """The share of the images that lose a rectangle."""
    erase_area: Annotated[float, Range(0.02, 1)] = 0.33
    """The largest share of the image that is erased; the smallest is 0.02."""

    def __call__(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        height, width = images.shape[2:]
        if self.shift >= min(height, width):
            raise OptionError(
                "shift", owner="augmentations.idbh", got=str(self.shift), allowed=f"below {min(height, width)}"
            )
        from torchvision.transforms import v2

        transforms = [
            v2.RandomHorizontalFlip(),
            lambda image: _crop_and_shift(image, self.shift),
            lambda image: _colour_or_shape(image, _OPERATIONS[self.bias]),
            v2.RandomErasing(p=self.erase, scale=(0.02, self.erase_area)),
        ]
        return per_sample(v2.Compose(transforms), images, generator.at("idbh"))

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls(shift=4), cls(bias="shape", shift=3, erase=1.0, erase_area=0.5)]


def _crop_and_shift(image: Tensor, most: int) -> Tensor:
    """Cut off up to `most` rows and columns together at random edges, and put the rest anywhere on zeros."""
    from torchvision.transforms.v2 import functional as F

    height, width = image.shape[1:]
    cut = _drawn(0, most)
    across = _drawn(0, cut)
    down = cut - across
    rest = F.crop(image, _drawn(0, down), _drawn(0, across), height - down, width - across)
    top, left = _drawn(0, down), _drawn(0, across)
    moved: Tensor = F.pad(rest, [left, top, across - left, down - top])
    return moved


def _colour_or_shape(image: Tensor, operations: Mapping[str, float]) -> Tensor:
    """One of the operations, drawn with these weights."""
    index = int(torch.multinomial(torch.tensor(list(operations.values())), 1))
    changed: Tensor = _functions()[list(operations)[index]](image)
    return changed


def _shear(image: Tensor, low: float, high: float) -> Tensor:
    """Along one axis, by a size between low and high (radians, as in the authors' code) of random sign."""
    from torchvision.transforms.v2 import functional as F

    degrees = math.degrees(_between(low, high)) * _sign()
    axes = [degrees, 0.0] if _drawn(0, 1) else [0.0, degrees]
    sheared: Tensor = F.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=axes)
    return sheared


def _drawn(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _sign() -> int:
    return 2 * _drawn(0, 1) - 1


def _functions() -> Mapping[str, Callable[[Tensor], Tensor]]:
    """{operation: what it does to a (C, H, W) image, its size drawn}."""
    from torchvision.transforms.v2 import functional as F

    return {
        "saturation": lambda image: F.adjust_saturation(image, _between(0.1, 1.9)),
        "brightness": lambda image: F.adjust_brightness(image, _between(0.5, 1.9)),
        "contrast": lambda image: F.adjust_contrast(image, _between(0.5, 1.9)),
        "sharpness": lambda image: F.adjust_sharpness(image, _between(0.1, 1.9)),
        "autocontrast": F.autocontrast,
        "equalize": F.equalize,
        "small shear": lambda image: _shear(image, 0.05, 0.15),
        "small rotation": lambda image: F.rotate(image, _sign() * _drawn(1, 10)),
        "shear": lambda image: _shear(image, 0.05, 0.35),
        "rotation": lambda image: F.rotate(image, _sign() * _drawn(1, 30)),
    }


_OPERATIONS: Mapping[str, Mapping[str, float]] = {
    "color": {
        "saturation": 0.125, "brightness": 0.125, "contrast": 0.125, "sharpness": 0.125, "autocontrast": 0.125,
        "equalize": 0.125, "small shear": 0.125, "small rotation": 0.125,
    },
    "shape": {
        "saturation": 0.08, "brightness": 0.08, "contrast": 0.04, "sharpness": 0.08, "autocontrast": 0.04,
        "equalize": 0.08, "shear": 0.3, "rotation": 0.3,
    },
}  # fmt: skip
"""{bias: {operation: probability}}."""
