"""Sanity checks of an evaluation's scores: kept model by model, and put beside the scores that they concern."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matx.distributed import broadcast
from matx.evaluation.evaluator import Evaluator
from matx.evaluation.suites import load_suite
from matx.evaluation.target import WeightSet
from matx.interfaces import Attack
from matx.measure import Flags, Measured, aimed, by_threat
from matx.measure.sanity import FULL, QUICK, Effort, Finding, Scored, inspect, verdict
from matx.results import ENSEMBLE, Results, SanityReason, Score
from matx.runtime.files import write_json

__all__ = ["SanityFindings", "inspect_scores", "read_findings", "with_verdicts"]

_SCHEMA = 2
_SUITES = {FULL.name: "sanity", QUICK.name: "sanity_quick"}
"""{effort: the packaged suite of further searches}."""


@dataclass(frozen=True, kw_only=True)
class SanityFindings:
    """What the sanity checks found, model by model."""

    effort: str = ""
    findings: dict[tuple[WeightSet, str], tuple[Finding, ...]] = field(default_factory=dict)
    """{(weights, model): findings}."""
    seconds: dict[tuple[WeightSet, str], float] = field(default_factory=dict)
    """What the checks cost."""

    def content(self) -> dict[str, Any]:
        """As sanity.json holds it."""
        rows = [
            {
                "checkpoint": which.checkpoint,
                "weights": which.weights,
                "model": model,
                "seconds": self.seconds[which, model],
                "findings": [finding.row() for finding in found],
            }
            for (which, model), found in self.findings.items()
        ]
        return {"schema": _SCHEMA, "effort": self.effort, "models": rows}


def inspect_scores(
    evaluator: Evaluator, measured: Mapping[WeightSet, Measured], effort: Effort, file: Path | None = None
) -> SanityFindings:
    """The findings on every model that was attacked, kept in `file`, if given, after each."""
    world = evaluator.world
    known = broadcast(world, read_findings(file) if file is not None and world.writes else SanityFindings())
    found = known if known.effort == effort.name else SanityFindings(effort=effort.name)
    target, settings = evaluator.target, evaluator.settings
    searches = _searches(settings.attacks, effort)
    for which, one in measured.items():
        models = target.models(which)
        title = f"checking {which.checkpoint}, model"
        with evaluator.display.bar(title, len(models)) as bar:
            for done, (name, module) in enumerate(models.items(), 1):
                if name in one.flags and (which, name) not in found.findings:
                    began = time.monotonic()
                    flags = _reported(one.flags[name], settings.attacks, union_only=settings.union_only)
                    found.findings[which, name] = inspect(
                        Scored(module=module, split=target.data.test, flags=flags),
                        settings,
                        searches=searches,
                        others={other: models[other] for other in models if other not in (name, ENSEMBLE)},
                        effort=effort,
                        device=target.device,
                        world=world,
                    )
                    found.seconds[which, name] = round(time.monotonic() - began, 3)
                    if file is not None and world.writes:
                        write_json(file, found.content())
                bar(done, name, line=True)
    return found


def _reported(flags: Flags, attacks: Sequence[Attack], *, union_only: bool) -> Flags:
    """Of the reported threat models; where samples were not attacked under each, the union's under all."""
    known = {threat.key: flags.threats[threat.key] for threat in by_threat(attacks)}
    reported = replace(flags, threats=known)
    return replace(flags, threats=dict.fromkeys(known, reported.union)) if union_only else reported


def _searches(attacks: Sequence[Attack], effort: Effort) -> tuple[Attack, ...]:
    """The attacks of the effort's suite, aimed at the reported threat models."""
    known = load_suite(_SUITES[effort.name]).experiment.evaluation.attacks
    return aimed(known, by_threat(attacks))


def read_findings(file: Path) -> SanityFindings:
    """What a sanity.json holds; nothing where it is not there, damaged or of another schema."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        if stored["schema"] != _SCHEMA:
            return SanityFindings()
        rows = {(WeightSet(row["checkpoint"], row["weights"]), row["model"]): row for row in stored["models"]}
        findings = {key: tuple(Finding(**entry) for entry in row["findings"]) for key, row in rows.items()}
        seconds = {key: float(row["seconds"]) for key, row in rows.items()}
        return SanityFindings(effort=stored["effort"], findings=findings, seconds=seconds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return SanityFindings()


def with_verdicts(found: Results, sanity: SanityFindings) -> Results:
    """The results with a verdict beside each score, and the reason of each that is no pass."""
    reasons = [
        SanityReason(
            checkpoint=which.checkpoint, weights=which.weights, model=model, check=finding.check,
            threat=finding.threat, status=finding.status, sentence=finding.sentence, value=finding.value,
        )
        for (which, model), findings in sanity.findings.items()
        for finding in findings
        if finding.status != "pass"
    ]  # fmt: skip
    scores = [replace(score, sanity=_verdict(score, sanity)) for score in found.scores]
    return replace(found, scores=scores, effort=sanity.effort, reasons=reasons)


def _verdict(score: Score, sanity: SanityFindings) -> str:
    """Of the checks that concern the score: those of its own threat model, else all."""
    findings = sanity.findings.get((WeightSet(score.checkpoint, score.weights), score.model))
    if findings is None or score.source is not None:
        return score.sanity
    threats = {finding.threat for finding in findings}
    return verdict(findings, score.column if score.column in threats else None)
