"""Beside an evaluation: the sentinel's findings on its scores, and what transfers between its peers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch

from matx.checkpoint import atomic_write
from matx.errors import RunError
from matx.evaluate import ENSEMBLE, Flags, aimed, by_threat
from matx.evaluate.sanity import Finding, inspect
from matx.evaluate.transfer import transfer
from matx.report import read_flags
from matx.report.transfer import transfer_markdown
from matx.run.evaluation import EvalFolder
from matx.run.scoring import Judge, Subject
from matx.run.subjects import load_suite

__all__ = ["Doubts", "inspect_evaluation", "transfer_evaluation"]

Doubts = dict[str, dict[str, tuple[Finding, ...]]]
"""{checkpoint: {peer: findings}}."""
_SCHEMA = 1


def inspect_evaluation(judge: Judge, folder: EvalFolder) -> Doubts:
    """The findings on every score of a finished evaluation; written to sanity.json."""
    groups, subject = by_threat(judge.attacks), judge.subject
    known = load_suite("sanity").experiment.evaluation.attacks
    boxes = aimed(known, groups)
    found: Doubts = {}
    for which in subject.states:
        columns, models = read_flags(folder.path, which), judge.models(which)
        found[which] = {}
        with judge.display.bar(f"doubting {which}, model", len(models)) as bar:
            for done, (name, module) in enumerate(models.items()):
                bar(done, name)
                found[which][name] = inspect(
                    module,
                    subject.data.test,
                    judge.attacks,
                    _flags(columns[name], [threat.key for threat in groups]),
                    seed=judge.seed,
                    black_boxes=boxes,
                    others={other: models[other] for other in models if other not in (name, ENSEMBLE)},
                    batch_size=subject.evaluation.batch_size,
                    device=subject.device,
                )
    rows = {which: {name: [f.row() for f in one] for name, one in peers.items()} for which, peers in found.items()}
    atomic_write(folder.path / "sanity.json", json.dumps({"schema": _SCHEMA, "findings": rows}, indent=2) + "\n")
    return found


def _flags(columns: Mapping[str, Any], keys: list[str]) -> Flags:
    if any(key not in columns for key in keys):
        raise RunError("--sanity: this evaluation has no figures a threat model; allowed: one without --union-only")
    return Flags(
        clean=torch.from_numpy(columns["clean"]), threats={key: torch.from_numpy(columns[key]) for key in keys}
    )


def transfer_evaluation(judge: Judge, folder: EvalFolder, beside: Subject | None) -> dict[str, Any]:
    """What transfers between the peers, and between those of another run beside; transfer.json and transfer.md."""
    subjects = {judge.subject.name: judge.subject}
    if beside is not None:
        _refuse_other_images(judge.subject, beside)
        subjects[f"{beside.name} (beside)"] = beside
    runs = {name: _of_subject(judge, subject) for name, subject in subjects.items()}
    found = {"schema": _SCHEMA, "attacks": [repr(attack) for attack in judge.attacks], "runs": runs}
    atomic_write(folder.path / "transfer.json", json.dumps(found, indent=2) + "\n")
    atomic_write(folder.path / "transfer.md", transfer_markdown(found))
    return found


def _of_subject(judge: Judge, subject: Subject) -> dict[str, Any]:
    """{checkpoint: Answers.row()}."""
    found = {}
    for which, states in subject.states.items():
        for name, module in subject.modules.items():
            module.load_state_dict(states[name])
        answers = transfer(
            subject.modules,
            subject.data.test,
            judge.attacks,
            seed=judge.seed,
            batch_size=judge.subject.evaluation.batch_size,
            limit=judge.images,
            device=subject.device,
        )
        found[which] = answers.row()
    return found


def _refuse_other_images(first: Subject, second: Subject) -> None:
    if first.data.test.fingerprint() != second.data.test.fingerprint():
        raise RunError(
            f"--beside: got a run on other test images ({second.data.name}), allowed: on those of {first.data.name}"
        )
