"""Folders of pictures: parts, splits and sizes, in memory or from workers, and one clear sentence for bad ones."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import matx
from matx.errors import DataError, OptionError

import_module("registry.datasets")


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
        ({"resize": "cropped"}, r"resize: got 'cropped', allowed: 'crop', 'squash', 'none'; did you mean 'crop'\?"),
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
