"""Which attacks belong to which threat model, and in which order threat models are faced."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, cast

from matx.errors import OptionError
from matx.interfaces import Attack, sources_of
from matx.threat import ThreatModel

__all__ = ["aimed", "by_threat", "in_order"]


def by_threat(attacks: Sequence[Attack]) -> dict[ThreatModel, tuple[Attack, ...]]:
    """The attacks of each threat model, compared by value, in order of first appearance."""
    groups: dict[ThreatModel, tuple[Attack, ...]] = {}
    for attack in attacks:
        sources = sources_of(attack)
        if sources:
            raise OptionError(
                f"Evaluation.attacks: got {attack!r}, which reads examples of {', '.join(sources)}; "
                "allowed: attacks that need no other peer's examples"
            )
        groups[attack.threat] = (*groups.get(attack.threat, ()), attack)
    return groups


def aimed(attacks: Sequence[Attack], threats: Iterable[ThreatModel]) -> tuple[Attack, ...]:
    """For each threat model the attacks of its norm, with their own radius replaced; doubles appear once.

    OptionError where no attack has the norm.
    """
    found: list[Attack] = []
    for threat in threats:
        own = [attack for attack in attacks if attack.threat.norm == threat.norm]
        if not own:
            norms = ", ".join(dict.fromkeys(attack.threat.norm for attack in attacks)) or "none"
            raise OptionError(f"--threat: got {threat.key}, the attacks are for {norms}; allowed: these, or --suite")
        # An attack is a frozen dataclass with a field `threat`; type checkers see the protocol's property alone.
        moved = [cast("Attack", dataclasses.replace(cast("Any", attack), threat=threat)) for attack in own]
        kept: list[Attack] = []
        for attack in moved:
            if attack not in kept:
                kept.append(attack)
        found += kept
    return tuple(found)


def in_order(threats: Iterable[ThreatModel]) -> tuple[ThreatModel, ...]:
    """The same threat models: norms in order of first appearance, radii ascending within a norm."""
    known = list(threats)
    norms = list(dict.fromkeys(threat.norm for threat in known))
    return tuple(sorted(known, key=lambda threat: (norms.index(threat.norm), threat.exact)))
