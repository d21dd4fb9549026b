"""Datasets: what they hold, that the test split stays shut, and one clear sentence for whatever is wrong with files."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import matx
from matx.data import carve, to_unit
from matx.errors import DataError, MatxError, OptionError

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


def test_npz_leaves_the_values_of_the_test_arrays_alone_until_asked(tmp_path: Path):
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


def test_npz_refuses_test_labels_that_train_does_not_know(tmp_path: Path):
    data = npz(tmp_path, arrays(y_test=LABELS[:6] + 1))()
    with pytest.raises(DataError, match=r"y_test holds label 3, allowed: 0\.\.2"):
        data.open_test()


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
        (tmp_path, "damaged data"),
        (tmp_path / "none.npz", "does not exist"),
    ):
        with pytest.raises(DataError, match=sentence):
            matx.datasets["npz"](path=str(path))()


# torchvision


def test_cifar10_is_read_as_torchvision_lays_it_out(tmp_path: Path):
    (data,) = built("cifar10", tmp_path)
    stored = pickle.loads((tmp_path / "cifar-10-batches-py" / "data_batch_2").read_bytes())
    image = torch.from_numpy(stored["data"][3]).reshape(3, 32, 32)
    assert torch.equal(data.train.read(torch.tensor([23]))[0], image), "image 23 is the 4th of the second batch"
    assert int(data.train.labels[23]) == stored["labels"][3], "with its label"


def test_cifar100_has_a_hundred_fine_labels(tmp_path: Path):
    (data,) = built("cifar100", tmp_path)
    assert (data.num_classes, data.class_names[99]) == (100, "class 99"), "class names come with the files"


def test_svhn_turns_label_ten_into_the_digit_zero(tmp_path: Path):
    (data,) = built("svhn", tmp_path)
    assert data.train.labels[:10].tolist() == list(range(10)), "stored 10 means the digit 0"
    assert data.image_shape == (3, 32, 32), "images are (C, H, W)"


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "mnist", "fashion_mnist"])
def test_a_set_that_is_not_there_is_one_sentence(name: str, tmp_path: Path):
    with pytest.raises(DataError, match=rf"^datasets\.{name}: not found, .*set datasets\.{name}\.download=True, or "):
        matx.datasets[name](root=str(tmp_path))()
    assert not list(tmp_path.iterdir()), "nothing may be written unasked"


@pytest.mark.parametrize("name", ["cifar10", "svhn", "mnist"])
def test_a_download_that_is_impossible_is_one_sentence(name: str, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("where a folder should be")
    with pytest.raises(DataError, match=rf"^datasets\.{name}: cannot be downloaded into .*set datasets\.{name}\.root"):
        matx.datasets[name](root=str(blocked), download=True)()


def test_checksums_are_checked_before_a_pickle_is_opened(tmp_path: Path):
    matx.datasets["cifar10"].examples(tmp_path)
    with pytest.raises(DataError, match=r"datasets\.cifar10: not found, or not intact"):
        matx.datasets["cifar10"](root=str(tmp_path))()


def test_damaged_files_are_one_sentence(tmp_path: Path):
    (svhn,) = matx.datasets["svhn"].examples(tmp_path)
    (tmp_path / "test_32x32.mat").write_bytes(b"short")
    data = svhn()
    with pytest.raises(DataError, match=r"^datasets\.svhn: not found, or not intact"):
        data.open_test()


# image_folder


def folder_set(tmp_path: Path, **options: Any) -> Any:
    matx.datasets["image_folder"].examples(tmp_path)
    return matx.datasets["image_folder"](root=str(tmp_path), **({"resolution": 8} | options))


@pytest.mark.parametrize("split", ["folders", "resplit"])
def test_files_in_memory_and_from_workers_are_the_same(split: str, tmp_path: Path):
    kept = folder_set(tmp_path, split=split)()
    read = folder_set(tmp_path, split=split, memory_gb=0.0, workers=3)()
    for one, other in ((kept.train, read.train), (kept.test, read.test)):
        rows = torch.randperm(len(one.labels), generator=torch.Generator().manual_seed(1))
        assert torch.equal(one.read(rows), other.read(rows)), "the same images in the same order"
        assert torch.equal(one.labels, other.labels), "the same labels"
        assert torch.equal(one.indices, other.indices), "the same indices, hence the same draws"
        assert one.fingerprint() == other.fingerprint(), "the same fingerprint"
    assert (kept.mean, kept.std) == (read.mean, read.std), "the same normaliser"


def test_folders_give_train_val_and_test(tmp_path: Path):
    data = folder_set(tmp_path)()
    counts = [len(split.labels) for split in (data.train, data.val, data.test)]
    assert counts == [36, 9, 18], "three classes of 12, 3 and 6 files"
    assert data.class_names == ("ant", "bee", "cat"), "classes are the sorted folder names"


def test_resplitting_pools_the_parts_and_holds_a_share_of_each_class_out(tmp_path: Path):
    data = folder_set(tmp_path, split="resplit", test_share=1 / 3)()
    train, test = set(data.train.paths), set(data.test.paths)
    assert not train & test, "no file may be on both sides"
    assert len(train | test) == 63, "all files of all parts are used"
    assert data.test.labels.bincount().tolist() == [7, 7, 7], "a third of the 21 files of each class"
    again = folder_set(tmp_path, split="resplit", test_share=1 / 3)()
    assert data.test.paths == again.test.paths, "the split is fixed"
    base = folder_set(tmp_path, split="resplit", parts=("train",))()
    assert len(base.train.labels) + len(base.test.labels) == 36, "parts=('train',) uses the files of train alone"


def test_the_ways_of_resizing(tmp_path: Path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            picture = Image.new("RGB", (40, 20), (255, 0, 0))
            picture.paste((0, 0, 255), (10, 0, 30, 20))
            picture.save(tmp_path / part / name / "wide.png")
    make = matx.datasets["image_folder"]
    one = torch.tensor([0])
    crop = make(root=str(tmp_path), resolution=20)().train.read(one)[0]
    assert bool((crop[2] == 255).all()), "'crop' keeps the middle of a wide image, which is blue"
    squash = make(root=str(tmp_path), resolution=20, resize="squash")().train.read(one)[0]
    assert int(squash[0, 0, 0]) == 255, "'squash' keeps the red sides"
    grey = make(root=str(tmp_path), resolution=20, grey=True)()
    assert grey.image_shape == (1, 20, 20), "'grey' gives one channel"
    with pytest.raises(DataError, match=r"wide\.png: got 40x20 pixels, allowed: 20x20"):
        make(root=str(tmp_path), resolution=20, resize="none")()


def test_bad_folders_are_one_sentence(tmp_path: Path):
    make = matx.datasets["image_folder"]
    with pytest.raises(DataError, match=r"datasets\.image_folder\.root: got .*not a folder"):
        make(root=str(tmp_path / "none"))()
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="got no image in a, allowed: at least two class folders"):
        make(root=str(tmp_path))()
    whole = folder_set(tmp_path / "whole")
    (tmp_path / "whole" / "test" / "cat").rename(tmp_path / "whole" / "test" / "dog")
    with pytest.raises(DataError, match=r"classes are not those of .*\(such as cat, dog\).*split='resplit'"):
        whole()
    (tmp_path / "whole" / "test").rename(tmp_path / "whole" / "tests")
    with pytest.raises(DataError, match=r"no such folder; did you mean 'tests'\?"):
        whole()


def test_a_file_that_is_no_image_is_named(tmp_path: Path):
    data = folder_set(tmp_path)
    (tmp_path / "train" / "bee" / "05.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bee.05\.png: cannot be decoded"):
        data()


def test_the_test_images_are_not_decoded_until_asked(tmp_path: Path):
    data = folder_set(tmp_path)
    (tmp_path / "test" / "bee" / "02.png").write_bytes(b"no image")
    opened = data().open_test()
    with pytest.raises(DataError, match="cannot be decoded"):
        opened.read(torch.arange(18))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resize": "cropped"}, r"resize: got 'cropped', allowed: crop, squash, none; did you mean 'crop'\?"),
        ({"split": "random"}, r"split: got 'random'"),
        ({"resolution": 0}, r"resolution: got 0, allowed: 1 or more"),
        ({"workers": 0}, r"workers: got 0"),
        ({"memory_gb": -1.0}, r"memory_gb: got -1\.0"),
        ({"shorter_side": 4}, r"shorter_side: got 4, allowed: 64 or more"),
        ({"test_share": 1.0}, r"test_share: got 1\.0"),
        ({"parts": ()}, r"parts: got none"),
    ],
)
def test_bad_options_of_image_folder_are_refused(options: dict[str, Any], sentence: str):
    with pytest.raises(OptionError, match=r"^datasets\.image_folder\." + sentence):
        matx.datasets["image_folder"](root="here", **options)


def test_every_message_is_one_line(tmp_path: Path):
    for name in ("cifar10", "svhn", "mnist"):
        with pytest.raises(MatxError) as caught:
            matx.datasets[name](root=str(tmp_path))()
        assert not re.search(r"\n", str(caught.value)), "one problem, one line"
