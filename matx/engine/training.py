"""A live run: everything that changes while training, what it was declared as, and how it starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from matx.copies import CraftingCopy, crafting_copy
from matx.craft import Passes
from matx.data import Data, batches
from matx.distributed import SINGLE, World, total
from matx.engine.normalising import refuse_small_parts, synchronise
from matx.engine.places import Places, collected_learners, collected_states, places_of
from matx.engine.teacher_passes import teacher_passes
from matx.exchange import CLEAN, Needs, State
from matx.experiment import Experiment, check_classes, check_needs, peer_infos, splits_of
from matx.interfaces import Stateful
from matx.learner import Learner, build_learner, precision_type, resolved_precision
from matx.randomness import seed_for

__all__ = ["PHASES", "Position", "Training", "canonical", "start"]

log = logging.getLogger("matx")

PHASES = ("data", "crafting", "teaching", "training", "updating")
"""The parts of a step: augmentation, attacks, teachers' forwards, trained peers' passes, and the optimizers' steps."""


@dataclass(frozen=True)
class Position:
    """How far training is: the epoch, and the steps of it that are done."""

    epoch: int = 0
    step: int = 0


@dataclass(eq=False)
class Training:
    """A live run: everything that changes while training, and what it was declared as."""

    experiment: Experiment
    data: Data
    needs: Needs
    device: torch.device
    precision: str
    """fp32 or bf16: what 'auto' came to where the run began."""
    learners: dict[str, Learner]
    states: dict[str, State]
    """{"strategy" or "union.PEER": state} of the components that keep one."""
    copies: dict[str, CraftingCopy] = field(default_factory=dict)
    """{peer: its crafting copy}, of those that attacks or a strategy's objectives call in eval mode and that have one;
    it is refreshed at the start of each step."""
    position: Position = Position()
    sums: dict[str, dict[str, float]] = field(default_factory=dict)
    """{peer: {term: sum over the images of this epoch}}."""
    seen: int = 0
    """Images trained on since the start; `epoch_seen` in this epoch."""
    epoch_seen: int = 0
    passes: Passes = field(default_factory=Passes)
    teacher_passes: Passes | None = None
    """Of the training of frozen peers, before this one; None: not known."""
    best: tuple[int, float] | None = None
    """(epoch, score) of the best validation so far."""
    stale: int = 0
    """Validations in a row since then."""
    collapsed: int = 0
    """Validations in a row whose score was far below the best."""
    finite: dict[str, Tensor] = field(default_factory=dict)
    """{peer: on the device, whether all its gradients of this step are finite}."""
    phase: Callable[[str], AbstractContextManager[object]] = nullcontext
    """Entered with the name of each of PHASES around it, for whoever measures what a step costs."""
    places: Places = field(default_factory=Places)
    """This process among those of the run."""
    share: float = 1.0
    """The part of the present step's images that this process takes."""
    passes_shared: Passes = field(default_factory=Passes)
    """The passes of all processes, when they were last counted together."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; a last batch of one image is left out (batch statistics need two)."""
        count, size = len(self.data.train.labels), self.experiment.batch_size
        return count // size + (count % size > 1)

    @property
    def steps(self) -> int:
        """Steps since the start."""
        return self.position.epoch * self.steps_per_epoch + self.position.step

    @property
    def progress(self) -> float:
        """The share of training that is done."""
        return self.steps / (self.experiment.epochs * self.steps_per_epoch)

    @property
    def over(self) -> bool:
        """True: all epochs are done, or patience has run out."""
        patience = self.experiment.patience
        return self.position.epoch >= self.experiment.epochs or (patience is not None and self.stale >= patience)

    def draws(self, purpose: str, *parts: int | str) -> int:
        """The seed of the global generators for a purpose: of each process its own, as its samples are."""
        return seed_for(self.experiment.seed, purpose, *parts, *([shard] if (shard := self.places.shards.rank) else []))

    def passes_per_image(self) -> dict[str, float]:
        """Passes per training image, all peers and teachers included."""
        counts = vars(self.passes)
        return {name: count / max(1, self.seen) for name, count in counts.items()}

    def share_passes(self) -> None:
        """Count the passes of all processes since this was last done; every process calls it at the same time."""
        known, now = vars(self.passes_shared), vars(self.passes)
        counts = torch.tensor([now[name] - known[name] for name in known])
        total(self.places.world, [counts])
        for name, count in zip(known, counts.tolist(), strict=True):
            now[name] = known[name] + count
        self.passes_shared = Passes(**now)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, as tensors and plain values; every process calls it at the same time."""
        self.share_passes()
        return {
            "position": [self.position.epoch, self.position.step],
            "precision": self.precision,
            "sums": self.sums,
            "seen": [self.seen, self.epoch_seen],
            "passes": vars(self.passes).copy(),
            "teacher_passes": None if self.teacher_passes is None else vars(self.teacher_passes).copy(),
            "best": None if self.best is None else list(self.best),
            "best_by": self.experiment.evaluation.best_by,
            "stale": self.stale,
            "collapsed": self.collapsed,
            "states": collected_states(self.places, self.states),
            "learners": collected_learners(self.places, self.learners),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.position = Position(*state["position"])
        self.sums = {peer: dict(terms) for peer, terms in state["sums"].items()}
        self.seen, self.epoch_seen = state["seen"]
        self.passes, self.passes_shared = Passes(**state["passes"]), Passes(**state["passes"])
        if "teacher_passes" in state:  # the first versions did not count them
            before = state["teacher_passes"]
            self.teacher_passes = None if before is None else Passes(**before)
        self.best = None if state["best"] is None else (state["best"][0], state["best"][1])
        self.stale = state["stale"]
        self.collapsed = state.get("collapsed", 0)  # the first versions did not count it
        self.states |= state["states"]
        for name, learner in self.learners.items():
            learner.load_state_dict(state["learners"][name])
        for copy in self.copies.values():
            copy.refresh()
        # The first versions stored no precision, and took fp32 for 'auto' on CPUs.
        former = "fp32" if self.experiment.precision == "auto" and self.device.type == "cpu" else self.precision
        self._go_on_in(state.get("precision", former))

    def _go_on_in(self, precision: str) -> None:
        """Train in the precision in which the run began, whatever the device would take for 'auto'."""
        if precision != self.precision:
            log.info("the run goes on in %s, in which it began; on this device 'auto' is %s", precision, self.precision)
            self.precision = precision
            for learner in self.learners.values():
                learner.dtype = precision_type(precision)
            self.copies = crafting_copies(self)
        for copy in self.copies.values():
            copy.refresh()


def start(
    experiment: Experiment,
    data: Data,
    *,
    device: torch.device | str = "cpu",
    fresh: bool = True,
    world: World = SINGLE,
) -> Training:
    """An experiment's training before its first step. The test split of `data` is not opened.

    Not fresh: `load_state_dict` is to follow, so that nothing is read of which the state knows all.
    """
    check_classes(experiment, data.num_classes)
    needs = experiment.strategy.needs(peer_infos(experiment))
    check_needs(needs, experiment)
    places = places_of(experiment, world)
    precision = resolved_precision(experiment.precision, device)
    learners = {
        name: build_learner(name, peer, data, seed=experiment.seed, device=device, precision=precision, fresh=fresh)
        for name, peer in experiment.peers.items()
    }
    _share_starts(learners, needs)
    refuse_small_parts(experiment, learners)
    if experiment.sync_batch_norm:
        synchronise(learners, torch.device(device))
    unions = {f"union.{name}": peer.union for name, peer in experiment.peers.items()}
    components: dict[str, object] = {**unions, "strategy": experiment.strategy}
    states = {name: component.start() for name, component in components.items() if isinstance(component, Stateful)}
    training = Training(
        experiment, splits_of(experiment, data), needs, torch.device(device), precision, learners, states
    )
    training.places = places
    training.copies = crafting_copies(training)
    if fresh or not any(peer.frozen for peer in experiment.peers.values()):
        training.teacher_passes = teacher_passes(experiment)
    return training


def crafting_copies(training: Training) -> dict[str, CraftingCopy]:
    """The copies of the peers that attacks search on, and of those that a strategy's objectives call."""
    split, peers = training.data.train, training.experiment.peers
    called = [name for name, peer in peers.items() if peer.attacks]
    called += [other for others in training.needs.craft.values() for other in others]
    few = torch.arange(min(8, len(split.labels)))
    (probe,) = batches(split, few, len(few), device=training.device)
    dtype = precision_type(training.precision)
    copies = {
        name: crafting_copy(training.learners[name].module, probe.images, dtype)
        for name in dict.fromkeys(called)
        if peers[name].frozen or peers[name].attack_mode == "eval"
    }
    found = {name: copy for name, copy in copies.items() if copy is not None}
    wanted = training.experiment.compile
    if found and (wanted == "on" or (wanted == "auto" and training.device.type == "cuda")):
        log.info("the first step compiles what attacks search on and may take minutes (not with compile = 'off')")
        for copy in found.values():
            copy.compile(training.experiment.batch_size)
    return found


def _share_starts(learners: dict[str, Learner], needs: Needs) -> None:
    """A mixed peer and its members start from the weights of the first member, unless they were given some."""
    for mixed, mix in needs.mix.items():
        first, *others = mix.members
        for name in dict.fromkeys((mixed, *others)):
            learner = learners[name]
            if name == first or learner.peer.weights is not None:
                continue
            for module in (learner.module, learner.ema_module):
                if module is not None:
                    module.load_state_dict(learners[first].module.state_dict())


def canonical(training: Training, peer: str) -> tuple[str, ...]:
    """All sources in the one order: the peer's own, then others in declared order behind it, then clean."""
    names = list(training.experiment.peers)
    at = names.index(peer)
    return (*names[at:], *names[:at], CLEAN)
