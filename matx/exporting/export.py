"""An export: a folder with each peer's weights, the recipe, the figures and a model card."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matx.api import LoadedRun
from matx.errors import OptionError, did_you_mean
from matx.evaluation import ExportedFolder
from matx.experiment import data_of
from matx.exporting.card import card
from matx.exporting.formats import FORMATS, Format
from matx.results import read_results, write_results
from matx.runtime.files import write_json, write_text
from matx.runtime.folder import create, refuse_existing

__all__ = ["export"]

_EXPORTS = Path("exports")
"""Where exports without `--out` go, below the working directory."""


def export(
    run: LoadedRun,
    peers: Sequence[str] = (),
    *,
    form: str = "safetensors",
    checkpoint: str = "best",
    weights: str = "raw",
    results: Path | None = None,
    out: Path | None = None,
    address: str | None = None,
) -> Path:
    """The new folder: `out`, else exports/<run>-<n>. No peers named: the scored ones.

    `address`: by what the model card's code loads it, else by the folder's name.

    `results`: a results.json, or the folder of a later evaluation of the run, whose figures the model card shows; else
    the run's own, which no sanity check has seen. RunError for a peer that is not there, a run that has not finished,
    or a folder that exists.
    """
    if form not in FORMATS:
        raise OptionError(f"--format: got {form!r}, allowed: {', '.join(FORMATS)}{did_you_mean(form, FORMATS)}")
    refuse_existing(out)
    found, names = run.results if results is None else read_results(results), tuple(dict.fromkeys(peers))
    names, how = names or run.experiment.scored, FORMATS[form]
    modules = {name: run.peer(name, checkpoint=checkpoint, weights=weights) for name in names}
    made = {name: f"{name}{how.suffix}" for name in names}
    about = _about(run) | {
        "format": form,
        "peers": made,
        "checkpoint": checkpoint,
        "epoch": found.epochs.get(checkpoint),
        "weights": weights,
    }
    place = address or (out or _EXPORTS / run.name).name
    loading = {name: how.loading.format(folder=place, file=file, peer=name) for name, file in made.items()}

    def fill(path: Path) -> None:
        folder = ExportedFolder(path)
        for name, module in modules.items():
            _write(how, module, about["image_shape"], path / made[name])
        write_json(folder.about, about)
        write_text(folder.config, run.loaded.text)
        write_results(folder.results, found)
        write_text(folder.card, card(found, names, checkpoint, weights, loading, _described(run, about)))

    return create(out, run.name, fill, home=_EXPORTS)


def _write(how: Format, module: nn.Module, image_shape: tuple[int, int, int], file: Path) -> None:
    """One peer, without what torch's exporters say of their own innards."""
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        how.write(module, images, file)


def _about(run: LoadedRun) -> dict[str, Any]:
    """What a reader must know of the data to build the networks and to read their answers."""
    data = data_of(run.experiment)
    return {
        "experiment": run.name,
        "image_shape": data.image_shape,
        "num_classes": data.num_classes,
        "class_names": data.class_names,
        "mean": data.mean,
        "std": data.std,
    }


def _described(run: LoadedRun, about: Mapping[str, Any]) -> list[str]:
    """What is known of data, networks and recipe."""
    networks = {repr(run.experiment.peers[name].architecture) for name in about["peers"]}
    return [
        f"Data: {run.experiment.dataset!r}, images of {about['image_shape']}, {about['num_classes']} classes.",
        f"Network: {', '.join(sorted(networks))}.",
        f"Recipe: {run.name}, checkpoint {about['checkpoint']} (epoch {about['epoch']}), {about['weights']} weights; "
        f"strategy {run.experiment.strategy!r}.",
    ]
