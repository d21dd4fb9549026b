"""The bench: the plain loops do what the engine does, every verb runs, and the page is what the committed JSON says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))


VERBS = ["step", "attack", "eval", "peers", "memory", "startup"]


def counted(models: dict[str, torch.nn.Module]) -> dict[str, Any]:
    from benchmarks.evaluation import Counted

    return {name: Counted(model) for name, model in models.items()}


def passes(models: dict[str, Any]) -> tuple[int, int]:
    return sum(m.forwards for m in models.values()), sum(m.backwards for m in models.values())


def test_the_plain_mutual_loop_has_the_losses_and_passes_of_mat() -> None:
    from benchmarks.step import plain
    from benchmarks.worlds import first_batch, training

    from matx.engine import step
    from matx.engine.crafting import craft_all

    live = training("tiny", batch_size=6, peers=3)
    batch, loop = first_batch(live), plain(live)
    examples = craft_all(live, batch)
    found = loop.losses([examples[name].views[0] for name in live.learners], batch.labels)
    expected = [float(loss.detach()) for loss in found]
    live.passes.forward = live.passes.backward_input = 0
    losses = step(live, batch).losses
    assert [losses[name]["loss"] for name in live.learners] == pytest.approx(expected, rel=1e-5), "the losses differ"
    models = counted(dict(enumerate(loop.models)))  # type: ignore[arg-type]
    type(loop)(models=list(models.values()), optimizers=loop.optimizers).step(batch.images, batch.labels)
    assert passes(models) == (live.passes.forward, live.passes.backward_input), "the passes differ"


def test_the_plain_union_loop_has_the_passes_of_the_recipe_and_stays_in_the_threat_models() -> None:
    from benchmarks.plain import ascended
    from benchmarks.step import plain_union
    from benchmarks.worlds import DIGITS, first_batch

    from matx.config import load_experiment
    from matx.engine import start, step

    experiment = load_experiment(["mat_union"], ["Experiment.batch_size=8"]).experiment
    live = start(experiment, experiment.dataset())
    batch, loop = first_batch(live), plain_union(live)
    models = counted(dict(loop.models))
    type(loop)(models=models, optimizers=loop.optimizers, threats=loop.threats).step(batch.images, batch.labels)
    step(live, batch)
    assert passes(models) == (live.passes.forward, live.passes.backward_input), "the passes differ"
    for norm, threat in DIGITS.items():
        found = ascended(loop.models[norm], batch.images, batch.labels, threat)
        assert bool(threat.contains(found, batch.images).all()), f"an example in {norm} is outside"


@pytest.mark.parametrize(
    ("given", "verbs"),
    [("step", ["step"]), pytest.param("all", VERBS, marks=pytest.mark.slow)],
)
def test_a_verb_runs_and_has_its_place_on_the_page(tmp_path: Path, given: str, verbs: list[str]) -> None:
    """All of them take most of a minute, so CI runs the one that the others are built on."""
    command = [sys.executable, ROOT / "tools" / "bench.py", given, "--brief", "--out", "found", "--folder", "models"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, f"the bench runs: {done.stderr[-2000:]}"
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for verb in verbs:
        document = json.loads((tmp_path / "found" / f"{verb}.json").read_text(encoding="utf-8"))
        assert document["machine"]["torch"] == torch.__version__.partition("+")[0], "it says on what it ran"
        for name, rows in document["tables"].items():
            assert rows, f"{verb}: the table {name} has rows"
            assert f"<!-- bench {name} -->" in page, f"the page has a place for {name}"
            assert all(set(row) == set(rows[0]) for row in rows), f"{name}: every row has the same columns"


def test_the_page_is_what_the_committed_figures_say() -> None:
    from benchmarks.page import written

    page = ROOT / "docs" / "performance.md"
    assert written(page, ROOT / "docs" / "performance") == page.read_text(encoding="utf-8"), (
        "docs/performance.md is out of date: run python tools/bench.py page"
    )
