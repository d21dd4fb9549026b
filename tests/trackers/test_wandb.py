"""Runs of wandb offline, in a process of their own: what lies in their files, and that nothing else is asked."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sample_runs import QUICK

from matx.cli import main
from matx.runtime.folder import refuse_links
from trackers.offline import history, records

TOLD = """
import sys
from pathlib import Path
import torch
import matx
from matx.interfaces import Outcome, Picture, Scalars, Table, Text, TrackedRun

def scalars(step):
    return Scalars(group="step", values={"linf": {"loss": 1.0 / step}, "l2": {"loss": 0.5}}, step=step)

folder = Path(sys.argv[1])
tracker = matx.trackers["wandb"]()
run = TrackedRun(name="recipe", folder=folder, settings={"strategy": "mat", "epochs": 2})
first = tracker.open(run)
for record in (Text(name="config", markdown="a < b", step=0), scalars(10), scalars(20), scalars(30)):
    first.write(record)
first.close(finished=False)
again = tracker.open(TrackedRun(name="recipe", folder=folder, steps=20, settings=run.settings))
told = [
    scalars(30),
    Scalars(group="validation", values={"linf": {"linf:8/255": 0.5}, "": {"score": 0.25}}, step=30),
    scalars(40),
    Picture(name="adversarial", peer="linf", pixels=torch.ones(3, 8, 9), step=40),
    Table(name="transfer/linf:8/255", head=("examples of", "linf"), rows=(("linf", "40.0 %"),), step=40),
    Outcome(metrics={"test/union": 0.3}, step=40),
]
for record in told:
    again.write(record)
again.close(finished=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped and resumed; whoever asks the network is heard, and gets no answer."""
    folder = tmp_path_factory.mktemp("wandb") / "run-1"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), address)
        environment = {**os.environ, **proxies, "WANDB_BASE_URL": address, "WANDB_MODE": "online"}
        command = [sys.executable, "-W", "ignore", "-c", TOLD, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, f"the tracker failed: {done.stderr[-2000:]}"
        assert done.stdout + done.stderr == "", "it speaks on the terminal"
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()  # nobody has asked
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"), key=lambda file: file.parent.name)


def test_a_resumed_run_is_the_same_one_and_tells_nothing_twice(folder: Path) -> None:
    files = _files(folder)
    (run, again) = (next(one.run for one in records(file) if one.WhichOneof("record_type") == "run") for file in files)
    assert run.run_id == again.run_id == json.loads((folder / "wandb.json").read_text())["id"], "it is another run"
    assert (run.project, run.run_group, run.display_name) == ("recipe", "recipe", "run-1"), "its names are lost"
    told = [(step, name) for file in files for step, name, value in history(file)]
    assert len(set(told)) == len(told), "something of a step is there twice"
    losses = [(step, value) for file in files for step, name, value in history(file) if name == "linf/step/loss"]
    assert losses == [(step, 1.0 / step) for step in (10, 20, 30, 40)], "a figure is missing, or not what was told"


def test_a_run_with_it_can_be_resumed(folder: Path) -> None:
    refuse_links(folder)  # of links that lead out of it


def test_peers_are_sections_and_everything_is_there(folder: Path) -> None:
    last = {name: value for file in _files(folder) for _, name, value in history(file)}
    assert last["linf/validation/linf:8/255"] == 0.5, "a figure of a peer is in its section"
    assert last["validation/score"] == 0.25, "a figure of the whole run has a name of its own"
    assert any(name.startswith("linf/adversarial") for name in last), "the picture is there"
    assert any(name.startswith("transfer/linf:8/255") for name in last), "who is fooled by whom is there"
    assert list(folder.glob("wandb/*/files/media/images/linf/adversarial_40_*.png")), "the picture's file is there"
    configs = {
        item.key: json.loads(item.value_json)
        for one in records(_files(folder)[0])
        if one.WhichOneof("record_type") == "run"
        for item in one.run.config.update
    }
    assert configs["strategy"] == "mat", "the settings are its config"
    summaries = [
        (item.key or "/".join(item.nested_key), json.loads(item.value_json))
        for one in records(_files(folder)[1])
        if one.WhichOneof("record_type") == "summary"
        for item in one.summary.update
    ]
    assert ("test/union", 0.3) in summaries, "the final means are its summary"
    ends = [one.exit.exit_code for file in _files(folder) for one in records(file) if one.HasField("exit")]
    assert ends == [1, 0], "the first part was stopped, the second one finished"


def test_without_a_login_online_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    recipe = tmp_path / "quick.gin"
    recipe.write_text(f"{QUICK}Experiment.trackers = [@trackers.wandb()]\ntrackers.wandb.mode = 'online'\n")
    said = (
        r"trackers\.wandb: found no login, which mode 'online' needs; allowed: `wandb login` first, or mode 'offline'"
    )
    for words in (["check", str(recipe), "--no-data"], ["run", str(recipe), "--out", str(tmp_path / "run")]):
        assert main(words) == 2, f"{words[0]} goes on"
        assert re.search(said, capsys.readouterr().err), f"{words[0]} does not say what to do"
    assert not (tmp_path / "run").exists(), "nothing was begun"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0123456789\n")
    assert main(["check", str(recipe), "--no-data"]) == 0, "the login of `wandb login` is not found"
