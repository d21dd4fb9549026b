"""What a report draws beside its scores, of a run's first test images: a small npz, made when the run is evaluated.

Arrays: `about` is a JSON object, the others are those of `Illustrations`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from matx.errors import FormError, RunError
from matx.runtime.files import name_unchecked, read_npz, write_npz

__all__ = ["ILLUSTRATIONS", "Illustrations", "read_illustrations", "write_illustrations"]

ILLUSTRATIONS = "illustrations.npz"
_SCHEMA = 1
Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Illustrations:
    """Of models M, threat models T, asked images N, shown images K of them, sliced images S of those."""

    checkpoint: str
    models: Sequence[str]
    threats: Sequence[str]
    """The keys of the reported threat models."""
    classes: Sequence[str]
    rated: Sequence[str]
    """The scored models, R of them: only these are attacked at further radii."""
    factors: Sequence[float]
    """The radii of `right`, as shares of each threat model's own."""
    extent: float
    """Slices reach so many times the perturbation from their image, in each direction."""
    labels: Array
    """(N,) int64."""
    images: Array
    """(K, C, H, W) uint8."""
    examples: Array
    """(M, T, K, C, H, W) uint8: crafted on a model by the first attack of a threat model."""
    clean: Array
    """(M, N) int64: the class that a model answers; -1 where its logits are not finite."""
    answers: Array
    """(M asked, M crafted on, T, N) int64."""
    clean_confidence: Array
    """(M, K) fp32: the softmax of the class answered."""
    confidence: Array
    """(M asked, M crafted on, T, K) fp32."""
    slices: Array
    """(M, S, side, side) int64: the class answered on a plane through an image; the middle is the image, to the right
    is the model's own example of the first threat model, upwards a direction drawn at random, as long, at right angles.
    """
    right: Array
    """(R, T, factors) int64: of the N images, how many are right at that radius and every smaller one."""

    @property
    def transfer(self) -> Array:
        """(M asked, M crafted on, T) float64: the share of the examples that the asked model gets right."""
        found: Array = (self.answers == self.labels).mean(-1)
        return found


_ARRAYS = ("labels", "images", "examples", "clean", "answers", "clean_confidence", "confidence", "slices", "right")
_ABOUT = tuple(entry.name for entry in fields(Illustrations) if entry.name not in _ARRAYS)


def write_illustrations(folder: Path, found: Illustrations) -> None:
    """Into a folder, replacing those there."""
    about = {"schema": _SCHEMA} | {name: getattr(found, name) for name in _ABOUT}
    arrays = {name: getattr(found, name) for name in _ARRAYS}
    write_npz(folder / ILLUSTRATIONS, {"about": np.array(json.dumps(about)), **arrays}, compressed=True)


def read_illustrations(folder: Path) -> Illustrations | None:
    """Those of a folder; None where it has none. RunError where damaged, FormError for another schema."""
    file = folder / ILLUSTRATIONS
    if not file.is_file():
        return None
    try:
        arrays, known = read_npz(file)
        about = json.loads(str(arrays.pop("about")))
        schema = int(about.pop("schema"))
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, BadZipFile, zlib.error) as error:
        raise RunError(f"{file}: cannot be read ({error}); allowed: the file as matx wrote it, or none") from None
    name_unchecked(file, known)
    if schema != _SCHEMA:
        raise FormError(f"{file}: got illustrations of schema {schema}, allowed: {_SCHEMA}; `matx report` needs none")
    try:
        content: dict[str, Any] = {**about, **arrays}
        found = Illustrations(**content)
        _check(found)
    except (TypeError, ValueError) as error:
        raise RunError(f"{file}: damaged ({error}); allowed: the file as matx wrote it, or none") from None
    return found


def _check(found: Illustrations) -> None:
    """ValueError where shapes do not fit each other."""
    models, threats, asked, shown = len(found.models), len(found.threats), len(found.labels), len(found.images)
    wanted = {
        "examples": (models, threats, *found.images.shape),
        "clean": (models, asked),
        "answers": (models, models, threats, asked),
        "clean_confidence": (models, shown),
        "confidence": (models, models, threats, shown),
        "right": (len(found.rated), threats, len(found.factors)),
    }
    for name, shape in wanted.items():
        if getattr(found, name).shape != shape:
            raise ValueError(f"{name} of shape {getattr(found, name).shape}, not {shape}")
    side = found.slices.shape[-1]
    if found.images.ndim != 4 or found.slices.shape != (models, len(found.slices[0]), side, side) or shown > asked:
        raise ValueError(f"images of shape {found.images.shape}, slices of {found.slices.shape}")
