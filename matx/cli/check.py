"""`matx check`: is a gin file sound, does a component keep its promises?"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from matx.cli import completing
from matx.cli.components import named_component, nouns
from matx.cli.options import common, json_option, load, note, say, settings, show_json

if TYPE_CHECKING:
    from matx.config import Loaded
    from matx.interfaces import Architecture
    from matx.testing import Outcome

__all__ = ["check"]


@click.command()
@click.argument("what", metavar="FILE|KIND.NAME", shell_complete=completing.things)
@click.option("--no-data", is_flag=True, help="Of a gin file: leave its data and its networks out.")
@click.option("--data", "read", is_flag=True, help="Of a gin file: also read every image, the test images too.")
@settings
@json_option
@common
def check(what: str, no_data: bool, read: bool, bindings: tuple[str, ...], as_json: bool) -> int:
    """Check a gin FILE (every statement, the data, the architectures), or a component against the contracts."""
    found = named_component(what)
    if no_data and read:
        raise click.UsageError("--data reads every image, --no-data none: leave one of them away")
    if found is not None:
        if bindings or read:
            raise click.UsageError("-s and --data belong to a gin file, not to a component")
        return _check_component(*found, as_json=as_json)
    if what in nouns():
        raise click.UsageError(f"{what} is a noun: `matx show {what}` shows it; allowed here: a gin file or KIND.NAME")
    loaded = load([what], bindings)
    from matx.runtime.tracking import refuse_lacking

    refuse_lacking(loaded.experiment)
    if not no_data:
        _check_models(loaded)
    images = _read_images(loaded) if read else None
    for sentence in loaded.warnings:
        note(f"warning: {sentence}")
    experiment = loaded.experiment
    if as_json:
        checked = {"name": loaded.name, "sound": True, "data_checked": not no_data, "epochs": experiment.epochs}
        checked |= {} if images is None else {"images_read": images}
        show_json({**checked, "peers": list(experiment.peers), "warnings": list(loaded.warnings)})
        return 0
    peers = ", ".join(experiment.peers)
    data = "; its data and networks were not tried" if no_data else ""
    data = data if images is None else "; " + ", ".join(f"{count} {part}" for part, count in images.items()) + " images"
    say(f"{loaded.name}: sound; {experiment.epochs} epochs, peers {peers}{data}")
    return 0


def _read_images(loaded: Loaded) -> dict[str, int]:
    """Read every image of the dataset: how many of each split."""
    from matx.data import read_through
    from matx.experiment import data_of

    data = data_of(loaded.experiment)
    splits = {"train": data.train, "val": data.val, "test": data.open_test()}
    return {name: read_through(split) for name, split in splits.items() if split is not None}


def _check_component(kind: str, name: str, *, as_json: bool) -> int:
    from matx.testing import check as run_contracts

    outcomes = run_contracts(kind, name)
    failed = sum(not outcome.passed for outcome in outcomes)
    if as_json:
        rows = [{**asdict(outcome), "passed": outcome.passed} for outcome in outcomes]
        show_json({"name": f"{kind}.{name}", "sound": not failed, "contracts": rows})
        return 2 if failed else 0
    for outcome in outcomes:
        if outcome.passed:
            say(f"pass  {outcome.contract}  {outcome.component}")
        else:
            say(f"FAIL  {outcome.contract}  {outcome.component}: {outcome.failure}{_at(outcome)}")
    say(f"{kind}.{name}: {len(outcomes) - failed} of {len(outcomes)} contracts kept")
    return 2 if failed else 0


def _at(outcome: Outcome) -> str:
    return f" ({outcome.where})" if outcome.where else ""


def _check_models(loaded: Loaded) -> None:
    """Open the data, look for weights, and send two blank images through each architecture."""
    from matx.errors import DataError, ModelError
    from matx.experiment import check_classes, data_of
    from matx.learner import weights_file

    try:
        data = data_of(loaded.experiment)
    except DataError as error:
        raise DataError(
            f"{loaded.name}: every statement is sound, but its data cannot be read: {error}; "
            "--no-data leaves data and networks out"
        ) from error
    check_classes(loaded.experiment, data.num_classes)
    for name, peer in loaded.experiment.peers.items():
        if peer.weights is not None:
            weights_file(peer.weights, name)
    checked: list[object] = []
    for name, peer in loaded.experiment.peers.items():
        if peer.architecture in checked:
            continue
        checked.append(peer.architecture)
        try:
            shape = _answer_shape(peer.architecture, data.image_shape, data.num_classes)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            sentence = " ".join(str(error).split())[:300]
            raise ModelError(
                f"peer {name!r}: {peer.architecture!r} cannot take images of shape {data.image_shape}: {sentence}"
            ) from error
        if shape != (2, data.num_classes):
            raise ModelError(
                f"peer {name!r}: {peer.architecture!r} answers two images with shape {shape}, "
                f"allowed: (2, {data.num_classes}) logits"
            )


def _answer_shape(architecture: Architecture, image_shape: tuple[int, int, int], classes: int) -> tuple[int, ...]:
    """The shape of a network's answer, on the CPU: a forward on the meta device costs seconds of imports."""
    import torch

    with torch.no_grad():
        return tuple(architecture(image_shape, classes).eval()(torch.zeros(2, *image_shape)).shape)
