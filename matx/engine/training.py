"""A live run: everything that changes while training, and what it was declared as."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from matx.copies import CraftingCopy
from matx.craft import Passes
from matx.data import Data
from matx.distributed import total
from matx.engine.copying import crafting_copies
from matx.engine.places import Places, collected_learners, collected_states
from matx.exchange import CLEAN, Needs, State
from matx.experiment import Experiment
from matx.learner import Learner, precision_type
from matx.randomness import seed_for

__all__ = ["PHASES", "Position", "Training", "canonical"]

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
            self.copies = crafting_copies(
                self.experiment, self.needs, self.data.train, self.learners, precision=precision, device=self.device
            )
        for copy in self.copies.values():
            copy.refresh()


def canonical(training: Training, peer: str) -> tuple[str, ...]:
    """All sources in the one order: the peer's own, then others in declared order behind it, then clean."""
    names = list(training.experiment.peers)
    at = names.index(peer)
    return (*names[at:], *names[:at], CLEAN)
