"""Checks of options that several attacks share."""

from __future__ import annotations

import logging

from torch import Tensor

from matx.errors import OptionError
from matx.interfaces import AttackInput
from matx.threat import ThreatModel, exact_number


def check_norm(name: str, threat: ThreatModel, norm: str) -> None:
    """Refuse a threat model of another norm than the one that the attack is for."""
    if threat.norm != norm:
        raise OptionError(
            "threat", owner=f"attacks.{name}", got=str(threat.key), allowed=f"norm {norm}; attacks.pgd takes any norm"
        )


def check_start(name: str, objective: str, *, random_start: bool) -> None:
    """Refuse KL to the clean prediction from the clean image, where its gradient is zero."""
    if objective == "kl" and not random_start:
        raise OptionError(
            "objective",
            owner=f"attacks.{name}",
            got="'kl' with random_start=False",
            allowed="a random start, for at the clean image the gradient of KL is zero",
        )


def length(step_size: float | str | None, default: float) -> float:
    """The length of a step: `default` for None, else the value of 0.01 or '2/255'; OptionError unless it is over 0."""
    if step_size is None:
        return default
    number = float(exact_number(step_size, "step_size"))
    if number <= 0:
        raise OptionError("step_size", got=repr(step_size), allowed="a number over 0, or a fraction like '2/255'")
    return number


def warn_if_short(name: str, threat: ThreatModel, steps: int) -> None:
    """l1 attacks of a few steps are far from converged; training on them learns their weakness."""
    if threat.norm == "l1" and steps < 10:
        logging.getLogger("matx").warning("attacks.%s: %d steps are few for l1; use 10 or more to train", name, steps)


def start_of(threat: ThreatModel, given: AttackInput, restart: int, *, random_start: bool) -> Tensor:
    """The clean image for the first search of an attack without random start, else a random point of the ball."""
    if restart == 0 and not random_start:
        return given.images
    return threat.random_start(given.images, given.generator.at("start"))
