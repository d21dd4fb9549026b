"""`matx eval`: score the checkpoints of a run anew, or anybody's model."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from matx.cli.eval_options import Beside, Measured, Models, beside_options, measured_options, models_options
from matx.cli.options import common, device, display, json_option, say, show_json, spelled
from matx.cli.processes import joined, launched, processes
from matx.cli.results import show_results

if TYPE_CHECKING:
    from matx.distributed import World
    from matx.evaluation import Asked, ExportedFolder, Selection, Target

__all__ = ["evaluate"]

_STRONGEST = "autoattack"


@click.command("eval")
@models_options
@measured_options
@beside_options
@device
@processes
@json_option
@common
def evaluate(
    models: Models, measured: Measured, beside: Beside, device: str | None, processes: int | None, as_json: bool
) -> int:
    """Evaluate the checkpoints of RUN, or --weights of an --architecture, or a --model, on test images.

    Everything found is kept in the folder of the evaluation; stopped, the same command continues. -s changes the
    attacks (of the suite where one is given), not the models. The run folder is left as it is.
    """
    for group in (models, measured, beside):
        group.refuse_mixtures()
    if processes is not None:
        return launched(processes)
    with joined(device) as world:
        return _evaluate_in(world, models, measured, beside, device or "auto", as_json=as_json)


def _evaluate_in(world: World, models: Models, measured: Measured, beside: Beside, where: str, *, as_json: bool) -> int:
    """The whole of the command in one of its processes."""
    from matx import evaluation
    from matx.runtime.folder import open_folder

    selection = evaluation.Selection(
        checkpoints=("best", "last") if models.checkpoint is None else (models.checkpoint,),
        peers=models.peers,
        weights=models.averages,
        ensemble=measured.ensemble,
    )
    target = _target(models, measured, selection, where)
    other = None
    if beside.beside is not None:
        other = evaluation.target_of_run(
            open_folder(beside.beside), replace(selection, peers=(), weights=("raw",)), where
        )
    transfer = beside.transfer or other is not None
    if transfer and len(target.modules) < 2:
        raise click.UsageError("--transfer: got one model, allowed: at least two peers")
    further = [*measured.chosen_metrics(), *(evaluation.packaged_metrics("transfer") if transfer else ())]
    asked = evaluation.Asked(
        images=measured.images,
        seed=measured.seed,
        threats=measured.threat_models(),
        grid=measured.radii(),
        union_only=measured.union_only,
        metrics=evaluation.packaged_metrics("eval"),
        further=further,
    )
    return _evaluate(target, asked, measured, beside, other, world, as_json=as_json)


def _target(models: Models, measured: Measured, selection: Selection, device: str) -> Target:
    from matx import evaluation
    from matx.runtime.folder import open_folder

    exported = None if models.run is None else evaluation.find_exported(str(models.run))
    if exported is not None:
        return _exported(exported, models, measured, device)
    if models.run is not None:
        return evaluation.target_of_run(
            open_folder(models.run),
            selection,
            device,
            suite=measured.suite,
            bindings=measured.bindings,
            threats=measured.threat_models(),
        )
    external = evaluation.ExternalModel(
        dataset=str(models.dataset),
        suite=measured.suite or "pgd",
        bindings=measured.bindings,
        normalise=models.normalise != "none",
    )
    if models.model is not None:
        return evaluation.from_module(models.model, external, selection, device)
    return evaluation.from_weights(models.weights, str(models.architecture), external, selection, device)


def _exported(folder: ExportedFolder, models: Models, measured: Measured, device: str) -> Target:
    from matx import evaluation

    if models.checkpoint is not None or models.ema or models.ema_only:
        raise click.UsageError("--checkpoint, --ema and --ema-only belong to a run; an export holds one set of weights")
    return evaluation.target_of_exported(
        folder,
        models.peers,
        device,
        suite=measured.suite,
        bindings=measured.bindings,
        threats=measured.threat_models(),
        ensemble=measured.ensemble,
    )


def _evaluate(
    target: Target,
    asked: Asked,
    measured: Measured,
    beside: Beside,
    other: Target | None,
    world: World,
    *,
    as_json: bool,
) -> int:
    from matx import evaluation
    from matx.distributed import broadcast, refuse_differences
    from matx.measure.sanity import EFFORTS
    from matx.runtime.interrupt import continued_by

    shown = display()
    for warning in target.warnings:
        shown.say(f"warning: {warning}")
    evaluator = evaluation.Evaluator(target, evaluation.settings_of(target, asked), shown, world=world)
    wanted = evaluation.identity_of_evaluation(target, evaluator.settings)
    refuse_differences(world, wanted)
    found_folder = evaluation.open_evaluation(beside.out, wanted, shown) if world.writes else None
    folder = broadcast(world, found_folder)
    with continued_by(f"the same command continues in {folder.path}"):
        effort = None if beside.effort is None else EFFORTS[beside.effort]
        found = evaluation.run_evaluation(replace(evaluator, records=folder.records), folder, effort)
        checked = evaluation.verify_evaluation(evaluator, folder) if beside.verify and world.writes else None
        second = None if other is None else evaluation.evaluate_beside(evaluator, other, folder)
    failed = any(score.sanity == "fail" for score in found.scores)
    advice = _next(measured, beside) if failed else None
    if as_json:
        kept = None if checked is None else json.loads((folder.path / "verified.json").read_text(encoding="utf-8"))
        content = {"folder": str(folder.path), "results": found.content(), "verified": kept}
        show_json({**content, "beside": None if second is None else second.content(), "next": advice})
    else:
        show_results(found, evaluation.read_seconds(folder))
        if second is not None:
            show_results(second)
        say(f"results     {folder.results}")
        if checked is not None:
            say(checked.sentence())
        if advice is not None:
            say(f"next        {advice}")
    return 0 if checked is None or checked.sound else 1


def _next(measured: Measured, beside: Beside) -> str:
    """What to do about a score that fails its checks: a stronger evaluation of the same models.

    Settings of the attacks are left away, because the next command has others.
    """
    if beside.effort == "full" and measured.suite == _STRONGEST:
        return "no stronger suite is built in: write an attack on these models and give it by --suite FILE"
    words = spelled(without=("sanity", "no_sanity", "suite", "bindings", "out", "as_json", "quiet", "verbose", "debug"))
    kept = [word for binding in measured.bindings if "attacks." not in binding for word in ("-s", binding)]
    return shlex.join(["matx", "eval", *words, *kept, "--sanity", "full", "--suite", _STRONGEST])
