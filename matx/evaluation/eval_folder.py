"""The folder of an evaluation: it fills as it goes, so that the same command continues where it was stopped."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from matx.errors import RunError
from matx.evaluation.target import Target
from matx.measure import EvaluationSettings
from matx.results import FLAGS, RESULTS
from matx.runtime.environment import provenance
from matx.runtime.files import write_json
from matx.runtime.folder import create, refuse_existing, refuse_links
from matx.runtime.identity import differences, identity_of
from matx.runtime.progress import Display

__all__ = ["EVALS", "EvalFolder", "identity_of_evaluation", "open_evaluation"]

EVALS = Path("evals")
"""Where evaluations without `--out` go, below the working directory."""
_SCHEMA = 2


@dataclass(frozen=True)
class EvalFolder:
    """The places of one evaluation on disk."""

    path: Path

    @property
    def identity(self) -> Path:
        """What is evaluated and how: only the same evaluation continues here."""
        return self.path / "evaluation.json"

    @property
    def records(self) -> Path:
        """CHECKPOINT/WEIGHTS/..., as `matx.evaluation.records` says."""
        return self.path / "records"

    @property
    def flags(self) -> Path:
        """Every per-sample column (the schema is `matx.results.flags`')."""
        return self.path / FLAGS

    @property
    def results(self) -> Path:
        """The scores; written last of all, so that its presence says that the evaluation is finished."""
        return self.path / RESULTS

    @property
    def timing(self) -> Path:
        """Seconds by checkpoint, weights, model and threat model."""
        return self.path / "timing.json"

    @property
    def sanity(self) -> Path:
        """What the sanity checks found, model by model."""
        return self.path / "sanity.json"

    def log_of(self, rank: int) -> Path:
        """What a process of the evaluation said on the way, and the traceback of an error."""
        return self.path / ("log.txt" if rank == 0 else f"log-rank{rank}.txt")

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.results.is_file()


def identity_of_evaluation(target: Target, settings: EvaluationSettings) -> dict[str, str]:
    """What makes two evaluations the same, as `{path: text}`: models, images, metrics, attacks, seed, versions."""
    versions = {name: value for name, value in provenance(target.device).items() if name != "threads"}
    models = {
        ".".join((*which, model)): _hash(weights)
        for which, states in target.states.items()
        for model, weights in states.items()
    }
    found: dict[str, Any] = {
        "schema": _SCHEMA,
        "name": target.name,
        "images": f"{settings.count(target.data.test)} of {target.data.test.fingerprint()}",
        "ensemble": target.ensemble,
        **{f"models.{name}": content for name, content in models.items()},
        **{f"provenance.{name}": value for name, value in versions.items()},
    }
    return {name: str(value) for name, value in found.items()} | identity_of(settings, "settings")


def _hash(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in weights.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def open_evaluation(out: Path | None, wanted: Mapping[str, str], display: Display) -> EvalFolder:
    """The folder of this evaluation: a new one, or the one in which it was stopped; another's is refused."""
    if out is None:
        candidates = sorted(EVALS.glob(f"{glob.escape(wanted['name'])}-*")) if EVALS.is_dir() else []
        unfinished = [EvalFolder(path) for path in candidates if not EvalFolder(path).finished]
        found = next((folder for folder in unfinished if _read(folder) == wanted), None)
    else:
        found = EvalFolder(out) if EvalFolder(out).identity.is_file() else None
        if found is not None and (differing := _differing(_read(found), wanted)):
            raise RunError(f"--out: {out} holds another evaluation ({differing}); allowed: the same, or another folder")
    if found is None:
        refuse_existing(out)

        def fill(new: Path) -> None:
            write_json(EvalFolder(new).identity, wanted)

        return EvalFolder(create(out, wanted["name"], fill, home=EVALS))
    refuse_links(found.path)
    if not found.finished:
        display.say(f"{found.path}: continuing where it was stopped")
    return found


def _read(folder: EvalFolder) -> dict[str, str]:
    try:
        found = json.loads(folder.identity.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _differing(stored: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    return "; ".join(map(_short, differences(stored, wanted)[:3]))


def _short(text: str) -> str:
    return text if len(text) <= 160 else text[:157] + "..."
