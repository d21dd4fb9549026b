"""Splits, carving, order and batches: the same samples for everyone, whatever the batch size and wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from sample_runs import sample

from matx.data import (
    Data,
    MemorySplit,
    Subset,
    batches,
    carve,
    channel_statistics,
    fingerprints,
    order,
    stratified,
    to_unit,
)
from matx.errors import DataError
from matx.experiment import data_of


def some_split(count: int = 120, classes: int = 4, *, seed: int = 0) -> MemorySplit:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 5, 4), dtype=torch.uint8, generator=generator)
    return MemorySplit.of(images, torch.arange(count) ** 2 % classes)


def some_data(val: MemorySplit | None = None) -> Data:
    def refuse() -> MemorySplit:
        raise AssertionError("the test split was opened")

    return Data(
        name="some",
        train=some_split(),
        val=val,
        open_test=refuse,
        image_shape=(3, 5, 4),
        num_classes=4,
        class_names=("a", "b", "c", "d"),
        mean=(0.5,) * 3,
        std=(0.2,) * 3,
    )


def test_carving_parts_train_without_overlap_and_leaves_the_test_split_closed():
    carved = carve(some_data(), validation=0.25)
    assert carved.val is not None, "carving must make a validation split"
    train, val = set(carved.train.indices.tolist()), set(carved.val.indices.tolist())
    assert not train & val, "no sample may be in both splits"
    assert train | val == set(range(120)), "no sample may be lost"
    assert len(val) == 30, "a quarter of 120 images is 30"


def test_carving_is_stratified():
    carved = carve(some_data(), validation=0.25)
    whole, part = carved.train.labels.bincount(), carved.val.labels.bincount()
    shares = part / (whole + part)
    assert (shares - 0.25).abs().max() < 0.05, f"each class must give about a quarter, got {shares.tolist()}"


def test_a_smaller_training_set_is_part_of_a_larger_one_and_validation_stays():
    small, large = (carve(some_data(), validation=0.25, train_limit=n) for n in (20, 40))
    assert set(small.train.indices.tolist()) < set(large.train.indices.tolist()), "20 images must be among the 40"
    assert torch.equal(small.val.indices, large.val.indices), "the limit must not touch the validation split"
    assert small.train.labels.bincount().min() > 0, "a limit of 20 must keep every class"


def test_a_dataset_with_a_validation_split_keeps_it():
    own = some_split(16, seed=1)
    carved = carve(some_data(own), validation=0.25)
    assert carved.val is own, "the dataset's own validation split must be kept"
    assert len(carved.train.labels) == 120, "nothing may be taken from train"


@pytest.mark.parametrize("share", [0.0, 1.0, 0.001])
def test_a_share_that_leaves_a_side_empty_is_refused(share: float):
    with pytest.raises(DataError, match=r"Experiment\.validation: got"):
        carve(some_data(), validation=share)


def test_every_prefix_of_the_stratified_order_is_balanced():
    split = MemorySplit.of(torch.zeros(60, 1, 1, 1, dtype=torch.uint8), torch.arange(60) % 3)
    rows = stratified(split, "anything")
    assert sorted(rows.tolist()) == list(range(60)), "the order must be a permutation"
    for count in (3, 10, 30, 47):
        counts = split.labels[rows[:count]].bincount(minlength=3)
        assert counts.max() - counts.min() <= 1, f"the first {count} must be balanced, got {counts.tolist()}"
    assert not torch.equal(rows, stratified(split, "another")), "another purpose must give another order"


def test_the_order_of_an_epoch_depends_only_on_seed_and_epoch():
    first = order(50, seed=3, epoch=2)
    torch.manual_seed(99)
    assert torch.equal(first, order(50, seed=3, epoch=2)), "the global generator must not matter"
    assert sorted(first.tolist()) == list(range(50)), "an epoch visits every sample once"
    for seed, epoch in ((3, 1), (2, 2)):
        assert not torch.equal(first, order(50, seed=seed, epoch=epoch)), "another seed or epoch, another order"


def test_batches_hold_every_row_once_in_order():
    split = some_split(50)
    rows = order(50, seed=0, epoch=0)
    parts = list(batches(split, rows, 16))
    assert [len(part.labels) for part in parts] == [16, 16, 16, 2], "the last batch holds the rest"
    assert torch.equal(torch.cat([part.indices for part in parts]), rows), "indices must follow the order"
    assert torch.equal(torch.cat([part.labels for part in parts]), split.labels[rows]), "labels must follow the order"
    images = torch.cat([part.images for part in parts])
    assert torch.equal((images * 255).round().to(torch.uint8), split.images[rows]), "uint8 survives the round trip"
    assert len(list(batches(split, rows, 16, drop_last=True))) == 3, "drop_last leaves the short batch out"


def test_all_grey_levels_survive_scaling_exactly():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    unit = to_unit(levels)
    assert unit.dtype == torch.float32, "images are fp32"
    assert (float(unit.min()), float(unit.max())) == (0.0, 1.0), "0 and 255 are the ends of [0,1]"
    assert torch.equal((unit * 255).round().to(torch.uint8), levels), "no grey level may be lost"


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_pixels_outside_the_unit_range_are_refused(value: float):
    images = torch.full((2, 1, 2, 2), 0.5)
    images[1, 0, 1, 1] = value
    with pytest.raises(DataError, match=r"allowed: \[0, 1\], or uint8"):
        to_unit(images)


def test_channel_statistics_equal_the_plain_formula():
    images = some_split(30).images
    exact = images.double() / 255
    expected = exact.mean((0, 2, 3)), exact.var((0, 2, 3), correction=0).sqrt()
    for given in (images, exact.float()):
        for got, want in zip(channel_statistics(given), expected, strict=True):
            assert torch.allclose(torch.tensor(got).double(), want, atol=1e-6), f"got {got}, expected {want.tolist()}"


def test_a_constant_channel_has_a_std_to_divide_by():
    assert channel_statistics(torch.zeros(4, 1, 2, 2, dtype=torch.uint8)) == ((0.0,), (1.0,)), "std 0 would divide by 0"


def test_subsets_of_subsets_keep_the_indices_of_the_dataset():
    outer = Subset(some_split(20), torch.tensor([3, 5, 7, 9]))
    inner = Subset(outer, torch.tensor([2, 0]))
    assert inner.indices.tolist() == [7, 3], "indices are those of the dataset, not of the subset"
    assert torch.equal(inner.read(torch.tensor([1])), some_split(20).images[[3]]), "rows are those of the subset"


def test_fingerprints_tell_changes_and_leave_the_test_split_closed():
    data = some_data()
    first = fingerprints(data, test=False)
    assert set(first) == {"train"}, "only what is there and open has a fingerprint"
    assert first == fingerprints(some_data(), test=False), "equal data have equal fingerprints"
    split = some_split()
    split.images[0, 0, 0, 0] += 1
    assert split.fingerprint() != first["train"], "one grey level must change it"
    reshaped = MemorySplit.of(some_split().images.reshape(120, 3, 4, 5), some_split().labels)
    assert reshaped.fingerprint() != first["train"], "another shape must change it"
    rows = torch.arange(5), torch.arange(1, 6)
    assert Subset(split, rows[0]).fingerprint() != Subset(split, rows[1]).fingerprint(), "other rows must change it"


@dataclass(frozen=True)
class Given:
    """A dataset that gives what it is told to."""

    data: object = field(hash=False)

    def __call__(self) -> object:
        return self.data


def labelled(label: int) -> MemorySplit:
    """A split in which the eighth sample has this label."""
    split = some_split()
    return replace(split, labels=split.labels.index_fill(0, torch.tensor([7]), label))


GIVEN = [
    ((1, 2), "got tuple, allowed: a matx.data.Data"),
    ({"class_names": ("a", "b")}, "got 2 class names for 4 classes, allowed: one a class"),
    ({"train": labelled(-1)}, "split train: got the label -1 at sample 7 (1 of 120 are out of range), allowed: 0 to 3"),
    ({"train": labelled(2_000_000_000)}, "split train: got the label 2000000000 at sample 7"),
    ({"val": labelled(4)}, "split val: got the label 4 at sample 7"),
    ({"train": replace(some_split(), labels=torch.zeros(120))}, "got labels as float32 of shape (120,), allowed"),
    ({"train": replace(some_split(), indices=torch.arange(60))}, "got indices as int64 of shape (60,), allowed"),
    ({"train": replace(some_split(), labels=[0] * 120)}, "got labels as list, allowed: a tensor of int64"),
    ({"train": some_split(0)}, "split train: got no images"),
    ({"train": replace(some_split(), images=torch.full((120, 3, 5, 4), 255.0))}, "split train: images: got values in"),
    ({"train": replace(some_split(), images=torch.full((120, 3, 5, 4), torch.nan))}, "got values in [nan, nan]"),
]


@pytest.mark.parametrize(("given", "said"), GIVEN, ids=[said for _, said in GIVEN])
def test_what_a_dataset_gives_is_checked_before_anything_is_made_of_it(given: object, said: str) -> None:
    found = replace(some_data(), **given) if isinstance(given, dict) else given
    with pytest.raises(DataError) as refused:
        data_of(sample(dataset=Given(found)).experiment)
    assert str(refused.value).startswith("datasets.Given"), f"the dataset is not named: {refused.value}"
    assert said in str(refused.value), f"it says: {refused.value}"


def test_the_test_split_is_checked_when_it_is_opened() -> None:
    data = data_of(sample(dataset=Given(replace(some_data(), open_test=lambda: labelled(9)))).experiment)
    with pytest.raises(DataError, match=r"datasets\.Given, split test: got the label 9 at sample 7"):
        data.open_test()
