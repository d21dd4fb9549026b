"""Comparing runs: statistics against closed forms, pairing by seed, refusals, and the words that are not said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from matx.cli import main
from matx.compare import (
    Difference,
    Interval,
    as_json,
    as_markdown,
    compare,
    crossed_bootstrap,
    mcnemar,
    notes,
    paired_bootstrap,
    paired_t,
)
from matx.errors import RunError
from matx.measure import Flags, PeerScores
from matx.report import results, write_flags, write_results


def a_run(
    folder: Path,
    name: str,
    seed: int,
    clean: Sequence[bool],
    standing: Sequence[bool],
    *,
    key: str = "linf:0.1",
    passes: float = 10.0,
    fingerprint: str = "abc",
    **settings: Any,
) -> Path:
    """A run folder as far as a comparison reads it, with one scored peer and these flags."""
    folder.mkdir()
    scores = PeerScores.of(Flags(clean=torch.tensor(clean), threats={key: torch.tensor(standing)}))
    n = len(clean)
    dataset = {"name": "digits", "split": "test", "n": n, "fingerprint": fingerprint}
    found = results(
        experiment=name,
        dataset=dataset,
        scored=["a"],
        best={"a": scores},
        best_epoch=3,
        last={"a": scores},
        last_epoch=4,
        passes={"forward": passes},
    )
    write_results(folder / "results.json", found)
    write_flags(
        folder / "flags.npz",
        {"best": {"a": scores}, "last": {"a": scores}},
        indices=torch.arange(n),
        labels=torch.zeros(n, dtype=torch.int64),
    )
    (folder / "environment.json").write_text(json.dumps({"seed": seed}))
    (folder / "resolved.json").write_text(json.dumps({"Experiment.seed": seed, "Experiment.epochs": 4, **settings}))
    return folder


def coin(seed: int, share: float, n: int = 200) -> list[bool]:
    return [bool(x) for x in np.random.default_rng(seed).random(n) < share]


def test_statistics_agree_with_scipy_and_closed_forms() -> None:
    values = np.array([0.02, 0.05, -0.01, 0.03, 0.04])
    interval = paired_t(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert interval is not None, "five values have a t interval"
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high)), "not Student's interval"
    assert paired_t(values[:1]) is None, "one value has no t interval"

    first, second = np.array([1.0] * 40 + [0.0] * 60), np.array([1.0] * 30 + [0.0] * 50 + [1.0] * 20)
    # 10 images are lost and 20 gained: a binomial test of 20 in 30.
    assert mcnemar(first, second) == pytest.approx(stats.binomtest(20, 30).pvalue), "not McNemar's exact test"
    assert mcnemar(first, first) == 1.0, "equal answers show no difference"
    assert mcnemar(first / 3, second) is None, "shares of several peers are not right-or-wrong answers"

    images = second - first
    spread = 1.96 * images.std() / len(images) ** 0.5
    boot = paired_bootstrap(images)
    assert boot is not None, "a hundred images have an interval"
    assert (boot.low, boot.high) == pytest.approx((images.mean() - spread, images.mean() + spread), abs=0.02), (
        "the bootstrap over images is far from the normal interval"
    )
    several = np.stack([images, images, images])
    crossed = crossed_bootstrap(several)
    assert crossed is not None, "three seeds have a crossed interval"
    assert (crossed.low, crossed.high) == pytest.approx((boot.low, boot.high), abs=0.02), (
        "identical seeds add no spread to that of the images"
    )
    assert crossed_bootstrap(several[:1]) is None, "one seed has no crossed interval"


def a_null_case(rng: np.random.Generator, seeds: int = 5, images: int = 300) -> Difference:
    """Two methods that are equally good on all images that there are, each trained with 5 seeds, tested on 300 images.

    The logit of being right on an image is the sum of the image's difficulty (sd 4: most images are right always or
    never), what the method makes of this image (sd 2.5, drawn for each method alike) and the seed's own luck (sd 0.1).
    """
    difficulty = rng.normal(0.0, 4.0, images)
    right = []
    for _ in ("first", "second"):
        logits = difficulty + rng.normal(0.0, 2.5, images) + rng.normal(0.0, 0.1, (seeds, 1))
        right.append((rng.random((seeds, images)) < 1 / (1 + np.exp(-logits))).astype(float))
    flags = right[1] - right[0]
    values = flags.mean(1)
    t = paired_t(values)
    assert t is not None, "five seeds have a t interval"
    bootstrap = crossed_bootstrap(flags) if t.excludes_zero else Interval(-1.0, 1.0)  # it decides only where t does
    return Difference(
        column="union", by_seed=tuple(enumerate(values)), mean=float(values.mean()), t=t, bootstrap=bootstrap, p=None
    )


def test_equal_methods_are_seldom_called_different() -> None:
    rng, cases = np.random.default_rng(0), 500
    found = [a_null_case(rng) for _ in range(cases)]
    by_t = sum(case.t is not None and case.t.excludes_zero for case in found) / cases
    by_both = sum(case.word in ("higher", "lower") for case in found) / cases
    assert 0.18 <= by_t <= 0.38, f"the t interval over seeds alone is said to err in 18 to 38 %, here {by_t:.1%}"
    assert 0.005 <= by_both <= 0.035, (
        f"1 to 3 % (+- 0.5 %, one standard error of {cases} cases) are to be called different, here {by_both:.1%}"
    )


def test_no_word_without_flags_of_images() -> None:
    by_seed = tuple((seed, 0.1 + 0.001 * seed) for seed in range(5))
    t = paired_t(np.array([value for _, value in by_seed]))
    case = Difference(column="union", by_seed=by_seed, mean=0.1, t=t, bootstrap=None, p=None)
    assert t is not None, "five seeds have a t interval"
    assert t.excludes_zero, "the case is none: by the t interval it would be called higher"
    assert case.word == "", f"without flags nobody knows the spread of images, yet it is called {case.word!r}"


def test_runs_are_paired_by_seed(tmp_path: Path) -> None:
    paths = []
    for seed in range(5):
        base = coin(seed, 0.5)
        better = [b or c for b, c in zip(base, coin(seed + 50, 0.2), strict=True)]
        paths.append(a_run(tmp_path / f"at-{seed}", "at", seed, [True] * 200, base))
        paths.append(a_run(tmp_path / f"mat-{seed}", "mat", seed, [True] * 200, better, passes=20.0))
    found = compare(paths)
    assert [method.name for method in found.methods] == ["at", "mat"], "runs that differ in the seed are one method"
    union = next(d for d in found.differences["mat"] if d.column == "union")
    assert [seed for seed, _ in union.by_seed] == [0, 1, 2, 3, 4], "every paired seed's value is kept"
    assert union.word == "higher", f"five seeds of about +10 points are called {union.word!r}"
    clean = next(d for d in found.differences["mat"] if d.column == "clean")
    assert clean.word == "no difference shown", "equal clean accuracies are called different"
    assert any("Cost NOT equal" in note for note in notes(found)), "a doubled cost goes unsaid"
    fewer = compare([path for path in paths if not path.name.endswith("-4")])
    assert all(d.word == "" for d in fewer.differences["mat"]), "four paired seeds got a word such as higher"
    assert any("too few to call" in note for note in notes(fewer)), "few seeds go unsaid"


def test_one_seed_speaks_of_two_models_only(tmp_path: Path) -> None:
    first = a_run(tmp_path / "one", "at", 0, [True] * 200, coin(1, 0.5))
    second = a_run(tmp_path / "two", "mat", 0, [True] * 200, coin(2, 0.6))
    text = as_markdown(compare([first, second]))
    assert "these two models, not the methods" in text, "one seed is presented as a comparison of methods"
    assert "McNemar p" in text, "one seed shows no McNemar test"
    plain = as_json(compare([first, second]))["differences"]["mat"]["union"]
    assert plain["t"] is None, "one seed has a t interval"
    assert plain["scope"] == "these two models, not the methods", "the JSON does not say what a single seed speaks of"


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    base = a_run(tmp_path / "base", "at", 0, [True] * 4, [True] * 4)
    cases = {
        "images": (a_run(tmp_path / "i", "m", 0, [True] * 4, [True] * 4, fingerprint="xyz"), "not tested on the same"),
        "threat": (a_run(tmp_path / "t", "m", 0, [True] * 4, [True] * 4, key="linf:0.2"), "not attacked alike"),
        "seeds": (a_run(tmp_path / "s", "m", 1, [True] * 4, [True] * 4), "at least one seed that both have"),
        "twice": (a_run(tmp_path / "d", "at", 0, [True] * 4, [True] * 4), "are both seed 0 of at"),
    }
    for path, sentence in cases.values():
        with pytest.raises(RunError, match=sentence):
            compare([base, path])
    with pytest.raises(RunError, match="two or more"):
        compare([base])
    same = a_run(tmp_path / "same", "m", 0, [True] * 4, [False] * 4, key="linf:1/10")
    assert compare([base, same]).columns[1] == "linf:0.1", "threats of equal value are not compared by value"


def test_the_command_prints_all_three_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = a_run(tmp_path / "one", "at", 0, [True] * 50, coin(1, 0.5, 50))
    second = a_run(tmp_path / "two", "at", 0, [True] * 50, coin(2, 0.6, 50), **{"strategies.mat.alpha": 0.5})
    for form in ("text", "markdown", "json"):
        assert main(["compare", str(first), str(second), "--format", form]) == 0, f"--format {form} failed"
        shown = capsys.readouterr().out
        assert "at (two)" in shown, f"{form}: methods of one name are not told apart by their folder"
    assert json.loads(shown)["schema"] == 1, "the JSON form is not JSON of schema 1"
    assert main(["compare", str(first), str(second), "--json"]) == 0, "--json failed"
    assert capsys.readouterr().out == shown, "--json is not the same document as --format json"
    assert main(["compare", str(first), str(tmp_path / "nothing")]) == 2, "a missing run is not bad input"
    assert "is not there" in capsys.readouterr().err, "a missing run gets no clear sentence"
