"""A study from its first trial to best.gin: what it leaves, how it continues, what it refuses."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from matx.cli import main
from matx.config import load_experiment
from matx.errors import RunError
from matx.tune.final import best_trial, paired_difference
from matx.tune.study_folder import StudyFolder
from matx.tune.trial_queue import finished_trials
from tune import synthetic
from tune.conftest import Tuned, record

NO_CORNERS = "Tune.corners={}"


def trainings(folder: StudyFolder) -> list[str]:
    """What the stand-in for training was asked: `folder alpha seed` a line."""
    return folder.path.with_name(f"{folder.path.name}.log").read_text().splitlines()


def rows(folder: StudyFolder) -> list[dict[str, str]]:
    with folder.table.open() as file:
        return list(csv.DictReader(file))


def test_a_study_ends_with_a_best_that_run_takes(tuned: Tuned, capsys: pytest.CaptureFixture[str]) -> None:
    folder, final = tuned(12)
    trials = finished_trials(record(folder))
    assert len(trials) == 12, "--trials is the number of results"
    assert [t.user_attrs.get("start") for t in trials[:2]] == ["recipe", "corner plain"], "starting points come first"
    assert trials[0].params == {"strategies.mat.alpha": 0.5, "strategies.mat.temperature": 1.0}, (
        "the recipe's own values"
    )
    assert trials[1].params["strategies.mat.alpha"] == 0.1, "the plain corner"
    assert all(trial.state.name == "COMPLETE" for trial in trials[:2]), "starting points are never pruned"

    assert set(final.scores) == {"best", "recipe", "corner plain"}, "three configurations on fresh seeds"
    assert all(set(found) == {"1001", "1002", "1003"} for found in final.scores.values()), "each on every seed"
    first = final.comparisons[0]
    assert (first.first, first.second) == ("best", "recipe"), "the best against the recipe"
    assert final.takes, "alpha near 0.8 is better on every seed, so the interval excludes 0"
    assert first.low > 0, "that is what taking it means"

    best = load_experiment([folder.best]).experiment
    assert best.strategy.alpha == pytest.approx(final.params["strategies.mat.alpha"]), "best.gin has the best values"
    assert best.epochs == 2, "and the recipe's own length, not a trial's"
    assert final.why in folder.best.read_text(), "best.gin says why"
    assert main(["run", str(folder.best), "--dry-run"]) == 0, "`matx run` takes best.gin as it is"

    pruned = [row for row in rows(folder) if row["state"] == "pruned"]
    for row in pruned:
        stored = json.loads((folder.trial(int(row["trial"])) / "trial.json").read_text())
        assert re.search(r"pruned by hyperband after epoch \d of 3", stored["reason"]), (
            "a pruned trial's folder says why"
        )
    assert len(rows(folder)) == 12, "trials.csv has a line for each"
    page = folder.page.read_text()
    for word in (
        "History of union",
        "Importance for union",
        "union by strategies.mat.alpha",
        "Parallel",
        "Fresh seeds",
    ):
        assert word in page, f"study.html shows: {word}"

    capsys.readouterr()
    assert main(["tune", "--show", str(folder.path)]) == 0, "an old study can be shown"
    said = capsys.readouterr().out
    assert "complete trials, at least 10 are needed" in said, "importance is not computed from few trials"
    assert final.why in said, "and the final"


def test_the_same_command_continues_to_the_total_and_repeats_nothing(tuned: Tuned) -> None:
    folder, _ = tuned(4)
    before = trainings(folder)
    tuned(8)
    trials = finished_trials(record(folder))
    assert len(trials) == 8, "the total counts what was there"
    assert len({tuple(trial.params.values()) for trial in trials}) == 8, "nothing is drawn twice"
    lines = trainings(folder)
    assert lines[: len(before)] == before, "nothing done before is done again"
    after = len(lines)
    tuned(8)
    assert len(trainings(folder)) == after, "a finished study has nothing left to do"


def test_the_recipe_is_kept_unless_the_interval_excludes_0(tuned: Tuned) -> None:
    space = "Tune.space={'strategies.mat.temperature': ('log', 0.5, 8.0)}"  # which the stand-in does not depend on
    folder, final = tuned(4, space, "Tune.corners={}")
    assert not final.takes, "nothing is better than the recipe here"
    kept = load_experiment([folder.best]).experiment
    assert kept.strategy.temperature == 1.0, "best.gin has the recipe's value"
    assert "best.gin keeps" in folder.best.read_text(), "and says so"


def test_the_result_of_an_equal_configuration_is_copied(tuned: Tuned) -> None:
    space = "Tune.space={'strategies.mat.alpha': ('categorical', [0.4, 0.5, 0.6])}"
    folder, _ = tuned(12, space, "Tune.corners={}", "Tune.pruner='none'")
    trials = finished_trials(record(folder))
    assert len(trials) == 12, "they count as trials"
    searched = [line for line in trainings(folder) if line.endswith(" 0")]
    assert len(searched) == 3, "three configurations are three trainings"
    copied = [trial for trial in trials if "duplicate_of" in trial.user_attrs["outcome"]]
    assert len(copied) == 9, "the other nine are copies"
    for trial in copied:
        equal = trials[trial.user_attrs["outcome"]["duplicate_of"]]
        assert (trial.params, trial.values) == (equal.params, equal.values), "with their equal's result"


def test_what_another_worker_is_still_training_is_not_trained_again(tuned: Tuned, tmp_path: Path) -> None:
    space = "Tune.space={'strategies.mat.alpha': ('categorical', [0.4, 0.5, 0.6])}"
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "die").touch()
    folder, _ = tuned(12, space, "Tune.corners={}", "Tune.pruner='none'", jobs=2, work=synthetic.slow)
    trials = finished_trials(record(folder))
    assert len(trials) == 12, "every slot has its result"
    searched = [line for line in trainings(folder) if line.endswith(" 0")]
    assert len(searched) == 4, "three configurations are three trainings, and one more for the worker that was killed"
    for trial in trials:
        outcome = trial.user_attrs["outcome"]
        if "duplicate_of" in outcome:
            equal = next(other for other in trials if other.number == outcome["duplicate_of"])
            assert (trial.params, trial.values) == (equal.params, equal.values), "the others have their equal's result"


def test_nan_is_recorded_as_failed_with_its_reason_and_the_study_goes_on(tuned: Tuned) -> None:
    folder, _ = tuned(4, "Tune.corners={'plain': {'strategies.mat.alpha': 0.0}}")
    failed = finished_trials(record(folder))[1]
    assert failed.state.name == "FAIL", "a score that is no number is no score"
    assert "nan" in failed.user_attrs["outcome"]["reason"], "the record says why"
    assert "nan" in json.loads((folder.trial(1) / "trial.json").read_text())["reason"], "and the trial's folder"
    assert len(finished_trials(record(folder))) == 4, "the study went on"


def test_a_study_without_any_result_says_why(tuned: Tuned) -> None:
    nowhere = "Tune.space={'strategies.mat.alpha': ('categorical', [0.01, 0.02])}"
    with pytest.raises(RunError, match=r"no trial has a result.*nan"):
        tuned(2, nowhere, "strategies.mat.alpha=0.01", "Tune.corners={}")


def test_a_worker_killed_in_mid_trial_is_noticed_and_its_trial_run_again(tuned: Tuned, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "die").touch()
    folder, _ = tuned(3)
    trials = record(folder)
    lost = [trial for trial in trials if "crashes" in trial.user_attrs and trial.state.name == "FAIL"]
    assert len(lost) == 1, "one worker was killed"
    retries = [trial for trial in trials if trial.user_attrs.get("retry_of") == lost[0].number]
    assert len(retries) == 1, "its trial was run again once"
    assert retries[0].params == lost[0].params, "with the same values"
    assert len(finished_trials(trials)) == 3, "none lost, none doubled"
    stored = json.loads((folder.trial(lost[0].number) / "trial.json").read_text())
    assert "SIGKILL" in stored["reason"], "the folder of the lost trial says what happened"


def test_two_objectives_give_a_front_without_pruning(tuned: Tuned) -> None:
    folder, final = tuned(6, "Tune.objectives=['union', 'clean']")
    trials = finished_trials(record(folder))
    assert all(trial.state.name == "COMPLETE" for trial in trials), "nothing is pruned, and optuna is not asked to"
    assert "Pareto front" in folder.page.read_text(), "the page says so and shows it"
    front = sorted((folder.path / "front").glob("*.gin"))
    assert front, "every point of the front has its gin file"
    assert load_experiment([front[0]]).experiment.epochs == 2, "which loads"
    assert all(len(found) == 3 for found in final.scores.values()), "the final runs compare the mean of the objectives"


def test_a_grid_is_walked_once(tuned: Tuned) -> None:
    space = "Tune.space={'strategies.mat.alpha': ('float', 0.25, 0.75, 0.25)}"
    folder, _ = tuned(50, space, "Tune.corners={}", "Tune.sampler='grid'")
    trials = finished_trials(record(folder))
    assert sorted(t.params["strategies.mat.alpha"] for t in trials) == [0.25, 0.5, 0.5, 0.75], (
        "the recipe, then all points"
    )
    searched = [line for line in trainings(folder) if line.endswith(" 0")]
    assert len(searched) == 3, "the recipe's point is not trained twice"


def test_sampler_and_pruner_may_change(tuned: Tuned) -> None:
    folder, _ = tuned(2)
    tuned(3, "Tune.sampler='random'", "Tune.pruner='median'")
    assert len(finished_trials(record(folder))) == 3, "no trial's result depends on them"


@pytest.mark.filterwarnings("ignore:The existing lock file:UserWarning")  # of optuna before 5
def test_a_lock_that_a_killed_writer_left_is_broken(tuned: Tuned, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = tuned(2)
    monkeypatch.setattr("matx.tune.storage._TIMEOUT", 3)
    (folder.path / "journal.log.lock").symlink_to(folder.journal.resolve())
    tuned(3)
    assert len(finished_trials(record(folder))) == 3, "the study goes on once the lock has stood still"


def test_half_a_line_of_a_killed_writer_spoils_nothing(tuned: Tuned) -> None:
    folder, _ = tuned(2)
    with folder.journal.open("a") as file:
        file.write('{"op_code":4,"worker_id":"gone","study_id"')
    tuned(3)
    assert len(finished_trials(record(folder))) == 3, "the study goes on behind the last whole line"


def test_paired_differences_have_students_interval() -> None:
    first = {"1": 0.5, "2": 0.6, "3": 0.7, "4": 0.9}
    second = {"1": 0.4, "2": 0.6, "3": 0.6, "5": 0.1}
    found = paired_difference(first, second, ("a", "b"))
    assert found is not None, "three seeds are common"
    assert found.seeds == 3, "and only they count"
    half = 4.302652729911275 * 0.05773502691896258 / 3**0.5
    assert (found.mean, found.low, found.high) == pytest.approx((0.2 / 3, 0.2 / 3 - half, 0.2 / 3 + half)), "t over 2"
    assert paired_difference({"1": 1.0}, {"1": 0.0}, ("a", "b")) is None, "one seed has no interval"


def test_the_best_of_equals_is_the_first(tuned: Tuned) -> None:
    folder, _ = tuned(3, "Tune.space={'strategies.mat.temperature': ('log', 0.5, 8.0)}", "Tune.corners={}")
    tune = load_experiment([folder.recipe]).experiment.tune
    assert best_trial(record(folder), tune).number == 0, "ties keep the recipe"
