"""Comparing like with like: what makes the figures of runs incomparable is refused, what else differs is named."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matx.errors import RunError
from matx.results import AttackUsed, Results
from matx.threat import ThreatModel

__all__ = ["named_differences", "refuse_unlike"]

_IMAGES = ("name", "split", "n", "fingerprint")
_HARMLESS = ("batch_size",)
"""Settings that change figures in their last digits at most."""


def refuse_unlike(read: Sequence[tuple[Path, Results]]) -> None:
    """RunError where results were not measured on the same images, by the same attacks, in the same way."""
    (path, first), others = read[0], read[1:]
    for other, found in others:
        for what, differing, allowed in (
            ("tested on the same images", _different(first.dataset, found.dataset, _IMAGES), "runs of one test set"),
            ("attacked alike", _attacks(first, found), "runs evaluated by the same attacks"),
            ("measured alike", _measuring(first, found), "runs evaluated with the same settings"),
        ):
            shown = "; ".join(differing)
            if shown:
                raise RunError(f"compare: {path} and {other} were not {what}: {shown}; allowed: {allowed}")


def _different(mine: Mapping[str, Any], its: Mapping[str, Any], names: Iterable[str] = ()) -> Iterator[str]:
    """'name VALUE and VALUE' of each name (or of all) that does not say the same."""
    for name in names or dict.fromkeys((*mine, *its)):
        said = [repr(side[name]) if name in side else "missing" for side in (mine, its)]
        if (name in mine, mine.get(name)) != (name in its, its.get(name)):
            yield f"{name} {' and '.join(said)}"


def _attacks(first: Results, second: Results) -> Iterator[str]:
    """What differs in attacks: their settings where both say them, otherwise the reported threat models."""
    if first.attacks is None or second.attacks is None:
        mine, its = _reported(first), _reported(second)
        if set(mine) != set(its):
            yield f"{', '.join(t.key for t in mine) or 'nothing'} and {', '.join(t.key for t in its) or 'nothing'}"
        return
    mine_by, its_by = _by_place(first.attacks), _by_place(second.attacks)
    for place in dict.fromkeys((*mine_by, *its_by)):
        mine_at, its_at = mine_by.get(place, []), its_by.get(place, [])
        if len(mine_at) != len(its_at):
            attack = (mine_at or its_at)[0]
            yield f"{len(mine_at)} and {len(its_at)} times {attack.name} in {attack.threat}"
            continue
        for one, other in zip(mine_at, its_at, strict=True):
            said = ", ".join(_different(one.options, other.options))
            yield from [f"{one.name} in {one.threat} has {said}"] if said else []


def _reported(found: Results) -> list[ThreatModel]:
    first = {used.name for used in found.metrics if used.table == ""}
    threats = (score.threat for score in found.scores if score.metric in first)
    return list(dict.fromkeys(threat for threat in threats if threat is not None))


def _by_place(attacks: Iterable[AttackUsed]) -> dict[Hashable, list[AttackUsed]]:
    """{(name, threat model by value, whether it is reported): attacks}."""
    found: dict[Hashable, list[AttackUsed]] = {}
    for attack in attacks:
        found.setdefault((attack.name, ThreatModel.parse(attack.threat), attack.reported), []).append(attack)
    return found


def _measuring(first: Results, second: Results) -> Iterator[str]:
    """What differs in settings, and in the options of metrics that both have; schema 1 says nothing of either."""
    if first.attacks is None or second.attacks is None:
        return
    names = [name for name in {**first.settings, **second.settings} if name not in _HARMLESS]
    yield from _different(first.settings, second.settings, names) if names else ()
    its = {used.name: used.options for used in second.metrics}
    for used in first.metrics:
        yield from (f"{used.name}.{line}" for line in _different(used.options, its.get(used.name, used.options)))


def named_differences(read: Sequence[tuple[Path, int, Results]]) -> list[str]:
    """Sentences on what differs between (folder, training seed, results) and does not make them incomparable."""
    found = []
    unknown = [path.name for path, _, results in read if results.attacks is None]
    if unknown:
        found.append(f"Attacks not recorded, so they may differ: {', '.join(unknown)} (results of schema 1).")
    for seed in sorted({seed for _, seed, _ in read}):
        draws = _values(results.seed for _, own, results in read if own == seed)
        if len(draws) > 1:
            found.append(f"Of training seed {seed}, the evaluations drew from different seeds: {', '.join(draws)}.")
    known = [{**results.provenance, **results.settings} for _, _, results in read]
    names = dict.fromkeys(name for one in known for name in one if name != "date")
    for name in names:
        values = _values(one.get(name) for one in known)
        if len(values) > 1:
            found.append(f"Evaluated with different {name}: {', '.join(values)}; the last digits may differ by it.")
    return found


def _values(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value is not None))
