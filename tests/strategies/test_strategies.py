"""Every strategy that is registered, on tables of logits; what `matx.testing` promises besides is in test_contracts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.exchange import CLEAN
from matx.interfaces import ObjectiveStrategy, Strategy
from tests.strategies.tables import Key, Logits, declared, exchange, group_of, logits, totals


def examples() -> Iterator[Any]:
    for name in matx.strategies:
        for number, strategy in enumerate(matx.strategies[name].examples(Path())):
            yield pytest.param(strategy, id=f"{name}-{number}")


@pytest.fixture(params=list(examples()))
def strategy(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_losses_read_all_that_was_declared_and_nothing_else(strategy: Strategy) -> None:
    for peers in strategy.example_peers():
        values, needs = logits(peers), strategy.needs(peers)
        seen: dict[str, set[Key]] = {"train": set(), "teach": set(), "ema": set()}
        for name in needs.train:
            table = exchange(strategy, peers, values, only=group_of(needs, name))
            loss = strategy.loss(table, name)
            assert not any(term.requires_grad for term in loss.terms.values()), "terms for the log hold no graph"
            parts = [term for key, term in loss.terms.items() if not key.endswith(("_weight", "_temperature"))]
            assert float(sum(parts)) == pytest.approx(float(loss.total), abs=1e-12), f"the terms of {name} add up"
            for field, keys in seen.items():
                keys |= getattr(table, field).read
        assert seen["train"] == declared(needs), "every declared training forward is read by some loss"
        assert seen["teach"] == needs.teach, "every declared answer is read by some loss"
        assert seen["ema"] == needs.ema, "every declared answer of a moving average is read by some loss"


def test_gradient_reaches_only_own_and_coupled_logits(strategy: Strategy) -> None:
    peers = strategy.example_peers()[-1]
    values, needs = logits(peers), strategy.needs(peers)
    for name in needs.train:
        leaves = {key: z.clone().requires_grad_() for key, z in values.train.items() if key in declared(needs)}
        strategy.loss(exchange(strategy, peers, values, leaves=leaves), name).total.backward()
        reached = {key[0] for key, z in leaves.items() if z.grad is not None and bool(z.grad.any())}
        assert name in reached, f"the loss of {name} reaches its own logits"
        assert reached <= set(group_of(needs, name)), f"the loss of {name} reaches itself and coupled peers alone"


def test_equals_another_strategy_at_its_neutral_settings(strategy: Strategy) -> None:
    if strategy.neutral is None:
        assert "neutral" in vars(type(strategy)), "a strategy says that it has no neutral settings"
        return
    plain = replace(strategy, **strategy.neutral.settings)
    other = matx.strategies[strategy.neutral.equals](**strategy.neutral.others)
    compared = 0
    for peers in plain.example_peers():
        if not _admits(other, peers):
            continue
        compared += 1
        values, mine, theirs = logits(peers), plain.needs(peers), other.needs(peers)
        assert (mine.train, mine.teach, mine.craft) == (theirs.train, theirs.teach, theirs.craft), "needs are the same"
        assert totals(plain, peers, values) == pytest.approx(totals(other, peers, values), abs=1e-12), (
            f"neutral settings give the losses of {strategy.neutral.equals}"
        )
    assert compared, "some example peers admit both"


def _admits(strategy: Strategy, peers: Any) -> bool:
    try:
        strategy.needs(peers)
    except matx.MatxError:
        return False
    return True


def test_names_and_the_order_of_declaration_do_not_matter(strategy: Strategy) -> None:
    for peers in strategy.example_peers():
        values = logits(peers)
        before = totals(strategy, peers, values, progress=0.25)
        again = totals(strategy, tuple(reversed(peers)), values, progress=0.25)
        assert again == pytest.approx(before, abs=1e-12), "the order of declaration does not matter"
        if strategy.symmetric:
            names = {info.name: f"z{len(peers) - index}" for index, info in enumerate(peers)}
            renamed = tuple(replace(info, name=names[info.name]) for info in peers)
            after = totals(strategy, renamed, values.renamed(names), progress=0.25)
            expected = {names[name]: value for name, value in before.items()}
            assert after == pytest.approx(expected, abs=1e-12), "renaming the peers renames the losses"


def test_several_views_count_by_their_mean(strategy: Strategy) -> None:
    if matx.strategies.name_of(strategy) in ("mtard", "ramp", "specialists"):
        return  # mtard's weight moves with its losses; the other two give views roles, tested by loops of their own
    peers = next(peers for peers in strategy.example_peers() if all(info.views < 2 for info in peers))
    first, second = logits(peers, seed=1), logits(peers, seed=2)
    one = totals(strategy, peers, first)
    other = totals(strategy, peers, _views(first, second, stack=False))
    both = totals(strategy, peers, _views(first, second, stack=True))
    mean = {name: 0.5 * (one[name] + other[name]) for name in one}
    assert both == pytest.approx(mean, abs=1e-12), "AVG is the mean of the views' losses"


def _views(first: Logits, second: Logits, *, stack: bool) -> Logits:
    """The examples of both beside each other, or those of the second alone; clean images of the first."""

    def mixed(one: Mapping[Key, Tensor], other: Mapping[Key, Tensor]) -> dict[Key, Tensor]:
        return {k: z if k[1] == CLEAN else torch.cat([z, other[k]]) if stack else other[k] for k, z in one.items()}

    return replace(first, **{t: mixed(getattr(first, t), getattr(second, t)) for t in ("train", "teach", "ema")})


def test_only_strategies_that_declare_objectives_supply_them(strategy: Strategy) -> None:
    if any(strategy.needs(peers).craft for peers in strategy.example_peers()):
        assert isinstance(strategy, ObjectiveStrategy), "a strategy whose needs name `craft` has an `objective`"


def test_the_registry_holds_the_field() -> None:
    wanted = [
        "act", "adaad", "agree", "akd2", "ard", "cat", "d2r", "dml", "iad", "independent", "lbgat", "mart", "mat",
        "mtard", "peeraid", "ramp", "rslad", "self_distillation", "soup", "specialists", "trades",
    ]  # fmt: skip
    assert wanted == [name for name in matx.strategies if name in wanted], "every strategy is registered"
