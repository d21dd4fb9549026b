"""Evaluations from beginning to end: of a run that has just been trained, and into a folder of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from matx.distributed import broadcast
from matx.errors import RunError
from matx.evaluation.eval_folder import EvalFolder
from matx.evaluation.evaluator import Evaluator, flag_columns, results_of
from matx.evaluation.sanity import SanityFindings, inspect_scores, read_findings, with_verdicts
from matx.evaluation.target import Target, WeightSet
from matx.measure import Measured, Verified, verify
from matx.measure.sanity import FULL, Effort
from matx.report import Seconds, html, markdown
from matx.results import Results, finished_results, whole_flags, write_flags, write_results
from matx.runtime.environment import provenance
from matx.runtime.files import write_json, write_text
from matx.runtime.lock import folder_lock
from matx.runtime.log import logged_to
from matx.runtime.progress import Display

__all__ = ["evaluate", "evaluate_beside", "read_seconds", "run_evaluation", "verify_evaluation"]


def evaluate(
    evaluator: Evaluator, *, flags: Path | None = None, date: str | None = None, effort: Effort | None = None
) -> Results:
    """The results of a target, checked where an effort is given, its per-sample columns written where a file is."""
    measured = evaluator.measured()
    if flags is not None and evaluator.world.writes:
        store_flags(flags, evaluator.target, measured, evaluator.settings.count(evaluator.target.data.test))
    found = results_of(evaluator.target, evaluator.settings, measured, _made_by(evaluator.target.device, date))
    return found if effort is None else with_verdicts(found, inspect_scores(evaluator, measured, effort))


def _made_by(device: torch.device, date: str | None = None) -> dict[str, Any]:
    """Versions, device and processor, and the day: of today, unless said."""
    known = {name: value for name, value in provenance(device).items() if name not in ("threads", "processes")}
    return {**known, "date": date or datetime.now(UTC).date().isoformat()}


def store_flags(path: Path, target: Target, measured: Mapping[WeightSet, Measured], count: int) -> None:
    """Every per-sample column, with the images' indices and labels."""
    test, rows = target.data.test, torch.arange(count)
    columns = flag_columns(measured)
    write_flags(path, columns, indices=test.indices[rows].numpy(), labels=test.labels[rows].numpy())


def run_evaluation(evaluator: Evaluator, folder: EvalFolder, effort: Effort | None = None) -> Results:
    """Evaluate into a folder and check every score; the evaluator keeps its records there.

    What is finished is read, not done again. No effort: scores that nobody has checked stay 'not checked'.
    """
    world = evaluator.world
    known = broadcast(world, _known(folder, effort, evaluator.display) if world.writes else None)
    if known is not None:
        return known
    locked = folder_lock(folder.path) if world.writes else nullcontext()
    with locked, logged_to(folder.log_of(world.rank)):
        return _evaluated(evaluator, folder, effort)


def _known(folder: EvalFolder, effort: Effort | None, display: Display) -> Results | None:
    """The results that are there, if they and the flags are whole and as many checks as this effort asks were made."""
    found, checked = finished_results(folder.results), read_findings(folder.sanity).effort
    if found is None or not whole_flags(folder.path):
        return None
    done = effort is None or found.effort == checked in (effort.name, FULL.name)
    display.say(f"{folder.path}: finished already" + ("" if done else "; its scores are checked"))
    return found if done else None


def _evaluated(evaluator: Evaluator, folder: EvalFolder, effort: Effort | None) -> Results:
    measured = evaluator.measured()
    found = results_of(evaluator.target, evaluator.settings, measured, _made_by(evaluator.target.device))
    checked = SanityFindings()
    if effort is not None:
        checked = inspect_scores(evaluator, measured, effort, folder.sanity)
        found = with_verdicts(found, checked)
    if not evaluator.world.writes:
        return found
    seconds = _seconds(measured, checked)
    store_flags(folder.flags, evaluator.target, measured, evaluator.settings.count(evaluator.target.data.test))
    write_json(folder.timing, {"seconds": seconds})
    write_text(folder.path / "report.md", markdown(found, seconds))
    write_text(folder.path / "report.html", html(found, seconds=seconds))
    write_results(folder.results, found)
    return found


def _seconds(measured: Mapping[WeightSet, Measured], checked: SanityFindings) -> Seconds:
    """{checkpoint: {weights: {model: {'clean', threat key, 'all', 'sanity': seconds}}}}; all: of the attacks alone."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for which, one in measured.items():
        models = found.setdefault(which.checkpoint, {}).setdefault(which.weights, {})
        for model, seconds in one.seconds.items():
            total = {**seconds, "all": sum(seconds.values())}
            if (which, model) in checked.seconds:
                total["sanity"] = checked.seconds[which, model]
            models[model] = {key: round(value, 3) for key, value in total.items()}
    return found


def evaluate_beside(evaluator: Evaluator, beside: Target, folder: EvalFolder) -> Results:
    """Another run's results under the same settings and on the same images, in `beside.json`."""
    first, second = evaluator.target.data, beside.data
    if first.test.fingerprint() != second.test.fingerprint():
        raise RunError(f"--beside: got a run on other test images ({second.name}), allowed: on those of {first.name}")
    found = evaluate(replace(evaluator, target=replace(beside, name=f"{beside.name} (beside)"), records=None))
    if evaluator.world.writes:
        write_results(folder.path / "beside.json", found)
    return found


def read_seconds(folder: EvalFolder) -> Seconds:
    """What timing.json holds; nothing where it cannot be read."""
    try:
        found: Seconds = json.loads(folder.timing.read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found


def verify_evaluation(evaluator: Evaluator, folder: EvalFolder) -> Verified:
    """Look again at every example in the folder, and write `verified.json`."""
    found, kept = Verified(), replace(evaluator, records=folder.records)
    for which in evaluator.target.states:
        records = kept.records_of(which)
        for model, module in evaluator.target.models(which).items():
            verify(
                module,
                evaluator.target.data.test,
                records.searches(model) if records is not None else (),
                found,
                batch_size=evaluator.settings.batch_size,
                device=evaluator.target.device,
            )
    write_json(folder.path / "verified.json", {**asdict(found), "sound": found.sound})
    return found
