"""What a check of a score found: pass, warn or fail, in one sentence, with the figure behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Finding", "Status", "graded", "worst"]

Status = Literal["pass", "warn", "fail"]
_ORDER: tuple[Status, ...] = ("pass", "warn", "fail")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check of one model's score."""

    check: str
    """Its name: 'eval mode', 'repetition', 'batching', 'logits', 'zero gradients', 'growth', 'huge radius', 'noise',
    'black box', 'rescaled logits', 'margin', 'transfer' or 'more steps'."""
    status: Status
    sentence: str
    value: float
    """The figure behind it; of a sample, the estimate for all images."""
    threat: str | None = None
    """The key of the threat model whose score is checked; None: every score of the model."""

    def row(self) -> dict[str, Any]:
        """{"check", "threat", "status", "sentence", "value"}, as sanity.json holds it."""
        return {
            "check": self.check,
            "threat": self.threat,
            "status": self.status,
            "sentence": self.sentence,
            "value": self.value,
        }


def graded(value: float, *, passes: float, warns: float) -> Status:
    """Up to `passes` a pass, up to `warns` a warning, else (or not a number) a failure."""
    if value <= passes:
        return "pass"
    return "warn" if value <= warns else "fail"


def worst(*statuses: Status) -> Status:
    """The gravest of them."""
    return max(statuses, key=_ORDER.index)
