"""Exported peers, read again: a folder of safetensors files with their recipe, figures and shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from matx.config import Loaded, load_experiment
from matx.errors import CheckpointError, RunError, did_you_mean
from matx.evaluation.external import target_of_modules
from matx.evaluation.target import Target, WeightSet
from matx.evaluation.targets import under_suite
from matx.experiment import data_of
from matx.learner import Normalised
from matx.results import RESULTS, Results, read_results
from matx.runtime.environment import find_device
from matx.text import is_name
from matx.threat import ThreatModel

__all__ = [
    "WEIGHTS_SUFFIX",
    "ZOO",
    "ExportedFolder",
    "exported_peer",
    "find_exported",
    "read_about",
    "target_of_exported",
]

WEIGHTS_SUFFIX = ".safetensors"
"""Of the files that can be read again: plain tensors, which no reader executes."""
ZOO = "zoo:"
"""Before the name of an export that the package holds."""


@dataclass(frozen=True)
class ExportedFolder:
    """The places of an export on disk."""

    path: Path

    @property
    def about(self) -> Path:
        """What was exported: peers and their files, image shape, classes, mean and std."""
        return self.path / "model.json"

    @property
    def config(self) -> Path:
        """The recipe: the flattened gin text of the run."""
        return self.path / "config.gin"

    @property
    def results(self) -> Path:
        """The figures of the run, or of a later evaluation of it."""
        return self.path / RESULTS

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def there(self) -> bool:
        """Whether the folder is an export."""
        return self.about.is_file()


def find_exported(spec: str) -> ExportedFolder | None:
    """The export at a path, or the one in the package that `zoo:NAME` names; None where the path is no export."""
    if not spec.startswith(ZOO):
        folder = ExportedFolder(Path(spec))
        return folder if folder.there else None
    name, home = spec.removeprefix(ZOO), Path(str(files("matx"))) / "zoo"
    known = sorted(path.name for path in home.iterdir() if ExportedFolder(path).there) if home.is_dir() else []
    if name not in known:
        raise RunError(f"{spec}: got {name!r}, allowed: {', '.join(known) or 'none'}{did_you_mean(name, known)}")
    return ExportedFolder(home / name)


def read_about(folder: ExportedFolder) -> dict[str, Any]:
    """model.json; a RunError where it is damaged."""
    try:
        found = json.loads(folder.about.read_text(encoding="utf-8"))
        whole = isinstance(found, dict) and {"experiment", "format", "peers", "image_shape", "num_classes"} <= set(
            found
        )
    except (OSError, ValueError) as error:
        raise RunError(f"{folder.about}: cannot be read ({error}); allowed: an export as matx wrote it") from error
    if not whole or not is_name(found["experiment"]):
        raise RunError(f"{folder.about}: incomplete; allowed: an export as matx wrote it")
    about: dict[str, Any] = found
    return about


def exported_peer(folder: ExportedFolder, loaded: Loaded, name: str, device: torch.device | str = "cpu") -> nn.Module:
    """A peer in eval mode: images in [0,1] -> logits. RunError for one that is not there."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    about = read_about(folder)
    if name not in about["peers"]:
        known = ", ".join(about["peers"])
        raise RunError(f"--peer: got {name!r}, allowed: {known}{did_you_mean(name, about['peers'])}")
    file = folder.path / Path(about["peers"][name]).name
    if about["format"] != WEIGHTS_SUFFIX.removeprefix("."):
        raise RunError(f"{folder.path}: got an export as {about['format']}, allowed: one as safetensors")
    shape = (int(about["image_shape"][0]), int(about["image_shape"][1]), int(about["image_shape"][2]))
    network = loaded.experiment.peers[name].architecture(shape, int(about["num_classes"]))
    module = Normalised(network, tuple(about["mean"]), tuple(about["std"])).to(device)
    try:
        module.load_state_dict(load_file(file, device=str(device)))
    except (OSError, RuntimeError, SafetensorError) as error:
        sentence = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file}: does not hold the weights of peer {name!r} ({sentence})") from error
    return module.to(memory_format=torch.channels_last).eval()


def target_of_exported(
    folder: ExportedFolder,
    peers: Sequence[str],
    device: str,
    *,
    suite: str | None = None,
    bindings: Sequence[str] = (),
    threats: Sequence[ThreatModel] = (),
    ensemble: bool = True,
) -> Target:
    """The chosen peers of an export on the test images of its recipe's dataset, measured as `target_of_run` says."""
    about, place = read_about(folder), find_device(device)
    loaded = load_experiment([str(folder.config)], () if suite else bindings)
    modules = {name: exported_peer(folder, loaded, name, place) for name in peers or about["peers"]}
    data = data_of(loaded.experiment)
    found = target_of_modules(loaded, data, place, modules, str(about["experiment"]), ensemble=ensemble)
    found = _as_exported(found, about, read_results(folder.results))
    return found if suite is None else under_suite(found, suite, bindings, threats)


def _as_exported(found: Target, about: Mapping[str, Any], results: Results) -> Target:
    """Under the checkpoint, epoch and kind of weights that were exported, with what their training cost."""
    (states,) = found.states.values()
    return replace(
        found,
        states={WeightSet(str(about["checkpoint"]), str(about["weights"])): states},
        scored=[peer for peer in results.scored if peer in found.modules],
        epochs={str(about["checkpoint"]): about["epoch"]},
        passes=results.passes,
        teacher_passes=results.teacher_passes,
        best_by=results.best_by,
        label_noise=results.label_noise,
    )
