"""The folder of an evaluation: it fills as it goes, so that the same command continues where it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from matx.errors import RunError
from matx.evaluation.evaluator import Judge, Scored
from matx.evaluation.sanity import Doubts, inspect_scores, read_doubts
from matx.evaluation.scoring import score, store_flags
from matx.measure import FolderRecords, Verified, verify
from matx.measure.sanity import FULL, Effort
from matx.report import Results, Seconds, html, markdown, put_verdicts, read_results, write_results
from matx.runtime.environment import provenance
from matx.runtime.files import plain, write_json, write_text
from matx.runtime.folder import RunFolder, create, refuse_existing
from matx.runtime.lock import folder_lock
from matx.runtime.progress import Display

__all__ = ["EVALS", "EvalFolder", "identity", "open_evaluation", "read_seconds", "run_evaluation", "verify_evaluation"]

EVALS = Path("evals")
"""Where evaluations without `--out` go, below the working directory."""
_SCHEMA = 1


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
        """CHECKPOINT/PEER/THREAT/ATTACK/BATCH.npz, as `matx.measure.records` says."""
        return self.path / "examples"

    @property
    def flags(self) -> Path:
        """Per test image and column, who stands (the schema is `matx.report.flags`')."""
        return self.path / "flags.npz"

    @property
    def results(self) -> Path:
        """The figures; written last of all, so that its presence says that the evaluation is finished."""
        return self.path / "results.json"

    @property
    def timing(self) -> Path:
        """Seconds by checkpoint, peer and threat model."""
        return self.path / "timing.json"

    @property
    def sanity(self) -> Path:
        """What the sentinel found, model by model."""
        return self.path / "sanity.json"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.results.is_file()


def identity(judge: Judge) -> dict[str, Any]:
    """What makes two evaluations the same: models, images, attacks, seed, batch size, versions."""
    subject, scope = judge.subject, judge.scope
    versions = {name: value for name, value in provenance(subject.device).items() if name != "threads"}
    found = {
        "schema": _SCHEMA,
        "name": subject.name,
        "models": {f"{which}/{peer}": _hash(w) for which, peers in subject.states.items() for peer, w in peers.items()},
        "weights": list(scope.weights),
        "images": f"{judge.images} of {subject.data.test.fingerprint()}",
        "seed": judge.seed,
        "batch_size": subject.evaluation.batch_size,
        "attacks": [repr(attack) for attack in judge.attacks],
        "grid": [repr(attack) for attack in judge.further],
        "union_only": scope.union_only,
        "ensemble": scope.ensemble,
        "eight_bit": scope.eight_bit,
        "circumstances": versions,
    }
    content: dict[str, Any] = plain(found)
    return content


def _hash(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in weights.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def open_evaluation(out: Path | None, wanted: Mapping[str, Any], display: Display) -> EvalFolder:
    """The folder of this evaluation: a new one, or the one in which it was stopped; another's is refused."""
    if out is None:
        candidates = sorted(EVALS.glob(f"{wanted['name']}-*")) if EVALS.is_dir() else []
        unfinished = [EvalFolder(path) for path in candidates if not EvalFolder(path).finished]
        found = next((folder for folder in unfinished if _read(folder) == wanted), None)
    else:
        found = EvalFolder(out) if EvalFolder(out).identity.is_file() else None
        if found is not None and (differing := _differing(_read(found), wanted)):
            raise RunError(f"--out: {out} holds another evaluation ({differing}); allowed: the same, or another folder")
    if found is None:
        refuse_existing(out)

        def fill(new: RunFolder) -> None:
            write_json(EvalFolder(new.path).identity, wanted)

        return EvalFolder(create(out, str(wanted["name"]), fill, home=EVALS).path)
    display.say(f"{found.path}: " + ("finished already" if found.finished else "continuing where it was stopped"))
    return found


def _read(folder: EvalFolder) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(folder.identity.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _differing(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    names = [name for name in wanted if stored.get(name) != wanted[name]]
    shown = [f"{name}: {_short(stored.get(name))} -> {_short(wanted[name])}" for name in names]
    return "; ".join(shown[:3])


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def run_evaluation(judge: Judge, folder: EvalFolder, effort: Effort | None = None) -> Results:
    """Evaluate into a folder and doubt every score; the judge keeps its records there.

    What is finished is read, not done again. No effort: scores that nobody has doubted stay 'not checked'.
    """
    doubted = read_doubts(folder.sanity)
    if folder.finished:
        found = read_results(folder.results)
        known = found.get("evaluation", {}).get("sanity")
        if effort is None or (known == doubted.effort and known in (effort.name, FULL.name)):
            return found
    with folder_lock(folder.path):
        return _evaluated(judge, folder, effort, doubted)


def _evaluated(judge: Judge, folder: EvalFolder, effort: Effort | None, doubted: Doubts) -> Results:
    found, scored = score(judge)
    if effort is not None:
        doubted = inspect_scores(judge, scored, effort, folder.sanity)
        put_verdicts(found, doubted.findings, effort.name)
    found["evaluation"] = {key: value for key, value in _read(folder).items() if key in ("attacks", "seed", "weights")}
    found["evaluation"] |= {"ema": "ema" in judge.scope.weights, "sanity": "" if effort is None else effort.name}
    seconds = _seconds(scored, {} if effort is None else doubted.seconds)
    store_flags(folder.flags, judge, scored)
    write_json(folder.timing, {"seconds": seconds})
    write_text(folder.path / "report.md", markdown(found, seconds))
    write_text(folder.path / "report.html", html(found, seconds=seconds))
    write_results(folder.results, found)
    return found


def _seconds(
    scored: Mapping[str, Scored], doubted: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """{checkpoint: {peer: {'clean', threat key, 'all', 'sanity': seconds}}}; all: of the evaluation alone."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for which, content in scored.items():
        found[which] = {}
        for peer, one in content.peers.items():
            seconds = dict(one.flags.seconds)
            total = {**seconds, "all": sum(seconds.values())}
            if peer in doubted.get(which, {}):
                total["sanity"] = doubted[which][peer]
            found[which][peer] = {key: round(value, 3) for key, value in total.items()}
    return found


def read_seconds(folder: EvalFolder) -> Seconds:
    """What timing.json holds; nothing where it cannot be read."""
    try:
        found: Seconds = json.loads(folder.timing.read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, KeyError):
        return {}
    return found


def verify_evaluation(judge: Judge, folder: EvalFolder) -> Verified:
    """Look again at every example in the folder, and write `verified.json`."""
    found = Verified()
    for which in judge.subject.states:
        for peer, module in judge.models(which).items():
            kept = (record for _, record in FolderRecords(folder.records / which / peer).all())
            verify(
                module, judge.subject.data.test, kept, found,
                batch_size=judge.subject.evaluation.batch_size, device=judge.subject.device,
            )  # fmt: skip
    content = {**vars(found), "sound": found.sound}
    write_json(folder.path / "verified.json", content)
    return found
