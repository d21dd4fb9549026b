"""What is evaluated that no run of ours made: weights of a named architecture, or any torch module."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matx.config import Loaded
from matx.data import Data
from matx.errors import CheckpointError, MatxError, ModelError, OptionError, RunError, did_you_mean
from matx.evaluation.suites import load_suite
from matx.evaluation.target import RAW, Selection, Target, WeightSet
from matx.experiment import Experiment, Peer, data_of
from matx.interfaces import HasNames
from matx.learner import build_learner
from matx.registration import REGISTRIES, architectures, datasets
from matx.runtime.environment import find_device, spare_threads

__all__ = ["WEIGHTS", "ExternalModel", "from_module", "from_weights", "target_of_modules"]

WEIGHTS = "weights"
"""The name under which weights that are no run's are reported, where a run has `best` and `last`."""


@dataclass(frozen=True, kw_only=True)
class ExternalModel:
    """Models that no run of ours made, and the images that they are evaluated on."""

    dataset: str
    """A dataset that is registered, or an npz file; its options are set by bindings."""
    suite: str = "pgd"
    bindings: Sequence[str] = ()
    normalise: bool = True
    """Put the dataset's mean and standard deviation before the network; False: it takes images in [0,1] itself."""

    def loaded(self, further: Sequence[str] = ()) -> Loaded:
        """The suite with the dataset, and with further bindings, put into its stand-in experiment."""
        dataset = _bindings("Experiment.dataset", "datasets", self.dataset)
        if dataset is None:
            near = did_you_mean(self.dataset, datasets)
            raise OptionError(f"--dataset: got {self.dataset!r}, allowed: {', '.join(datasets)}, or a .npz file{near}")
        return load_suite(self.suite, [*dataset, *further, *self.bindings])


def from_weights(
    weights: Path | None, architecture: str, external: ExternalModel, selection: Selection, device: str
) -> Target:
    """Weights of an architecture that is registered, or else of timm, by name: one file, or a folder of .pt files.

    A folder is read as RobustBench lays its own out (`DATASET/THREAT/NAME.pt`, any depth): each .pt, .pth or .ckpt
    file below it is a model, named after the file. A file holds a state dict, bare or under "state_dict" or
    "model_state_dict", perhaps saved from DataParallel; or it is a checkpoint of matx: of it the selected peers.
    """
    _refuse_averages(selection)
    if weights is None and not any("pretrained" in binding for binding in external.bindings):
        raise OptionError("--weights is missing; allowed without: an architecture told by -s to load pretrained ones")
    files = {} if weights is None else _files(weights, selection.peers)
    bindings = _bindings("Peer.architecture", "architectures", architecture)
    if bindings is None:
        near = did_you_mean(architecture, architectures)
        raise OptionError(f"--architecture: got {architecture!r}, allowed: {', '.join(architectures)}{near}")
    loaded = external.loaded(bindings)
    experiment, place = loaded.experiment, find_device(device)
    template, data = experiment.peers["model"], _data(experiment, external)
    peers = {name: replace(template, weights=path) for name, path in files.items()} or {architecture: template}
    modules = {name: _module(name, peer, experiment, data, place) for name, peer in peers.items()}
    return target_of_modules(
        loaded, data, place, modules, weights.stem if weights else architecture, ensemble=selection.ensemble
    )


def from_module(spec: str, external: ExternalModel, selection: Selection, device: str) -> Target:
    """A torch module by `MODULE:NAME` or `FILE.py:NAME`: the module itself, or a callable that makes it.

    It takes images in [0,1], normalises them itself, and gives logits.
    """
    _refuse_averages(selection)
    loaded = external.loaded()
    place = find_device(device)
    module = _imported(spec).to(place)
    name = _identifier(spec.rpartition(":")[2])
    return target_of_modules(loaded, data_of(loaded.experiment), place, {name: module}, name, ensemble=False)


