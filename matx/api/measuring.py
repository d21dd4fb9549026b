"""Scores of any torch module, as the command line gives them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from matx.config import Loaded
from matx.data import Data, MemorySplit, Split
from matx.errors import DataError, OptionError
from matx.evaluation import (
    Asked,
    Evaluator,
    ExternalModel,
    load_suite,
    packaged_metrics,
    settings_of,
    target_of_modules,
)
from matx.evaluation import evaluate as evaluate_target
from matx.experiment import data_of
from matx.measure.sanity import EFFORTS
from matx.results import Results
from matx.runtime.environment import threads_kept
from matx.threat import ThreatModel

__all__ = ["evaluate"]


def evaluate(
    model: nn.Module,
    data: Split | tuple[Tensor, Tensor] | str,
    *,
    suite: str = "pgd",
    threats: Sequence[ThreatModel | str] = (),
    images: int | None = None,
    seed: int | None = None,
    sanity: str | None = "quick",
) -> Results:
    """The scores of a torch module with intervals and verdicts: what `matx eval --model` gives for the same seed.

    `data` is a split, a pair of (N, C, H, W) images in [0,1] or uint8 and (N,) labels, or the name of a registered
    dataset (or an npz file), of which the test images are taken. `suite` is a packaged suite (`pgd`, `autoattack`,
    `maini`) or a gin file; `threats` aims its attacks, as in `["linf:8/255", "l2:0.5"]`; `images`: at most so many.
    `sanity` is the effort of the checks: 'quick', 'full', or None, after which every score is 'not checked'. Nothing is
    written; `matx eval` keeps records, and continues where it was stopped.

    >>> import torch, matx
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
    >>> split = torch.rand(20, 3, 8, 8), torch.arange(20) % 10
    >>> results = matx.evaluate(model, split, threats=["linf:1/255"], sanity=None)
    >>> [(score.column, score.n) for score in results.scores if score.metric == "robust"]
    [('linf:1/255', 20), ('union', 20)]
    """
    if sanity is not None and sanity not in EFFORTS:
        raise OptionError("sanity", got=sanity, allowed=f"{', '.join(EFFORTS)}, or None")
    with threads_kept():
        loaded, found = _images(data, suite)
        place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        target = target_of_modules(loaded, found, place, {"model": model}, "model", ensemble=False)
        asked = Asked(
            images=images,
            seed=seed,
            threats=[ThreatModel.parse(threat) if isinstance(threat, str) else threat for threat in threats],
            metrics=packaged_metrics("eval"),
        )
        return evaluate_target(
            Evaluator(target, settings_of(target, asked)), effort=None if sanity is None else EFFORTS[sanity]
        )


def _images(data: Split | tuple[Tensor, Tensor] | str, suite: str) -> tuple[Loaded, Data]:
    """The suite, and the images as a dataset whose test split they are."""
    if isinstance(data, str):
        loaded = ExternalModel(dataset=data, suite=suite).loaded()
        return loaded, data_of(loaded.experiment)
    split = MemorySplit.of(data[0].detach().cpu(), data[1].detach().cpu()) if isinstance(data, tuple) else data
    shape = tuple(split.read(torch.arange(1)).shape[1:])
    if len(shape) != 3:
        raise DataError(f"data: got images of shape {shape}, allowed: (channels, height, width)")
    classes = int(split.labels.max()) + 1
    return load_suite(suite), Data(
        name="images",
        train=split,
        open_test=lambda: split,
        image_shape=shape,
        num_classes=classes,
        class_names=tuple(map(str, range(classes))),
        mean=(0.0,) * shape[0],
        std=(1.0,) * shape[0],
    )
