"""Contracts of strategies, on exchanges of random logits and, at last, in the live engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from matx.engine.compose import groups
from matx.errors import ExchangeError, OptionError
from matx.exchange import CLEAN, Needs, PeerLoss, State
from matx.interfaces import Neutral, ObjectiveStrategy, Stateful, Strategy
from matx.registration import REGISTRIES
from matx.testing.live import trains
from matx.testing.tables import Table, table_of
from matx.testing.trial import Smooth, require, standard_trial

__all__ = [
    "CONTRACTS",
    "declares_what_exists",
    "equals_its_neutral_setting",
    "gives_a_finite_loss_a_peer",
    "has_no_side_effects",
    "keeps_its_state_in_the_open",
    "objective_selects_rows",
    "reaches_its_own_logits",
    "runs_in_the_engine",
    "survives_sure_and_equal_logits",
    "treats_names_alike",
]


def _tables(strategy: Strategy) -> Iterator[Table]:
    """A table for each of the example peers."""
    example_peers = list(strategy.example_peers())
    require(bool(example_peers), f"{strategy!r}.example_peers gives no peers, so nothing can be tested")
    for peers in example_peers:
        yield table_of(strategy, peers)


def _losses(strategy: Strategy, table: Table) -> dict[str, PeerLoss]:
    try:
        return table.losses(strategy)
    except ExchangeError as error:
        raise AssertionError(f"{strategy!r} reads what it did not declare: {error}") from error


def _who(table: Table) -> str:
    return ", ".join(info.name for info in table.peers)


def declares_what_exists(strategy: Strategy) -> None:
    """It trains exactly the peers that are not frozen, and needs only examples, averages and peers that exist."""
    for peers in strategy.example_peers():
        needs = strategy.needs(peers)
        infos = {info.name: info for info in peers}
        trained = {info.name for info in peers if not info.frozen}
        require(
            {*needs.train, *needs.mix} == trained,
            f"{strategy!r} trains {', '.join([*needs.train, *needs.mix]) or 'none'}; the peers that are not frozen: "
            f"{', '.join(sorted(trained))}",
        )
        for peer, sources in needs.train.items():
            require(bool(sources), f"{strategy!r} trains {peer!r} on nothing")
            require(len(set(sources)) == len(sources), f"{strategy!r} names a source of {peer!r} twice")
        pairs = {(peer, source) for peer, sources in needs.train.items() for source in sources}
        for peer, source in pairs | needs.teach | needs.ema:
            require(peer in infos, f"{strategy!r} needs peer {peer!r}, which does not exist")
            known = source == CLEAN or (source in infos and infos[source].views > 0)
            require(known, f"{strategy!r} needs examples of {source!r}, which nothing attacks")
        for peer, _ in needs.ema:
            require(infos[peer].ema, f"{strategy!r} needs the average of {peer!r}, which keeps none")
        for peer in needs.winners:
            require(
                peer in infos and infos[peer].says_winners,
                f"{strategy!r} needs the winners of {peer!r}: nobody says them",
            )
        for peer, mix in needs.mix.items():
            require(set(mix.members) <= set(infos), f"{strategy!r} mixes {peer!r} of peers that there are not: {mix}")
        _check_craft_and_couples(strategy, needs, trained, set(infos))


def _check_craft_and_couples(strategy: Strategy, needs: Needs, trained: set[str], known: set[str]) -> None:
    for peer, others in needs.craft.items():
        require({peer, *others} <= known, f"{strategy!r} crafts with peers that there are not: {peer}, {others}")
        require(isinstance(strategy, ObjectiveStrategy), f"{strategy!r} declares craft but has no method `objective`")
    members = [name for group in needs.couples for name in group]
    require(set(members) <= trained, f"{strategy!r} couples peers that are not trained: {members}")
    require(len(set(members)) == len(members), f"{strategy!r} couples a peer in two groups: {members}")


def gives_a_finite_loss_a_peer(strategy: Strategy) -> None:
    """One finite scalar with a gradient and finite terms, for each trained peer, set of peers and time of training."""
    for table in _tables(strategy):
        for epoch, progress in ((0, 0.0), (3, 0.5), (40, 1.0)):
            for name, loss in _losses(strategy, replace(table, epoch=epoch, progress=progress)).items():
                where = f"{strategy!r}: the loss of {name!r} among {_who(table)} at progress {progress}"
                require(loss.total.shape == (), f"{where} has shape {tuple(loss.total.shape)}, not one number")
                require(math.isfinite(float(loss.total.detach())), f"{where} is {float(loss.total.detach())}")
                require(loss.total.requires_grad, f"{where} has no gradient")
                for term, value in loss.terms.items():
                    require(torch.as_tensor(value).numel() == 1, f"{where}: term {term!r} is not one number")
                    require(math.isfinite(float(value)), f"{where}: term {term!r} is {float(value)}")


def reaches_its_own_logits(strategy: Strategy) -> None:
    """A group's losses reach every peer of the group; a peer outside the group is not reached."""
    for table in _tables(strategy):
        losses = _losses(strategy, table)
        for group in groups(table.needs):
            total = torch.stack([losses[name].total for name in group]).sum()
            for name in group:
                gradients = _gradients(total, table.leaves([name]))
                moved = any(bool((gradient != 0).any()) for gradient in gradients)
                require(moved, f"{strategy!r}: the loss of {name!r} among {_who(table)} does not reach its own logits")
            others = [name for name in table.needs.train if name not in group]
            strays = _gradients(total, table.leaves(others))
            stray = any(bool((gradient != 0).any()) for gradient in strays)
            require(not stray, f"{strategy!r}: the loss of {group} reaches peers that it does not couple")


