"""The sets that torchvision lays out: read as stored, and one clear sentence for whatever is not there or damaged."""

from __future__ import annotations

import pickle
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import matx
from matx.errors import DataError, MatxError

import_module("registry.datasets")


def built(name: str, folder: Path) -> list[Any]:
    return [dataset() for dataset in matx.datasets[name].examples(folder)]


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


def test_every_message_is_one_line(tmp_path: Path):
    for name in ("cifar10", "svhn", "mnist"):
        with pytest.raises(MatxError) as caught:
            matx.datasets[name](root=str(tmp_path))()
        assert not re.search(r"\n", str(caught.value)), "one problem, one line"
