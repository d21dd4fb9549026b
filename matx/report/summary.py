"""What the tables of a report do not say: the images, how scores were made, and what does not pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matx.report.sheets import label
from matx.results import NOT_CHECKED, UNION, AttackUsed, Results, threat_of

__all__ = ["failed", "how", "in_words", "reasons", "same_epochs", "summary"]


def summary(found: Results) -> list[str]:
    """Images, interval, what sanity means, scored peers, passes, and which checkpoints are one epoch."""
    data = found.dataset
    union = any(score.column == UNION for score in found.scores)
    lines = [
        f"{data['n']} images of {data['name']}, split {data['split']}. Counts over samples in per cent, with the 95 % "
        f"Wilson interval{'; union: right under every threat model, per image' if union else ''}.",
        f"Sanity ({found.effort}): pass, warn or fail of the checks that concern a score; that of the row is the "
        "gravest."
        if found.effort
        else f"Sanity: {NOT_CHECKED}; `matx eval` checks every score that it makes.",
    ]
    if found.scored:
        lines.append(f"Scored peers: {', '.join(found.scored)}.")
    if found.passes:
        lines.append(f"Passes per training image: {_passes(found)}.")
    if found.label_noise:
        lines.append(f"Trained with {100 * found.label_noise:g} % of the training labels wrong.")
    if found.best_by == "ema":
        lines.append("The best epoch was chosen by the averages of the weights (EMA).")
    return [*lines, *same_epochs(found)]


def _passes(found: Results) -> str:
    """The run's own passes; where it has frozen teachers, also with those of their training."""
    own = ", ".join(f"{name.replace('_', ' ')} {count:.1f}" for name, count in found.passes.items())
    if found.teacher_passes == {}:
        return own
    both = found.all_passes()
    known = "not known" if both is None else f"{both:.1f}"
    return f"own {own}, {sum(found.passes.values()):.1f} in all; with teachers {known}"


def same_epochs(found: Results) -> list[str]:
    """A sentence for each checkpoint whose scores are another's, because both are one epoch."""
    same = {name: found.checkpoint_of(name) for name in found.epochs}
    return [
        f"Checkpoint {name} is the same as {other}: epoch {found.epochs[name]}."
        for name, other in same.items()
        if other != name
    ]


def in_words(found: Results) -> list[str]:
    """What was attacked, with what, up to which radii, and what counts as robust; nothing where nobody recorded it."""
    reported = [attack for attack in found.attacks or () if attack.reported]
    if not reported:
        return []
    names = dict.fromkeys(attack.name for attack in reported)
    parts = []
    for name in names:
        threats = [threat for a in reported if a.name == name and (threat := threat_of(a.threat)) is not None]
        radii = ", ".join(f"{threat.norm} up to {threat.eps}" for threat in dict.fromkeys(threats))
        parts.append(f"{name} in {radii}")
    several = len({attack.threat for attack in reported}) > 1
    return [
        f"Every model was attacked on {found.dataset['n']} images of {found.dataset['name']} for itself, by "
        f"{'; by '.join(parts)}. An image counts as robust in a threat model where the model is right on the clean "
        f"image and on everything that was found{', and in the union where that is so in each' if several else ''}."
    ]


def how(found: Results) -> list[str]:
    """The attacks with every setting, what differs from their defaults, the metrics, the seed, versions and date."""
    if found.attacks is None:
        lines = ["Attacks not recorded: results of schema 1."]
    else:
        reported = _attacks([attack for attack in found.attacks if attack.reported])
        further = _attacks([attack for attack in found.attacks if not attack.reported])
        lines = [f"Attack {line}" for line in reported] or ["No attack."]
        lines += [f"At further radii {line}" for line in further]
    if found.metrics:
        lines.append(f"Metrics {', '.join(used.name + _called(used.options) for used in found.metrics)}.")
    if found.seed is not None:
        settings = "".join(f", {name} {value}" for name, value in found.settings.items())
        lines.append(f"Seed {found.seed}{settings}.")
    if found.provenance:
        lines.append(f"Made with {', '.join(f'{name} {value}' for name, value in found.provenance.items())}.")
    return lines


def _attacks(attacks: list[AttackUsed]) -> list[str]:
    """A line for each configuration of an attack, with all threat models in which it searched."""
    threats: dict[tuple[str, str], list[str]] = {}
    for attack in attacks:
        changed = f"not the default: {', '.join(attack.changed)}" if attack.changed else "as by default"
        threats.setdefault((attack.name + _called(attack.options), changed), []).append(attack.threat)
    return [f"{name} in {', '.join(keys)}; {changed}." for (name, changed), keys in threats.items()]


def _called(options: Mapping[str, Any]) -> str:
    return f"({', '.join(f'{name}={value!r}' for name, value in options.items())})" if options else ""


def reasons(found: Results) -> list[str]:
    """A line for each sanity check that does not pass: 'best generalist: warn, ...'."""
    lines = (
        f"{reason.checkpoint} {label(reason.model, reason.weights)}: {reason.status}, {reason.check}: {reason.sentence}"
        for reason in found.reasons
    )
    return list(dict.fromkeys(lines))


def failed(found: Results) -> bool:
    """Whether a sanity check failed for any score."""
    return any(score.sanity == "fail" for score in found.scores)
