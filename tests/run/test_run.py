"""The run folder: what a run leaves behind, and what may be done with it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from sample_runs import sample

from matx.errors import CheckpointError, RunError
from matx.evaluation import Asked, Evaluator, Selection, evaluate, packaged_metrics, settings_of, target_of_folder
from matx.report import without_clock
from matx.results import Results, read_results
from matx.run import resume, run
from matx.run.stopwatch import read_timing
from matx.runtime.folder import RunFolder, open_folder
from matx.runtime.progress import Display

STEPS = 4
"""In an epoch of the sample experiment."""


def test_the_folder_describes_the_run(straight: RunFolder) -> None:
    names = {path.name for path in straight.path.iterdir()}
    wanted = {
        "config.gin",
        "resolved.txt",
        "resolved.json",
        "identity.json",
        "environment.json",
        "metrics.jsonl",
        "tensorboard",
    }
    wanted |= {"checkpoints", "results.json", "report.md", "report.html", "timing.json", "log.txt", "flags.npz"}
    wanted |= {"illustrations.npz"}
    assert names == wanted, "the folder holds what is promised and nothing else"
    environment = json.loads(straight.environment.read_text())
    assert environment["seed"] == 0, "the seed is recorded"
    assert environment["torch"] == torch.__version__.partition("+")[0], "versions are recorded"
    assert set(environment["data"]) == {"train", "val"}, "the test split is not opened for fingerprints"
    assert environment["threads"] == torch.get_num_threads(), "the thread count is recorded"
    found = json.loads(straight.results.read_text())
    assert found["schema"] == 2, "results carry their schema"
    how = found["how"]
    assert how["dataset"]["n"] == 30, "the test images that count are counted"
    assert {score["model"] for score in found["scores"]} == {"one", "two"}, "every peer is scored"
    columns = [score["column"] for score in found["scores"] if score["model"] == "one"]
    assert columns[:3] == ["clean", "linf:0.1", "union"], "threat keys are as written"
    assert [attack["name"] for attack in how["attacks"]] == ["Judged"], "the attacks are named"
    assert how["seed"] == 0, "the seed is named"
    assert how["provenance"]["torch"] == environment["torch"], "versions are named"
    assert how["provenance"]["date"] == environment["date"], "so is the day of the start"
    assert set(how["passes"]) == {"forward", "backward_input", "backward_weights"}, "passes are counted"
    assert how["epochs"]["last"] == 3, "checkpoint last is reported beside best"


def test_only_timing_has_the_wall_clock(straight: RunFolder) -> None:
    timing = json.loads(straight.timing.read_text())
    assert timing["seconds"]["training"] > 0, "training time is measured"
    assert timing["seconds"]["evaluation"] > 0, "evaluation time is measured"
    for path in (straight.results, straight.metrics, straight.environment, straight.path / "report.md"):
        assert "second" not in path.read_text(), f"{path.name} holds no wall-clock figure"


def test_the_page_says_what_the_run_took(straight: RunFolder) -> None:
    timing = json.loads(straight.timing.read_text())
    page = (straight.path / "report.html").read_text(encoding="utf-8")
    clock = page.removeprefix(page[: page.index('class="clock"')]).partition("</section>")[0]
    (session,) = timing["sessions"]
    shown = [*(f"{timing['seconds'][what]:,.1f}" for what in ("training", "evaluation")), f"{session['images']:,}"]
    for cell in shown:
        assert f"<td>{cell}</td>" in clock, f"{cell} of timing.json is not on the page: {clock}"
    left = without_clock(page)
    assert 'class="clock"' not in left, "a page without the clock has no such part"
    assert len(page) - len(left) == len(clock) + len('<section id="part-N" ') + len("</section>\n"), "and all else"


def test_timing_that_is_damaged_counts_as_none(tmp_path: Path) -> None:
    for content in ("", "[]", '{"seconds": {"training": "a"}, "sessions": []}', '{"seconds": {}, "sessions": [1]}'):
        (tmp_path / "timing.json").write_text(content)
        assert read_timing(tmp_path / "timing.json") == {}, f"{content!r} is no timing"


def test_metrics_hold_epochs_and_steps(straight: RunFolder) -> None:
    records = [json.loads(line) for line in straight.metrics.read_text().splitlines()]
    epochs = [record for record in records if record["kind"] == "epoch"]
    assert [record["epoch"] for record in epochs] == [1, 2, 3], "every epoch has its line"
    assert [record["step"] for record in records if record["kind"] == "step"] == [10], "every tenth step has its line"
    assert set(epochs[0]["train"]["one"]) >= {"loss", "accuracy"}, "terms are logged per peer"
    assert sum(record["best"] for record in epochs) >= 1, "some epoch is the best so far"


def _events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_has_a_line_a_peer_on_one_card(straight: RunFolder) -> None:
    one, two = (set(_events(straight.path / "tensorboard" / peer).Tags()["scalars"]) for peer in ("one", "two"))
    assert {"epoch/loss", "validation/union", "lr", "test/clean", "test/union"} <= one & two, "peers share their cards"
    events = _events(straight.path / "tensorboard")
    own = {"validation/score", "time/images_per_second", "test/clean", "test/union"}
    assert own <= set(events.Tags()["scalars"]), "the run has its own, and the means that its row of hparams shows"
    assert "_hparams_/session_start_info" in events.summary_metadata, "the run is a row of hparams"
    assert any("config" in tag for tag in events.Tags()["tensors"]), "the configuration is there as text"
    assert any("transfer/linf_0.1" in tag for tag in events.Tags()["tensors"]), "who is fooled by whom, as a table"
    found = read_results(straight.path)
    place = ("one", "clean", found.checkpoint_of("best"))
    (score,) = [s for s in found.scores if (s.model, s.column, s.checkpoint) == place]
    (test,) = _events(straight.path / "tensorboard" / "one").Scalars("test/clean")
    assert test.value == pytest.approx(score.value), "the test figure is that of the results"


def test_tensorboard_pictures_say_what_is_answered(straight: RunFolder) -> None:
    image = _events(straight.path / "tensorboard" / "one").Images("adversarial")[0]
    height = 2 * (66 + 12) + 12
    assert (image.width, image.height) == (8 * 66, height), "eight clean images, eight adversarial ones, and words"


def test_a_finished_run_is_not_changed(straight: RunFolder) -> None:
    before = {path: path.stat().st_mtime_ns for path in straight.path.rglob("*")}
    shown = io.StringIO()
    resume(straight.path, loaded=sample(), display=Display(Console(file=shown)))
    assert "finished already" in shown.getvalue(), "a finished run says so"
    assert before == {path: path.stat().st_mtime_ns for path in straight.path.rglob("*")}, "nothing was touched"


def test_numbered_folders_and_an_existing_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sample-7").mkdir(parents=True)
    (tmp_path / "runs" / "sample-x").mkdir()
    first = run(sample(epochs=1), device="cpu")
    assert first.path == Path("runs/sample-8"), "the next number is taken, whatever gaps there are"
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["sample-7", "sample-8", "sample-x"], (
        "nothing temporary is left beside the run"
    )
    for taken in (Path("runs/sample-7"), Path("runs/sample-8/config.gin")):
        with pytest.raises(RunError, match="exists already"):
            run(sample(), out=taken, device="cpu")
    assert not any((tmp_path / "runs" / "sample-7").iterdir()), "a refused folder stays as it was"


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not a run folder: it holds no config\.gin"):
        open_folder(tmp_path)


def scored_anew(folder: RunFolder, selection: Selection) -> Results:
    """What an evaluation of the run's checkpoints gives now."""
    target = target_of_folder(sample(), "sample", folder, selection, "cpu")
    date = json.loads(folder.environment.read_text())["date"]
    return evaluate(Evaluator(target, settings_of(target, Asked(metrics=packaged_metrics("run")))), date=date)


