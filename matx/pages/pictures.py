"""Pictures of a page: small images as PNG inside it, in a table with what is said of each."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["PALETTE", "Gallery", "Picture", "coloured", "picture"]

PALETTE = (
    "#1b6ca8", "#e07b39", "#3a9d5d", "#8d5a97", "#c9a227", "#4f6d7a", "#d1495b", "#7fb7be", "#a3b18a", "#6c4f3d",
    "#b5179e", "#2a9d8f", "#f4a6a6", "#5c677d", "#9ef01a", "#ffd166", "#3a0ca3", "#90e0ef", "#bc6c25", "#8ac926",
)  # fmt: skip
"""A colour a class; as many classes as these can be told apart, more begin anew."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image with what it shows, for who does not see it, and lines below it; lines that are bad are marked."""

    data: str
    """A data URI."""
    says: str
    lines: Sequence[tuple[str, bool]] = ()
    """(text, whether it is good)."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """A table of pictures; the first cell of a row is text. `key`: (colour, what it means)."""

    caption: str
    head: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Picture]]]
    key: Sequence[tuple[str, str]] = ()
    folded: bool = False


def picture(pixels: NDArray[np.uint8], says: str, lines: Sequence[tuple[str, bool]] = ()) -> Picture:
    """Of (C, H, W) pixels; of other than one or three channels their mean is shown."""
    if len(pixels) not in (1, 3):
        pixels = pixels.mean(0, keepdims=True).round().astype(np.uint8)
    shown = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    file = io.BytesIO()
    shown.save(file, format="PNG", optimize=True)
    return Picture(data=f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}", says=says, lines=lines)


def coloured(classes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(3, H, W) pixels of (H, W) classes: a colour a class; what is no class (-1) is black."""
    table = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in PALETTE], dtype=np.uint8)
    pixels = table[classes % len(table)]
    pixels[classes < 0] = 0
    return pixels.transpose(2, 0, 1)
