"""`matx eval` of anybody's model, stopped and continued, and one clear sentence for whatever is wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from isolation import isolated_plugins
from scored import models, scores
from torch import nn

import matx
from matx.cli import main
from matx.evaluation import ExternalModel, Selection, from_module
from matx.measure import EvaluationSettings, measure
from matx.results import read_flags, read_results

PLUGIN = '''
"""Noise that counts its calls, and may end the process in one of them."""
import os
from dataclasses import dataclass
from typing import ClassVar
import matx
from matx.threat import ThreatModel

@matx.attacks.register("stopper")
@dataclass(frozen=True, kw_only=True)
class Stopper:
    """A random point of the set."""
    kind: ClassVar[str] = "maximise"
    threat: ThreatModel

    def __call__(self, given):
        with open("calls", "a") as file:
            file.write("x")
        if "FATE" in os.environ and os.path.getsize("calls") == 4:
            os.kill(os.getpid(), int(os.environ["FATE"]))
        return self.threat.random_start(given.images, given.generator)

    @classmethod
    def examples(cls, tmp_path):
        return [cls(threat=ThreatModel(norm="linf", eps=0.1))]
'''
SUITE = """import stopper
include 'base/threat/suite.gin'
Evaluation.attacks = [@linf/attacks.stopper(), @l2/attacks.stopper()]
Evaluation.batch_size = 4
attacks.stopper.threat = @ThreatModel()
linf/ThreatModel.eps = 0.3
l2/ThreatModel.eps = 2
"""
MODELS = """
import torch
from torch import nn

