"""Beside an evaluation: the sentinel's findings on its scores, and what transfers between its peers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matx.errors import RunError
from matx.evaluation.evaluator import Judge, Scored, Subject
from matx.evaluation.runs import load_suite
from matx.measure import ENSEMBLE, Flags, PeerScores, aimed, by_threat
from matx.measure.sanity import FULL, Effort, Finding, inspect
from matx.measure.transfer import transfer
from matx.report.transfer import transfer_markdown
from matx.runtime.files import write_json, write_text

__all__ = ["Doubts", "inspect_scores", "read_doubts", "transfer_evaluation"]

_SCHEMA = 1
_QUICK_QUERIES = "attacks.square.queries=100"


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """What the sentinel found, model by model."""

    effort: str = ""
    findings: dict[str, dict[str, tuple[Finding, ...]]] = field(default_factory=dict)
    """{checkpoint: {peer: findings}}."""
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    """{checkpoint: {peer: what the checks cost}}."""

    def row(self) -> dict[str, Any]:
        """As sanity.json holds it."""
        rows = {
            which: {n: [f.row() for f in one] for n, one in peers.items()} for which, peers in self.findings.items()
        }
        return {"schema": _SCHEMA, "effort": self.effort, "findings": rows, "seconds": self.seconds}


def inspect_scores(judge: Judge, scored: Mapping[str, Scored], effort: Effort, file: Path) -> Doubts:
    """The findings on every score; kept in `file` model by model, so that an interruption loses one model at most."""
    known = read_doubts(file)
    found = known if known.effort == effort.name else Doubts(effort=effort.name)
    for which, one in scored.items():
        models = judge.models(which)
        findings, seconds = found.findings.setdefault(which, {}), found.seconds.setdefault(which, {})
        with judge.display.bar(f"doubting {which}, model", len(models)) as bar:
            for done, (name, module) in enumerate(models.items()):
                if name not in findings:
                    others = {other: models[other] for other in models if other not in (name, ENSEMBLE)}
                    began = time.monotonic()
                    findings[name] = inspect(
                        module,
                        judge.subject.data.test,
                        judge.attacks,
                        _flags(one.peers[name]),
                        seed=judge.seed,
                        black_boxes=_black_boxes(judge, effort),
                        others=others,
                        effort=effort,
                        batch_size=judge.subject.evaluation.batch_size,
                        device=judge.subject.device,
                    )
                    seconds[name] = round(time.monotonic() - began, 3)
                    write_json(file, found.row())
                bar(done + 1, name, line=True)
    return found


def _flags(scores: PeerScores) -> Flags:
    """Who stands; where there are no figures a threat model, the union is doubted under each."""
    flags = scores.flags
    return flags if scores.threats else replace(flags, threats=dict.fromkeys(flags.threats, flags.union))


def _black_boxes(judge: Judge, effort: Effort) -> tuple[Any, ...]:
    """The attacks of the suite `sanity`, aimed at the reported threat models."""
    known = load_suite("sanity", () if effort == FULL else (_QUICK_QUERIES,)).experiment.evaluation.attacks
    return aimed(known, by_threat(judge.attacks))


def read_doubts(file: Path) -> Doubts:
    """What a sanity.json holds; nothing where it is not there, damaged or of another schema."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["schema"] != _SCHEMA:
            return Doubts()
        findings = {
            which: {name: tuple(Finding(**row) for row in rows) for name, rows in peers.items()}
            for which, peers in stored["findings"].items()
        }
        return Doubts(effort=stored["effort"], findings=findings, seconds=stored["seconds"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Doubts()


def transfer_evaluation(judge: Judge, folder: Path, beside: Subject | None) -> dict[str, Any]:
    """What transfers between the peers, and between those of another run beside; transfer.json and transfer.md."""
    subjects = {judge.subject.name: judge.subject}
    if beside is not None:
        _refuse_other_images(judge.subject, beside)
        subjects[f"{beside.name} (beside)"] = beside
    runs = {name: _of_subject(judge, subject) for name, subject in subjects.items()}
    found = {"schema": _SCHEMA, "attacks": [repr(attack) for attack in judge.attacks], "runs": runs}
    write_json(folder / "transfer.json", found)
    write_text(folder / "transfer.md", transfer_markdown(found))
    return found


def _of_subject(judge: Judge, subject: Subject) -> dict[str, Any]:
    """{checkpoint: Answers.row()}; averages of a single peer transfer to nobody."""
    found = {}
    for which in subject.states:
        models = subject.with_weights(which)
        if len(models) < 2:
            continue
        answers = transfer(
            models,
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