def target_of_modules(
    loaded: Loaded, data: Data, device: torch.device, modules: Mapping[str, nn.Module], name: str, *, ensemble: bool
) -> Target:
    """Modules on [0,1] images, under their names, as they are; they are measured as the suite of `loaded` says."""
    spare_threads(device, data.image_shape)
    return Target(
        name=name,
        evaluation=loaded.experiment.evaluation,
        seed=loaded.experiment.seed,
        data=data,
        device=device,
        modules=modules,
        states={WeightSet(WEIGHTS, RAW): {peer: dict(module.state_dict()) for peer, module in modules.items()}},
        scored=tuple(modules),
        ensemble=ensemble,
        warnings=loaded.warnings,
    )


def _bindings(setting: str, kind: str, name: str) -> list[str] | None:
    """What binds a setting to a component by its name, or to one that has such names; None where neither fits."""
    registry = REGISTRIES[kind]
    if name in registry:
        return [f"{setting}=@{kind}.{name}()"]
    for known in registry:
        component: Any = registry[known]
        options = component.options_for(name) if isinstance(component, HasNames) else None
        if options is not None:
            chosen = [f"{kind}.{known}.{option}={value!r}" for option, value in options.items()]
            return [f"{setting}=@{kind}.{known}()", *chosen]
    return None


def _refuse_averages(selection: Selection) -> None:
    if tuple(selection.weights) != (RAW,):
        raise OptionError("--ema: allowed with a run, whose checkpoints hold moving averages")


def _module(name: str, peer: Peer, experiment: Experiment, data: Data, device: torch.device) -> nn.Module:
    return build_learner(name, peer, data, seed=experiment.seed, device=device).module


def _data(experiment: Experiment, external: ExternalModel) -> Data:
    data = data_of(experiment)
    channels = data.image_shape[0]
    return data if external.normalise else replace(data, mean=(0.0,) * channels, std=(1.0,) * channels)


def _files(weights: Path, peers: Sequence[str]) -> dict[str, str]:
    """{model: where its weights are}, as Peer.weights wants it."""
    if weights.is_file():
        return {name: f"{weights}:{name}" for name in peers} or {_identifier(weights.stem): str(weights)}
    if not weights.is_dir():
        raise CheckpointError(f"--weights: got {str(weights)!r}, which is not there; allowed: a file, or a folder")
    if (weights / "config.gin").is_file():
        raise CheckpointError(f"--weights: {weights} is a run folder; allowed: matx eval {weights}")
    found = sorted(path for path in weights.rglob("*") if path.suffix in (".pt", ".pth", ".ckpt"))
    if not found:
        raise CheckpointError(f"--weights: {weights} holds no .pt, .pth or .ckpt file")
    named: dict[str, str] = {}
    for path in found:
        name = _identifier(path.stem)
        if name in named:
            raise CheckpointError(f"--weights: {named[name]} and {path} have one name; allowed: a name each")
        named[name] = str(path)
    for name in peers:
        if name not in named:
            raise RunError(f"--peer: got {name!r}, allowed: {', '.join(named)}{did_you_mean(name, named)}")
    return {name: path for name, path in named.items() if not peers or name in peers}


def _identifier(text: str) -> str:
    return re.sub(r"\W", "_", text)


def _imported(spec: str) -> nn.Module:
    where, colon, attribute = spec.rpartition(":")
    if not colon or not where or not attribute:
        raise ModelError(f"--model: got {spec!r}, allowed: MODULE:NAME or FILE.py:NAME, as in mine.models:build")
    path = Path(where)
    by_file = path.suffix == ".py"
    if by_file and not path.is_file():
        raise ModelError(f"--model: {path} is not there")
    folder = str(path.parent.resolve() if by_file else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(path.stem if by_file else where)
        found = getattr(module, attribute)
        made = found if isinstance(found, nn.Module) else found()
    except MatxError:
        raise
    except Exception as error:  # whatever a stranger's code raises
        raise ModelError(f"--model: {spec!r} gives no model: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"--model: {spec!r} gives a {type(made).__name__}, allowed: a torch module")
    return made
