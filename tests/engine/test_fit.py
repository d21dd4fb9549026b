"""A training of several steps: randomness, augmentation, optimizers, records."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import matx
from matx.engine import EpochRecord, step
from matx.randomness import SampleGenerator, hashed
from tests.engine.world import LINF, Launch, first_batch, independent, mat, peer, run, same, weights


def test_runs_are_paired(launch: Launch) -> None:
    """Peer 'a' of two recipes starts from the same weights and sees the same crafted examples."""
    single, pair = launch(independent(), {"a": peer(LINF)}), launch(mat(), {"a": peer(LINF), "b": peer(LINF)})
    assert same(weights(single, "a"), weights(pair, "a")), "initial weights depend on the company"
    first, second = run(single, 1)[0], run(pair, 1)[0]
    assert first.losses["a"]["accuracy"] == second.losses["a"]["accuracy"], "examples depend on the company"
    other = launch(independent(), {"a": peer(LINF)}, seed=1)
    assert not same(weights(single, "a"), weights(other, "a")), "the seed does not change the weights"


def test_the_callers_generators_are_untouched(launch: Launch) -> None:
    training = launch(mat(), {"a": peer(LINF), "b": peer(LINF)})
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    run(training)
    assert torch.equal(torch.rand(3), expected), "training drew from the caller's generator"


def test_augmentation_is_shared_by_peers_and_keyed_by_epoch(launch: Launch) -> None:
    shown: list[int] = []

    def spy(images: Tensor, generator: SampleGenerator) -> Tensor:
        shown.append(generator.key)
        return images

    training = launch(independent(), {"a": peer(LINF), "b": peer(LINF)}, augment=spy, train_limit=32)
    run(training)
    assert len(shown) == 2, f"two epochs of one batch augmented {len(shown)} times, not once each"
    assert shown[0] != shown[1], "both epochs draw the same augmentation"


def test_augmentations_are_composed_in_order_each_with_its_own_draws(launch: Launch) -> None:
    crop, flip = matx.augmentations["pad_crop"](pad=2), matx.augmentations["flip"]()
    training = launch(independent(), {"a": peer(LINF)}, augment=[crop, flip, crop])
    batch = first_batch(training)
    generator = SampleGenerator(hashed(training.experiment.seed, "augment", 0), batch.indices)
    expected = crop(flip(crop(batch.images, generator), generator), generator.at("again", 1))
    given: list[Tensor] = []
    training.learners["a"].module.register_forward_pre_hook(lambda module, images: given.append(images[0]))
    step(training, batch)
    assert bool(LINF.contains(given[-1], expected).all()), "the training images are not those augmented in order"
    single = LINF.contains(given[-1], crop(batch.images, generator))
    assert int(single.sum()) < 16, f"one augmentation explains {int(single.sum())} of 32 training images"


def test_records_and_passes(launch: Launch) -> None:
    """PGD-2 that keeps the best: 3 forwards, 2 backwards to the input; one training pass; per image and peer."""
    training = launch(independent(), {"a": peer(LINF), "b": peer(LINF)})
    records = run(training)
    epochs = [record for record in records if isinstance(record, EpochRecord)]
    assert len(records) == 2 * 3 + 2, "80 images in batches of 32 are 3 steps an epoch"
    assert dict(epochs[-1].passes) == {"forward": 8.0, "backward_input": 4.0, "backward_weights": 2.0}
    mean = sum(r.losses["a"]["loss"] * r.images for r in records[:3]) / 80
    assert epochs[0].train["a"]["loss"] == pytest.approx(mean, abs=1e-12), "the epoch's mean is not over its images"
    assert epochs[0].score == pytest.approx(
        sum(rates["union"].accuracy for rates in (epochs[0].validation or {}).values()) / 2
    ), "the score is not the mean over scored peers"


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimizer_learns(launch: Launch, name: str) -> None:
    lr = 0.05 if name == "sgd" else 0.003
    optimizer = matx.optimizers[name](lr=lr, decay_norm_and_bias=False, clip=1.0)
    training = launch(independent(), {"a": peer(LINF, optimizer=optimizer, ema=0.5)}, epochs=6)
    epochs = [record for record in run(training) if isinstance(record, EpochRecord)]
    assert epochs[-1].train["a"]["loss"] < epochs[0].train["a"]["loss"], f"{name} did not lower the loss"
