"""Exports: the model that comes back is the model that was scored, in every format, and errors are sentences."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch
import torchattacks
from torch import Tensor, nn

import matx
from matx.errors import CheckpointError, MatxError, RunError
from matx.exporting import export
from matx.measure import Rate

FORMATS = ("safetensors", "torch", "onnx")
"""Those of a file a peer; tests/exporting/test_libraries.py has the others."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> matx.LoadedRun:
    return matx.run_experiment("smoke", out=tmp_path_factory.mktemp("run") / "run", device="cpu", progress=False)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_safetensors_come_back_bit_for_bit(run: matx.LoadedRun, images: Tensor, tmp_path: Path) -> None:
    again = matx.load(export(run, out=tmp_path / "out"))
    ours, theirs = run.peer("generalist"), again.peer("generalist")
    assert torch.equal(ours(images), theirs(images)), "the same weights give the same logits"
    assert again.results == run.results, "the figures travel with the weights"
    assert not theirs.training, "a loaded peer is in eval mode"


@pytest.fixture(scope="module")
def folders(run: matx.LoadedRun, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """{format: an export of two peers}."""
    home = tmp_path_factory.mktemp("exports")
    return {form: export(run, ["generalist", "l2"], form=form, out=home / form) for form in FORMATS}


@pytest.mark.parametrize("count", [1, 7])
def test_torch_programs_agree(run: matx.LoadedRun, images: Tensor, folders: dict[str, Path], count: int) -> None:
    program = torch.export.load(folders["torch"] / "generalist.pt2").module()
    with torch.no_grad():
        gap = (program(images[:count]) - run.peer("generalist")(images[:count])).abs().max()
    assert gap <= 1e-5, f"logits differ by {gap:.1e} at batch {count}"


@pytest.mark.parametrize("count", [1, 7])
def test_onnx_agrees(run: matx.LoadedRun, images: Tensor, folders: dict[str, Path], count: int) -> None:
    session = onnxruntime.InferenceSession(folders["onnx"] / "generalist.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": images[:count].numpy()})
    with torch.no_grad():
        gap = (torch.from_numpy(found) - run.peer("generalist")(images[:count])).abs().max()
    assert gap <= 1e-4, f"logits differ by {gap:.1e} at batch {count}"


