"""Each augmentation does what it says; that images stay images, sample by sample, is in the contracts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import AutoAugmentPolicy, v2

import matx
from matx.errors import DataError, OptionError
from matx.randomness import SampleGenerator, hashed


def some_images(count: int = 64, height: int = 9, width: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).float() / 255.0


def draws(count: int, key: int = 1) -> SampleGenerator:
    return SampleGenerator(key, torch.arange(count))


def augmented(name: str, images: Tensor, **options: Any) -> Tensor:
    result: Tensor = matx.augmentations[name](**options)(images, draws(len(images)))
    return result


@pytest.mark.parametrize("name", sorted(matx.augmentations))
def test_other_draws_give_other_images(name: str) -> None:
    images = some_images(height=12)
    (augmentation,) = matx.augmentations[name].examples(None)[:1]
    results = [augmentation(images, draws(64, key)) for key in (1, 2)]
    assert not torch.equal(*results), f"{name} gives the same images for other draws"
    assert not torch.equal(results[0], images), f"{name} changes nothing"


def test_pad_crop_and_flip_keep_the_draws_of_earlier_versions() -> None:
    """Pixels that hold their own position, crop then flip with one generator: three pixels of six images."""
    images = (torch.arange(1, 65) / 64.0).reshape(1, 1, 8, 8).repeat(6, 1, 1, 1)
    generator = SampleGenerator(hashed(0, "augment", 0), torch.arange(6))
    crop, flip = matx.augmentations["pad_crop"](pad=2), matx.augmentations["flip"]()
    result = (64.0 * flip(crop(images, generator), generator)).int()
    found = [result[:, 0, row, column].tolist() for row, column in ((3, 3), (3, 4), (4, 3))]
    expected = [[10, 20, 45, 34, 22, 43], [11, 21, 44, 35, 21, 42], [18, 28, 53, 42, 30, 51]]
    assert found == expected, f"an augmented run no longer gives the figures that it gave: {found}"


def test_flip_mirrors_its_share_of_the_samples() -> None:
    images = some_images(400)
    for probability, low, high in ((0.0, 0, 0), (0.5, 160, 240), (1.0, 400, 400)):
        result = augmented("flip", images, probability=probability)
        mirrored = (result == images.flip(-1)).flatten(1).all(1)
        kept = (result == images).flatten(1).all(1)
        assert bool((mirrored ^ kept).all()), "a sample is neither mirrored nor kept"
        assert low <= int(mirrored.sum()) <= high, f"{int(mirrored.sum())} of 400 are mirrored at {probability}"


def test_pad_crop_moves_by_whole_pixels_over_the_whole_range() -> None:
    images = some_images(300)
    result = augmented("pad_crop", images, pad=2)
    padded = torch.nn.functional.pad(images, [2] * 4)
    shifts = {(i, j): padded[:, :, i : i + 9, j : j + 12] for i in range(5) for j in range(5)}
    hits = {shift: (result == window).flatten(1).all(1) for shift, window in shifts.items()}
    assert bool(torch.stack(list(hits.values())).any(0).all()), "an image is no window of the padded one"
    assert all(bool(hit.any()) for hit in hits.values()), "not all 25 shifts occur among 300 samples"
    assert torch.equal(augmented("pad_crop", images, pad=0), images), "no padding moves images"


def test_pad_crop_reflects_and_needs_images_larger_than_the_padding() -> None:
    images = some_images(64)
    result = augmented("pad_crop", images, pad=3, fill="reflect")
    assert bool((result > 0).flatten(1).any(1).all()), "reflection leaves no image empty"
    with pytest.raises(OptionError, match=r"pad_crop\.pad: got 9 with fill 'reflect', allowed: below 9"):
        augmented("pad_crop", images, pad=9, fill="reflect")


def test_cutout_sets_one_square_of_a_share_of_the_samples_to_zero() -> None:
    images = some_images(400) * 0.9 + 0.1
    result = augmented("cutout", images, size=0.5, probability=0.25)
    gone = (result == 0).all(1)
    area = gone.flatten(1).sum(1)
    assert torch.equal(result[:, 0][~gone], images[:, 0][~gone]), "pixels outside the square are changed"
    assert 70 < int((area > 0).sum()) < 130, f"not about a quarter: {int((area > 0).sum())} of 400 are erased"
    assert int(area.max()) == 16, "half of the shorter side of 9 is not a square of 4x4 pixels"
    assert bool((area[area > 0] >= 4).all()), "a square that is cut at a corner keeps less than a quarter"
    assert bool((augmented("cutout", images) == 0).flatten(1).any(1).all()), "by default an image keeps its pixels"


POLICIES = {
    "auto_augment": v2.AutoAugment(AutoAugmentPolicy.CIFAR10),
    "rand_augment": v2.RandAugment(),
    "trivial_augment": v2.TrivialAugmentWide(),
    "color_jitter": v2.ColorJitter(0.25, 0.25, 0.25),
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies_are_torchvision_s_own_seeded_by_sample(name: str) -> None:
    images = some_images(16)
    result = augmented(name, images)
    for index, seed in enumerate(draws(16).at(name).bits(()).tolist()):
        torch.manual_seed(seed)
        expected = POLICIES[name]((images[index] * 255).round().to(torch.uint8)) / 255.0
        assert torch.equal(result[index], expected), f"sample {index} is not what torchvision makes of it"


def test_rand_augment_without_operations_keeps_8_bit_images() -> None:
    images = some_images()
    assert torch.equal(augmented("rand_augment", images, operations=0), images), (
        "rounding to 8 bits changes 8-bit images"
    )


def test_idbh_cuts_off_its_share_and_shifts_the_rest() -> None:
    """On white images; the operation that follows turns or shears a share of them, which blurs black edges."""
    dark = augmented("idbh", torch.ones(600, 3, 16, 20), shift=5, erase=0.0).amax(1) == 0
    rows, columns = dark.all(2), dark.all(1)
    cut = rows.sum(1) + columns.sum(1)
    assert int(cut.max()) == 5, f"up to 5 rows and columns are cut, not {int(cut.max())}"
    counts = torch.bincount(cut, minlength=6).tolist()
    assert all(40 <= count <= 250 for count in counts), f"some of 0 to 5 hardly occurs: {counts} of 600"
    for edge in (rows[:, 0] & ~rows[:, -1], rows[:, -1] & ~rows[:, 0], columns[:, 0] & ~columns[:, -1]):
        assert 50 < int(edge.sum()) < 300, f"the rest lies at one edge alone: {int(edge.sum())} of 600"


@pytest.mark.parametrize(("erase", "low", "high"), [(0.0, 0, 0), (0.5, 160, 240), (1.0, 400, 400)])
def test_idbh_erases_a_rectangle_of_its_share(erase: float, low: int, high: int) -> None:
    """On grey images, unmoved: colour, shear and rotation by 10 degrees leave the middle half as grey as it was."""
    images = torch.full((400, 3, 32, 32), 0.5)
    plain, erased = (augmented("idbh", images, shift=0, erase=share) for share in (0.0, erase))
    differs = (plain != erased).flatten(1).any(1)
    assert low <= int(differs.sum()) <= high, f"{int(differs.sum())} of 400 are erased at {erase}"
    share = ((erased == 0) & (plain != 0)).all(1).float().mean((1, 2))
    assert float(share.max()) <= 0.34, f"{float(share.max()):.2f} of an image is erased, over 0.33"


def test_idbh_shape_shears_and_rotates_more_often_than_color() -> None:
    images = torch.full((400, 3, 16, 16), 0.5)
    moved = {}
    for bias in ("color", "shape"):
        result = augmented("idbh", images, bias=bias, shift=0, erase=0.0)
        moved[bias] = int((result == 0).all(1).flatten(1).any(1).sum())
    assert 60 < moved["color"] < 140, f"two of eight operations move pixels, not {moved['color']} of 400"
    assert 200 < moved["shape"] < 280, f"shear and rotation have 0.6 together, not {moved['shape']} of 400"


def test_policies_want_one_channel_or_three() -> None:
    with pytest.raises(DataError, match=r"got images of 2 channels, allowed: 1 or 3"):
        augmented("auto_augment", some_images()[:, :2])


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("pad_crop", {"pad": -1}, r"pad_crop\.pad: got -1, allowed: 0 or more"),
        ("pad_crop", {"fill": "mirror"}, r"pad_crop\.fill: got 'mirror', allowed: 'zero', 'reflect'"),
        ("flip", {"probability": 1.5}, r"flip\.probability: got 1\.5, allowed: 0 to 1"),
        ("cutout", {"size": -0.1}, r"cutout\.size: got -0\.1, allowed: 0 to 1"),
        ("cutout", {"probability": float("nan")}, r"cutout\.probability: got nan"),
        ("color_jitter", {"hue": 0.6}, r"color_jitter\.hue: got 0\.6, allowed: 0 to 0\.5"),
        ("auto_augment", {"policy": "cifar100"}, r"got 'cifar100', allowed: 'cifar10', 'imagenet', 'svhn'"),
        ("rand_augment", {"magnitude": 31}, r"rand_augment\.magnitude: got 31, allowed: 0 to 30"),
        ("idbh", {"bias": "colour"}, r"idbh\.bias: got 'colour', allowed: 'color', 'shape'"),
        ("idbh", {"erase_area": 0.01}, r"idbh\.erase_area: got 0\.01, allowed: 0\.02 to 1"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=rf"augmentations\..*{sentence}" if "\\." in sentence else sentence):
        matx.augmentations[name](**options)


def test_idbh_needs_images_larger_than_its_shift() -> None:
    with pytest.raises(OptionError, match=r"augmentations\.idbh\.shift: got 9, allowed: below 9"):
        augmented("idbh", some_images(), shift=9)
