"""Each slot has one result, whichever process claims, crashes, or continues."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from matx.experiment.tune import Tune
from matx.tune import trial_queue
from matx.tune.final import best_trial
from matx.tune.pruning import pruner
from matx.tune.report import ranking
from matx.tune.sampling import distributions, sampler
from matx.tune.storage import load_or_create, open_storage
from matx.tune.trial_queue import TrialQueue, counted_trials, finished_trials, slot_of

AXES = Tune(space={"x": ("float", 0.0, 1.0), "n": ("int", 0, 5)})
GRID = {"x": ("float", 0.0, 1.0, 0.25), "n": ("int", 0, 5)}


@pytest.fixture(autouse=True)
def quiet() -> None:
    """optuna's own log stays out of the tests' output."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def queue_on(where: Path, total: int, tune: Tune = AXES, lease: float = 60.0) -> TrialQueue:
    """The queue of the study in a journal; each call is as if from a new process."""
    study = load_or_create(open_storage(str(where)), "study", tune.headings, str(where))
    slot = partial(slot_of, study)
    study.sampler, study.pruner = sampler(tune, slot), pruner(tune, slot, epochs=9, every=1)
    return TrialQueue(study, total=total, space=distributions(tune.axes), lease=lease)


def test_two_processes_share_the_slots_and_make_no_more(tmp_path: Path) -> None:
    one, two = queue_on(tmp_path / "j", 5), queue_on(tmp_path / "j", 5)
    one.enqueue({"recipe": {"x": 0.5, "n": 1}})
    two.enqueue({"recipe": {"x": 0.5, "n": 1}})
    claimed = 0
    for _ in range(4):
        for queue, trial in [(queue, queue.claim()) for queue in (one, two)]:
            if trial is not None:
                claimed += 1
                assert queue.complete(trial, [trial.params["x"]]), "the trial is still leased to its claimant"
    assert claimed == 5, "five slots are five claims"
    assert one.finished(), "every slot has its result"
    assert len(finished_trials(one.trials(), 5)) == 5, "five results"


def test_a_starting_point_queued_twice_is_run_once(tmp_path: Path) -> None:
    one = queue_on(tmp_path / "j", 3)
    for _ in range(2):  # as by two processes that read before either had written
        one.study.enqueue_trial({"x": 0.5, "n": 1}, user_attrs={"start": "recipe", "fixed": {}})
    first = one.claim()
    assert first is not None, "the first is free"
    second = one.claim()
    assert second is not None, "two slots are left"
    assert "start" not in second.user_attrs, "the second of one starting point is not run"
    surplus = [trial for trial in one.trials() if trial.user_attrs.get("surplus")]
    assert len(surplus) == 1, "it is marked as surplus"
    assert surplus[0].state == TrialState.FAIL, "and is no result"


def test_what_is_released_is_run_again_with_the_same_values(tmp_path: Path) -> None:
    one = queue_on(tmp_path / "j", 2)
    trial = one.claim()
    assert trial is not None, "a slot is free"
    one.release()
    two = queue_on(tmp_path / "j", 2)
    again = two.claim()
    assert again is not None, "the released trial waits"
    assert again.params == trial.params, "it has the same values"
    assert again.user_attrs["retry_of"] == trial.number, "and says whose retry it is"
    assert two.complete(again, [1.0]), "it is leased"
    last = two.claim()
    assert last is not None, "the second slot"
    two.complete(last, [0.5])
    assert two.finished(), "a retry fills the slot of what it repeats"
    assert two.claim() is None, "nothing is left"


def test_a_retry_counts_where_what_it_repeats_counts(tmp_path: Path) -> None:
    one = queue_on(tmp_path / "j", 2)
    first, second = one.claim(), one.claim()
    assert first is not None, "two slots are free"
    assert second is not None, "and both are claimed"
    assert one.complete(first, [1.0]), "one has its result"
    one.release()
    again = one.claim()
    assert again is not None, "the other is run again"
    assert one.complete(again, [0.5]), "and ends"
    assert [trial.number for trial in finished_trials(one.trials(), 2)] == [first.number, again.number], (
        "two slots, two results"
    )
    assert [trial.number for trial in finished_trials(one.trials(), 1)] == [first.number], (
        "of one slot the retry is no part"
    )


def test_of_equal_trials_the_first_slot_is_the_best_also_where_it_was_interrupted(tmp_path: Path) -> None:
    """A retry has a later number than the trials that began before it; its slot is that of what it repeats."""
    one = queue_on(tmp_path / "j", 2)
    recipe, second = one.claim(), one.claim()
    assert recipe is not None, "two slots are free"
    assert second is not None, "and both are claimed"
    assert one.complete(second, [0.5]), "the second slot has its result"
    one.release()
    again = one.claim()
    assert again is not None, "the first is run again"
    assert one.complete(again, [0.5]), "and ends with an equal result"
    over = finished_trials(one.trials(), 2)
    assert [trial.number for trial in over] == [again.number, second.number], "results are in the order of their slots"
    assert best_trial(one.trials(), AXES).number == again.number, "the interruption changed which trial is the best"
    rows = ranking(one.study, AXES).rows
    assert [row[0] for row in rows] == [str(again.number), str(second.number)], "and the order of equal ones"


