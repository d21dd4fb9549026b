"""What is refused because it was not measured alike, or cannot be read, and what is named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from matx.cli import main
from matx.compare import (
    compare,
    notes,
)
from matx.errors import RunError
from matx.results import MetricUsed, read_results, write_results
from tests.compare.runs import ATTACK, a_run, coin

IMAGES = {"name": "digits", "split": "test", "n": 4, "fingerprint": "abc"}


OTHER: dict[str, tuple[str, int, dict[str, Any], str]] = {
    "images": (
        "m",
        0,
        {"dataset": {**IMAGES, "fingerprint": "xyz"}},
        "not tested on the same images: fingerprint 'abc' and 'xyz'",
    ),
    "number of images": ("m", 0, {"dataset": {**IMAGES, "n": 3}}, "n 4 and 3"),
    "radius": ("m", 0, {"key": "linf:0.2"}, "not attacked alike: 1 and 0 times pgd in linf:0.1"),
    "steps": (
        "m",
        0,
        {"attacks": [replace(ATTACK, options={"steps": 1, "restarts": 1})]},
        "not attacked alike: pgd in linf:0.1 has steps 20 and 1; allowed: runs evaluated by the same attacks",
    ),
    "a second attack": ("m", 0, {"attacks": [ATTACK, ATTACK]}, "not attacked alike: 1 and 2 times pgd in linf:0.1"),
    "a grid": ("m", 0, {"attacks": [ATTACK, replace(ATTACK, reported=False)]}, "0 and 1 times pgd in linf:0.1"),
    "union only": (
        "m",
        0,
        {"settings": {"batch_size": 256, "union_only": True}},
        "not measured alike: union_only False and True",
    ),
    "a metric": (
        "m",
        0,
        {"metrics": [MetricUsed(name="robust", table="", options={"ways": 3})]},
        "not measured alike: robust.ways missing and 3",
    ),
    "seeds": ("m", 1, {}, "at least one seed that both have"),
    "nothing": ("at", 0, {}, "are both seed 0 of at"),
}


@pytest.mark.parametrize("what", OTHER)
def test_what_cannot_be_compared_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    name, seed, changes, sentence = OTHER[what]
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    other = a_run(tmp_path / "other", name, seed, [True] * 4, [True] * 4, **changes)
    with pytest.raises(RunError, match=re.escape(sentence)) as refused:
        compare([base, other])
    assert "\n" not in str(refused.value), "the refusal is more than one line"


def test_a_comparison_needs_two_runs_with_figures(tmp_path: Path) -> None:
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    with pytest.raises(RunError, match="two or more"):
        compare([base])
    unscored = a_run(tmp_path / "unscored", "m", 0, [True] * 4, [True] * 4, scored=())
    with pytest.raises(RunError, match="no scored peer was evaluated"):
        compare([base, unscored])
    apart = a_run(tmp_path / "apart", "m", 0, [True] * 4, [True] * 4, epochs={"best": 3, "last": 4})
    with pytest.raises(RunError, match="holds no figures of a at checkpoint 'last'; checkpoints: best"):
        compare([base, apart], checkpoint="last")
    for text, sentence in (("{}", "environment.json: holds no seed"), ("{", "environment.json: cannot be read")):
        (unscored / "environment.json").write_text(text)
        write_results(unscored / "results.json", read_results(base))
        with pytest.raises(RunError, match=re.escape(sentence)):
            compare([base, unscored])


def test_the_same_weights_under_weaker_attacks_are_not_higher(tmp_path: Path) -> None:
    """Five seeds scored with 20 steps, and again with 1 step, by which more images seem robust."""
    weaker = replace(ATTACK, options={"steps": 1, "restarts": 1})
    paths = []
    for seed in range(5):
        robust = coin(seed, 0.5)
        more = [flag or extra for flag, extra in zip(robust, coin(seed + 50, 0.2), strict=True)]
        paths.append(a_run(tmp_path / f"strong-{seed}", "at", seed, [True] * 200, robust))
        steps = {"evaluation.attacks[0].steps": "1"}
        paths.append(a_run(tmp_path / f"weak-{seed}", "at", seed, [True] * 200, more, identity=steps, attacks=[weaker]))
    with pytest.raises(RunError, match=re.escape("pgd in linf:0.1 has steps 20 and 1")):
        compare(paths)


def test_threat_models_and_columns_are_compared_by_value(tmp_path: Path) -> None:
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    same = a_run(tmp_path / "same", "m", 0, [True] * 4, [False] * 4, key="linf:1/10")
    found = compare([base, same])
    assert [column.heading for column in found.columns] == ["clean", "linf:0.1", "union"], "columns got lost"
    assert found.differences["m"][1].mean == -1.0, "threats of equal value are not compared by value"


def test_what_differs_and_matters_little_is_named(tmp_path: Path) -> None:
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    changes = {
        "draws": 7,
        "provenance": {"torch": "2.7.1", "device": "cuda", "date": "2026-02-01"},
        "settings": {"batch_size": 64, "union_only": False},
    }
    said = " ".join(notes(compare([base, a_run(tmp_path / "other", "m", 0, [True] * 4, [True] * 4, **changes)])))
    assert "Of training seed 0, the evaluations drew from different seeds: 0, 7." in said, "other draws go unsaid"
    for name, values in (("torch", "2.6.0, 2.7.1"), ("device", "cpu, cuda"), ("batch_size", "256, 64")):
        assert f"Evaluated with different {name}: {values};" in said, f"another {name} goes unsaid"
    assert "date" not in said, "the day of an evaluation is said to matter"
    alike = " ".join(notes(compare([base, a_run(tmp_path / "alike", "m", 0, [True] * 4, [True] * 4)])))
    assert "different" not in alike, "equal evaluations are said to differ"


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("results.json", '{"schema": 3}', "got results of schema 3, allowed: 1 or 2"),
        ("results.json", '{"schema": 2, "experiment": "x", "how": {}}', "is a required property"),
        ("flags.npz", "no archive", "cannot be read"),
        ("environment.json", "[", "cannot be read"),
        ("environment.json", '{"seed": null}', "got seed None, allowed: an integer"),
        ("identity.json", "[", "cannot be read"),
        ("identity.json", "[]", "got list, allowed: a JSON object"),
    ],
)
def test_damaged_files_and_unknown_schemas_end_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, sentence: str
) -> None:
    paths = [a_run(tmp_path / name, name, 0, [True] * 4, [True] * 4) for name in ("at", "mat")]
    (paths[1] / file).write_text(text)
    assert main(["compare", *map(str, paths)]) == 2, "bad input ends with exit code 2"
    said = capsys.readouterr().err
    assert sentence in said, f"it is not said what is wrong: {said}"
    assert str(paths[1] / file) in said.replace("\n", ""), f"it is not said where: {said}"
    assert "Traceback" not in said, "a traceback is shown"
