"""Trackers of a run: by default, several at once, one that fails, none; and none of them is part of what a run is."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from isolation import isolated_plugins
from sample_runs import sample

import matx
from matx.cli import main
from matx.errors import OptionError, RunError
from matx.interfaces import Record, Scalars, TrackedRun
from matx.plugins import load_plugin
from matx.run import epochs, resume, run
from matx.runtime.folder import RunFolder
from matx.runtime.identity import identity_of
from matx.runtime.tracking import Trackers, refuse_lacking, trackers_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_tracker.py"


@pytest.fixture(autouse=True)
def isolated() -> Iterator[None]:
    with isolated_plugins():
        load_plugin(EXAMPLE)
        yield


@dataclass(frozen=True, kw_only=True)
class Failing:
    """Fails when it is told of this step; 0: when it is opened."""

    at: int = 0
    sentence: str | None = None

    def lacks(self) -> str | None:
        return self.sentence

    def where(self, folder: Path) -> str:
        return "nowhere"

    def open(self, run: TrackedRun) -> Failing:
        if not self.at:
            raise OSError("the disk is full\nand more")
        return self

    def write(self, record: Record) -> None:
        if record.step >= self.at:
            raise ConnectionError("the server is gone")

    def close(self, *, finished: bool) -> None:
        raise RuntimeError("it cannot even be closed")

    @classmethod
    def examples(cls, tmp_path: Path) -> list[Failing]:
        return [cls()]


def _rows(folder: Path) -> list[list[str]]:
    return list(csv.reader((folder / "figures.csv").read_text().splitlines()))


def test_an_experiment_that_names_none_has_those_of_the_packaged_recipe() -> None:
    experiment = sample().experiment
    assert [matx.trackers.name_of(one) for one in trackers_of(experiment)] == ["tensorboard"], "the default is lost"
    assert trackers_of(replace(experiment, trackers=[])) == (), "an empty list names none"
    chosen = [matx.trackers["csv"]()]
    assert trackers_of(replace(experiment, trackers=chosen)) == tuple(chosen), "those that are named are not taken"


def test_a_tracker_is_no_part_of_what_a_run_is() -> None:
    experiment = sample().experiment
    other = replace(experiment, trackers=[matx.trackers["csv"]()])
    assert identity_of(other) == identity_of(experiment), "a run could not be resumed with another tracker"


def test_one_that_fails_later_is_told_nothing_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trackers = Trackers([Failing(at=2), matx.trackers["csv"]()], TrackedRun(name="a", folder=tmp_path))
    for step in (1, 2, 3):
        trackers.tell(Scalars(group="lr", values={"one": {"": 0.1}}, step=step))
    trackers.close(finished=True)
    said = [one.getMessage() for one in caplog.records]
    assert [re.findall(r"\((\w+): ", line) for line in said] == [["ConnectionError"]], f"said once: {said}"
    assert [row[0] for row in _rows(tmp_path)] == ["1", "2", "3"], "the other one was told all"


def test_one_that_fails_is_named_and_the_others_tell_nothing_twice(
    straight: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = sample(trackers=[Failing(), matx.trackers["csv"]()], checkpoint_every=3)
    whole = run(loaded, out=tmp_path / "whole", device="cpu")
    said = [one.getMessage() for one in caplog.records if "switched off" in one.getMessage()]
    assert said == [
        "trackers.Failing is switched off, and the run goes on; report.html and metrics.jsonl have the rest "
        "(OSError: the disk is full)"
    ], "it is said once, by name, with the reason"
    assert not (whole.path / "tensorboard").exists(), "a tracker that nobody asked for wrote"
    begun = epochs(loaded, out=tmp_path / "parts", device="cpu")
    assert next(begun).epoch == 1, "an epoch is done"
    del begun  # and the run is left
    with (tmp_path / "parts" / "figures.csv").open("a") as file:
        file.write("11,one,epoch/loss,9.0\n")  # of a step after the checkpoint, as a killed run leaves it
    resumed = resume(tmp_path / "parts", loaded=loaded, device="cpu")
    timeless = [[row for row in _rows(it.path) if row[2] != "time/images_per_second"] for it in (whole, resumed)]
    assert len(timeless[0]) > 20, "the other tracker was told nothing"
    assert timeless[0] == timeless[1], "the figures are not those of a run that nothing stopped"
    assert len({tuple(row[:3]) for row in timeless[1]}) == len(timeless[1]), "a figure of a step is there twice"
    assert whole.metrics.read_bytes() == straight.metrics.read_bytes(), "the tracker changed what was trained"
    assert json.loads(whole.identity.read_text()) == json.loads(straight.identity.read_text()), "it is another run"


def test_what_a_tracker_lacks_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    loaded = sample(trackers=[Failing(sentence="needs a password")])
    with pytest.raises(RunError, match=r"^trackers\.Failing: needs a password; or -s 'Experiment\.trackers=\[\]'"):
        run(loaded, out=tmp_path / "run", device="cpu")
    assert list(tmp_path.iterdir()) == [], "nothing was begun"
    refuse_lacking(sample().experiment)  # the default lacks nothing


def test_one_kind_is_chosen_once() -> None:
    with pytest.raises(OptionError, match=r"trackers: got 2 of Csv, allowed: each tracker once"):
        sample(trackers=[matx.trackers["csv"](), matx.trackers["csv"](file="b.csv")])


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("[@trackers.tensorbord()]", r"unknown component 'trackers.tensorbord'; did you mean 'tensorboard'"),
        ("[@metrics.clean()]", r"got @metrics.clean\(\), allowed: a component @trackers.NAME\(\)"),
    ],
)
def test_another_name_is_refused(value: str, sentence: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "quick.gin", "--no-data", "-s", f"Experiment.trackers={value}"]) == 2, "it is refused"
    assert re.search(sentence, capsys.readouterr().err), "what, allowed, did you mean"


def test_the_end_of_a_run_says_where_its_curves_are(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "quick.gin", "--out", "run", "--plugin", str(EXAMPLE), "-s", "Experiment.epochs=1"]
    assert main([*words, "-s", "Experiment.trackers=[@trackers.tensorboard(), @trackers.csv()]"]) == 0, "the run ends"
    curves = re.findall(r"^curves +(.*)$", capsys.readouterr().out, flags=re.M)
    assert curves == [str(Path("run/tensorboard")), str(Path("run/figures.csv"))], "each says where it wrote"
