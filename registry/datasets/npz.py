"""A dataset from one .npz file of numpy arrays."""

from __future__ import annotations

import math
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import matx
from matx.data import Data, MemorySplit, channel_statistics
from matx.effect import NO_EFFECT
from matx.errors import DataError, OptionError, did_you_mean

_NEEDED = ("x_train", "y_train", "x_test", "y_test")
_OPTIONAL = ("x_val", "y_val")
Array = NDArray[np.generic]
_Form = tuple[np.dtype[Any], tuple[int, ...]]
"""(dtype, shape) of an array."""


@matx.datasets.register("npz")
@dataclass(frozen=True, kw_only=True)
class Npz:
    """Arrays x_train, y_train, x_test, y_test and, where present, x_val, y_val of a .npz file.

    Images are uint8 (N, height, width, channels), or (N, height, width) for grey ones; (N, 1 or 3, height, width) is
    refused. Labels are integers (N,), 0 to C-1, each of them in y_train unless class_names say what C is. Pickled
    arrays are refused. Of the test arrays, labels and the header of the images alone are read until the test split is
    opened, so that a part that cannot be evaluated is refused before anything is trained.
    """

    path: str = field(metadata=NO_EFFECT)
    class_names: Sequence[str] = ()
    """Names of the classes in label order; empty: the labels themselves, which train then holds without gaps."""

    def __post_init__(self) -> None:
        if not self.path:
            raise OptionError("path", got="''", allowed="the path of a .npz file")
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __call__(self) -> Data:
        arrays = self._read("train", "val")
        train = self._split(arrays, "train")
        known = int(train.labels.max()) + 1
        if not self.class_names:
            self._check_gaps(arrays["y_train"])
        names = tuple(self.class_names) or tuple(str(label) for label in range(max(known, 2)))
        if len(names) < known:
            raise DataError(f"{self.path}: y_train holds label {known - 1}, allowed: below {len(names)} class_names")
        shape = (train.images.shape[1], train.images.shape[2], train.images.shape[3])
        self._check_test(shape, len(names))
        mean, std = channel_statistics(train.images)
        return Data(
            name=Path(self.path).stem,
            train=train,
            val=self._checked(arrays, "val", shape, len(names)) if "x_val" in arrays else None,
            open_test=lambda: self._checked(self._read("test"), "test", shape, len(names)),
            image_shape=shape,
            num_classes=len(names),
            class_names=names,
            mean=mean,
            std=std,
        )

    @contextmanager
    def _archive(self) -> Iterator[np.lib.npyio.NpzFile]:
        """The open file; DataError where it is missing, damaged or incomplete."""
        try:
            path = Path(self.path).expanduser()
            if not stat.S_ISREG(path.stat().st_mode):
                raise DataError(f"datasets.npz.path: got {self.path!r}, which is no regular file")
            with path.open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise DataError(f"{self.path}: got a single array, allowed: a .npz file with {', '.join(_NEEDED)}")
                self._check_names(archive.files)
                yield archive
        except FileNotFoundError:
            raise DataError(f"datasets.npz.path: got {self.path!r}, which does not exist") from None
        except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise DataError(f"datasets.npz.path: {self.path} cannot be read ({error.strerror})") from error
            reason = "pickled objects, which are refused" if "pickle" in str(error) else f"damaged data ({error})"
            raise DataError(f"{self.path}: got {reason}; allowed: a .npz file of plain numeric arrays") from error

    def _read(self, *parts: str) -> Mapping[str, Array]:
        """The arrays of some parts."""
        with self._archive() as archive:
            wanted = [name for part in parts for name in (f"x_{part}", f"y_{part}") if name in archive.files]
            for name in wanted:
                _check_size(archive, name)
            return {name: archive[name] for name in wanted}

    def _check_test(self, shape: tuple[int, ...], classes: int) -> None:
        """Refuse, without reading the images, test arrays that could not be evaluated: before anything is trained."""
        with self._archive() as archive:
            _check_size(archive, "y_test")
            images, labels = _form(archive, "x_test"), archive["y_test"]
        self._check_forms("test", images, (labels.dtype, labels.shape))
        self._check_shape("test", _image_shape(images[1]), shape)
        self._check_labels("test", labels, classes)

    def _check_names(self, files: Sequence[str]) -> None:
        for name in _NEEDED:
            if name not in files:
                found = ", ".join(files) or "none"
                raise DataError(f"{self.path}: no array {name!r}{did_you_mean(name, files)}; arrays found: {found}")
        if ("x_val" in files) != ("y_val" in files):
            raise DataError(f"{self.path}: got one of x_val and y_val, allowed: both or neither")

    def _split(self, arrays: Mapping[str, Array], part: str) -> MemorySplit:
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        self._check_forms(part, (x.dtype, x.shape), (y.dtype, y.shape))
        self._check_labels(part, y)
        return MemorySplit.of(_channels_first(x), torch.from_numpy(y.astype(np.int64)))

    def _check_forms(self, part: str, images: _Form, labels: _Form) -> None:
        (x, shape), (y, length) = images, labels
        if x != np.uint8 or len(shape) not in (3, 4) or 0 in shape:
            raise DataError(
                f"{self.path}: x_{part} is {x} {shape}, allowed: uint8 (N, height, width, channels) "
                "or (N, height, width), not empty"
            )
        if len(shape) == 4 and shape[1] in (1, 3) and shape[3] > 4:
            raise DataError(
                f"{self.path}: x_{part} is {shape}, channels first, allowed: (N, height, width, channels), "
                f"as x_{part}.transpose(0, 2, 3, 1) gives"
            )
        if length != shape[:1] or y.kind not in "iu":
            raise DataError(f"{self.path}: y_{part} is {y} {length}, allowed: integers of shape ({shape[0]},)")

    def _check_shape(self, part: str, got: tuple[int, ...], shape: tuple[int, ...]) -> None:
        if got != shape:
            raise DataError(f"{self.path}: images of x_{part} are {got} (C, H, W), those of x_train are {shape}")

    def _check_labels(self, part: str, labels: Array, classes: int | None = None) -> None:
        low, high = int(labels.min()), int(labels.max())
        if low < 0:
            raise DataError(f"{self.path}: y_{part} holds label {low}, allowed: 0 or more")
        if classes is not None and high >= classes:
            raise DataError(
                f"{self.path}: y_{part} holds label {high}, allowed: 0..{classes - 1}, the classes of y_train, "
                "or as many as datasets.npz.class_names"
            )

    def _check_gaps(self, labels: Array) -> None:
        """Refuse labels such as 1..10, which would make a class without images."""
        found = np.unique(labels)
        absent = np.flatnonzero(found != np.arange(len(found)))
        if len(absent):
            raise DataError(
                f"{self.path}: y_train holds {len(found)} labels in {found[0]}..{found[-1]}, but none is {absent[0]}, "
                "allowed: 0..C-1 without gaps, or a name for every class in datasets.npz.class_names"
            )

    def _checked(
        self, arrays: Mapping[str, Array], part: str, shape: tuple[int, int, int], classes: int
    ) -> MemorySplit:
        split = self._split(arrays, part)
        self._check_shape(part, tuple(split.images.shape[1:]), shape)
        self._check_labels(part, arrays[f"y_{part}"], classes)
        return split

    @classmethod
    def options_for(cls, name: str) -> Mapping[str, str] | None:
        """The path, of a name that ends in `.npz`."""
        return {"path": name} if Path(name).suffix == ".npz" else None

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """One colour file with a validation part, and one grey file without."""
        rng = np.random.default_rng(0)

        def arrays(count: int, part: str, *shape: int) -> dict[str, Array]:
            labels = np.arange(count) % 3
            return {f"x_{part}": rng.integers(0, 256, (count, *shape), np.uint8), f"y_{part}": labels}

        colour, grey = tmp_path / "colour.npz", tmp_path / "grey.npz"
        parts = {"train": 30, "val": 6, "test": 12}
        _save(colour, {k: v for part, n in parts.items() for k, v in arrays(n, part, 6, 5, 3).items()})
        _save(grey, arrays(30, "train", 6, 6) | arrays(12, "test", 6, 6))
        return [cls(path=str(colour)), cls(path=str(grey), class_names=("a", "b", "c"))]


def _form(archive: np.lib.npyio.NpzFile, name: str) -> _Form:
    """What the header of an array says; its values are not read."""
    assert archive.zip is not None, "the archive is open"
    with archive.zip.open(f"{name}.npy") as file:
        first = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return dtype, shape


def _check_size(archive: np.lib.npyio.NpzFile, name: str) -> None:
    """Refuse an array whose header asks for more memory than the archive holds values for."""
    assert archive.zip is not None, "the archive is open"
    dtype, shape = _form(archive, name)
    asked, there = math.prod(shape) * dtype.itemsize, archive.zip.getinfo(f"{name}.npy").file_size
    if asked > there:
        raise ValueError(f"{name} is said to have {asked} bytes, of which {there} are there")


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(C, H, W) of images (N, H, W, C) or (N, H, W)."""
    return (shape[3] if len(shape) == 4 else 1, shape[1], shape[2])


def _channels_first(images: Array) -> Tensor:
    whole = torch.from_numpy(images)
    return (whole.unsqueeze(1) if images.ndim == 3 else whole.permute(0, 3, 1, 2)).contiguous()


def _save(path: Path, arrays: Mapping[str, Any]) -> None:
    np.savez(path, **arrays)
