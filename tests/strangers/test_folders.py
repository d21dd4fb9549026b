"""Folders of somebody else: nothing is written out of them, and what they hold is data."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

import matx
from matx.cli import main
from matx.errors import DataError, MatxError, OptionError, RunError
from matx.experiment.tune import Tune
from matx.results import read_flags
from matx.runtime.environment import git_state
from matx.runtime.folder import create, refuse_links
from matx.runtime.lock import folder_lock
from matx.tune.sampling import refuse_code, sampler
from matx.tune.study_folder import StudyFolder
from matx.unpickle import load_plain
from strangers.conftest import change, ran

CPU = ["--device", "cpu"]


class Opener:
    """What a pickle of a stranger does when it is read: it leaves the mark."""

    def __reduce__(self) -> Any:
        return exec, ("open('executed', 'w').write('code of a stranger')",)


@pytest.mark.parametrize("name", ["/../../x", "/x", "..", "a\\b", "", "a\x1b[2J", "n" * 300, 3, None])
def test_a_name_from_a_folder_is_no_path(theirs: Path, home: Path, name: object) -> None:
    change(theirs / "environment.json", experiment=name)
    before = {path for path in home.parent.rglob("*") if "theirs" not in path.parts}
    for command in (["eval", "theirs", *CPU], ["run", "--resume", "theirs"], ["run", "theirs/config.gin", *CPU]):
        assert main(command) == 2, f"{command[0]} takes the name {name!r}"
    after = {path for path in home.parent.rglob("*") if "theirs" not in path.parts and "__pycache__" not in path.parts}
    assert after <= before, "something was written beside the folder"


def test_no_new_folder_has_a_path_for_a_name(home: Path) -> None:
    for name in ("/../x", "../x", "a/b"):
        with pytest.raises(RunError, match="as the name of a new folder"):
            create(None, name, lambda path: None)
    with pytest.raises(RunError, match=r"got the label '/../../x' in its record"):
        StudyFolder(home).rerun("/../../x")


LINKS = ["lock", "log.txt", "metrics.jsonl", "checkpoints", "tensorboard", "results.json"]


@pytest.mark.parametrize("name", LINKS)
def test_links_out_of_a_folder_are_not_written_through(
    theirs: Path, home: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = home / "outside"
    if (theirs / name).is_dir():
        shutil.move(theirs / name, outside)
    else:
        outside.write_text("precious")
        (theirs / name).unlink(missing_ok=True)
    (theirs / name).symlink_to(outside)
    if name != "results.json":
        (theirs / "results.json").unlink()
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    main(["run", "--resume", "theirs", *CPU])
    assert f"{name}: got a symbolic link to {outside}" in capsys.readouterr().err or name == "results.json", name
    assert {path: path.read_bytes() for path in before} == before, "what the link points to was written"


def test_links_within_a_folder_and_trusted_ones_are_followed(tmp_path: Path) -> None:
    from matx.consent import Consent, consenting

    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "newest").symlink_to("checkpoints")
    refuse_links(folder)
    (folder / "far").symlink_to(tmp_path)
    with pytest.raises(RunError, match="or --trust"), folder_lock(folder):
        pass
    with consenting(Consent(trust=True)), folder_lock(folder):
        assert (folder / "lock").is_file(), "the user's own links are followed when told so"


def test_a_storage_that_a_folder_names_is_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "journal.log").write_text('{"op_code": 0}\nhalf a li')
    for where in ("sqlite:///made.db", "../journal.log", str(home / "journal.log"), "evil+driver://x", "link"):
        (home / "study").mkdir(exist_ok=True)
        (home / "study" / "study.json").write_text("{}")
        change(home / "study" / "study.json", study="s", storage=where, experiment="e")
        if where == "link":
            (home / "study" / "link").symlink_to(home / "journal.log")
        assert main(["tune", "--show", "study"]) == 2, f"{where} was opened"
        assert f"names the storage {where!r}; allowed: --storage {where}" in capsys.readouterr().err
    assert (home / "journal.log").read_text().endswith("half a li"), "a file out of the folder was written"
    assert not (home / "made.db").exists(), "a database was made"


def test_a_state_of_cmaes_is_data(home: Path) -> None:
    study = optuna.create_study(sampler=sampler(Tune(sampler="cmaes"), lambda trial: trial.number).inner)
    for _ in range(25):
        study.optimize(lambda t: t.suggest_float("a", 0, 1) ** 2 + t.suggest_float("b", 0, 1), n_trials=1)
    assert any(":optimizer:" in name for trial in study.trials for name in trial.system_attrs), "optuna kept its state"
    refuse_code(study)
    evil = optuna.trial.create_trial(value=0.0, system_attrs={"cma:optimizer:0": pickle.dumps(Opener()).hex()})
    study.add_trial(evil)
    with pytest.raises(RunError, match=r"trial 25 is not one that optuna wrote .*exec"):
        refuse_code(study)
    assert not ran(), "the pickle's code ran"


def test_a_pickle_of_plain_values_is_read_and_no_other(home: Path) -> None:
    value = {"data": np.arange(6, dtype=np.uint8), "labels": [1, 2], "one": np.float64(2.0)}
    for protocol in (2, 4):
        (home / "plain").write_bytes(pickle.dumps(value, protocol))
        with (home / "plain").open("rb") as file:
            assert load_plain(file)["data"].tolist() == list(range(6)), "arrays and plain values are read"
    (home / "evil").write_bytes(pickle.dumps(Opener()))
    with pytest.raises(pickle.UnpicklingError, match=r"names builtins\.exec"), (home / "evil").open("rb") as file:
        load_plain(file)
    assert not ran(), "the pickle's code ran"


def test_unverified_batches_of_cifar_are_data(home: Path) -> None:
    cls = matx.datasets["cifar10"]
    (sample,) = cls.examples(home)
    assert sample().num_classes == 10, "a cut-down copy is read"
    for name in ("data_batch_3", "test_batch", "batches.meta"):
        file = home / "cifar-10-batches-py" / name
        kept = file.read_bytes()
        file.write_bytes(pickle.dumps(Opener()))
        with pytest.raises(DataError, match=r"names builtins\.exec, which is no plain value"):
            sample().open_test()
        assert not ran(), f"{name} ran code"
        file.write_bytes(kept)


@pytest.mark.parametrize("option", ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"])
def test_timm_loads_no_file_that_an_option_names(home: Path, option: str) -> None:
    (home / "evil.pth").write_bytes(pickle.dumps(Opener()))
    with pytest.raises(OptionError, match=f"architectures.timm.options: got '{option}', allowed: .*Peer.weights"):
        matx.architectures["timm"](name="test_resnet", options={option: str(home / "evil.pth")})


def test_whatever_timm_loads_is_tensors(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an old timm would: torch.load with weights_only=False."""
    import timm
    import torch

    (home / "evil.pth").write_bytes(b"")
    torch.save(Opener(), home / "evil.pth")

    def loading(name: str, **given: object) -> object:
        return torch.load(home / "evil.pth", weights_only=False)

    monkeypatch.setattr(timm, "create_model", loading)
    with pytest.raises(MatxError, match=r"cannot be built: Weights only load failed"):
        matx.architectures["timm"](name="test_resnet")((3, 32, 32), 10)
    assert not ran(), "a pickle ran code while timm built a network"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ, "torch is left as it was"


