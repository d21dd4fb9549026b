"""What matx tune refuses: bad input, changed studies, and records that are another study's; nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest

from matx.cli import main
from matx.errors import ConfigError, MatxError, OptionError, RunError
from matx.tune.show import show_study
from matx.tune.storage import open_storage
from matx.tune.study_folder import StudyFolder
from matx.tune.trial_queue import finished_trials
from tune.conftest import Tuned, record

NO_CORNERS = "Tune.corners={}"


def content(folder: StudyFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("Experiment.batch_size=49", "batch_size: 50 -> 49"),
        ("Tune.space={'strategies.mat.alpha': ('float', 0.0, 0.9)}", "Tune.space.strategies.mat.alpha[2]: 1.0 -> 0.9"),
        ("Tune.objectives=['clean']", "Tune.objectives[0]: 'union' -> 'clean'"),
        ("Tune.directions=['minimize']", "Tune.directions"),
        ("Tune.epochs=2", "Tune.epochs: 3 -> 2"),
    ],
)
def test_a_changed_study_is_refused_with_the_difference(tuned: Tuned, change: str, shown: str) -> None:
    folder, _ = tuned(2)
    before = content(folder)
    with pytest.raises(RunError) as refused:
        tuned(4, change)
    assert shown in str(refused.value), "the sentence shows what differs"
    assert content(folder) == before, "nothing was changed"


def test_a_study_of_the_first_version_goes_on_and_refuses_others(tuned: Tuned) -> None:
    folder, _ = tuned(2)
    study = optuna.load_study(study_name="quick", storage=open_storage(str(folder.journal)))
    stored = dict(study.user_attrs["matx"])
    del stored["schema"]
    stored["settings"] |= {"strategy": "registry.strategies.mat.MAT", "checkpoint_every": "None", "tune": "m.Tune"}
    stored["search"] |= {"Tune": "matx.experiment.tune.Tune", "Tune.sampler": "'gp'", "Tune.seeds[0]": "7"}
    study.set_user_attr("matx", stored)
    _, final = tuned(2)
    assert final is not None, "the same study is continued"
    with pytest.raises(RunError, match="batch_size: 50 -> 49"):
        tuned(2, "Experiment.batch_size=49")


@pytest.mark.parametrize(
    ("bindings", "request_", "said"),
    [
        ([NO_CORNERS, "Tune.space={'strategies.mat.alhpa': ('float', 0.0, 1.0)}"], {}, "did you mean"),
        (["Tune.space={'strategies.mat.alpha': ('float', 0.0, 1.5)}"], {}, "got 1.5"),
        ([NO_CORNERS, "Tune.space={'strategies.mat.alpha': ('float', 0.6, 1.0)}"], {}, "own value 0.5 lies outside"),
        ([NO_CORNERS, "Tune.space={'nobody/attacks.pgd.steps': ('int', 1, 3)}"], {}, "nobody"),
        ([NO_CORNERS, "Tune.space={}"], {}, "nothing to search"),
        (["Tune.objectives=['unoin']"], {}, "did you mean 'union'"),
        (["Tune.objectives=['tow/union']"], {}, "did you mean 'two'"),
        (["Tune.seeds=[0, 1]"], {}, "fresh seeds"),
        ([], {"trials": 0}, "--trials: got 0"),
        ([], {"jobs": 0}, "--jobs: got 0"),
        ([], {"device": "cuda:77"}, "--device"),
        ([], {"storage": "postgresql://matx@127.0.0.1:1/none"}, "cannot be used"),
        ([], {"storage": "no/such/folder/j.log"}, "cannot be used"),
        ([], {"storage": "postgres//x://y"}, "allowed: a journal file, or a URL"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    tuned: Tuned, tmp_path: Path, bindings: list[str], request_: dict[str, object], said: str
) -> None:
    trials = request_.pop("trials", 2)
    with pytest.raises(MatxError) as refused:
        tuned(trials, *bindings, **request_)
    assert said in str(refused.value), "the sentence says what is wrong"
    assert isinstance(refused.value, ConfigError | OptionError | RunError), "a refusal, not a defect"
    assert not (tmp_path / "studies").exists(), "nothing was written"


def test_a_foreign_folder_journal_or_study_is_refused(tuned: Tuned, tmp_path: Path) -> None:
    foreign = tmp_path / "studies" / "quick"
    foreign.mkdir(parents=True)
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not a study's folder"):
        tuned(2)
    assert [path.name for path in foreign.iterdir()] == ["notes.txt"], "nothing was added to it"

    (tmp_path / "text.log").write_text("no journal\n")
    with pytest.raises(RunError, match="not a study's journal"):
        tuned(2, folder=tmp_path / "new", storage=str(tmp_path / "text.log"))

    other = optuna.create_study(
        study_name="other", storage=open_storage(str(tmp_path / "other.log")), direction="maximize"
    )
    other.tell(other.ask(), 1.0)
    with pytest.raises(RunError, match="not begun by matx tune"):
        tuned(2, folder=tmp_path / "other", storage=str(tmp_path / "other.log"))


def test_a_study_whose_folder_was_renamed_goes_on(tuned: Tuned, tmp_path: Path) -> None:
    folder, _ = tuned(2)
    moved = tmp_path / "studies" / "renamed"
    folder.path.rename(moved)
    folder, _ = tuned(3, folder=moved)
    assert len(finished_trials(record(folder))) == 3, "the same study goes on under its own name"
    assert len(folder.table.read_text().splitlines()) == 4, "three trials and the head, none of them begun anew"


def test_another_record_than_the_folder_s_is_refused(tuned: Tuned, tmp_path: Path) -> None:
    folder, _ = tuned(2)
    before = content(folder)
    with pytest.raises(RunError, match=r"the record of .*quick is in journal\.log, got .*other\.log"):
        tuned(3, storage=str(tmp_path / "other.log"))
    with pytest.raises(RunError, match=r"is in journal\.log, got postgresql\+psycopg://matx@127\.0\.0\.1:1/none"):
        tuned(3, storage="postgresql://matx@127.0.0.1:1/none")
    assert content(folder) == before, "nothing was changed"
    assert not (tmp_path / "other.log").exists(), "and no record begun"
    tuned(3, storage=str(folder.journal))
    assert len(finished_trials(record(folder))) == 3, "the same record by its path is the same"
    shutil.copy(folder.journal, tmp_path / "kept.log")
    folder.journal.write_bytes(b"")
    with pytest.raises(RunError, match="has an empty record"):
        tuned(4)
    with pytest.raises(RunError, match=r"has no study 'quick', allowed: a record that is not empty"):
        show_study(folder.path)
    shutil.copy(tmp_path / "kept.log", folder.journal)
    shutil.move(folder.journal, tmp_path / "moved.log")
    with pytest.raises(RunError, match="has lost its record"):
        tuned(4)
    (folder.path / "study.json").write_text("{}")
    with pytest.raises(RunError, match=r"study\.json: damaged"):
        tuned(4)


def test_show_refuses_what_is_no_study(tmp_path: Path, tuned: Tuned, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--show", str(tmp_path / "none")]) == 2, "no such study"
    assert "not a study's folder" in capsys.readouterr().err, "one sentence"
    folder, _ = tuned(2)
    shutil.move(folder.journal, tmp_path / "moved.log")
    assert main(["tune", "--show", str(folder.path)]) == 2, "a study without its record"
    assert "--storage with its place" in capsys.readouterr().err, "the sentence says where to turn"
    assert main(["tune", "--show", str(folder.path), "--storage", str(tmp_path / "moved.log")]) == 0, "as it says"
