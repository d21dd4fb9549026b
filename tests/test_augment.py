"""Augmentation: in [0,1], keyed by sample, and each part does what it says."""

from __future__ import annotations

import pytest
import torch

from matx.augment import Augment
from matx.errors import OptionError
from matx.randomness import SampleGenerator

EVERYTHING = Augment(pad=2, operations=3, magnitude=1.0, erase=0.5)


def some_images(count: int = 64, height: int = 9, width: int = 12) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def draws(count: int, key: int = 1) -> SampleGenerator:
    return SampleGenerator(key, torch.arange(count))


@pytest.mark.parametrize("augment", [Augment(), Augment(pad=3, fill="reflect"), EVERYTHING], ids=repr)
def test_images_stay_images(augment: Augment):
    images = some_images()
    kept = images.clone()
    result = augment(images, draws(64))
    assert result.shape == images.shape, "the shape is kept"
    assert result.dtype == torch.float32, "pixels are fp32"
    assert bool(((result >= 0) & (result <= 1)).all()), "pixels stay in [0,1]"
    assert torch.equal(images, kept), "the batch itself is left alone"
    assert not torch.equal(result, images), "something must have changed"
    assert torch.equal(result, augment(images, draws(64))), "the same draws give the same images"
    assert not torch.equal(result, augment(images, draws(64, key=2))), "other draws give other images"


def test_a_sample_is_augmented_alike_in_every_batch():
    images = some_images()
    whole = EVERYTHING(images, draws(64))
    rows = torch.tensor([40, 3, 17])
    assert torch.equal(EVERYTHING(images[rows], draws(64).select(rows)), whole[rows]), "batch mates must not matter"


def test_nothing_asked_nothing_done():
    images = some_images()
    plain = Augment(pad=0, flip=False)
    assert torch.equal(plain(images, draws(64)), images), "no padding and no flip leave the images alone"


def test_flipping_mirrors_about_half_of_the_samples():
    images = some_images(400)
    result = Augment(pad=0)(images, draws(400))
    mirrored = (result == images.flip(-1)).flatten(1).all(1)
    kept = (result == images).flatten(1).all(1)
    assert bool((mirrored ^ kept).all()), "every sample is mirrored or kept"
    assert 160 < int(mirrored.sum()) < 240, f"about half are mirrored, got {int(mirrored.sum())} of 400"


def test_cropping_shifts_by_whole_pixels_over_the_whole_range():
    images = some_images(300)
    result = Augment(pad=2, flip=False)(images, draws(300))
    padded = torch.nn.functional.pad(images, [2] * 4)
    shifts = {(i, j): padded[:, :, i : i + 9, j : j + 12] for i in range(5) for j in range(5)}
    hits = {shift: (result == window).flatten(1).all(1) for shift, window in shifts.items()}
    assert bool(torch.stack(list(hits.values())).any(0).all()), "each image is a window of the padded one"
    assert all(bool(hit.any()) for hit in hits.values()), "all 25 shifts occur among 300 samples"


def test_reflection_needs_an_image_larger_than_the_padding():
    with pytest.raises(OptionError, match=r"Augment\.pad: got 9 with fill 'reflect', allowed: below 9"):
        Augment(pad=9, fill="reflect")(some_images(), draws(64))


def test_erasing_sets_one_square_of_a_share_of_the_samples_to_zero():
    images = some_images(400) * 0.9 + 0.1
    result = Augment(pad=0, flip=False, erase=0.25, erase_size=0.5)(images, draws(400))
    gone = (result == 0).all(1)
    area = gone.flatten(1).sum(1)
    assert torch.equal(result[:, 0][~gone], images[:, 0][~gone]), "pixels outside the square are kept"
    assert 70 < int((area > 0).sum()) < 130, f"about a quarter are erased, got {int((area > 0).sum())} of 400"
    assert int(area.max()) == 16, "half of the shorter side of 9 is a square of 4x4 pixels"
    assert bool((area[area > 0] >= 4).all()), "a square that is cut at a corner keeps a quarter"


def test_operations_do_nothing_at_magnitude_zero():
    images = some_images()
    result = Augment(pad=0, flip=False, operations=1, magnitude=0.0)(images, draws(64))
    assert torch.allclose(result, images, atol=1e-5), "magnitude 0 leaves the images as they are, up to interpolation"


def test_operations_reach_geometry_and_colour():
    images = torch.full((300, 3, 9, 9), 0.5)
    images[:, 0] = 0.6
    result = Augment(pad=0, flip=False, operations=1, magnitude=0.9)(images, draws(300))
    moved = (result == 0).all(1).flatten(1).any(1)
    changed = (result != images).flatten(1).any(1)
    assert int(moved.sum()) > 100, "five of nine operations draw zeros in from outside"
    assert int((changed & ~moved).sum()) > 50, "three of nine change colours alone"
    assert int((~changed).sum()) > 10, "one of nine does nothing"


def test_grey_images_work():
    images = some_images()[:, :1]
    assert EVERYTHING(images, draws(64)).shape == images.shape, "one channel is enough"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"pad": -1}, r"Augment\.pad: got -1, allowed: 0 or more"),
        ({"operations": -1}, r"Augment\.operations: got -1"),
        ({"fill": "mirror"}, r"Augment\.fill: got 'mirror', allowed: zero, reflect"),
        ({"magnitude": 1.5}, r"Augment\.magnitude: got 1\.5, allowed: 0 to 1"),
        ({"erase": float("nan")}, r"Augment\.erase: got nan"),
        ({"erase_size": -0.1}, r"Augment\.erase_size: got -0\.1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, float | str], sentence: str):
    with pytest.raises(OptionError, match=sentence):
        Augment(**options)
