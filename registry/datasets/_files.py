"""Image files as a split: decoded once into memory where they fit, else by workers when they are read."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from matx.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Decoder", "FileSplit", "list_images", "opened_image"]

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")
_MOST_PIXELS = 2**26
"""Above those of every image of ImageNet, and decoded below 300 MB."""
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})


@contextmanager
def opened_image(path: Path) -> Iterator[Image]:
    """An image file of a known format and bounded size, to be decoded inside; DataError names the file otherwise.

    Formats are listed because Pillow tells them by content, and for some it starts other programs.
    """
    from PIL.Image import open as open_image

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no regular file")
        with open_image(path, formats=_FORMATS) as file:
            _refuse_large(file.size, f"got {file.width}x{file.height} pixels")
            yield file
    except Exception as error:  # Pillow raises many kinds for a broken file; each means the same to a user
        raise DataError(
            f"{path}: cannot be decoded ({error}); allowed: an intact {', '.join(_FORMATS)} file"
        ) from error


def _refuse_large(size: tuple[int, int], got: str) -> None:
    if size[0] * size[1] > _MOST_PIXELS:
        raise ValueError(f"{got}, at most {_MOST_PIXELS} in all are decoded")


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """From a file to (channels, resolution, resolution) uint8."""

    resolution: int
    resize: str
    """'crop', 'squash' or 'none', as in image_folder."""
    shorter_side: int | None
    grey: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what it gives."""
        return (1 if self.grey else 3, self.resolution, self.resolution)

    def __call__(self, path: Path) -> Tensor:
        """Decode one file; DataError where it is no image, or has another size under 'none'."""
        from PIL.Image import Resampling

        with opened_image(path) as file:
            image: Image = file.convert("L" if self.grey else "RGB")
        side = (self.resolution, self.resolution)
        if self.resize == "none" and image.size != side:
            raise DataError(f"{path}: got {image.width}x{image.height} pixels, allowed: {side[0]}x{side[1]}")
        if self.resize == "squash" and image.size != side:
            image = image.resize(side, Resampling.BILINEAR)
        if self.resize == "crop":
            try:
                image = self._cropped(image)
            except ValueError as error:
                raise DataError(f"{path}: {error}; allowed: an image nearer to a square") from error
        pixels = torch.from_numpy(np.array(image))
        return pixels.unsqueeze(0) if self.grey else pixels.permute(2, 0, 1)

    def _cropped(self, image: Image) -> Image:
        """The shorter side brought to `shorter_side`, then the middle `resolution` x `resolution`."""
        from PIL.Image import Resampling

        scale = (self.shorter_side or self.resolution) / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        _refuse_large(size, f"got {image.width}x{image.height} pixels, which are {size[0]}x{size[1]} before cropping")
        if size != image.size:
            image = image.resize(size, Resampling.BILINEAR)
        left, top = (size[0] - self.resolution) // 2, (size[1] - self.resolution) // 2
        return image.crop((left, top, left + self.resolution, top + self.resolution))


@dataclass(frozen=True, kw_only=True, eq=False)
class FileSplit:
    """Files with labels, as a matx.data.Split; the same images in the same order whether kept in memory or not."""

    root: Path
    paths: tuple[str, ...]
    """Relative to root."""
    labels: Tensor
    indices: Tensor
    decoder: Decoder
    workers: int
    in_memory: bool

    @cached_property
    def _decoded(self) -> Tensor:
        return self._decode(range(len(self.paths)))

    def _decode(self, rows: Sequence[int]) -> Tensor:
        """(n, C, H, W) uint8. Threads: Pillow decodes and resizes outside the interpreter lock."""
        files = [self.root / self.paths[row] for row in rows]
        images = torch.empty(len(files), *self.decoder.shape, dtype=torch.uint8)
        with ThreadPoolExecutor(self.workers) as pool:
            for number, image in enumerate(pool.map(self.decoder, files)):
                images[number] = image
        return images

    def read(self, rows: Tensor) -> Tensor:
        """(n, C, H, W) uint8 of those rows."""
        return self._decoded[rows] if self.in_memory else self._decode(rows.tolist())

    def fingerprint(self) -> str:
        """A short hash of names, sizes and labels of the files, and of how they are decoded."""
        digest = hashlib.blake2b(repr(self.decoder).encode(), digest_size=8)
        for path, label in zip(self.paths, self.labels.tolist(), strict=True):
            digest.update(f"{path}\x1f{os.path.getsize(self.root / path)}\x1f{label}\n".encode())
        return digest.hexdigest()


def list_images(folder: Path) -> dict[str, list[str]]:
    """{class: files relative to the folder, sorted} of a folder with one folder a class, sorted by class name."""
    classes: dict[str, list[str]] = {}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            files = (file for file in child.rglob("*") if file.suffix.lower() in _SUFFIXES)
            classes[child.name] = sorted(file.relative_to(folder).as_posix() for file in files)
    return classes
