"""The trackers of a run: which they are, whether they can work, and telling all of them each record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from matx.config import load_experiment
from matx.errors import RunError
from matx.experiment import Experiment
from matx.interfaces import Record, TrackedRun, Tracker, Tracking
from matx.registration import REGISTRIES

__all__ = ["Trackers", "refuse_lacking", "trackers_of"]

log = logging.getLogger("matx.run")
_PACKAGED = "trackers/run"
"""The packaged recipe that lists the trackers of an experiment that names none."""


def trackers_of(experiment: Experiment) -> tuple[Tracker, ...]:
    """Those that an experiment names, else those of the packaged recipe."""
    if experiment.trackers is not None:
        return tuple(experiment.trackers)
    return tuple(load_experiment([_PACKAGED]).experiment.trackers or ())


def refuse_lacking(experiment: Experiment) -> None:
    """RunError where a tracker cannot work here, before anything is trained."""
    for tracker in trackers_of(experiment):
        if sentence := tracker.lacks():
            raise RunError(f"{_name(tracker)}: {sentence}; or -s 'Experiment.trackers=[]' for a run without")


class Trackers:
    """The open trackers of a run. One that fails is named and switched off; the others and the run go on."""

    def __init__(self, trackers: Sequence[Tracker], run: TrackedRun) -> None:
        self._open: dict[str, Tracking] = {}
        for tracker in trackers:
            name = _name(tracker)
            try:
                self._open[name] = tracker.open(run)
            except Exception as error:
                self._switch_off(name, error)

    def tell(self, record: Record) -> None:
        """Have each write it down."""
        for name, tracking in list(self._open.items()):
            try:
                tracking.write(record)
            except Exception as error:  # whatever it is, the run is worth more than its curves
                self._switch_off(name, error)

    def close(self, *, finished: bool) -> None:
        """Close each; not finished: the run may be resumed."""
        for name, tracking in list(self._open.items()):
            try:
                tracking.close(finished=finished)
            except Exception as error:
                _say(name, error)
        self._open.clear()

    def _switch_off(self, name: str, error: Exception) -> None:
        _say(name, error)
        failed = self._open.pop(name, None)
        if failed is not None:
            with suppress(Exception):  # it has failed already
                failed.close(finished=False)


def _say(name: str, error: Exception) -> None:
    log.warning(
        "%s is switched off, and the run goes on; report.html and metrics.jsonl have the rest (%s: %s)",
        name, type(error).__name__, str(error).partition("\n")[0],
    )  # fmt: skip


def _name(tracker: Tracker) -> str:
    return f"trackers.{REGISTRIES['trackers'].label(tracker)}"
