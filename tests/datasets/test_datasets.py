"""Datasets: what they hold, that the test split stays shut, and one clear sentence for whatever is wrong with files."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import matx
from matx.data import carve, to_unit
from matx.errors import DataError

import_module("registry.datasets")


def built(name: str, folder: Path) -> list[Any]:
    return [dataset() for dataset in matx.datasets[name].examples(folder)]


@pytest.mark.parametrize("name", sorted(matx.datasets))
def test_examples_hold_images_of_the_announced_shape(name: str, tmp_path: Path):
    for data in built(name, tmp_path):
        carved = carve(data, validation=0.2)
        for split in (carved.train, carved.val, data.test):
            images = to_unit(split.read(torch.arange(len(split.labels))))
            assert tuple(images.shape) == (len(split.labels), *data.image_shape), f"{name}: wrong shape"
            assert 0 <= int(split.labels.min()) <= int(split.labels.max()) < data.num_classes, f"{name}: wrong labels"
        assert len(data.mean) == len(data.std) == data.image_shape[0], f"{name}: one mean and std a channel"
        assert len(data.class_names) == data.num_classes, f"{name}: one name a class"


def test_digits_has_a_fixed_balanced_test_split_of_360():
    data = matx.datasets["digits"]()()
    train, test = set(data.train.indices.tolist()), set(data.test.indices.tolist())
    assert len(test) == 360, "exactly 360 test images"
    assert len(train) == 1437, "the other 1,437 images are for training"
    assert not train & test, "no image is in both"
    counts = data.test.labels.bincount()
    assert int(counts.max() - counts.min()) <= 2, f"the test split is stratified, got {counts.tolist()}"
    assert sorted(test)[:8] == DIGITS_TEST_HEAD, "the split never changes: results would no longer compare"
    many = matx.datasets["digits"](test_images=1300)()
    assert len(many.test.indices) == 1300, "the test split is as large as asked"
    assert test < set(many.test.indices.tolist()), "a smaller test split is part of a larger one"
    assert not set(many.test.indices.tolist()) & set(many.train.indices.tolist()), "and of no training image"
    torch.manual_seed(5)
    again = matx.datasets["digits"]()()
    assert torch.equal(again.test.indices, data.test.indices), "no seed moves the split"


DIGITS_TEST_HEAD = [0, 7, 16, 22, 27, 28, 39, 41]


# npz


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 5, 4, 3), np.uint8)
    labels = np.arange(12) % 3
    whole = {"x_train": images, "y_train": labels, "x_test": images[:6], "y_test": labels[:6]}
    return {name: value for name, value in (whole | changes).items() if value is not None}


def npz(folder: Path, content: Mapping[str, Any], **options: Any) -> Any:
    path = folder / "set.npz"
    np.savez(path, **content)
    return matx.datasets["npz"](path=str(path), **options)


def test_npz_reads_nhwc_as_nchw(tmp_path: Path):
    content = arrays()
    data = npz(tmp_path, content)()
    assert data.image_shape == (3, 5, 4), "shape is (C, H, W)"
    pixel = data.train.read(torch.tensor([7]))[0, 2, 4, 1]
    assert int(pixel) == int(content["x_train"][7, 4, 1, 2]), "row, column and channel must not be mixed up"
    assert data.val is None, "without x_val there is no validation split"
    assert data.num_classes == 3, "labels 0..2 are three classes"


def test_npz_takes_a_validation_split_and_class_names(tmp_path: Path):
    more = {"x_val": arrays()["x_train"][:3], "y_val": np.array([0, 1, 2])}
    data = npz(tmp_path, arrays(**more), class_names=("a", "b", "c", "d"))()
    assert data.val is not None, "x_val makes a validation split"
    assert data.val.labels.tolist() == [0, 1, 2], "with its labels"
    assert data.num_classes == 4, "names may say more classes than train holds"


def test_npz_reads_the_test_images_only_when_opened(tmp_path: Path):
    data = npz(tmp_path, arrays())()
    (tmp_path / "set.npz").unlink()
    with pytest.raises(DataError, match="which does not exist"):
        data.open_test()


LABELS = np.arange(12) % 3
BAD_ARRAYS = {
    "float images": ({"x_train": np.zeros((12, 5, 4, 3))}, r"x_train is float64 \(12, 5, 4, 3\), allowed: uint8"),
    "flat images": ({"x_train": np.zeros((12, 60), np.uint8)}, r"x_train is uint8 \(12, 60\)"),
    "no images": ({"x_train": np.zeros((0, 5, 4, 3), np.uint8)}, r"not empty"),
    "too few labels": ({"y_train": LABELS[:11]}, r"y_train is int64 \(11,\), allowed: integers of shape \(12,\)"),
    "one-hot labels": ({"y_train": np.eye(3, dtype=int)[LABELS]}, r"y_train is int64 \(12, 3\)"),
    "float labels": ({"y_train": LABELS.astype(float)}, r"y_train is float64"),
    "labels from 1": (
        {"y_train": LABELS + 1},
        r"y_train holds 3 labels in 1\.\.3, but none is 0, allowed: 0\.\.C-1 without gaps, or a name for every class",
    ),
    "labels with a gap": ({"y_train": LABELS * 2}, r"y_train holds 3 labels in 0\.\.4, but none is 1"),
    "channels first": (
        {"x_train": np.zeros((12, 3, 32, 30), np.uint8)},
        r"x_train is \(12, 3, 32, 30\), channels first, allowed: \(N, height, width, channels\), as x_train\.transpose",
    ),
    "grey channels first": ({"x_train": np.zeros((12, 1, 8, 8), np.uint8)}, r"channels first"),
    "test channels first": ({"x_test": np.zeros((6, 3, 9, 9), np.uint8)}, r"x_test is \(6, 3, 9, 9\), channels first"),
    "negative labels": ({"y_train": LABELS - 1}, r"y_train holds label -1, allowed: 0 or more"),
    "pickled labels": ({"y_train": np.array([{}] * 12)}, r"got pickled objects, which are refused"),
    "missing array": ({"y_test": None, "y_tset": LABELS[:6]}, r"no array 'y_test'; did you mean 'y_tset'\?"),
    "test images of another size": (
        {"x_test": np.zeros((6, 9, 9, 3), np.uint8)},
        r"images of x_test are \(3, 9, 9\) .* those of x_train are \(3, 5, 4\)",
    ),
    "no test images": ({"x_test": np.zeros((0, 5, 4, 3), np.uint8), "y_test": LABELS[:0]}, r"x_test .* not empty"),
    "pickled test images": ({"x_test": np.array([{}] * 6)}, r"x_test is object \(6,\), allowed: uint8"),
    "half a validation": ({"x_val": np.zeros((2, 5, 4, 3), np.uint8)}, r"one of x_val and y_val"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_npz_refuses_bad_arrays(case: str, tmp_path: Path):
    changes, sentence = BAD_ARRAYS[case]
    with pytest.raises(DataError, match=sentence):
        npz(tmp_path, arrays(**changes))()


@pytest.mark.parametrize(
    ("shift", "said"), [(1, r"label 3, allowed: 0\.\.2, the classes of y_train"), (-1, "label -1")]
)
def test_npz_refuses_test_labels_that_train_does_not_know_before_training(shift: int, said: str, tmp_path: Path):
    with pytest.raises(DataError, match=f"y_test holds {said}"):
        npz(tmp_path, arrays(y_test=LABELS[:6] + shift))()
    names = ("a", "b", "c", "d")
    if shift > 0:
        assert npz(tmp_path, arrays(y_test=LABELS[:6] + shift), class_names=names)().num_classes == 4, "names say more"


def test_npz_refuses_fewer_names_than_classes(tmp_path: Path):
    with pytest.raises(DataError, match="y_train holds label 2, allowed: below 2 class_names"):
        npz(tmp_path, arrays(), class_names=("a", "b"))()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_npz_refuses_a_damaged_file(content: bytes, tmp_path: Path):
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.npz: got .*allowed: a \.npz file"):
        matx.datasets["npz"](path=str(path))()


def test_npz_refuses_single_arrays_pickles_folders_and_missing_files(tmp_path: Path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "p.npz").write_bytes(pickle.dumps({"x_train": 1}))
    for path, sentence in (
        (tmp_path / "one.npy", "got a single array"),
        (tmp_path / "p.npz", "got pickled objects"),
        (tmp_path, "which is no regular file"),
        (tmp_path / "none.npz", "does not exist"),
    ):
        with pytest.raises(DataError, match=sentence):
            matx.datasets["npz"](path=str(path))()