def test_a_retry_that_two_processes_queued_is_run_once(tmp_path: Path) -> None:
    one = queue_on(tmp_path / "j", 1)
    trial = one.claim()
    assert trial is not None, "a slot is free"
    one.study.tell(trial, state=TrialState.FAIL)
    for _ in range(2):
        one.study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number, "fixed": trial.params})
    one.leased.clear()
    first = one.claim()
    assert first is not None, "the first retry runs"
    assert one.claim() is None, "the second does not"
    one.complete(first, [1.0])
    assert len(finished_trials(one.trials(), 1)) == 1, "one slot, one result"


def test_a_lease_without_a_change_is_noticed_on_the_observers_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_queue, "HOST", "elsewhere")
    lost = queue_on(tmp_path / "j", 1).claim()
    assert lost is not None, "a slot is free"
    monkeypatch.setattr(trial_queue, "HOST", "here")
    watcher = queue_on(tmp_path / "j", 1, lease=0.3)
    assert watcher.requeue_lost() == [], "at the first reading nothing says whether the owner runs"
    time.sleep(0.4)
    assert watcher.requeue_lost() == [lost.number], "the lease did not change for its whole length"
    retry = watcher.claim()
    assert retry is not None, "it is queued again"
    assert retry.params == lost.params, "with its values"


def test_a_renewed_lease_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_queue, "HOST", "elsewhere")
    owner = queue_on(tmp_path / "j", 1, lease=0.1)
    owner.claim()
    monkeypatch.setattr(trial_queue, "HOST", "here")
    watcher = queue_on(tmp_path / "j", 1, lease=0.3)
    for _ in range(5):
        assert watcher.requeue_lost() == [], "a running owner keeps its trial"
        time.sleep(0.12)
        owner.renew()


def test_an_ended_process_of_this_machine_is_noticed_at_once(tmp_path: Path) -> None:
    one = queue_on(tmp_path / "j", 1)
    trial = one.claim()
    assert trial is not None, "a slot is free"
    trial.set_user_attr("lease", f"{trial_queue.HOST} 999999999 0")  # no such process
    two = queue_on(tmp_path / "j", 1)
    assert two.requeue_lost() == [trial.number], "the lease of a process that has ended is not waited for"
    assert not one.complete(trial, [1.0]), "its old owner, were it still running, is refused"


def test_a_configuration_that_kills_its_workers_is_recorded_as_failed(tmp_path: Path) -> None:
    one = queue_on(tmp_path / "j", 1)
    for _ in range(3):
        one.requeue_lost()
        trial = one.claim()
        assert trial is not None, "it is run again"
        one.crashed(trial, "killed by signal 9 (SIGKILL)")
    assert one.requeue_lost() == [], "three times are enough"
    (last,) = finished_trials(one.trials(), 1)
    assert "crashed 3 times" in last.user_attrs["outcome"]["reason"], "the record says why"
    assert one.finished(), "and the study goes on"


def test_a_larger_total_makes_use_of_what_is_there(tmp_path: Path) -> None:
    one = queue_on(tmp_path / "j", 2)
    while (trial := one.claim()) is not None:
        one.complete(trial, [0.0])
    two = queue_on(tmp_path / "j", 4)
    assert not two.finished(), "two slots are new"
    while (trial := two.claim()) is not None:
        two.complete(trial, [0.0])
    assert len(counted_trials(two.trials(), 4)) == 4, "four in all, not six"


@pytest.mark.parametrize("name", ["tpe", "random", "gp", "cmaes", "nsgaii", "grid"])
def test_no_sampler_repeats_itself_after_a_resume(tmp_path: Path, name: str) -> None:
    """optuna's TPE with a fixed seed gives the same three trials again after a reload; ours must not."""
    tune = Tune(space=GRID if name == "grid" else AXES.space, sampler=name, pruner="none", seed=1)
    drawn = []
    for total in (3, 6, 12):
        one = queue_on(tmp_path / "j", total, tune)
        if name == "grid":
            one.enqueue({f"grid {number}": point for number, point in enumerate(tune.grid())})
        while (trial := one.claim()) is not None:
            drawn.append((trial.params["x"], trial.params["n"]))
            one.complete(trial, [-((trial.params["x"] - 0.37) ** 2) - 0.01 * trial.params["n"]])
    assert len(drawn) == 12, "the totals count what was there"
    assert len(set(drawn)) == 12, f"{name} drew a configuration twice: {drawn}"


def test_draws_depend_on_the_declared_seed_and_on_nothing_else(tmp_path: Path) -> None:
    def first(folder: str, seed: int) -> float:
        trial = queue_on(tmp_path / folder, 1, Tune(space=AXES.space, seed=seed)).claim()
        assert trial is not None, "a slot is free"
        return float(trial.params["x"])

    assert first("a", 1) == first("b", 1), "the same seed draws the same"
    assert first("c", 2) != first("a2", 1), "another seed draws something else"
