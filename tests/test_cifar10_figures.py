"""The figures of the study on CIFAR-10 draw the numbers that are stored."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from tools.results.cifar10 import figures
from tools.results.stored import Method

IMAGES = 200


def method(name: str, best: float, last: float, validation: list[float | None]) -> Method:
    """Two seeds; of `best` and `last` of the images right, the second seed 10 points more at its best."""
    runs = []
    for seed, more in ((10, 0.0), (11, 0.1)):
        shares = {"best raw": best + more, "last raw": last}
        flags = {place: {"robust": [packed(share)], "clean": [packed(share)]} for place, share in shares.items()}
        epochs = {"best": 1, "last": 2}
        runs.append(
            {"seed": seed, "epochs": epochs, "flags": flags, "validation": validation, "train": [0.2, 0.4 + more]}
        )
    stored = {"runs": runs, "test": {"n": IMAGES}, "averaged": False, "transfer": []}
    return Method(name=name, stored=stored, seeds=(10, 11))


def packed(share: float) -> str:
    """So many of the images right."""
    return base64.b64encode(np.packbits(np.arange(IMAGES) < round(IMAGES * share)).tobytes()).decode()


AT = method("at", 0.3, 0.25, [None, 0.2])
MAT = method("mat", 0.35, 0.35, [None, 0.25])


def test_curves_are_means_and_ranges_of_seeds() -> None:
    rows = figures.curves((AT, MAT)).spec["data"]["values"]
    found = {(row["series"], row["x"]): (row["low"], row["y"], row["high"]) for row in rows}
    assert found["at, training images", 2] == pytest.approx((40, 45, 50)), "the seeds have 40 and 50 %"
    assert found["mat, validation images", 2] == pytest.approx((25, 25, 25)), "both seeds have 25 %"
    assert ("at, validation images", 1) not in found, "the first epoch was not validated"


def test_a_gain_is_drawn_against_what_plain_training_lost_on_its_seed() -> None:
    rows = figures.gain(AT, MAT).spec["data"]["values"]
    found = {(row["series"], row["what"]): (row["x"], row["y"]) for row in rows}
    assert found["best", "seed 10"] == pytest.approx((5, 5)), "plain training loses 30 - 25, and 35 - 30 are gained"
    assert found["last", "seed 11"] == pytest.approx((15, 10)), "it loses 40 - 25, and 35 - 25 are gained"


def test_whose_examples_fool_whom_is_a_square_of_shares() -> None:
    found = [{"model": "a", "source": "b", "value": 0.25}]
    (row,) = figures.transfer(found).spec["data"]["values"]
    assert row == {"column": "b", "row": "a", "value": 25.0}, "a is right on 25 % of the examples found against b"


def test_nothing_is_drawn_before_both_methods_were_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "OUT", tmp_path / "none.json")
    (tmp_path / "none.json").write_text('{"methods": {}, "searches": {}}')
    assert figures.drawn() == {}, "there is nothing to draw"
