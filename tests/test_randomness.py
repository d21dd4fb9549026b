import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from matx.randomness import SampleGenerator, hashed, seed_for


def generator(key: int = 11, count: int = 200) -> SampleGenerator:
    return SampleGenerator(key, torch.arange(count))


def test_hash_is_stable_and_typed() -> None:
    assert hashed("craft", 3, "linf") == hashed("craft", 3, "linf"), "the same parts hash differently"
    assert hashed(1) != hashed("1"), "1 and '1' must differ"
    assert hashed("ab", "c") != hashed("a", "bc"), "where a part ends must count"
    assert 0 <= seed_for("x", 1) < 2**32, "a seed has 32 bits"
    assert hashed("matx", 0) == 13667328901924132923, "the hash changed: runs of earlier versions no longer reproduce"


@pytest.mark.parametrize(
    ("kind", "law"), [("uniform", stats.uniform.cdf), ("normal", stats.norm.cdf), ("laplace", stats.laplace.cdf)]
)
def test_draws_follow_their_law(kind: str, law: object) -> None:
    drawn: Tensor = getattr(generator(), kind)((10, 10))
    assert drawn.shape == (200, 10, 10), "one draw a sample and entry"
    assert drawn.dtype == torch.float32, "draws are fp32"
    assert drawn.isfinite().all(), "a draw is not finite"
    values = drawn.double().flatten().numpy()
    assert stats.kstest(values, law).pvalue > 1e-3, f"the draws are not {kind}"


def test_neighbours_are_independent() -> None:
    drawn = generator(5, 400).uniform((400,)).double().numpy()
    for shifted, along in ((drawn[1:], "samples"), (drawn[:, 1:], "entries")):
        rest = drawn[:-1] if along == "samples" else drawn[:, :-1]
        correlation = np.corrcoef(shifted.ravel(), rest.ravel())[0, 1]
        assert abs(correlation) < 4 / math.sqrt(shifted.size), f"neighbouring {along} are correlated: {correlation}"
    other = SampleGenerator(6, torch.arange(400)).uniform((400,)).double().numpy()
    assert abs(np.corrcoef(drawn.ravel(), other.ravel())[0, 1]) < 0.01, "neighbouring keys are correlated"
    purpose = generator(5, 400).at("restart", 1).uniform((400,)).double().numpy()
    assert abs(np.corrcoef(drawn.ravel(), purpose.ravel())[0, 1]) < 0.01, "purposes are correlated"


def test_a_draw_depends_only_on_its_sample() -> None:
    everybody = SampleGenerator(3, torch.tensor([7, 1, 40, 3]))
    wanted = everybody.at("start").normal((2, 3))
    single = SampleGenerator(3, torch.tensor([40])).at("start").normal((2, 3))
    assert torch.equal(single[0], wanted[2]), "the batch changes a sample's draw"
    mask = torch.tensor([False, True, False, True])
    assert torch.equal(everybody.select(mask).at("start").normal((2, 3)), wanted[mask]), "a mask changes draws"
    assert torch.equal(everybody.at("start").normal((2, 3)), wanted), "drawing again gives something else"
    assert not torch.equal(everybody.at("start", 1).normal((2, 3)), wanted), "another purpose gives the same draw"


def test_integers_are_uniform_with_both_ends() -> None:
    drawn = generator(2, 5000).integers(5, 20)
    counts = torch.bincount(drawn, minlength=21)[5:]
    assert drawn.min() == 5, "the low end is never drawn"
    assert drawn.max() == 20, "the high end is never drawn, or passed"
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3, "the integers are not uniform"


def test_large_keys_and_indices_are_taken() -> None:
    far = SampleGenerator(2**64 - 1, torch.tensor([0, 2**40, 2**62]))
    drawn = far.uniform((50,))
    assert ((drawn >= 0) & (drawn < 1)).all(), "a uniform draw lies outside [0,1)"
    assert len(drawn.unique()) > 140, "distant samples share draws"
