"""Image files as a split: decoded once into memory where they fit, else by workers when they are read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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

__all__ = ["Decoder", "FileSplit", "list_images"]

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})


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
        from PIL.Image import DecompressionBombError, Resampling
        from PIL.Image import open as open_image

        try:
            with open_image(path) as file:
                image: Image = file.convert("L" if self.grey else "RGB")
        except (OSError, ValueError, SyntaxError, DecompressionBombError) as error:
            raise DataError(f"{path}: cannot be decoded ({error}); allowed: an intact image file") from error
        side = (self.resolution, self.resolution)
        if self.resize == "none" and image.size != side:
            raise DataError(f"{path}: got {image.width}x{image.height} pixels, allowed: {side[0]}x{side[1]}")
        if self.resize == "squash" and image.size != side:
            image = image.resize(side, Resampling.BILINEAR)
        if self.resize == "crop":
            image = self._cropped(image)
        pixels = torch.from_numpy(np.array(image))
        return pixels.unsqueeze(0) if self.grey else pixels.permute(2, 0, 1)

    def _cropped(self, image: Image) -> Image:
        """The shorter side brought to `shorter_side`, then the middle `resolution` x `resolution`."""
        from PIL.Image import Resampling

        scale = (self.shorter_side or self.resolution) / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
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