PICKLED = ("checkpoints/best.pt", "checkpoints/last.pt", "flags.npz", "bare.pt")
OF_A_PICKLE = [
    (["eval", "theirs"], 2, ["best.pt"]),
    (["eval", "--weights", "theirs/bare.pt", "--architecture", "tiny", "--dataset", "digits"], 2, ["bare.pt"]),
    (["compare", "theirs", "theirs"], 2, ["flags.npz"]),
    (["run", "--resume", "theirs"], 0, ["flags.npz", "last.pt"]),
]


@pytest.mark.parametrize(("command", "code", "named"), OF_A_PICKLE, ids=lambda part: str(part)[:12])
def test_weights_are_tensors(
    theirs: Path, command: list[str], code: int, named: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run is finished from the checkpoint before the last one where the files after it are pickles."""
    import torch

    before = {column: values.tolist() for column, values in read_flags(theirs).items()}
    for file in PICKLED:
        torch.save(Opener(), theirs / file)
    assert main([*command, *([] if command[0] == "compare" else CPU)]) == code, capsys.readouterr().err
    said = capsys.readouterr().err
    assert not ran(), f"{command[0]} ran the code of a pickle"
    assert all(file in said for file in named), f"{named} are not named: {said}"
    if code == 0:
        after = {column: values.tolist() for column, values in read_flags(theirs).items()}
        assert after == before, "the flags that were made again are others"


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True)


def test_reading_the_state_of_a_repository_runs_nothing_of_it(home: Path) -> None:
    git("init", "-q")
    (home / "file.txt").write_text("one")
    git("add", "file.txt")
    git("commit", "-q", "-m", "first")
    clean = git_state(home / ".")
    assert clean is not None, "the revision is known"
    script = home / "script.sh"
    script.write_text(f"#!/bin/sh\necho x > {home}/executed\ncat\n")
    script.chmod(0o755)
    hooks = home / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "fsmonitor-watchman", "pre-commit"):
        shutil.copy(script, hooks / hook)
        shutil.copy(script, home / ".git" / "hooks" / hook)
    (home / ".gitattributes").write_text("* filter=evil diff=evil\n")
    for name in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "diff.external", "diff.evil.textconv"):
        git("config", name, str(script))
    git("config", "filter.evil.required", "true")
    git("config", "core.hooksPath", str(hooks))
    os.utime(home / "file.txt", (1, 1))
    found = git_state(home)
    assert not ran(), "the repository ran its own programs"
    assert found == {"revision": clean["revision"], "dirty": True}, "what there is to know is known all the same"
    subprocess.run(["git", "status"], capture_output=True)
    assert ran(), "git would have run them"
