"""A second look at every example that an evaluation kept: is it inside, and does it still break the model?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from matx.craft import attackable
from matx.data import Split, to_unit
from matx.errors import RunError
from matx.interfaces import Model
from matx.losses import margin
from matx.measure.answers import plain_fp32
from matx.measure.records import SearchRecord
from matx.threat import ThreatModel

__all__ = ["Verified", "verify"]

_CLOSE = 1e-3
"""Answers this near to the boundary may flip with the batch size, for floating point sums do."""


@dataclass(kw_only=True)
class Verified:
    """What the second look found."""

    examples: int = 0
    outside: int = 0
    """Examples outside the box [0,1] or the ball (beyond the rounding of fp32 pixels)."""
    excess: dict[str, float] = field(default_factory=dict)
    """{threat key: the largest norm minus eps, in float64}; not positive: all inside to the last bit."""
    box_excess: float = 0.0
    """How far any pixel lies outside [0,1]."""
    flips_single: int = 0
    """Examples that are classified rightly when asked one at a time."""
    flips_batch: int = 0
    """Examples that are classified rightly when asked in a batch."""
    largest_flip: float = 0.0
    """By how much, in logits, the rightest of these is right."""

    @property
    def sound(self) -> bool:
        """Whether all examples lie inside, and flips are no more than rounding."""
        return self.outside == 0 and self.largest_flip <= _CLOSE

    def sentence(self) -> str:
        """The finding in a line."""
        excess = ", ".join(f"{key} {value:+.1e}" for key, value in self.excess.items()) or "none"
        return (
            f"verified {self.examples} examples in fp32: {self.outside} outside (largest excess over eps: {excess}; "
            f"over the box: {self.box_excess:.1e}), {self.flips_single} flips one at a time, {self.flips_batch} in "
            f"batch (largest by {self.largest_flip:.1e} in logits): {'sound' if self.sound else 'NOT SOUND'}"
        )


def verify(
    module: nn.Module,
    split: Split,
    records: Iterable[SearchRecord],
    found: Verified,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> Verified:
    """Look at the examples of one model's records again, in fp32 and eval mode, and add to what was found."""
    place = torch.device(device)
    with attackable(module, mode="eval") as model, plain_fp32(place), torch.no_grad():
        for record in records:
            broken = ~record.robust
            if len(record.examples) == 0:
                continue
            if len(record.examples) != int(broken.sum()):
                raise RunError(f"records under {record.threat}: {int(broken.sum())} broken samples, other examples")
            if not torch.equal(record.labels, split.labels[record.rows]):
                raise RunError(f"records under {record.threat}: got labels other than those of the images")
            rows, labels = record.rows[broken], record.labels[broken].to(place)
            _measure(record, to_unit(split.read(rows)), found)
            _ask(model, record.examples.to(place), labels, batch_size, found)
    return found


def _measure(record: SearchRecord, clean: Tensor, found: Verified) -> None:
    threat, examples = ThreatModel.parse(record.threat), record.examples
    found.examples += len(examples)
    found.outside += int((~threat.contains(examples, clean)).sum())
    beyond = threat.size(examples.double() - clean.double()) - threat.radius
    found.excess[record.threat] = max(found.excess.get(record.threat, -threat.radius), float(beyond.max()))
    found.box_excess = max(found.box_excess, -float(examples.min()), float(examples.max()) - 1.0)


def _ask(model: Model, examples: Tensor, labels: Tensor, batch_size: int, found: Verified) -> None:
    single = torch.cat([model(one[None]) for one in examples])
    together = torch.cat([model(part) for part in torch.split(examples, batch_size)])
    for logits, name in ((single, "flips_single"), (together, "flips_batch")):
        right = (logits.argmax(1) == labels) & logits.isfinite().all(1)
        setattr(found, name, getattr(found, name) + int(right.sum()))
        if right.any():
            lead = -margin(logits[right].double(), labels[right])
            found.largest_flip = max(found.largest_flip, float(lead.max()))
