"""Wrong labels: how many, which, of which split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import matx
from matx.data import MemorySplit
from matx.engine import Training, fit
from matx.label_noise import mislabelled
from matx.runtime.identity import differences, identity_of, images_of
from tests.engine.world import LINF, experiment, independent, peer

SPLIT = MemorySplit.of(torch.rand(400, 1, 2, 2), torch.arange(400) % 10)


def test_exactly_the_share_is_wrong_and_every_other_class_occurs() -> None:
    noisy = mislabelled(SPLIT, 0.25, 10, seed=3)
    wrong = noisy.labels != SPLIT.labels
    assert int(wrong.sum()) == 100, f"{int(wrong.sum())} of 400 labels are wrong, not a quarter"
    steps = ((noisy.labels - SPLIT.labels) % 10)[wrong].bincount(minlength=10)
    assert steps[0] == 0, "a wrong label is the right one"
    assert bool((steps[1:] >= 3).all()), f"the classes are not drawn uniformly: {steps.tolist()}"
    assert noisy.labels.min() >= 0, "labels are classes"
    assert noisy.labels.max() <= 9, "labels are classes"
    assert torch.equal(noisy.read(torch.tensor([5])), SPLIT.images[[5]]), "images are as they were"
    two = mislabelled(MemorySplit.of(torch.rand(40, 1, 2, 2), torch.arange(40) % 2), 0.5, 2, seed=3)
    assert int((two.labels != torch.arange(40) % 2).sum()) == 20, "with two classes a wrong label is the other one"


def test_the_seed_draws_and_a_larger_share_holds_the_smaller_one() -> None:
    small, same, large, other = (
        mislabelled(SPLIT, share, 10, seed=seed).labels for share, seed in ((0.1, 0), (0.1, 0), (0.3, 0), (0.1, 1))
    )
    assert torch.equal(small, same), "the same seed gives other labels"
    assert not torch.equal(small, other), "another seed gives the same labels"
    wrong = small != SPLIT.labels
    assert torch.equal(small[wrong], large[wrong]), "a larger share is not of the same labels and more"
    assert mislabelled(SPLIT, 0.0, 10, seed=0) is SPLIT, "no noise is no change"


def test_only_training_has_wrong_labels(launch: Callable[..., Training]) -> None:
    clean, noisy = (launch(independent(), {"a": peer(LINF)}, label_noise=share) for share in (0.0, 0.2))
    assert int((clean.data.train.labels != noisy.data.train.labels).sum()) == 16, "20 % of 80 labels are 16"
    assert clean.data.val is not None, "there is a validation split"
    assert noisy.data.val is not None, "there is a validation split"
    assert torch.equal(clean.data.val.labels, noisy.data.val.labels), "validation labels stay as they are"
    assert torch.equal(clean.data.test.labels, noisy.data.test.labels), "test labels stay as they are"
    first, second = (next(fit(training)) for training in (clean, noisy))
    assert first != second, "a step does not see the wrong labels"


def test_the_identity_names_them_and_seeds_stay_one_method() -> None:
    one = experiment(independent(), {"a": peer(LINF)})
    noisy = replace(one, label_noise=0.2)
    assert differences(identity_of(one), identity_of(noisy)) == ["label_noise: 0.0 -> 0.2"], "the identity says so"
    data = one.dataset()
    first, second = (images_of(replace(noisy, seed=seed), data) for seed in (0, 1))
    assert first == second, "seeds of one method have other training images, so `matx compare` takes them for two"


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(matx.MatxError, match=r"label_noise: got 1.0, allowed: 0 or more, below 1"):
        experiment(independent(), {"a": peer(LINF)}, label_noise=1.0)