def build(classes=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

def two():
    return build(2)

made = build()
number = 3

def broken():
    raise RuntimeError("no such weights")
"""
SATURATED = """
def saturated():
    return nn.Sequential(build(), nn.Softmax(1))
"""
MODEL = ["eval", "--model", "models.py:build", "--dataset", "x.npz", "--device", "cpu"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with images, models and a suite of its own; what it registers is taken back."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    parts = {"train": 6, "test": 12}
    images = {f"x_{part}": rng.integers(0, 256, (n, 8, 8), np.uint8) for part, n in parts.items()}
    torch.manual_seed(0)
    network = nn.Linear(64, 3)  # as `build` of models.py makes it, so that it is right on all test images but the last
    with torch.no_grad():
        answers = network(torch.from_numpy(images["x_test"]).float().flatten(1) / 255.0).argmax(1).numpy()
    answers[-1] = 2
    np.savez("x.npz", **images, y_train=np.arange(6) % 3, y_test=answers)
    for name, text in (("models.py", MODELS), ("stopper.py", PLUGIN), ("suite.gin", SUITE)):
        Path(name).write_text(text)
    with isolated_plugins():
        yield tmp_path


TIMED = ("seconds", "digest")
"""What differs between equal evaluations: seconds, and the checksum that covers them."""


def content(folder: str) -> dict[str, Any]:
    """What an evaluation left, without the seconds."""
    path = Path(folder)
    found: dict[str, Any] = {"results": json.loads((path / "results.json").read_text())}
    for file in (path / "flags.npz", *sorted((path / "records").rglob("*.npz"))):
        with np.load(file, allow_pickle=False) as stored:
            found |= {f"{file.relative_to(path)} {n}": stored[n].tolist() for n in stored.files if n not in TIMED}
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_the_same_command_continues(home: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    command = [*MODEL, "--suite", "suite.gin"]
    done = subprocess.run(
        [sys.executable, "-m", "matx", *command], env={**os.environ, "FATE": str(int(number))},
        capture_output=True, text=True,
    )  # fmt: skip
    if number == signal.SIGKILL:
        assert done.returncode == -signal.SIGKILL, f"it was killed in the fourth batch: {done.stderr}"
    else:
        assert done.returncode == 130, f"Ctrl-C ends with 130: {done.stderr}"
        assert "stopped; the same command continues in evals/build-1" in done.stderr, "it says how to continue"
        assert "Traceback" not in done.stderr, "and shows no traceback"
    assert not Path("evals/build-1/results.json").exists(), "it was not finished"

    assert main(command) == 0, "the same command ends well"
    assert "continuing where it was stopped" in capsys.readouterr().err, "it says that it continues"
    batches = len(list(Path("evals/build-1/records").rglob("*-Stopper/*.npz")))
    assert Path("calls").stat().st_size == batches + 1, "only the batch of the interruption was run again"
    assert main([*command, "--out", "straight"]) == 0, "the same without interruption"
    assert content("evals/build-1") == content("straight"), "the continued evaluation equals the straight one"


def test_an_evaluation_is_finished_once_and_is_nobody_elses(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*MODEL, "--suite", "suite.gin", "--out", "mine", "-n", "8"]
    assert main([*command, "--verify"]) == 0, "it ends well"
    shown = capsys.readouterr().out
    assert "sound" in shown, "the examples are verified"
    assert "linf:0.3" in shown, "the table has the threat model"
    assert json.loads(Path("mine/verified.json").read_text())["outside"] == 0, "the verification is written down"
    calls = Path("calls").stat().st_size
    assert main(command) == 0, "the same again"
    assert "finished already" in capsys.readouterr().err, "it says so"
    assert Path("calls").stat().st_size == calls, "nothing is attacked again"
    for name, rest in (("results.json", "it is made again"), ("flags.npz", "they are made again")):
        whole = Path("mine", name).read_bytes()
        Path("mine", name).write_bytes(whole[: len(whole) // 2])
        assert main(command) == 0, f"a damaged {name} cannot be made again"
        said = capsys.readouterr().err
        assert f"mine/{name}" in said, f"the damaged {name} is not named"
        assert rest in said, f"what is done about a damaged {name} is not said"
        assert "finished already" not in said, "an evaluation whose results are damaged passes for finished"
        assert Path("mine", name).read_bytes() == whole, f"{name} is another one than before"
    assert Path("calls").stat().st_size == calls, "what the records have is attacked again"
    assert main([*command, "--seed", "1"]) == 2, "another evaluation does not go into this folder"
    assert "holds another evaluation (settings.seed:" in capsys.readouterr().err, "the difference is named"
    results = json.loads(Path("mine/results.json").read_text())
    Path("mine/results.json").write_text(json.dumps({**results, "schema": 7}))
    assert main(command) == 2, "results of another schema are refused"
    assert "got results of schema 7, allowed: 1 or 2" in capsys.readouterr().err, "the schema is named"
    Path("mine/evaluation.json").write_text("[]")
    assert main(command) == 2, "a folder whose evaluation.json says nothing is another's"
    assert "holds another evaluation (schema: absent -> 2;" in capsys.readouterr().err, "it says what is missing"


def test_one_json_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*MODEL, "--suite", "suite.gin", "--out", "a", "-n", "8", "--verify", "--no-sanity", "--json"]
    assert main(command) == 0, "it ends well"
    shown = json.loads(capsys.readouterr().out)
    stored = json.loads(Path("a/results.json").read_text())
    assert shown["results"] == {key: value for key, value in stored.items() if key != "digest"}, (
        "not the figures of results.json"
    )
    assert shown["verified"] == json.loads(Path("a/verified.json").read_text()), "not what --verify found"
    assert (shown["folder"], shown["beside"], shown["next"]) == ("a", None, None), "more than was asked"


def test_a_failed_check_names_the_next_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("models.py").write_text(MODELS + SATURATED)
    weak = ["eval", "--model", "models.py:saturated", "--dataset", "x.npz", "--device", "cpu", "-n", "8", "-q"]
    settings = ["-s", "attacks.stopper.threat=@ThreatModel()", "-s", "Evaluation.batch_size=3"]
    assert main([*weak, "--suite", "suite.gin", "--out", "a", *settings]) == 0, "a failed check is a result"
    shown = capsys.readouterr().out
    assert "fail" in shown, "the case fails nothing"
    (line,) = [line for line in shown.splitlines() if line.startswith("next ")]
    wanted = "matx eval --model models.py:saturated --dataset x.npz --images 8 --device cpu -s Evaluation.batch_size=3"
    assert line.split(maxsplit=1)[1] == f"{wanted} --sanity full --suite autoattack", "not what is to be run next"
    assert main([*weak, "--suite", "suite.gin", "--out", "a", *settings, "--json"]) == 0, "the same again, finished"
    assert json.loads(capsys.readouterr().out)["next"] == line.split(maxsplit=1)[1], "JSON names another command"
    assert main([*weak, "--no-sanity", "--suite", "suite.gin", "--out", "b"]) == 0, "without checks"
    assert "next " not in capsys.readouterr().out, "without a failure there is nothing to be done"


def test_threats_grid_and_union(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    radii = ["--threat", "linf:8/255", "--grid", "linf:4/255,8/255,16/255", "--grid", "l2:1"]
    assert main([*MODEL, "--suite", "suite.gin", "--out", "a", *radii]) == 2, "the attacks are aimed at l_inf alone"
    assert "got l2:1, the attacks are for linf" in capsys.readouterr().err, "which the sentence says"
    assert main([*MODEL, "--suite", "suite.gin", "--out", "a", *radii[:4]]) == 0, "a grid ends well"
    found = [(score.metric, score.column) for score in read_results("a").scores]
    reported = [("clean", "clean"), ("robust", "linf:8/255"), ("robust", "union"), ("eight_bit", "8-bit")]
    radii_found = [("radii", f"linf:{eps}/255") for eps in (4, 8, 16)]
    assert found == [*reported, *radii_found], "radii of the grid are missing, or columns of the reported accuracy"
    assert "Accuracy by radius" in capsys.readouterr().out, "the grid is not shown"
    assert main([*MODEL, "--suite", "suite.gin", "--out", "b", "--union-only"]) == 0, "the union alone ends well"
    columns = [column.column for column in read_flags(Path("b"))]
    assert columns == ["clean", "union", "8-bit"], "per-norm flags are not left out"


def test_weights_files_and_folders(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("Wong2020", "Rice-2020")):
        torch.manual_seed(number)
        network = matx.architectures["tiny"](width=4)((1, 8, 8), 3)
        state = {f"module.{key}": value for key, value in network.state_dict().items()}
        path = home / "zoo" / "digits" / f"Linf{number}" / f"{name}.pt"
        path.parent.mkdir(parents=True)
        torch.save({"state_dict": state} if number else state, path)
    command = ["eval", "--weights", "zoo", "--architecture", "tiny", "--dataset", "x.npz", "--device", "cpu"]
    command += ["--suite", "suite.gin", "--no-sanity", "-s", "architectures.tiny.width=4"]
    assert main([*command, "--out", "all", "--normalise", "none"]) == 0, "a folder of weights ends well"
    assert models("all") == ["Wong2020", "Rice_2020", "ensemble"], "each file is a model, and so is their ensemble"
    assert scores("all")["ensemble", "union"].n == 12, "the ensemble is not scored"
    assert read_results("all").scores[0].checkpoint == "weights", "they are a checkpoint of a run"
    assert main([*command, "--out", "one", "--peer", "Rice_2020"]) == 0, "one of them ends well"
    assert main([*command, "--peer", "Rice"]) == 2, "a name that none has is refused"
    assert "allowed: Wong2020, Rice_2020" in capsys.readouterr().err, "the sentence names them"
    assert main([*command[:-1], "architectures.tiny.width=5"]) == 2, "weights that do not fit are refused"
    assert "do not fit its architecture" in capsys.readouterr().err, "with one sentence"


def test_a_module_as_it_is(home: Path) -> None:
    assert main([*MODEL, "--suite", "suite.gin", "--out", "a"]) == 0, "a callable ends well"
    made = ["eval", "--model", "models:made", "--dataset", "x.npz", "--suite", "suite.gin", "--out", "b"]
    assert main([*made, "--device", "cpu"]) == 0, "a module ends well"
    a, b = ([replace(score, model="") for score in scores(name).values()] for name in "ab")
    assert a == b, "the same weights have other figures"


def test_a_call_in_python_gives_the_figures_of_the_command(home: Path) -> None:
    assert main([*MODEL, "--suite", "suite.gin", "--seed", "5", "--out", "a"]) == 0, "the command ends well"
    external = ExternalModel(dataset="x.npz", suite="suite.gin")
    target = from_module("models.py:build", external, Selection(), "cpu")
    declared = target.evaluation
    settings = EvaluationSettings(
        metrics=[matx.metrics["robust"]()], attacks=declared.attacks, seed=5, batch_size=declared.batch_size
    )
    measured = measure(target.modules, target.data.test, settings)
    ours = {(f.column.model, f.column.name): f.correct for f in measured.figures["robust"]}
    assert ours == {key: s.correct for key, s in scores("a").items() if key in ours}, "figures of one seed differ"
    assert any(count for count in ours.values()), "the case separates nothing"


BAD = [
    (["eval"], "name one: RUN"),
    (["eval", "run", "--model", "models:made"], "name one: RUN"),
    (["eval", "--weights", "w.pt", "--dataset", "x.npz"], "name one: RUN"),
    (["eval", "--model", "models:made"], "--dataset is missing"),
    ([*MODEL, "--checkpoint", "best"], "--checkpoint belongs to a run"),
    ([*MODEL, "--ema"], "--ema: allowed with a run"),
    ([*MODEL, "--threat", "linf"], "allowed: NORM:EPS"),
    ([*MODEL, "--grid", "linf:0.1,x"], "--grid linf:x: ThreatModel.eps: got 'x'"),
    ([*MODEL, "--threat", "lnif:8/255"], "did you mean 'linf'"),
    ([*MODEL, "--threat", "linf:-1"], "a number over 0"),
    ([*MODEL, "--threat", "linf:much"], "a number, or a fraction like '8/255'"),
    ([*MODEL, "--suite", "pdg"], "did you mean 'pgd'"),
    ([*MODEL, "--suite", "suite.gin", "-s", "attacks.stopper.stepz=3"], "no parameter 'stepz'"),
    ([*MODEL, "--grid", "linf:0.1", "--union-only"], "leave --union-only away"),
    ([*MODEL, "--out", "taken"], "exists already"),
    (["eval", "--model", "models.py:two", "--dataset", "x.npz"], "got 2 classes, allowed: at least 3"),
    (["eval", "--model", "models.py", "--dataset", "x.npz"], "allowed: MODULE:NAME"),
    (["eval", "--model", "models.py:bild", "--dataset", "x.npz"], "gives no model: AttributeError"),
    (["eval", "--model", "models.py:broken", "--dataset", "x.npz"], "RuntimeError: no such weights"),
    (["eval", "--model", "models.py:number", "--dataset", "x.npz"], "gives no model: TypeError"),
    (["eval", "--model", "nowhere.py:build", "--dataset", "x.npz"], "is not there"),
    (["eval", "--model", "models:made", "--dataset", "digts"], "did you mean 'digits'"),
    (["eval", "--weights", "no.pt", "--architecture", "tiny", "--dataset", "x.npz"], "which is not there"),
    (["eval", "--weights", "taken", "--architecture", "tiny", "--dataset", "x.npz"], "holds no .pt, .pth or .ckpt"),
    (["eval", "--weights", "w.pt", "--architecture", "tiny", "--dataset", "x.npz"], "holds no state dict"),
    (["eval", "--weights", "l.pt", "--architecture", "tiny", "--dataset", "x.npz"], "do not fit its architecture"),
    (["eval", "--architecture", "tiny", "--dataset", "x.npz"], "--weights is missing"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD])
def test_bad_input(home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    (home / "taken").mkdir()
    (home / "taken" / "precious.txt").write_text("mine")
    torch.save([1, 2], home / "w.pt")
    torch.save(nn.Linear(2, 2).state_dict(), home / "l.pt")
    assert main(arguments) == 2, "bad input ends with exit code 2"
    shown = capsys.readouterr().err
    assert said in shown, f"the sentence names the matter: {shown}"
    assert "Traceback" not in shown, "no traceback is shown"
    assert [path.name for path in (home / "taken").iterdir()] == ["precious.txt"], "nothing was overwritten"
