"""Training inside a run folder: what the engine yields is logged, drawn, and saved at the right moments."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from matx.distributed import any_true
from matx.engine import EpochRecord, StepRecord, Training, fit, refuse_weights
from matx.errors import NotFiniteError, RunError
from matx.run.pictures import gallery
from matx.run.stopwatch import Stopwatch
from matx.runtime import checkpoint
from matx.runtime.checkpoint import Checkpoint
from matx.runtime.environment import provenance
from matx.runtime.files import write_json
from matx.runtime.folder import RunFolder
from matx.runtime.interrupt import deferred_signals
from matx.runtime.journal import Journal
from matx.runtime.progress import Bar, Display
from matx.runtime.tracking import Trackers

__all__ = ["ActiveRun", "train"]

log = logging.getLogger("matx.run")
_PICTURES = 5
"""How often in a run a gallery of adversarial images is written."""
_STOPPING = "stopping after this step and saving; a second signal (Ctrl-C again) stops at once"


@dataclass(frozen=True, kw_only=True, eq=False)
class ActiveRun:
    """A run in this process: its experiment's identity, its training, and its folder."""

    name: str
    text: str
    training: Training
    folder: RunFolder
    identity: dict[str, str]
    images: dict[str, str]
    display: Display
    threads: int
    """Of the processor, in this process while the run is at work."""
    cautions: Sequence[str] = ()
    """What is said as warnings before its first step."""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def state(self) -> Mapping[str, Any]:
        """The present state of the training, asked by every process at once; NotFiniteError where none may be saved."""
        refuse_weights(self.training)
        return self.training.state_dict()

    def checkpoint(self, state: Mapping[str, Any], metrics_bytes: int) -> Checkpoint:
        """A state of the training, to be saved."""
        return Checkpoint(
            training=state,
            identity=self.identity,
            provenance=provenance(self.training.device, self.training.places.world.size),
            images=self.images,
            metrics_bytes=metrics_bytes,
        )

    def write_timing(self) -> None:
        """Put what this session took into timing.json."""
        if self.training.places.world.writes:
            self.stopwatch.write(self.folder.timing)

    def save(self, stored: Checkpoint) -> None:
        """Save the latest checkpoint; the one before it is kept."""
        checkpoint.save(self.folder.last, stored, previous=self.folder.previous)


def train(parts: ActiveRun, trackers: Trackers, metrics_bytes: int) -> Generator[EpochRecord, None, None]:
    """Train from the present position to the end, an epoch whenever the next record is asked for.

    KeyboardInterrupt after a saved step where the user asks for it; between epochs signals are the caller's. Of several
    processes, rank 0 writes; the others take the same steps.
    """
    training, folder = parts.training, parts.folder
    if training.over:
        return
    epochs, first = training.experiment.epochs, training.progress * training.experiment.epochs
    with ExitStack() as stack:
        journal = None
        if training.places.world.writes:
            journal = Journal(folder.metrics, trackers, size=metrics_bytes, steps=training.steps, config=parts.text)
            stack.callback(journal.close)
        draw = stack.enter_context(parts.display.bar("training, epoch", epochs, first))
        records = fit(training)
        while not training.over:
            yield _epoch(parts, records, journal, draw)
    if training.places.world.writes:
        folder.not_finite.unlink(missing_ok=True)


def _epoch(
    parts: ActiveRun, records: Iterator[StepRecord | EpochRecord], journal: Journal | None, draw: Bar
) -> EpochRecord:
    """The rest of the present epoch."""
    training, say = parts.training, parts.display.say
    try:
        with parts.stopwatch.measure("training"), deferred_signals(say, _STOPPING) as stopped:
            for record in records:
                _keep(parts, record, journal, draw, stopping=any_true(training.places.world, stopped()))
                if isinstance(record, EpochRecord):
                    if any_true(training.places.world, stopped()):
                        raise KeyboardInterrupt
                    return record
    except NotFiniteError as error:
        sentence = _bundled(parts.folder, error) if training.places.world.writes else str(error)
        raise RunError(sentence) from error
    raise AssertionError("an epoch ends with its record")


def _keep(
    parts: ActiveRun, record: StepRecord | EpochRecord, journal: Journal | None, draw: Bar, *, stopping: bool
) -> None:
    """Every process saves, and stops, at the same steps; the one with the journal writes."""
    training, every = parts.training, parts.training.experiment.checkpoint_every
    saves = stopping or isinstance(record, EpochRecord) or (every and record.step % every == 0)
    state = parts.state() if saves else None
    if journal is not None and isinstance(record, EpochRecord):
        assert state is not None, "an epoch's end is saved"
        _end_epoch(parts, journal, record, draw, state)
    elif journal is not None and isinstance(record, StepRecord):
        journal.step(record)
        parts.stopwatch.images += record.images
        draw(training.progress * training.experiment.epochs)
        if state is not None:
            parts.save(parts.checkpoint(state, journal.size))
    if stopping:
        raise KeyboardInterrupt


def _bundled(folder: RunFolder, error: NotFiniteError) -> str:
    """Write down what replays the step: from that checkpoint, training comes to the same batch in the same state."""
    epoch, step = checkpoint.load(folder.last).training["position"]
    bundle = {
        "what": str(error),
        "peer": error.peer,
        "epoch": error.epoch,
        "step": error.step,
        "indices": error.indices,
    }
    write_json(folder.not_finite, bundle | {"checkpoint": "checkpoints/last.pt", "position": [epoch, step]})
    return (
        f"{error}; {folder.last} is whole, after epoch {epoch} and {step} steps, and `matx run --resume` replays the "
        f"step from it; {folder.not_finite} names its batch"
    )


def _end_epoch(parts: ActiveRun, journal: Journal, record: EpochRecord, draw: Bar, state: Mapping[str, Any]) -> None:
    training = parts.training
    journal.epoch(record, images_per_second=parts.stopwatch.images_per_second())
    epochs = training.experiment.epochs
    if record.epoch in (1, epochs) or record.epoch % max(1, epochs // _PICTURES) == 0:
        _draw_galleries(training, journal)
    stored = parts.checkpoint(state, journal.size)
    if record.best:
        checkpoint.save(parts.folder.best, stored)
    parts.save(stored)
    parts.stopwatch.write(parts.folder.timing)
    note = _note(record)
    draw(record.epoch, note, line=True)
    log.info("epoch %d/%d  %s", record.epoch, epochs, note, extra={"progress": True})
    if training.over and record.epoch < epochs:
        log.info("stopped early: %d validations in a row without a better score", training.stale)
    for alarm in record.alarms:
        log.warning("epoch %d: %s", record.epoch, alarm)


def _draw_galleries(training: Training, journal: Journal) -> None:
    evaluation, split = training.experiment.evaluation, training.data.val or training.data.train
    attacks = evaluation.validation_attacks or evaluation.attacks
    for name, learner in training.learners.items():
        picture = gallery(
            learner, split, attacks,
            classes=training.data.class_names, seed=training.experiment.seed, device=training.device,
        )  # fmt: skip
        journal.picture("adversarial", name, picture)


def _note(record: EpochRecord) -> str:
    losses = [f"{name} {terms['loss']:.3f}" for name, terms in record.train.items() if "loss" in terms]
    parts = [f"loss {', '.join(losses)}"] if losses else []
    if record.score is not None:
        parts.append(f"validation {record.score:.1%}{' (best)' if record.best else ''}")
    return "  ".join(parts)
