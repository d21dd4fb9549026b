"""What a run made, as objects: its peers as torch modules, its results, its examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from matx.api.attacking import attacked_in_parts
from matx.config import Loaded, load_experiment
from matx.consent import consent, consenting
from matx.errors import OptionError, RunError, did_you_mean
from matx.evaluation import ExportedFolder, Selection, exported_peer, find_exported, read_about, target_of_folder
from matx.experiment import Experiment
from matx.measure import by_threat
from matx.results import Results, read_results
from matx.runtime.environment import threads_kept
from matx.runtime.folder import RunFolder, open_folder
from matx.runtime.stored import load_own, read_environment
from matx.threat import ThreatModel

__all__ = ["LoadedRun", "load"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedRun:
    """A run folder, or an export of one, opened for reading.

    >>> import matx
    >>> zoo = matx.load("zoo:mat_union")
    >>> zoo.peers, zoo.experiment.epochs
    (('linf', 'l2', 'l1', 'generalist'), 40)
    """

    name: str
    path: Path
    loaded: Loaded

    @property
    def experiment(self) -> Experiment:
        """What was run."""
        return self.loaded.experiment

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers' names in declared order."""
        return tuple(self.experiment.peers)

    @property
    def results(self) -> Results:
        """The content of its results.json; RunError where the run has not finished."""
        return read_results(self.path)

    def peer(
        self, name: str, *, checkpoint: str = "best", weights: str = "raw", device: torch.device | str = "cpu"
    ) -> nn.Module:
        """A peer as a torch module in eval mode: images in [0,1] -> logits; its normaliser is inside.

        `checkpoint` is 'best' or 'last', `weights` 'raw' or 'ema', the average of the weights where the peer keeps one.
        RunError for a peer that the run has not, CheckpointError for weights that are not there or not this run's.
        """
        for what, got, allowed in (
            ("checkpoint", checkpoint, ("best", "last")),
            ("weights", weights, ("raw", "ema")),
        ):
            if got not in allowed:
                raise OptionError(what, got=repr(got), allowed=", ".join(allowed))
        exported = find_exported(str(self.path))
        if exported is not None:
            _refuse_others(exported, checkpoint, weights)
            return exported_peer(exported, self.loaded, name, device)
        selection = Selection(checkpoints=(checkpoint,), peers=(name,), weights=(weights,))
        with threads_kept():
            target = target_of_folder(self.loaded, self.name, RunFolder(self.path), selection, str(device))
        (which,) = target.states
        return target.models(which)[name].eval()

    def adversarial(
        self, peer: str, images: Tensor, labels: Tensor, threat: ThreatModel | str | None = None, *, seed: int = 0
    ) -> Tensor:
        """(N, C, H, W) examples of a peer's best checkpoint, found by the run's own evaluation under one threat model.

        An image that one attack has broken is left to it; the next attack searches on the others. `threat` may be left
        away where the evaluation has one threat model alone.
        """
        groups = by_threat(self.experiment.evaluation.attacks)
        wanted = _one_of(groups, threat)
        model = self.peer(peer, device=images.device)
        found, open_rows = images.clone(), torch.arange(len(images), device=images.device)
        for attack in groups[wanted]:
            if len(open_rows) == 0:
                break
            tried = attacked_in_parts(model, images[open_rows], labels[open_rows], attack, seed=seed, batch_size=None)
            found[open_rows] = tried
            with torch.no_grad():
                open_rows = open_rows[model(tried).argmax(1) == labels[open_rows]]
        return found


def _one_of(groups: Mapping[ThreatModel, object], threat: ThreatModel | str | None) -> ThreatModel:
    if threat is None and len(groups) == 1:
        return next(iter(groups))
    wanted = ThreatModel.parse(threat) if isinstance(threat, str) else threat
    if wanted is None or wanted not in groups:
        known = [model.key for model in groups]
        got = "none" if wanted is None else wanted.key
        raise OptionError(f"threat: got {got}, allowed: {', '.join(known)}{did_you_mean(got, known)}")
    return wanted


def _refuse_others(exported: ExportedFolder, checkpoint: str, weights: str) -> None:
    """An export holds one checkpoint's weights of one kind."""
    about = read_about(exported)
    for what, got, there in (("checkpoint", checkpoint, about["checkpoint"]), ("weights", weights, about["weights"])):
        if got != there:
            raise RunError(f"{exported.path}: got {what} {got!r}, allowed: {there!r}, which was exported")


def load(path: Path | str, *, trust: bool = False) -> LoadedRun:
    """The run folder or export at a path, or `zoo:NAME`, an export in the package; RunError where it is none.

    Its components are built from its own config.gin; nothing is trained, and no test image is read. Plug-ins that it
    asks for and that are neither installed nor imported are refused unless you `trust` it.

    >>> import matx, tempfile
    >>> folder = matx.run_experiment("smoke", out=tempfile.mkdtemp() + "/run", progress=False).path
    >>> run = matx.load(folder)
    >>> model = run.peer(run.peers[0])
    >>> model.training
    False
    """
    exported = find_exported(str(path))
    with consenting(replace(consent(), trust=trust or consent().trust)):
        if exported is not None:
            loaded = load_experiment([str(exported.config)])
            return LoadedRun(name=str(read_about(exported)["experiment"]), path=exported.path, loaded=loaded)
        folder = open_folder(Path(path))
        loaded = load_own(folder)
    return LoadedRun(name=str(read_environment(folder)["experiment"]), path=folder.path, loaded=loaded)
