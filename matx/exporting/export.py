"""An export: a folder with each peer's weights, the recipe, the figures and a model card."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from matx.api import LoadedRun
from matx.data import Data
from matx.errors import ModelError
from matx.evaluation import ExportedFolder
from matx.experiment import data_of
from matx.exporting.card import card
from matx.exporting.formats import find_format
from matx.exporting.given import Format, PeerGiven
from matx.learner import Normalised
from matx.results import Results, read_results, write_results
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
    how = find_format(form)
    refuse_existing(out)
    found, data = run.results if results is None else read_results(results), data_of(run.experiment)
    names = tuple(dict.fromkeys(peers)) or run.experiment.scored
    given = [_given(run, name, run.peer(name, checkpoint=checkpoint, weights=weights), data, found) for name in names]
    about = _about(run, data) | {
        "format": form,
        "peers": {peer.name: how.file(peer) for peer in given},
        "checkpoint": checkpoint,
        "epoch": found.epochs.get(checkpoint),
        "weights": weights,
    }
    place = address or (out or _EXPORTS / run.name).name
    loading = {peer.name: how.loading(peer, place) for peer in given}

    def fill(path: Path) -> None:
        folder = ExportedFolder(path)
        for peer in given:
            _write(how, peer, path)
        write_json(folder.about, about)
        write_text(folder.config, run.loaded.text)
        write_results(folder.results, found)
        write_text(folder.card, card(found, names, checkpoint, weights, loading, _described(run, about)))

    return create(out, run.name, fill, home=_EXPORTS)


def _given(run: LoadedRun, name: str, module: nn.Module, data: Data, found: Results) -> PeerGiven:
    if not isinstance(module, Normalised):
        raise ModelError(f"peer {name!r}: got a {type(module).__name__}, allowed: a network behind its normaliser")
    threats = dict.fromkeys(score.threat for score in found.scores if score.model == name and score.threat is not None)
    return PeerGiven(
        name=name,
        experiment=run.name,
        module=module,
        architecture=run.experiment.peers[name].architecture,
        data=data,
        threats=tuple(threats),
    )


def _write(how: Format, peer: PeerGiven, folder: Path) -> None:
    """One peer, without what torch's exporters say of their own innards."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        how.write(peer, folder)


def _about(run: LoadedRun, data: Data) -> dict[str, Any]:
    """What a reader must know of the data to build the networks and to read their answers."""
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
