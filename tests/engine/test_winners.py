"""Which attack each example came from: carried from the union to the loss, and missed before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.engine import Training, step
from matx.errors import ExchangeError, OptionError
from matx.exchange import Crafted, Exchange, Needs, State
from matx.interfaces import Attack, AttackInput
from matx.losses import cross_entropy
from matx.threat import ThreatModel
from tests.engine.world import L2, LINF, Probe, experiment, first_batch, peer

Launch = Callable[..., Training]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """`worst_case`, keeping what it made."""

    says_winners = True
    kept: list[Crafted] = field(default_factory=list)

    def start(self) -> State:
        return {}

    def views(self, count: int) -> int:
        return 1

    def __call__(self, attacks: Sequence[Attack], given: AttackInput, state: State) -> Crafted:
        made: Crafted = matx.unions["worst_case"]()(attacks, given, state)
        self.kept.append(made)
        return made


def probe(seen: list[Tensor], declared: frozenset[str] = frozenset({"a"})) -> Any:
    def loss(exchange: Exchange, name: str) -> Tensor:
        seen.append(exchange.winners_of("a"))
        return cross_entropy(exchange.logits(name, name), exchange.labels).mean()

    return Probe(Needs(train={"a": ("a",)}, winners=declared), loss)


def test_a_loss_reads_the_winners_that_the_union_said(launch: Launch) -> None:
    seen: list[Tensor] = []
    union = Watched()
    training = launch(probe(seen), {"a": peer(LINF, ThreatModel(norm="l2", eps=RADIUS), union=union)})
    step(training, first_batch(training))
    (made,) = union.kept
    assert made.winners is not None, "worst_case says its winners"
    assert torch.equal(seen[0], made.winners), "the winners in the exchange are the union's"
    assert seen[0].shape == (1, 32, 2), "one row of shares for each example"
    assert 0 < float(seen[0][..., 0].sum()) < 32, "both attacks win somewhere, or the case shows nothing"


def test_winners_that_were_not_declared_are_not_readable(launch: Launch) -> None:
    training = launch(probe([], frozenset()), {"a": peer(LINF, L2)})
    with pytest.raises(ExchangeError, match="the winners of peer 'a' were read, but are not declared"):
        step(training, first_batch(training))


RADIUS = 0.45
"""At which both norms win on some of the first batch."""
SPECIALISTS = {"linf": peer(LINF), "l2": peer(L2)}


def test_a_union_without_winners_is_refused_where_a_strategy_needs_them() -> None:
    peers = {**SPECIALISTS, "g": peer(LINF, L2, union=matx.unions["msd"](steps=2))}
    with pytest.raises(
        OptionError, match=r"needs the winner of every example.*MSD.*peer 'g', which does not say"
    ) as no:
        experiment(matx.strategies["specialists"](examples_of="own"), peers)
    assert "\n" not in str(no.value), "one sentence on one line"
    for options in ({"teachers": "all"}, {"examples_of": "specialists"}, {"alpha": 0.0}):
        experiment(matx.strategies["specialists"](**{"examples_of": "own", **options}), peers)


def test_every_specialist_is_asked_about_the_whole_batch(launch: Launch) -> None:
    """Batch statistics of a few won rows would be another teacher: rows are chosen behind the forward."""
    peers = {**SPECIALISTS, "g": peer(LINF, L2, union=matx.unions["worst_case"]())}
    counts = {}
    for by in ("winner", "all"):
        training = launch(matx.strategies["specialists"](examples_of="own", teachers=by), peers)
        step(training, first_batch(training))
        counts[by] = vars(training.passes).copy()
    assert counts["winner"] == counts["all"], f"the same forwards, whoever teaches: {counts}"
