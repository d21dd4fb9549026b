"""Training inside a run folder: what the engine yields is logged, drawn, and saved at the right moments."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from matx.engine import EpochRecord, Training, fit, refuse_weights
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
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    def checkpoint(self, metrics_bytes: int) -> Checkpoint:
        """The present position of the training, to be saved; NotFiniteError where it must not be."""
        refuse_weights(self.training)
        return Checkpoint(
            training=self.training.state_dict(),
            identity=self.identity,
            provenance=provenance(self.training.device),
            images=self.images,
            metrics_bytes=metrics_bytes,
        )

    def save(self, stored: Checkpoint) -> None:
        """Save the latest checkpoint; the one before it is kept."""
        checkpoint.save(self.folder.last, stored, previous=self.folder.previous)


def train(parts: ActiveRun, metrics_bytes: int) -> None:
    """Train from the present position to the end; KeyboardInterrupt after a saved step where the user asks for it."""
    training, experiment, display = parts.training, parts.training.experiment, parts.display
    if training.over:
        return
    every, first = experiment.checkpoint_every, training.progress * experiment.epochs
    journal = Journal(parts.folder, size=metrics_bytes, steps=training.steps, config=parts.text)
    bar = display.bar("training, epoch", experiment.epochs, first)
    try:
        with parts.stopwatch.measure("training"), deferred_signals(display.say, _STOPPING) as stopped, bar as draw:
            for record in fit(training):
                if isinstance(record, EpochRecord):
                    _end_epoch(parts, journal, record, draw)
                else:
                    journal.step(record)
                    parts.stopwatch.images += record.images
                    draw(training.progress * experiment.epochs)
                    if (every and record.step % every == 0) or stopped():
                        parts.save(parts.checkpoint(journal.size))
                if stopped():
                    raise KeyboardInterrupt
        parts.folder.not_finite.unlink(missing_ok=True)
    except NotFiniteError as error:
        raise RunError(_bundled(parts.folder, error)) from error
    finally:
        journal.close()


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


def _end_epoch(parts: ActiveRun, journal: Journal, record: EpochRecord, draw: Bar) -> None:
    training = parts.training
    journal.epoch(record, images_per_second=parts.stopwatch.images_per_second())
    epochs = training.experiment.epochs
    if record.epoch in (1, epochs) or record.epoch % max(1, epochs // _PICTURES) == 0:
        _draw_galleries(training, journal)
    stored = parts.checkpoint(journal.size)
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
        picture = gallery(learner, split, attacks, seed=training.experiment.seed, device=training.device)
        journal.picture(f"adversarial/{name}", picture)


def _note(record: EpochRecord) -> str:
    losses = [f"{name} {terms['loss']:.3f}" for name, terms in record.train.items() if "loss" in terms]
    parts = [f"loss {', '.join(losses)}"] if losses else []
    if record.score is not None:
        parts.append(f"validation {record.score:.1%}{' (best)' if record.best else ''}")
    return "  ".join(parts)
