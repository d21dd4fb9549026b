"""Does a model answer as a function of its image, in eval mode, with logits that have a gradient?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from matx.craft import attackable
from matx.interfaces import LogitObjective, Model, value_and_gradient
from matx.losses import cross_entropy
from matx.measure.sanity.finding import Finding, graded

__all__ = ["model_checks"]

_SATURATED = 80.0
"""A lead over the second logit at which softmax leaves the others less than 2e-35: CE has next to no gradient."""
_CLOSE = 1e-4
"""Answers may change with the batch where the two largest logits lie nearer than this share of the logits' spread."""
_SHARES = {"passes": 0.002, "warns": 0.01}


def model_checks(module: nn.Module, images: Tensor, labels: Tensor) -> list[Finding]:
    """The checks that need no search; `images` (N, C, H, W) with labels (N,) are a sample of those of the score."""
    with attackable(module) as model, torch.no_grad():
        found = [_eval_mode(module, images)]
        first = model(images)
        found += [_repetition(model, images, first), _batching(model, images, first), _logits(first)]
        right = first.argmax(1) == labels
        return [*found, _zero_gradients(model, images[right], labels[right])]


def _eval_mode(module: nn.Module, images: Tensor) -> Finding:
    """Inside `attackable`: every part was put into eval mode, and buffers are copies."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module(images)
    training = sum(part.training for part in module.modules())
    moved = sum(not torch.equal(before[name], buffer) for name, buffer in module.named_buffers() if name in before)
    sentence = "stays in eval mode, and answering changes no buffer"
    if training or moved:
        sentence = f"ignores eval mode: {training} modules train, and answering changes {moved} buffers"
    return Finding(
        check="eval mode", status="fail" if training or moved else "pass", sentence=sentence, value=training + moved
    )


def _repetition(model: Model, images: Tensor, first: Tensor) -> Finding:
    apart = max(_apart(first, model(images)) for _ in range(3))
    what = "answers the same images alike" if apart == 0 else "answers the same images differently (randomised?)"
    return Finding(
        check="repetition",
        status=graded(apart, passes=0.0, warns=1e-5),
        sentence=f"{what}: largest relative logit difference {apart:.2g}",
        value=apart,
    )


def _batching(model: Model, images: Tensor, first: Tensor) -> Finding:
    """One at a time (the first 32), in halves, and in the opposite order."""
    half = (len(images) + 1) // 2
    others = [
        torch.cat([model(image[None]) for image in images[:32]]),
        torch.cat([model(images[:half]), model(images[half:])]),
        model(images.flip(0)).flip(0),
    ]
    apart = max(_apart(first[: len(other)], other) for other in others)
    two, near = first.topk(2, 1).values, _CLOSE * _spread(first)
    clear = (two[:, 0] - two[:, 1]) >= near
    flips = max(int(((o.argmax(1) != first[: len(o)].argmax(1)) & clear[: len(o)]).sum()) for o in others)
    status = "fail" if flips else graded(apart, passes=1e-4, warns=1e-2)
    return Finding(
        check="batching",
        status=status,
        sentence=f"batch size and order: largest relative logit difference {apart:.2g}, "
        f"{flips} answers flip where the margin is {near:.2g} or more ({_CLOSE:g} of the logits' spread)",
        value=apart,
    )


def _logits(logits: Tensor) -> Finding:
    two = logits.topk(2, 1).values
    spread = _spread(logits)
    saturated = float((two[:, 0] - two[:, 1] > _SATURATED).float().mean())
    status = graded(saturated, **_SHARES)
    sentence = f"logits span up to {spread:.3g}; {saturated:.2%} of images lead by more than {_SATURATED:g}"
    if not bool(logits.isfinite().all()):
        status, sentence = "fail", "some logits are not finite"
    elif bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        status, sentence = "fail", "the outputs are probabilities, not logits: losses on them saturate"
    return Finding(check="logits", status=status, sentence=sentence, value=spread)


def _zero_gradients(model: Model, images: Tensor, labels: Tensor) -> Finding:
    share = 0.0
    if len(images) > 0:
        _, gradient = value_and_gradient(LogitObjective(model, cross_entropy, {"labels": labels}), images)
        share = float((gradient.flatten(1) == 0).all(1).float().mean())
    return Finding(
        check="zero gradients",
        status=graded(share, **_SHARES),
        sentence=f"{share:.2%} of correct images have a gradient of exactly zero",
        value=share,
    )


def _spread(logits: Tensor) -> float:
    """The largest distance between two logits of one image."""
    return float((logits.amax(1) - logits.amin(1)).max())


def _apart(first: Tensor, second: Tensor) -> float:
    """The largest logit difference, relative to the largest logit."""
    scale = first.abs().max().clamp_min(torch.finfo(first.dtype).tiny)
    return float((first - second).abs().max() / scale)
