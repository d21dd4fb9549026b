"""`matx eval`: score the checkpoints of a run anew, or anybody's model."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from matx.cli.eval_options import Beside, Measured, Models, beside_options, measured_options, models_options
from matx.cli.options import common, device, display, json_option, show_json, spelled
from matx.cli.results import show_results, show_transfer

if TYPE_CHECKING:
    from matx.evaluation import Scope, Subject

__all__ = ["evaluate"]

_STRONGEST = "autoattack"


@click.command("eval")
@models_options
@measured_options
@beside_options
@device
@json_option
@common
def evaluate(models: Models, measured: Measured, beside: Beside, device: str | None, as_json: bool) -> int:
    """Evaluate the checkpoints of RUN, or --weights of an --architecture, or a --model, on test images.

    Everything found is kept in the folder of the evaluation; stopped, the same command continues. -s changes the
    attacks (of the suite where one is given), not the models. The run folder is left as it is.
    """
    for group in (models, measured, beside):
        group.refuse_mixtures()
    from matx import evaluation
    from matx.runtime.folder import open_folder

    scope = evaluation.Scope(
        checkpoints=("best", "last") if models.checkpoint is None else (models.checkpoint,),
        peers=models.peers,
        images=measured.images,
        seed=measured.seed,
        weights=models.averages,
        threats=measured.threat_models(),
        grid=measured.radii(),
        union_only=measured.union_only,
        ensemble=measured.ensemble,
        eight_bit=True,
    )
    where = device or "auto"
    subject = _subject(models, measured, scope, where)
    other = None
    if beside.beside is not None:
        other = evaluation.from_run(open_folder(beside.beside), replace(scope, peers=(), weights=("raw",)), where)
    return _evaluate(subject, scope, measured, beside, other, as_json=as_json)


def _subject(models: Models, measured: Measured, scope: Scope, device: str) -> Subject:
    from matx import evaluation
    from matx.plugins import import_all
    from matx.runtime.folder import open_folder

    if models.run is not None:
        return evaluation.from_run(
            open_folder(models.run), scope, device, suite=measured.suite, bindings=measured.bindings
        )
    import_all()
    foreign = evaluation.Foreign(
        dataset=str(models.dataset),
        suite=measured.suite or "pgd",
        bindings=measured.bindings,
        normalise=models.normalise != "none",
    )
    if models.model is not None:
        return evaluation.from_module(models.model, foreign, scope, device)
    return evaluation.from_weights(models.weights, str(models.architecture), foreign, scope, device)


def _evaluate(
    subject: Subject, scope: Scope, measured: Measured, beside: Beside, other: Subject | None, *, as_json: bool
) -> int:
    from matx import evaluation
    from matx.measure.sanity import EFFORTS
    from matx.report import failed

    transfer = beside.transfer or other is not None
    if transfer and len(subject.modules) < 2:
        raise click.UsageError("--transfer: got one model, allowed: at least two peers")
    shown = display()
    for warning in subject.warnings:
        shown.say(f"warning: {warning}")
    judge = evaluation.Judge(subject, scope, shown)
    folder = evaluation.open_evaluation(beside.out, evaluation.identity(judge), shown)
    try:
        effort = None if beside.effort is None else EFFORTS[beside.effort]
        found = evaluation.run_evaluation(evaluation.Judge(subject, scope, shown, folder.records), folder, effort)
        checked = evaluation.verify_evaluation(judge, folder) if beside.verify else None
        matrix = evaluation.transfer_evaluation(judge, folder.path, other) if transfer else None
    except KeyboardInterrupt:
        click.echo(f"stopped; the same command continues in {folder.path}", err=True)
        return 130
    advice = _next(measured, beside) if failed(found) else None
    if as_json:
        kept = None if checked is None else json.loads((folder.path / "verified.json").read_text(encoding="utf-8"))
        show_json({"folder": str(folder.path), "results": found, "verified": kept, "transfer": matrix, "next": advice})
    else:
        show_results(found, evaluation.read_seconds(folder))
        if matrix is not None:
            show_transfer(matrix)
        click.echo(f"results     {folder.results}")
        if checked is not None:
            click.echo(checked.sentence())
        if advice is not None:
            click.echo(f"next        {advice}")
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
