"""A picture for trackers: clean images above what attacks make of them, with what is answered."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from matx.craft import attackable, forked
from matx.data import Split, batches
from matx.interfaces import Attack, AttackInput, run_attack
from matx.learner import Learner
from matx.randomness import SampleGenerator, hashed, seed_for

__all__ = ["gallery"]

_IMAGES = 8
_SIDE = 64
"""Small images are enlarged to about so many pixels."""
_LINE = 12
"""Pixels of a line of text."""


def gallery(
    learner: Learner,
    split: Split,
    attacks: Sequence[Attack],
    *,
    classes: Sequence[str],
    seed: int,
    device: torch.device,
) -> Tensor:
    """(3, H, W) in [0,1]: the first images of a split in a row, below it a row for each attack on the learner.

    Below each image is the class that the learner answers, with its confidence, in red where that is wrong; above the
    first row is the true class.
    """
    rows = torch.arange(min(_IMAGES, len(split.labels)))
    batch = next(iter(batches(split, rows, len(rows), device=device)))
    strips = [batch.images]
    with attackable(learner.module, call=learner.forward) as model, forked(seed_for(seed, "gallery"), device):
        for position, attack in enumerate(attacks):
            generator = SampleGenerator(hashed(seed, "gallery", position), batch.indices)
            given = AttackInput(
                model=model, images=batch.images, labels=batch.labels, generator=generator, progress=1.0
            )
            strips.append(run_attack(attack, given))
        with torch.no_grad():
            shares = [model(strip).softmax(1).max(1) for strip in strips]
    labels = batch.labels.tolist()
    parts = [_words([f"true {_named(classes, label)}" for label in labels], [True] * len(labels), _width(strips[0]))]
    for strip, (share, answer) in zip(strips, shares, strict=True):
        said = [f"{_named(classes, a)} {100 * s:.0f}%" for a, s in zip(answer.tolist(), share.tolist(), strict=True)]
        right = [a == label for a, label in zip(answer.tolist(), labels, strict=True)]
        parts += [_tiled(strip), _words(said, right, _width(strip))]
    return torch.cat(parts, 1)


def _named(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)


def _factor(strip: Tensor) -> int:
    return max(1, _SIDE // max(strip.shape[-2:]))


def _width(strip: Tensor) -> int:
    """Of an image with its frame, in pixels."""
    return strip.shape[-1] * _factor(strip) + 2


def _tiled(strip: Tensor) -> Tensor:
    """(n, C, H, W) -> (3, H, n * W), enlarged, with a line of white around each image."""
    channels, factor = strip.shape[1], _factor(strip)
    colours = (strip if channels in (1, 3) else strip.mean(1, keepdim=True)).float().cpu()
    large = colours.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    framed = F.pad(large, (1, 1, 1, 1), value=1.0)
    count, depth, height, width = framed.shape
    row = framed.permute(1, 2, 0, 3).reshape(depth, height, count * width)
    return row.expand(3, -1, -1)


def _words(lines: Sequence[str], good: Sequence[bool], width: int) -> Tensor:
    """(3, _LINE, n * width): a line of text for each image, red where it is not good, cut where it is too long."""
    from PIL import Image, ImageDraw

    found = Image.new("RGB", (width * len(lines), _LINE), "white")
    for place, (text, fine) in enumerate(zip(lines, good, strict=True)):
        cell = Image.new("RGB", (width, _LINE), "white")
        ImageDraw.Draw(cell).text((2, 0), text, fill="black" if fine else "#b3261e")
        found.paste(cell, (place * width, 0))
    pixels = torch.frombuffer(bytearray(found.tobytes()), dtype=torch.uint8).reshape(_LINE, -1, 3)
    return pixels.permute(2, 0, 1).float() / 255
