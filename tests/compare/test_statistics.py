"""Intervals against closed forms, and the words that are not said of equal methods."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from matx.compare import (
    Difference,
    Interval,
    crossed_bootstrap,
    mcnemar,
    paired_bootstrap,
    paired_t,
)


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
