"""The answers of the study: who the rival is, what was asked, and what no longer counts as asked."""

from __future__ import annotations

import base64

import numpy as np

from tools.results.cifar10 import page
from tools.results.stored import Method


def method(name: str, share: float, seeds: tuple[int, ...] = (10, 11, 12, 13, 14), peers: int = 1) -> Method:
    """A method whose runs get this share of 400 images right, each seed others, in every place."""
    runs = []
    for seed in seeds:
        right = np.random.default_rng(seed).permutation(400) < 400 * (share + seed / 10_000)
        packed = [base64.b64encode(np.packbits(right).tobytes()).decode()] * peers
        places = ("best raw", "last raw", "apgd best raw", "apgd last raw")
        flags = {place: {"clean": packed, "robust": packed} for place in places}
        runs.append({"seed": seed, "epochs": {"best": 11, "last": 30}, "flags": flags})
    stored = {"runs": runs, "test": {"n": 400}, "apgd images": 400, "passes": 13.0, "teachers": 0.0, "averaged": False,
              "epochs": 30}  # fmt: skip
    return Method(name=name, stored=stored, seeds=seeds)


def test_the_rival_has_the_highest_validation_score_of_any_trial() -> None:
    raw, average = {"Evaluation.select": "raw"}, {"Evaluation.select": "average"}
    searches = {
        "at": [{"values": [0.21], "params": raw}, {"values": [0.23], "params": average}],
        "self_distillation": [{"values": [0.22], "params": average}],
        "trades": [{"values": None, "params": {}}, {"values": [0.24], "params": {}}],
        "mat": [{"values": [0.3], "params": {}}],
    }
    assert page.strongest(searches) == "trades", "mat is no rival of itself; trades has 24 %"
    searches["trades"].pop()
    assert page.strongest(searches) == "at_averaged", "at has 23 % where the averages of its weights are scored"


def test_what_comes_behind_a_difference_that_is_not_shown_is_exploratory() -> None:
    methods = {"mat": method("mat", 0.5, peers=2), "at": method("at", 0.3), "trades": method("trades", 0.5)}
    rows = page.answers(methods, "trades")[2:]
    standings = [row.rstrip(" |").rpartition("| ")[2] for row in rows]
    assert standings == ["asked", *["exploratory"] * 7], "the first difference is 0, and the others come behind it"
    assert "+20.0; t [+20.0, +20.0]" in rows[1], "mat minus at is 20 points on every seed"
    assert "not run" in rows[4], "there is no run with a frozen peer"


def test_seeds_that_only_one_method_has_do_not_count() -> None:
    methods = {"mat": method("mat", 0.5), "at": method("at", 0.3, seeds=(10, 12))}
    row = page.answers(methods, "at")[2].split(" | ")
    assert row[2] == "2", "two seeds are of both"
    assert "too few seeds" in row[4], "two pairs show no difference"


def test_a_place_where_a_method_was_not_attacked_is_not_made_up() -> None:
    assert not method("at", 0.3).has("best ema", 10), "no averages were attacked"
    assert method("at", 0.3).has("apgd last raw", 10), "APGD attacked the last epoch"


def test_a_method_of_averaged_weights_is_compared_by_them() -> None:
    averaged = method("at_averaged", 0.4)
    for run in averaged.stored["runs"]:
        run["flags"] = {place.replace("best raw", "best ema"): found for place, found in run["flags"].items()}
    averaged.stored["averaged"] = True
    row = page.answers({"mat": method("mat", 0.5), "at_averaged": averaged}, "at_averaged")[2]
    assert "+10.0; t [+10.0, +10.0]" in row, "50 % are right less 40 % of the averaged weights"


def test_a_figure_of_fewer_seeds_says_so() -> None:
    fewer = method("at", 0.3)
    for run in fewer.stored["runs"][2:]:
        del run["flags"]["apgd last raw"]
    for run in fewer.stored["runs"]:
        run["seconds"] = {"training": 90.0}
    cells = page.figures([fewer])[2].split(" | ")
    assert cells[5 + list(page.COLUMNS).index("APGD, last")].endswith("; 2 of 5 seeds"), "the last epochs of two seeds"
    assert cells[5].endswith(")"), "all seeds are there"
    assert cells[2] == "9.6", "13 passes of 1,000 images in 30 epochs, 24.5 MFLOP each"
