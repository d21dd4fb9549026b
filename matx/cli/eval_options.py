"""The options of `matx eval` in three groups: which models, measured how, and what is asked beside the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matx.cli import completing
from matx.cli.options import grouped, settings

if TYPE_CHECKING:
    from matx.interfaces import Metric
    from matx.threat import ThreatModel

__all__ = ["Beside", "Measured", "Models", "beside_options", "measured_options", "models_options"]

Decorator = Callable[[Callable[..., int]], Callable[..., int]]


@dataclass(frozen=True, kw_only=True)
class Models:
    """Which models, with which weights, on whose images."""

    run: Path | None
    weights: Path | None
    architecture: str | None
    model: str | None
    dataset: str | None
    normalise: str | None
    checkpoint: str | None
    peers: tuple[str, ...]
    ema: bool
    ema_only: bool

    @property
    def averages(self) -> tuple[str, ...]:
        """Of 'raw' weights and their averages 'ema': which are scored."""
        return ("ema",) if self.ema_only else ("raw", "ema") if self.ema else ("raw",)

    def refuse_mixtures(self) -> None:
        """One kind of model, with what belongs to it."""
        kinds = [self.run is not None, self.architecture is not None, self.model is not None]
        if sum(kinds) != 1 or (self.weights is not None and self.architecture is None):
            raise click.UsageError(
                "name one: RUN, or --weights, --architecture and --dataset, or --model and --dataset"
            )
        if self.run is not None and self.dataset is not None:
            raise click.UsageError("--dataset: a run has its own; leave it away")
        if self.run is None and self.dataset is None:
            raise click.UsageError("--dataset is missing: on whose test images?")
        if self.run is None and self.checkpoint is not None:
            raise click.UsageError("--checkpoint belongs to a run; leave it away")
        if self.normalise is not None and self.architecture is None:
            raise click.UsageError("--normalise belongs to --weights; leave it away")
        if self.ema and self.ema_only:
            raise click.UsageError("--ema shows weights and averages, --ema-only averages alone: leave one away")


models_options: Decorator = grouped(
    "models",
    Models,
    click.argument(
        "run", metavar="[RUN]", type=click.Path(path_type=Path), required=False, shell_complete=completing.runs
    ),
    click.option("--weights", type=click.Path(path_type=Path), metavar="PATH", help="A weights file, or a folder."),
    click.option("--architecture", metavar="NAME", help="What the weights are for: registered, or of timm."),
    click.option("--model", metavar="MODULE:NAME", help="A torch module, or a callable that makes one; takes [0,1]."),
    click.option("--dataset", metavar="NAME", help="With --weights or --model: registered, or an .npz file."),
    click.option("--normalise", type=click.Choice(["dataset", "none"]), help="What precedes --weights' networks."),
    click.option("--checkpoint", type=click.Choice(["best", "last"]), help="One of the two; otherwise both."),
    click.option(
        "--peer",
        "peers",
        multiple=True,
        metavar="NAME",
        help="This peer alone; may be repeated.",
        shell_complete=completing.peers,
    ),
    click.option("--ema", is_flag=True, help="Also the averages of the weights (Peer.ema, Peer.swa_from), a row each."),
    click.option("--ema-only", is_flag=True, help="The averages of the weights alone."),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Under which attacks, on how many images, and into which figures."""

    threats: tuple[str, ...]
    suite: str | None
    bindings: tuple[str, ...]
    grids: tuple[str, ...]
    images: int | None
    metrics: tuple[str, ...]
    seed: int | None
    union_only: bool
    ensemble: bool

    def refuse_mixtures(self) -> None:
        """No figures a norm from samples that were not all attacked."""
        if self.grids and self.union_only:
            raise click.UsageError("--grid shows figures a norm, which need the full run: leave --union-only away")

    def threat_models(self) -> list[ThreatModel]:
        """Those of --threat."""
        return [_threat("--threat", text) for text in self.threats]

    def chosen_metrics(self) -> list[Metric]:
        """Those of --metric."""
        from matx.evaluation import named_metrics

        return [metric for name in dict.fromkeys(self.metrics) for metric in named_metrics(name)]

    def radii(self) -> list[ThreatModel]:
        """Those of --grid."""
        return [threat for text in self.grids for threat in _grid(text)]


measured_options: Decorator = grouped(
    "measured",
    Measured,
    click.option("--threat", "threats", multiple=True, metavar="NORM:EPS", help="As in linf:8/255; may be repeated."),
    click.option(
        "--suite",
        metavar="NAME",
        help="The attacks: pgd, autoattack, maini, or a gin file.",
        shell_complete=completing.suites,
    ),
    click.option("--grid", "grids", multiple=True, metavar="NORM:EPS,EPS,...", help="Accuracy at these radii, too."),
    click.option("-n", "--images", type=click.IntRange(min=1), help="At most so many test images."),
    click.option(
        "--metric", "metrics", multiple=True, metavar="NAME", help="Also this one, or a gin file's; repeatable."
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Of the evaluation's draws; otherwise the run's."),
    click.option("--union-only", is_flag=True, help="Attack only what is still right: quicker, but no figures a norm."),
    click.option("--ensemble/--no-ensemble", default=True, help="Whether several peers are scored as one, too."),
    settings,
)


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is asked beside the scores, and where all of it goes."""

    verify: bool
    sanity: str | None
    no_sanity: bool
    transfer: bool
    beside: Path | None
    out: Path | None

    @property
    def effort(self) -> str | None:
        """How hard scores are checked: 'quick' or 'full'; None: not at all."""
        return None if self.no_sanity else self.sanity or "quick"

    def refuse_mixtures(self) -> None:
        """Checked or not."""
        if self.sanity is not None and self.no_sanity:
            raise click.UsageError("--sanity checks every score, --no-sanity none: leave one of them away")


beside_options: Decorator = grouped(
    "beside",
    Beside,
    click.option("--verify", is_flag=True, help="Look again at every example found: inside, and still wrong?"),
    click.option("--sanity", type=click.Choice(["quick", "full"]), help="How hard scores are checked; else quick."),
    click.option("--no-sanity", is_flag=True, help="Check no score: each is shown as 'not checked'."),
    click.option("--transfer", is_flag=True, help="Also: whose examples fool whom, and how alike peers answer."),
    click.option("--beside", type=click.Path(path_type=Path), metavar="RUN", help="Transfer of this run's peers, too."),
    click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Otherwise evals/<name>-<n>."),
)


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