def test_an_exported_model_is_scored_as_the_run(run: matx.LoadedRun, tmp_path: Path) -> None:
    folder = export(run, ["generalist"], out=tmp_path / "out")
    command = [sys.executable, "-m", "matx", "eval", str(folder), "--no-sanity", "--json", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {row["column"]: row for row in json.loads(done.stdout)["results"]["scores"]}
    checkpoint = run.results.checkpoint_of("best")
    for score in run.results.scores:
        if (score.model, score.checkpoint) == ("generalist", checkpoint):
            got = (found[score.column]["correct"], found[score.column]["n"])
            assert got == (score.correct, score.n), f"{score.column}: {got} of the export, {score.row()} of the run"


def test_an_attack_from_outside_agrees_with_the_report(run: matx.LoadedRun, folders: dict[str, Path]) -> None:
    """Plain PGD in l_inf, written out here, on a program that knows nothing of matx."""
    results = run.results
    own = [s for s in results.scores if (s.model, s.checkpoint) == ("generalist", results.checkpoint_of("best"))]
    score, threat = next((s, s.threat) for s in own if s.threat is not None and s.threat.norm == "linf")
    model = torch.export.load(folders["torch"] / "generalist.pt2").module()
    test, rows = run.experiment.dataset().test, torch.arange(score.n)
    images, labels = test.read(rows).float(), test.labels[rows]
    images = images / 255 if test.read(rows).dtype == torch.uint8 else images
    found = _pgd(model, images, labels, eps=threat.radius, steps=10)
    share = float((model(found).argmax(1) == labels).float().mean())
    assert score.low is not None
    assert score.high is not None
    assert score.low <= share <= score.high, f"{share:.3f} from outside, {score.low:.3f} to {score.high:.3f} reported"


class _Program(nn.Module):
    """An exported program as a module that others may set to eval mode."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.program = (torch.export.load(file).module(),)  # not a submodule: it refuses eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.program[0](images)


def test_torchattacks_gives_the_figure_of_the_zoo(tmp_path: Path) -> None:
    """On 300 of its images, by a library that knows nothing of matx, on a program that needs none of it."""
    zoo = matx.load("zoo:mat_union")
    model = _Program(export(zoo, ["generalist"], form="torch", out=tmp_path / "out") / "generalist.pt2").eval()
    shown = zoo.results.checkpoint_of("best")
    score = next(
        s for s in zoo.results.scores
        if (s.model, s.checkpoint, s.column) == ("generalist", shown, "linf:0.15")
    )  # fmt: skip
    assert score.correct is not None
    test, rows = zoo.experiment.dataset().test, torch.arange(300)
    images, labels = test.read(rows), test.labels[rows]
    attack = torchattacks.PGD(model, eps=0.15, alpha=0.15 / 8, steps=20, random_start=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = attack(images, labels)
    assert (found - images).abs().max() <= 0.15 + 1e-6, "inside the threat model"
    right = int((model(found).argmax(1) == labels).sum())
    here = Rate(correct=right, n=len(rows))
    assert here.low <= score.value <= here.high, (
        f"torchattacks finds {here.accuracy:.3f} [{here.low:.3f}, {here.high:.3f}], the report says {score.value:.3f}"
    )


def _pgd(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float, steps: int) -> Tensor:
    torch.manual_seed(0)
    found = (images + torch.empty_like(images).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        found = found.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(found), labels), found)
        moved = found.detach() + 2.5 * eps / steps * gradient.sign()
        found = torch.minimum(torch.maximum(moved, images - eps), images + eps).clamp(0, 1)
    return found.detach()


@pytest.mark.parametrize("form", FORMATS)
def test_the_card_says_what_a_user_needs(run: matx.LoadedRun, folders: dict[str, Path], form: str) -> None:
    card = (folders[form] / "README.md").read_text(encoding="utf-8")
    for needed in (
        "# generalist, l2 of smoke",
        f"Data: {run.experiment.dataset!r}, images of (1, 8, 8), 10 classes.",
        "Tiny(width=",
        "linf:",
        "union",
        "not checked",
        "Limits",
    ):
        assert needed in card, f"the model card of {form} does not say {needed!r}"
    code = [part.partition("\n")[2] for part in card.split("```") if part.startswith("python")]
    assert len(code) == 2, "a piece of code for each of two peers"
    command, home = [sys.executable, "-c", "\n".join(code)], folders[form].parent
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the card's own code must run:\n{code}\n{done.stderr}"


def test_the_figures_of_a_checked_evaluation(run: matx.LoadedRun, tmp_path: Path) -> None:
    checked = [replace(score, sanity="pass") for score in run.results.scores]
    results = tmp_path / "results.json"
    from matx.results import write_results

    write_results(results, replace(run.results, scores=checked, effort="quick"))
    folder = export(run, ["generalist"], results=results, out=tmp_path / "out")
    assert "Sanity (quick)" in (folder / "README.md").read_text(encoding="utf-8"), "the card shows who checked"


def test_errors_are_sentences(run: matx.LoadedRun, folders: dict[str, Path], tmp_path: Path) -> None:
    there = folders["torch"]
    broken = export(run, ["generalist"], out=tmp_path / "broken")
    (broken / "generalist.safetensors").write_bytes(b"no weights")
    newer = tmp_path / "newer.json"
    newer.write_text(json.dumps({"schema": 99}), encoding="utf-8")
    cases: list[tuple[object, type[MatxError], str]] = [
        (lambda: export(run, ["nobody"], out=tmp_path / "a"), RunError, "got 'nobody', allowed: linf, l2, l1"),
        (lambda: export(run, out=there), RunError, "exists already, allowed: a folder that does not"),
        (
            lambda: export(run, form="onx", out=tmp_path / "b"),
            MatxError,
            "robustbench, timm; did you mean 'onnx'",
        ),
        (lambda: export(run, results=newer, out=tmp_path / "c"), RunError, "schema 99, allowed: 1 or 2"),
        (lambda: matx.load(there).peer("generalist"), RunError, "an export as torch, allowed: one as safetensors"),
        (lambda: matx.load(broken).peer("generalist"), CheckpointError, "does not hold the weights of peer"),
        (lambda: matx.load(broken).peer("nobody"), RunError, "got 'nobody', allowed: generalist"),
        (lambda: matx.load(broken).peer("generalist", checkpoint="last"), RunError, "got checkpoint 'last', allowed"),
        (lambda: matx.load("zoo:nothing"), RunError, "zoo:nothing: got 'nothing', allowed: "),
    ]
    for call, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            call()  # type: ignore[operator]
    assert not list(tmp_path.glob("[abc]")), "a refused export leaves no folder"
