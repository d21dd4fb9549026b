"""The original AutoAttack (github.com/fra31/auto-attack) at its own starts, or at those that ours draws.

With the same starts nothing is left to chance in APGD, so flags can be compared sample by sample.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from matx import losses
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
Names = Callable[[int], tuple[int | str, ...]]
"""run -> what our generator calls the draws of that run."""


def of_restart(run: int) -> tuple[int | str, ...]:
    """The run-th restart of an untargeted APGD."""
    return ("restart", run)


def of_target(run: int) -> tuple[int | str, ...]:
    """The run-th target of a targeted APGD without restarts."""
    return ("restart", 0) if run == 0 else ("restart", 0, "objective", run)


def apgd(model: nn.Module, threat: ThreatModel, steps: int, loss: str, **options: Any) -> Any:
    """The original's APGD: loss 'ce' or 'dlr', or 'targeted' with its option n_target_classes."""
    base = import_module("autoattack.autopgd_base")
    common = {"n_iter": steps, "norm": NORMS[threat.norm], "eps": threat.radius, "device": "cpu", **options}
    if loss == "targeted":
        return base.APGDAttack_targeted(model, **common)
    return base.APGDAttack(model, loss=loss, **common)


def whole(model: nn.Module, threat: ThreatModel, queries: int, seed: int) -> Any:
    """The original's standard AutoAttack."""
    made = import_module("autoattack").AutoAttack(
        model, norm=NORMS[threat.norm], eps=threat.radius, seed=seed, device="cpu", verbose=False
    )
    made.square.n_queries = queries
    return made


def start_at_clean(attack: Any) -> None:
    """Make an APGD of the original start at the clean images (given a start, its l1 would begin with one entry)."""
    plain = attack.attack_single_run

    def run(x: Tensor, y: Tensor) -> Any:
        with (
            patch.object(torch, "rand", lambda shape: torch.full(shape, 0.5)),
            patch.object(torch, "randn", torch.zeros),
        ):
            return plain(x, y)

    attack.attack_single_run = run


def start_like_ours(attack: Any, images: Tensor, draws: SampleGenerator, names: Names) -> None:
    """Make an APGD of the original draw its starts as ours does: per image, run after run."""
    rows = {image.contiguous().numpy().tobytes(): row for row, image in enumerate(images)}
    runs = iter(range(1_000_000))
    single = "decr_eps_pgd" if attack.use_largereps else "attack_single_run"
    plain = getattr(attack, single)

    def run(x: Tensor, *rest: Any, **options: Any) -> Any:
        places = torch.tensor([rows[image.contiguous().numpy().tobytes()] for image in x])
        with _drawn(draws.at(*names(next(runs))).at("start").select(places)):
            return plain(x, *rest, **options)

    setattr(attack, single, run)


@contextmanager
def _drawn(draws: SampleGenerator) -> Iterator[None]:
    """torch draws what the generator says, for shapes that begin with its samples."""

    def shaped(like: Tensor | torch.Size) -> tuple[int, ...]:
        return tuple((like.shape if isinstance(like, Tensor) else like)[1:])

    with (
        patch.object(torch, "rand", lambda shape: draws.uniform(shaped(shape))),
        patch.object(torch, "randn", lambda shape: draws.normal(shaped(shape))),
        patch.object(torch, "randn_like", lambda like: draws.normal(shaped(like))),
    ):
        yield


def golden(threat: ThreatModel, steps: int, options: dict[str, Any]) -> dict[str, Any]:
    """The original on the case of tests/attacks/test_golden.py: which images stay robust, or the highest losses."""
    model, images, labels = import_module("tests.attacks.test_golden").case()
    objective, valued = options["objective"], not options.get("early_exit", False)
    targeted = objective == "targeted_dlr"
    loss = {"cross_entropy": "ce", "dlr": "dlr", "targeted_dlr": "targeted"}[objective]
    more = {"n_target_classes": options["targets"]} if targeted else {"n_restarts": options.get("restarts", 1)}
    attack = apgd(model, threat, steps, loss, use_largereps=options.get("epsilon_schedule", False), **more)
    draws = SampleGenerator(3, torch.arange(len(images)))
    start_like_ours(attack, images, draws, of_target if targeted else of_restart)
    found = attack.perturb(images, labels, **({"best_loss": True} if valued else {}))
    logits = model(found)
    if valued:
        values: Tensor = getattr(losses, objective)(logits, labels)
        return {"values": [round(value, 6) for value in values.tolist()]}
    return {"robust": "".join("01"[int(right)] for right in logits.argmax(1) == labels)}


def composition(norm: str, version: str) -> list[dict[str, Any]]:
    """What set_version of the original makes AutoAttack of: its attacks in order, each with its settings."""
    made = import_module("autoattack").AutoAttack(
        nn.Identity(), norm=NORMS[norm], eps=0.1, version=version, device="cpu", verbose=False
    )
    whole = []
    for name in made.attacks_to_run:
        attack = {"fab": made.fab, "squ": made.square}.get(name[:3], made.apgd)
        attack = made.apgd_targeted if name == "apgd-t" else attack
        told = {"attack": name, "restarts": 1 if name == "fab-t" else attack.n_restarts}  # as run_standard_evaluation
        if name.startswith("apgd"):
            told |= {"steps": attack.n_iter, "eot": attack.eot_iter, "rho": attack.thr_decr}
            told |= {"shrinking": attack.use_largereps}
        if name.startswith("fab"):
            told |= {"steps": attack.n_iter, "alpha_max": attack.alpha_max, "eta": attack.eta, "beta": attack.beta}
        if name.endswith("-t"):
            told["targets"] = attack.n_target_classes
        if name == "square":
            told |= {"queries": attack.n_queries, "p": attack.p_init, "rescale": attack.rescale_schedule}
        whole.append(told)
    return whole


def compositions() -> dict[str, Any]:
    """Of every version in every norm that it is meant for."""
    pairs = [(version, norm) for version in ("standard", "plus", "rand") for norm in NORMS]
    return {
        f"{version} {norm}": composition(norm, version) for version, norm in pairs if (version, norm) != ("plus", "l1")
    }


def main() -> None:
    """Write both golden files anew: PYTHONPATH=auto-attack:. python tools/parity_original.py FOLDER."""
    cases = []
    for key in ("linf:0.1", "l2:0.4", "l1:1.2"):
        schedule = {"epsilon_schedule": True} if key.startswith("l1") else {}
        every: list[dict[str, Any]] = [
            {"objective": "cross_entropy"},
            {"objective": "dlr"},
            {"objective": "cross_entropy", "restarts": 2, "early_exit": True, **schedule},
            {"objective": "targeted_dlr", "targets": 3, "early_exit": True, **schedule},
        ]
        for options in every:
            name = f"{key} {options['objective']}{' flags' if 'early_exit' in options else ''}"
            part = {"name": name, "threat": key, "steps": 40, "options": options}
            cases.append({**part, **golden(ThreatModel.parse(key), 40, options)})
    source, folder = "github.com/fra31/auto-attack, autoattack/", Path(sys.argv[1])
    apgd_cases = {"source": f"{source}autopgd_base.py", "cases": cases}
    versions = {"source": f"{source}autoattack.py, set_version", "versions": compositions()}
    for name, content in (("apgd", apgd_cases), ("autoattack", versions)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
