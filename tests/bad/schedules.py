"""Bad schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Falls to 0, with one fault."""

    fault: str = ""
    calls: list[float] = field(default_factory=list)

    def at(self, epoch: float, epochs: int) -> Any:
        share = epoch / (0 if self.fault == "raises" else epochs)
        if self.fault == "remembers":
            self.calls.append(epoch)
            return 1.0 / len(self.calls)
        faults = {"negative": 0.5 - share, "nan": float("nan"), "text": "1", "nothing": 0.0}
        return faults.get(self.fault, 1.0 - share)


def _case(contract: str, fault: str, words: str) -> tuple[str, Callable[[], Any], str]:
    return contract, lambda: Bad(fault=fault), words


CASES: Sequence[tuple[str, Callable[[], Any], str]] = [
    _case("gives_usable_factors", "negative", "allowed: 0 or more"),
    _case("gives_usable_factors", "nan", "gives nan at epoch"),
    _case("gives_usable_factors", "text", "gives str, allowed: a number"),
    _case("gives_usable_factors", "nothing", "nothing would be trained"),
    _case("depends_only_on_time", "remembers", "on what was asked before"),
]
"""(contract, a component that breaks it, words of the sentence)."""