def test_scores_anew_equal_the_run(straight: RunFolder) -> None:
    stored = read_results(straight.results)
    assert scored_anew(straight, Selection()) == stored, "evaluating again gives the same results"
    one = scored_anew(straight, Selection(checkpoints=("last",), peers=("two",)))
    kept = stored.checkpoint_of("last")
    wanted = [replace(s, checkpoint="last") for s in stored.scores if (s.model, s.checkpoint) == ("two", kept)]
    assert list(one.scores) == wanted, "one peer of one checkpoint has other figures than among all"
    with pytest.raises(RunError, match="did you mean 'two'"):
        scored_anew(straight, Selection(peers=("tow",)))
    with pytest.raises(CheckpointError, match="keeps no moving average"):
        scored_anew(straight, Selection(weights=("ema",)))
    averaged = scored_anew(straight, Selection(weights=("ema",), peers=("one",)))
    assert averaged.scores[0].n == 30, "the moving average is scored where there is one"


def test_progress_with_time_left(tmp_path: Path) -> None:
    lines = io.StringIO()
    run(sample(epochs=2), out=tmp_path / "lines", device="cpu", display=Display(Console(file=lines, width=200)))
    assert "training, epoch 1/2  ETA 0:00:0" in lines.getvalue(), "each epoch has a line with the time left"
    assert "model 2/2  ETA 0:00:00  two linf:0.1 Judged" in lines.getvalue(), "each evaluation has its line"
    bars = io.StringIO()
    terminal = Console(file=bars, force_terminal=True, width=200)
    run(sample(epochs=2), out=tmp_path / "bars", device="cpu", display=Display(terminal))
    assert "ETA" in bars.getvalue(), "on a terminal the bar shows the time left"
    assert "evaluating" in bars.getvalue(), "on a terminal the evaluation has its bar"


def test_results_are_the_last_file_that_is_written(straight: RunFolder) -> None:
    """Killed later, a run is finished and not continued: what a killed write left would stay."""
    done = straight.results.stat().st_mtime_ns
    written = [path for path in straight.path.glob("*.[jnmhg]*") if path.is_file()]
    assert straight.timing in written, "timing.json is not among the files that are looked at"
    late = [path.name for path in written if path.stat().st_mtime_ns > done]
    assert late == [], "a file is written after the results"
