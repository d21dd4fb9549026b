"""An interruption changes no pruning decision, and the reason of a pruned trial is what the pruner compared."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, Trial, TrialState

from matx.experiment.tune import Tune
from matx.runtime.workers import WorkerPool
from matx.tune.pruning import pruner, why_pruned
from matx.tune.sampling import distributions, sampler
from matx.tune.storage import load_or_create, open_storage
from matx.tune.study_worker import StudyWorker
from matx.tune.trial_queue import TrialQueue, finished_trials, is_lost, slot_of
from tune import synthetic

EPOCHS, TRIALS = 9, 30
START = {"x": 0.1, "y": 0.5}


def search(path: Path, interrupted: Collection[int] = ()) -> optuna.Study:
    """A study of 30 trials in a journal, stopped once in the middle of each of these slots and then continued."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tune = Tune(space={"x": ("float", 0.0, 1.0), "y": ("float", 0.0, 1.0)})
    left = set(interrupted)
    while True:
        study = load_or_create(open_storage(str(path)), "study", tune.headings, str(path))
        slot = partial(slot_of, study)
        study.sampler, study.pruner = sampler(tune, slot), pruner(tune, slot, epochs=EPOCHS, every=1)
        queue = TrialQueue(study, total=TRIALS, space=distributions(tune.axes))
        queue.enqueue({"recipe": START})
        running = partial(half_trained, study, left)
        worker = StudyWorker(queue, WorkerPool(synthetic.curve, 1), task, lambda end: None, EPOCHS, stopped=running)
        try:
            worker.work(poll=0.1)
        except KeyboardInterrupt:
            continue
        worker.pool.terminate()
        return study


def task(trial: Trial, position: int) -> dict[str, Any]:
    return dict(trial.params)


def half_trained(study: optuna.Study, slots: set[int]) -> bool:
    """Whether a trial of one of these slots, which is then taken out of them, has had two epochs."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if len(trial.intermediate_values) >= 2 and slot_of(study, trial) in slots:
            slots.discard(slot_of(study, trial))
            return True
    return False


def decisions(study: optuna.Study) -> dict[int, tuple[dict[str, float], str, int | None]]:
    """{slot: (values of the settings, state, last epoch)}."""
    over = finished_trials(study.get_trials(deepcopy=False), TRIALS)
    return {slot_of(study, trial): (trial.params, trial.state.name, trial.last_step) for trial in over}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> optuna.Study:
    return search(tmp_path_factory.mktemp("whole") / "journal.log")


def test_an_interrupted_study_prunes_as_an_uninterrupted_one(tmp_path: Path, whole: optuna.Study) -> None:
    plain = decisions(whole)
    long = [slot for slot, (_, _, last) in plain.items() if last is not None and last >= 3]
    assert sum(state == "PRUNED" for _, state, _ in plain.values()) >= 5, "the study prunes"
    chosen = long[1::3]
    study = search(tmp_path / "journal.log", chosen)
    lost = [trial for trial in study.get_trials(deepcopy=False) if is_lost(trial)]
    assert len(lost) == len(chosen) >= 3, "every chosen trial was interrupted once"
    assert decisions(study) == plain, "retries and later trials have the draws and decisions of the uninterrupted study"


def bracket_values(study: optuna.Study, trial: FrozenTrial, rung: str) -> list[float]:
    """What Hyperband, as optuna has it, saw when it pruned a trial of an uninterrupted study."""
    hyperband = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=3)
    hyperband._try_initialization(study)
    seen = [other for other in study.get_trials(deepcopy=False) if other.number <= trial.number]
    own = hyperband._get_bracket_id(study, trial)
    return [t.system_attrs[rung] for t in seen if rung in t.system_attrs and hyperband._get_bracket_id(study, t) == own]


def test_the_reason_says_what_hyperband_compared(whole: optuna.Study) -> None:
    pruned = [trial for trial in whole.get_trials() if trial.state == TrialState.PRUNED]
    for trial in pruned:
        reason = trial.user_attrs["outcome"]["reason"]
        found = re.fullmatch(
            r"pruned by hyperband after epoch (\d) of 9 at (\S+); of (\d+) trials of its bracket at this stage "
            r"Hyperband continues the best (?:(\d+), down to|one, with) (\S+)",
            reason,
        )
        assert found is not None, f"the reason has every figure: {reason}"
        epoch, value, count, kept, least = found.groups()
        rung = max(name for name in trial.system_attrs if name.startswith("completed_rung_"))
        values = sorted(bracket_values(whole, trial, rung), reverse=True)
        best = max(1, len(values) // 3)
        assert int(epoch) == trial.last_step, "the epoch after which it was pruned"
        assert value == f"{trial.intermediate_values[int(epoch)]:.4f}", "its value there"
        assert (int(count), int(kept or 1)) == (len(values), best), "the trials of its bracket, and how many continue"
        assert least == f"{values[best - 1]:.4f}", "the last value that continues"
        assert trial.intermediate_values[int(epoch)] < values[best - 1], "its own is under it"


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_the_reason_says_which_median_was_compared(direction: str, sign: float) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    tune = Tune(space={"x": ("float", 0.0, 1.0)}, pruner="median", directions=(direction,))
    study = optuna.create_study(direction=direction)
    study.pruner = pruner(tune, lambda trial: trial.number, epochs=2, every=1)
    for value in (0.1, 0.2, 0.3, 0.4, 0.6):
        trial = study.ask()
        trial.report(sign * value, 1)
        study.tell(trial, sign * value)
    last = study.ask()
    last.report(sign * 0.25, 1)
    assert last.should_prune(), "0.25 is worse than the median, 0.3"
    frozen = study.get_trials()[-1]
    assert why_pruned(study, frozen, 2) == (
        f"pruned by median after epoch 1 of 2 at {sign * 0.25:.4f}; its best up to there, {sign * 0.25:.4f}, is worse "
        f"than {sign * 0.3:.4f}, the median of 5 complete trials"
    ), "the reason has the figures that were compared"
