"""`matx export`: trained peers in a format that others read, with a model card."""

from __future__ import annotations

from pathlib import Path

import click

from matx.cli import completing
from matx.cli.options import common, json_option, say, show_json

__all__ = ["export"]


@click.command("export")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path), shell_complete=completing.runs)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME",
    help="This peer; may be repeated. Else the scored ones.",
    shell_complete=completing.peers,
)
@click.option(
    "--format", "form", default="safetensors", show_default=True, help="safetensors, torch, onnx, timm, robustbench."
)
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option("--ema", is_flag=True, help="The averages of the weights (Peer.ema, Peer.swa_from).")
@click.option(
    "--results", type=click.Path(path_type=Path), metavar="PATH", help="Of an evaluation: the card's figures."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Otherwise exports/<name>-<n>.")
@json_option
@common
def export(
    run: Path,
    peers: tuple[str, ...],
    form: str,
    checkpoint: str,
    ema: bool,
    results: Path | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Write peers of RUN into a new folder, with a model card, the recipe and the figures.

    safetensors is read again by `matx.load` and `matx eval`; torch is a program that torch.export.load reads without
    matx; onnx is for onnxruntime and others; robustbench is a folder for RobustBench's load_model. In these the
    normaliser travels inside: images in [0,1] go in, logits come out. timm is the bare network for timm.create_model,
    with mean and std in its pretrained_cfg. The model card says how each is loaded.
    """
    from matx.api import load
    from matx.exporting import export as write

    weights = "ema" if ema else "raw"
    made = write(load(run), peers, form=form, checkpoint=checkpoint, weights=weights, results=results, out=out)
    files = sorted(file for file in made.rglob("*") if file.is_file())
    if as_json:
        show_json({"folder": str(made), "files": [file.relative_to(made).as_posix() for file in files]})
    else:
        for file in files:
            say(f"{file.stat().st_size:>10,}  {file}")
    return 0
