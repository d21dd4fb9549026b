"""Which peer's examples fool which: crafted on a source, judged on every target, and how alike the peers answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from matx.craft import attackable, forked
from matx.data import Batch, Split, batches
from matx.errors import OptionError
from matx.interfaces import Attack, AttackInput, Model, run_attack
from matx.measure.answers import plain_fp32
from matx.measure.threats import by_threat
from matx.randomness import SampleGenerator, hashed, seed_for

__all__ = ["Answers", "transfer"]

Matrix = dict[str, dict[str, float]]
"""{row: {column: share of images}}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What every model answers to the clean images, and to the examples crafted on each model."""

    labels: Tensor
    """(N,) int64 on the CPU."""
    clean: Mapping[str, Tensor]
    """{model: (N,) int64}."""
    crafted: Mapping[str, Mapping[str, Mapping[str, Tensor]]] = field(default_factory=dict)
    """{threat key: {source: {target: (N,) int64}}}."""

    def row(self) -> dict[str, Any]:
        """As transfer.json holds it; every matrix is {row: {column: share}}.

        `accuracy`: of the target (column) on the source's (row) examples. `fooled`: of the images that both get right
        when clean, and on which the source is broken, the share that breaks the target, too. `shared`: images that
        break both, each under attack itself, over images that break either. `agreement`: the target answers the
        source's examples as the source does.
        """
        names = tuple(self.clean)
        alike = {a: {b: _share(self.clean[a] == self.clean[b]) for b in names} for a in names}
        threats = {key: self._threat(key, names) for key in self.crafted}
        return {"peers": list(names), "n": len(self.labels), "clean": {"agreement": alike}, "threats": threats}

    def _threat(self, key: str, names: Sequence[str]) -> dict[str, Any]:
        answers = self.crafted[key]
        wrong = {s: {t: answers[s][t] != self.labels for t in names} for s in names}
        matrices: dict[str, Matrix] = {name: {s: {} for s in names} for name in MATRICES}
        for s in names:
            for t in names:
                both = (self.clean[s] == self.labels) & (self.clean[t] == self.labels) & wrong[s][s]
                matrices["accuracy"][s][t] = _share(~wrong[s][t])
                matrices["fooled"][s][t] = _share(wrong[s][t][both])
                matrices["shared"][s][t] = _share((wrong[s][s] & wrong[t][t])[wrong[s][s] | wrong[t][t]])
                matrices["agreement"][s][t] = _share(answers[s][s] == answers[s][t])
        return {**matrices, "mean": {name: _between(matrix) for name, matrix in matrices.items()}}


MATRICES = ("accuracy", "fooled", "shared", "agreement")


def transfer(
    models: Mapping[str, nn.Module],
    split: Split,
    attacks: Sequence[Attack],
    *,
    seed: int,
    batch_size: int = 256,
    limit: int | None = None,
    device: torch.device | str = "cpu",
) -> Answers:
    """Craft on each model with the first attack of each threat model, and ask all models, on the first `limit` images.

    An attack that would stop at the first misclassified image searches on: such images lie just across the source's
    boundary and transfer badly. Models are left bit for bit as they were.
    """
    if len(models) < 2:
        raise OptionError(f"transfer: got {len(models)} model, allowed: at least two")
    place, count = torch.device(device), min(len(split.labels), limit or len(split.labels))
    chosen = {threat.key: _searching_on(members[0]) for threat, members in by_threat(attacks).items()}
    clean: dict[str, list[Tensor]] = {name: [] for name in models}
    crafted: dict[str, dict[str, dict[str, list[Tensor]]]] = {
        key: {source: {target: [] for target in models} for source in models} for key in chosen
    }
    with ExitStack() as stack, plain_fp32(place):
        live = {name: stack.enter_context(attackable(module)) for name, module in models.items()}
        for batch in batches(split, torch.arange(count), batch_size, device=place):
            _note(clean, live, batch.images)
            for key, attack in chosen.items():
                for source, model in live.items():
                    _note(crafted[key][source], live, _crafted(model, attack, batch, seed, source))
    return Answers(
        labels=split.labels[:count],
        clean=_whole(clean),
        crafted={key: {source: _whole(found) for source, found in rows.items()} for key, rows in crafted.items()},
    )


def _searching_on(attack: Attack) -> Attack:
    options: Any = attack
    names: list[str] = [entry.name for entry in fields(options)] if is_dataclass(attack) else []
    return cast("Attack", replace(options, early_exit=False)) if "early_exit" in names else attack


def _crafted(model: Model, attack: Attack, batch: Batch, seed: int, source: str) -> Tensor:
    purpose = (seed, "transfer", attack.threat.norm, str(attack.threat.exact), source)
    draws = SampleGenerator(hashed(*purpose), batch.indices)
    given = AttackInput(model=model, images=batch.images, labels=batch.labels, generator=draws, progress=1.0)
    with forked(seed_for(*purpose, int(batch.indices[0])), batch.images.device):
        return run_attack(attack, given)


@torch.no_grad()
def _note(answers: Mapping[str, list[Tensor]], models: Mapping[str, Model], images: Tensor) -> None:
    for name, model in models.items():
        answers[name].append(model(images).argmax(1).cpu())


def _whole(parts: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def _share(flags: Tensor) -> float:
    """The share of true flags; 0 of none."""
    return float(flags.double().mean()) if len(flags) > 0 else 0.0


def _between(matrix: Matrix) -> float:
    """The mean over pairs of different models."""
    return _mean(matrix[s][t] for s in matrix for t in matrix if s != t)


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)
