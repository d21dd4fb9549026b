"""`matx eval`: score the checkpoints of a run anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from matx.cli.options import common, console, device, settings
from matx.cli.results import show_results

if TYPE_CHECKING:
    from matx.report import Results

__all__ = ["evaluate"]


@click.command("eval")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--checkpoint", type=click.Choice(["best", "last"]), help="One of the two; otherwise both.")
@click.option("--peer", "peers", multiple=True, metavar="NAME", help="This peer alone; may be repeated.")
@click.option("-n", "--images", type=click.IntRange(min=1), help="At most so many test images.")
@click.option("--seed", type=click.IntRange(min=0), help="Of the evaluation's draws; otherwise the run's.")
@click.option("--ema", is_flag=True, help="The moving averages of the weights instead of the weights.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write the results there as well.")
@settings
@device
@common
def evaluate(
    run: Path,
    checkpoint: str | None,
    peers: tuple[str, ...],
    images: int | None,
    seed: int | None,
    ema: bool,
    out: Path | None,
    bindings: tuple[str, ...],
    device: str | None,
) -> int:
    """Evaluate the checkpoints of RUN on its test images with the attacks of its Evaluation.

    -s may change the attacks, not the models. The run folder is left as it is.
    """
    from matx import run as runs

    folder = runs.open_folder(run)
    runs.refuse_existing(out)
    scope = runs.Scope(
        checkpoints=("best", "last") if checkpoint is None else (checkpoint,),
        peers=peers,
        images=images,
        seed=seed,
        ema=ema,
    )
    loaded = runs.load_own(folder, bindings)
    name = str(runs.read_environment(folder)["experiment"])
    found = runs.score_folder(loaded, name, folder, scope, device or "auto", runs.Display(console()))
    show_results(found)
    if out is not None:
        _write(out, found)
        click.echo(f"results     {out / 'results.json'}")
    return 0


def _write(out: Path, found: Results) -> None:
    from matx.report import html, markdown, write_results

    out.mkdir(parents=True)
    (out / "report.md").write_text(markdown(found), encoding="utf-8")
    (out / "report.html").write_text(html(found), encoding="utf-8")
    write_results(out / "results.json", found)
