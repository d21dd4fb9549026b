"""`matx eval`: score the checkpoints of a run anew, or anybody's model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matx.cli.options import common, console, device, settings
from matx.cli.results import show_results, show_transfer

if TYPE_CHECKING:
    from matx.evaluation import Foreign, Scope, Subject
    from matx.threat import ThreatModel

__all__ = ["evaluate"]


@click.command("eval")
@click.argument("run", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@click.option("--weights", type=click.Path(path_type=Path), metavar="PATH", help="A weights file, or a folder of them.")
@click.option("--architecture", metavar="NAME", help="What the weights are for: registered, or of timm.")
@click.option("--model", metavar="MODULE:NAME", help="A torch module, or a callable that makes it; images in [0,1].")
@click.option("--dataset", metavar="NAME", help="With --weights or --model: registered, or an .npz file.")
@click.option("--normalise", type=click.Choice(["dataset", "none"]), help="What stands before --weights' networks.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="One of the two; otherwise both.")
@click.option("--peer", "peers", multiple=True, metavar="NAME", help="This peer alone; may be repeated.")
@click.option("--ema", is_flag=True, help="Beside the weights their averages (Peer.ema, Peer.swa_from), a row each.")
@click.option("--ema-only", is_flag=True, help="The averages of the weights alone.")
@click.option("--threat", "threats", multiple=True, metavar="NORM:EPS", help="As in linf:8/255; may be repeated.")
@click.option("--suite", metavar="NAME", help="The attacks: pgd, autoattack, maini, or a gin file.")
@click.option("--grid", "grids", multiple=True, metavar="NORM:EPS,EPS,...", help="Accuracy at these radii, too.")
@click.option("-n", "--images", type=click.IntRange(min=1), help="At most so many test images.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the evaluation's draws; otherwise the run's.")
@click.option("--union-only", is_flag=True, help="Attack only what still stands: quicker, but no figures a norm.")
@click.option("--ensemble/--no-ensemble", default=True, help="Whether several peers are scored as one, too.")
@click.option("--verify", is_flag=True, help="Look again at every example found: inside, and still wrong?")
@click.option("--sanity", type=click.Choice(["quick", "full"]), help="How hard scores are doubted; unless said quick.")
@click.option("--no-sanity", is_flag=True, help="Doubt no score: each is shown as 'not checked'.")
@click.option("--transfer", is_flag=True, help="Also: whose examples fool whom, and how alike peers answer.")
@click.option("--beside", type=click.Path(path_type=Path), metavar="RUN", help="Transfer of this run's peers beside.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Otherwise evals/<name>-<n>.")
@settings
@device
@common
def evaluate(
    run: Path | None,
    weights: Path | None,
    architecture: str | None,
    model: str | None,
    dataset: str | None,
    normalise: str | None,
    checkpoint: str | None,
    peers: tuple[str, ...],
    ema: bool,
    ema_only: bool,
    threats: tuple[str, ...],
    suite: str | None,
    grids: tuple[str, ...],
    images: int | None,
    seed: int | None,
    union_only: bool,
    ensemble: bool,
    verify: bool,
    sanity: str | None,
    no_sanity: bool,
    transfer: bool,
    beside: Path | None,
    out: Path | None,
    bindings: tuple[str, ...],
    device: str | None,
) -> int:
    """Evaluate the checkpoints of RUN, or --weights of an --architecture, or a --model, on test images.

    Everything found is kept in the folder of the evaluation; stopped, the same command continues. -s changes the
    attacks (of the suite where one is given), not the models. The run folder is left as it is.
    """
    _refuse_mixtures(run, weights, architecture, model, dataset, normalise, checkpoint)
    if grids and union_only:
        raise click.UsageError("--grid shows figures a norm, which need the full run: leave --union-only away")
    if sanity is not None and no_sanity:
        raise click.UsageError("--sanity doubts every score, --no-sanity none: leave one of them away")
    if ema and ema_only:
        raise click.UsageError("--ema shows weights and averages, --ema-only averages alone: leave one of them away")
    from matx import evaluation as wing
    from matx.runtime.folder import open_folder

    scope = wing.Scope(
        checkpoints=("best", "last") if checkpoint is None else (checkpoint,),
        peers=peers,
        images=images,
        seed=seed,
        weights=("raw", "ema") if ema else ("ema",) if ema_only else ("raw",),
        threats=[_threat("--threat", text) for text in threats],
        grid=[threat for text in grids for threat in _grid(text)],
        union_only=union_only,
        ensemble=ensemble,
        eight_bit=True,
    )
    where = device or "auto"
    if run is not None:
        subject = wing.from_run(open_folder(run), scope, where, suite=suite, bindings=bindings)
    else:
        foreign = wing.Foreign(
            dataset=str(dataset), suite=suite or "pgd", bindings=bindings, normalise=normalise != "none"
        )
        subject = _foreign(weights, architecture, model, foreign, scope, where)
    further = Further(
        verify=verify, sanity=None if no_sanity else sanity or "quick", transfer=transfer or beside is not None
    )
    if beside is not None:
        further.beside = wing.from_run(open_folder(beside), replace(scope, peers=(), weights=("raw",)), where)
    return _evaluate(subject, scope, out, further)


def _foreign(
    weights: Path | None, architecture: str | None, model: str | None, foreign: Foreign, scope: Scope, device: str
) -> Subject:
    from matx import evaluation as wing
    from matx.plugins import import_all

    import_all()
    if model is not None:
        return wing.from_module(model, foreign, scope, device)
    return wing.from_weights(weights, str(architecture), foreign, scope, device)


def _refuse_mixtures(
    run: Path | None,
    weights: Path | None,
    architecture: str | None,
    model: str | None,
    dataset: str | None,
    normalise: str | None,
    checkpoint: str | None,
) -> None:
    """One kind of model, with what belongs to it."""
    kinds = [run is not None, architecture is not None, model is not None]
    if sum(kinds) != 1 or (weights is not None and architecture is None):
        raise click.UsageError("name one: RUN, or --weights, --architecture and --dataset, or --model and --dataset")
    if run is not None and dataset is not None:
        raise click.UsageError("--dataset: a run has its own; leave it away")
    if run is None and dataset is None:
        raise click.UsageError("--dataset is missing: on whose test images?")
    if run is None and checkpoint is not None:
        raise click.UsageError("--checkpoint belongs to a run; leave it away")
    if normalise is not None and architecture is None:
        raise click.UsageError("--normalise belongs to --weights; leave it away")


def _threat(option: str, text: str) -> ThreatModel:
    from matx.errors import OptionError
    from matx.threat import ThreatModel

    try:
        return ThreatModel.parse(text)
    except OptionError as error:
        raise OptionError(f"{option} {text}: {error}") from None


def _grid(text: str) -> list[ThreatModel]:
    norm, _, radii = text.partition(":")
    return (
        [_threat("--grid", f"{norm}:{radius}") for radius in radii.split(",")] if radii else [_threat("--grid", text)]
    )


@dataclass
class Further:
    """What is asked beside the scores."""

    verify: bool
    sanity: str | None
    """How hard scores are doubted: 'quick' or 'full'; None: not at all."""
    transfer: bool
    beside: Subject | None = None


def _evaluate(subject: Subject, scope: Scope, out: Path | None, further: Further) -> int:
    from matx import evaluation as wing
    from matx.measure.sanity import EFFORTS
    from matx.runtime.progress import Display

    if further.transfer and len(subject.modules) < 2:
        raise click.UsageError("--transfer: got one model, allowed: at least two peers")
    display = Display(console())
    for warning in subject.warnings:
        display.say(f"warning: {warning}")
    judge = wing.Judge(subject, scope, display)
    folder = wing.open_evaluation(out, wing.identity(judge), display)
    try:
        effort = None if further.sanity is None else EFFORTS[further.sanity]
        found = wing.run_evaluation(wing.Judge(subject, scope, display, folder.records), folder, effort)
        checked = wing.verify_evaluation(judge, folder) if further.verify else None
        matrix = wing.transfer_evaluation(judge, folder.path, further.beside) if further.transfer else None
    except KeyboardInterrupt:
        click.echo(f"stopped; the same command continues in {folder.path}", err=True)
        return 130
    show_results(found, wing.read_seconds(folder))
    if matrix is not None:
        show_transfer(matrix)
    click.echo(f"results     {folder.results}")
    if checked is None:
        return 0
    click.echo(checked.sentence())
    return 0 if checked.sound else 1