def _gradients(total: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    if not leaves:
        return []
    found = torch.autograd.grad(total, leaves, retain_graph=True, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def survives_sure_and_equal_logits(strategy: Strategy) -> None:
    """Loss and gradient stay finite for very large logits, and where all peers' logits are equal."""
    for table in _tables(strategy):
        for factor, what in ((60.0, "very large logits"), (0.0, "equal logits")):
            scaled = table.scaled(factor)
            for name, loss in _losses(strategy, scaled).items():
                where = f"{strategy!r}: the loss of {name!r} among {_who(table)}"
                require(math.isfinite(float(loss.total.detach())), f"{where} is not finite for {what}")
                gradients = _gradients(loss.total, scaled.leaves([name]))
                finite = all(bool(gradient.isfinite().all()) for gradient in gradients)
                require(finite, f"{where} has a gradient that is not finite for {what}")


def has_no_side_effects(strategy: Strategy) -> None:
    """The same exchange gives the same loss twice, and is not changed by it."""
    for table in _tables(strategy):
        entries = [*table.train.values(), *table.teach.values(), *table.ema.values(), table.labels]
        kept = [entry.detach().clone() for entry in entries]
        first = _losses(strategy, table)
        same = all(torch.equal(entry, value) for entry, value in zip(entries, kept, strict=True))
        require(same, f"{strategy!r} changes the exchange that it reads")
        second = _losses(strategy, table)
        for name in first:
            same = torch.equal(first[name].total, second[name].total)
            require(same, f"{strategy!r} gives {name!r} another loss the second time: it draws, or remembers")


def equals_its_neutral_setting(strategy: Strategy) -> None:
    """With the settings of `neutral` its losses are those of the strategy that it names."""
    neutral = strategy.neutral
    if neutral is None:
        return
    mine, other = _with(strategy, neutral), REGISTRIES["strategies"][neutral.equals](**neutral.others)
    compared = 0
    for peers in mine.example_peers():
        try:
            wanted = other.needs(peers)
            table = table_of(mine, peers, also=wanted)
        except OptionError:
            continue
        compared += 1
        here, there = _losses(mine, table), replace(table, needs=wanted).losses(other)
        for name in there:
            require(name in here, f"{mine!r} does not train {name!r}, which {other!r} trains")
            _require_equal(mine, other, table, name, (here[name].total, there[name].total))
    require(compared > 0, f"{mine!r} and {other!r} admit no peers in common, so `neutral` says nothing")


def _with(strategy: Strategy, neutral: Neutral) -> Strategy:
    """strategy(**settings), or the example with these settings where options are required."""
    kind: Any = type(strategy)
    changed: Any = strategy
    try:
        found: Strategy = kind(**neutral.settings)
    except TypeError:
        found = replace(changed, **neutral.settings)
    return found


def _require_equal(mine: Strategy, other: Strategy, table: Table, name: str, totals: tuple[Tensor, Tensor]) -> None:
    where = f"{mine!r} says that it equals {other!r}, but for {name!r} among {_who(table)}"
    values = [float(total.detach()) for total in totals]
    require(math.isclose(*values, rel_tol=1e-5, abs_tol=1e-6), f"{where} the losses are {values[0]} and {values[1]}")
    for leaf in table.leaves([name]):
        slopes = [torch.autograd.grad(t, leaf, retain_graph=True, allow_unused=True)[0] for t in totals]
        first, second = (torch.zeros_like(leaf) if slope is None else slope for slope in slopes)
        require(bool(torch.isclose(first, second, rtol=1e-4, atol=1e-6).all()), f"{where} the gradients differ")


def treats_names_alike(strategy: Strategy) -> None:
    """If symmetric: renaming the peers renames the losses, and so does declaring them in another order."""
    if not strategy.symmetric:
        return
    for table in _tables(strategy):
        names = {info.name: f"other_{place}" for place, info in enumerate(table.peers)}
        renamed = table.renamed(names)
        turned = replace(table, peers=table.peers[1:] + table.peers[:1])
        losses = _losses(strategy, table)
        for other, mapping in ((renamed, names), (turned, {name: name for name in names})):
            needs = strategy.needs(other.peers)
            moved = _losses(strategy, replace(other, needs=needs))
            for name, loss in losses.items():
                same = torch.isclose(loss.total, moved[mapping[name]].total, rtol=1e-5, atol=1e-6)
                require(bool(same), f"{strategy!r} is symmetric, but the loss of {name!r} depends on names or order")


def keeps_its_state_in_the_open(strategy: Strategy) -> None:
    """With `start()`: tensors and numbers, not changed in place; no two peers write different values to one name."""
    if not isinstance(strategy, Stateful):
        return
    for table in _tables(strategy):
        before = _copied(table.state)
        merged: dict[str, Tensor | float] = {}
        for name, loss in _losses(strategy, table).items():
            for key, value in (loss.state or {}).items():
                kind = type(value).__name__
                require(isinstance(value, Tensor | int | float), f"{strategy!r} keeps {kind} {key!r} in its state")
                settled = key not in merged or _same(merged[key], value)
                require(settled, f"{strategy!r}: {name!r} and another peer write different values to {key!r}")
                graph = isinstance(value, Tensor) and value.requires_grad
                require(not graph, f"{strategy!r} keeps a graph in {key!r} of its state: detach it")
                merged[key] = value
        for key, value in before.items():
            require(_same(table.state[key], value), f"{strategy!r} changes {key!r} of its state in place")
        _losses(strategy, replace(table, state={**table.state, **merged}))


def _copied(state: State) -> Mapping[str, Tensor | float]:
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in state.items()}


def _same(first: Tensor | float, second: Tensor | float) -> bool:
    return torch.equal(torch.as_tensor(first), torch.as_tensor(second))


def objective_selects_rows(strategy: Strategy) -> None:
    """With `Needs.craft`: (N,) finite values, and those of some samples are theirs among all."""
    if not isinstance(strategy, ObjectiveStrategy):
        return
    trial = standard_trial()
    for peers in strategy.example_peers():
        for peer, others in strategy.needs(peers).craft.items():
            with trial.given() as given:
                models = dict.fromkeys((peer, *others), given.model)
                models |= {name: Smooth() for name in others if name != peer}
                objective = strategy.objective(peer, given, models)
                images = (given.images + 0.01).clamp(0.0, 1.0)
                with torch.no_grad():
                    values = objective(images)
                    rows = torch.tensor([4, 1])
                    some = objective.select(rows)(images[rows])
            where = f"{strategy!r}: the objective of {peer!r}"
            require(
                values.shape == (len(images),), f"{where} gives shape {tuple(values.shape)}, not one value a sample"
            )
            require(bool(values.isfinite().all()), f"{where} is not finite")
            close = torch.isclose(some, values[rows], rtol=1e-4, atol=1e-5)
            require(bool(close.all()), f"{where} gives other values for some of the samples than for all")


def runs_in_the_engine(strategy: Strategy) -> None:
    """An epoch of two steps in the engine: every trained peer moves, no frozen one does, and it repeats bit for bit."""
    for place, peers in enumerate(strategy.example_peers()):
        first = trains(strategy, peers)
        for info in peers:
            moved = first.moved[info.name]
            who = ", ".join(one.name for one in peers)
            if info.frozen:
                require(not moved, f"{strategy!r} moves the frozen peer {info.name!r} among {who}")
            else:
                require(moved, f"{strategy!r} leaves the trained peer {info.name!r} among {who} where it was")
        if place == 0:
            same = first.weights == trains(strategy, peers).weights
            require(same, f"{strategy!r} gives other weights when the same steps are run again")


CONTRACTS: tuple[Callable[[Any], None], ...] = (
    declares_what_exists,
    gives_a_finite_loss_a_peer,
    reaches_its_own_logits,
    survives_sure_and_equal_logits,
    has_no_side_effects,
    equals_its_neutral_setting,
    treats_names_alike,
    keeps_its_state_in_the_open,
    objective_selects_rows,
    runs_in_the_engine,
)
"""The contracts of this file."""
