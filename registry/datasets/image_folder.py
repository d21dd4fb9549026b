"""Image files in folders, one folder a class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from torch import Tensor

import matx
from matx.data import Data, Split, channel_statistics, stratified
from matx.effect import NO_EFFECT
from matx.errors import DataError, OptionError, did_you_mean
from matx.options import Range
from registry.datasets._files import Decoder, FileSplit, list_images

_MEASURED = 2000


@matx.datasets.register("image_folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """Files `root`/PART/CLASS/**, decoded to (3, resolution, resolution) uint8, or one channel where `grey`.

    `split='folders'`: the parts are `train`, `test` and, where present, `val`, over the same classes.
    `split='resplit'`: the images of all `parts` are pooled, and a fixed share of each class, hashed from the sorted
    list of files and never from a seed, is the test split. Label order is the order of the class names.

    Images are decoded once into memory where a split fits into `memory_gb`, else by `workers` threads when read: the
    same images in the same order either way. Channel mean and std are measured on at most 2,000 training images.

    mini-ImageNet (Vinyals et al. 2016, arXiv 1606.04080: 100 classes of 600 images) has two common protocols. Few-shot
    papers keep 64/16/20 classes in train/val/test (Ravi and Larochelle 2017): no classifier can be tested on classes
    that it never saw, so `split='resplit', parts=('train',)` re-splits the 64 base classes within each class. Plain
    classification pools all 100 classes: `split='resplit', parts=('train', 'val', 'test')`, with `test_share=1/6` for
    500 training and 100 test images a class. Either is used at 84x84 (`resolution=84`; `shorter_side=92` crops off a
    margin) and at 64x64 (`resolution=64`): say which, for accuracies of different protocols do not compare.
    """

    root: str = field(metadata=NO_EFFECT)
    resolution: Annotated[int, Range(1)] = 64
    """Height and width of the images."""
    resize: Literal["crop", "squash", "none"] = "crop"
    """'crop': shorter side to `shorter_side`, then the middle; 'squash': both sides, whatever the aspect; 'none'."""
    shorter_side: int | None = None
    """For 'crop': the shorter side before cropping, in pixels; None: the resolution."""
    split: Literal["folders", "resplit"] = "folders"
    parts: Sequence[str] = ("train", "val", "test")
    """For 'resplit': the folders that are pooled ('.' for `root` itself)."""
    test_share: Annotated[float, Range(0, 1, open="both")] = 1 / 6
    """For 'resplit': the share of the images that makes the test split."""
    grey: bool = False
    memory_gb: Annotated[float, Range(0)] = field(default=4.0, metadata=NO_EFFECT)
    workers: Annotated[int, Range(1)] = field(default=4, metadata=NO_EFFECT)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if self.shorter_side is not None and self.shorter_side < self.resolution:
            raise OptionError("shorter_side", got=str(self.shorter_side), allowed=f"{self.resolution} or more")
        if not self.parts:
            raise OptionError("parts", got="none", allowed="at least one folder")

    def __call__(self) -> Data:
        return self._from_folders() if self.split == "folders" else self._from_pool()

    def _from_folders(self) -> Data:
        root = self._root()
        train_files, test_files = self._list("train"), self._list("test")
        val_files = self._list("val") if (root / "val").is_dir() else None
        classes = tuple(train_files)
        for part, files in (("test", test_files), ("val", val_files)):
            if files is not None and tuple(files) != classes:
                odd = ", ".join(sorted(set(files) ^ set(classes))[:5])
                raise DataError(
                    f"{root / part}: its classes are not those of {root / 'train'} (such as {odd}); "
                    f"allowed: the same, or {_name('split')}='resplit'"
                )
        train = self._split("train", train_files)
        return self._data(
            train,
            classes,
            lambda: self._split("test", test_files),
            None if val_files is None else self._split("val", val_files),
        )

    def _from_pool(self) -> Data:
        pooled: dict[str, list[str]] = {}
        for part in self.parts:
            for name, files in self._list(part).items():
                pooled.setdefault(name, []).extend((Path(part) / file).as_posix() for file in files)
        classes = {name: sorted(pooled[name]) for name in sorted(pooled)}
        whole = self._split(".", classes)
        rows = stratified(whole, "image_folder test split")
        count = round(self.test_share * len(rows))
        if not 0 < count < len(rows):
            raise DataError(f"{_name('test_share')}: got {self.test_share}, which makes {count} of {len(rows)} images")
        train = _part(whole, rows[count:].sort().values)
        return self._data(train, tuple(classes), lambda: _part(whole, rows[:count].sort().values))

    def _data(
        self, train: FileSplit, classes: tuple[str, ...], open_test: Callable[[], Split], val: Split | None = None
    ) -> Data:
        sample = stratified(train, "channel statistics")[:_MEASURED].sort().values
        mean, std = channel_statistics(replace(train, in_memory=False).read(sample))
        return Data(
            name=Path(self.root).expanduser().resolve().name,
            train=train,
            val=val,
            open_test=open_test,
            image_shape=train.decoder.shape,
            num_classes=len(classes),
            class_names=classes,
            mean=mean,
            std=std,
        )

    def _root(self) -> Path:
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"{_name('root')}: got {self.root!r}, which is not a folder")
        return root

    def _list(self, part: str) -> dict[str, list[str]]:
        """{class: files}, sorted; DataError for a part that is missing or empty, or a class without images."""
        folder = self._root() / part
        if not folder.is_dir():
            present = [child.name for child in self._root().iterdir() if child.is_dir()]
            raise DataError(f"{folder}: no such folder{did_you_mean(part, present)}; folders there: {present}")
        files = list_images(folder)
        empty = [name for name, members in files.items() if not members]
        if len(files) < 2 or empty:
            what = f"no image in {', '.join(empty[:5])}" if empty else f"{len(files)} class folders"
            raise DataError(f"{folder}: got {what}, allowed: at least two class folders with images each")
        return files

    def _split(self, part: str, files: Mapping[str, Sequence[str]]) -> FileSplit:
        paths = tuple(path for members in files.values() for path in members)
        labels = [label for label, members in enumerate(files.values()) for _ in members]
        decoder = Decoder(
            resolution=self.resolution, resize=self.resize, shorter_side=self.shorter_side, grey=self.grey
        )
        return FileSplit(
            root=self._root() / part,
            paths=paths,
            labels=torch.tensor(labels, dtype=torch.int64),
            indices=torch.arange(len(paths)),
            decoder=decoder,
            workers=self.workers,
            in_memory=len(paths) * math.prod(decoder.shape) <= self.memory_gb * 2**30,
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """Small PNG files: in folders and in memory; pooled again, squashed and decoded when read."""
        from PIL import Image

        generator = torch.Generator().manual_seed(0)
        for part, count in (("train", 12), ("val", 3), ("test", 6)):
            for name in ("ant", "bee", "cat"):
                folder = tmp_path / part / name
                folder.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    noise = torch.randint(0, 256, (9 + number % 3, 12, 3), dtype=torch.uint8, generator=generator)
                    Image.fromarray(noise.numpy()).save(folder / f"{number:02d}.png")
        return [
            cls(root=str(tmp_path), resolution=8, shorter_side=10),
            cls(root=str(tmp_path), resolution=6, resize="squash", split="resplit", grey=True, memory_gb=0.0),
        ]


def _part(whole: FileSplit, rows: Tensor) -> FileSplit:
    """Some of the files, which keep their indices; nothing else of the whole is ever decoded."""
    paths = tuple(whole.paths[row] for row in rows.tolist())
    return replace(whole, paths=paths, labels=whole.labels[rows], indices=whole.indices[rows])


def _name(field: str) -> str:
    return f"datasets.image_folder.{field}"
