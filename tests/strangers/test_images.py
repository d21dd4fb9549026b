"""Images and labels of somebody else: formats and sizes are bounded before anything is decoded or allocated."""

from __future__ import annotations

import os
import resource
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sample_runs import QUICK

import matx
from matx.cli import main
from matx.errors import DataError

CPU = ["--device", "cpu"]


def picture(path: Path, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(noise).save(path, "PNG")


@pytest.fixture
def images(home: Path) -> Path:
    for part, count in (("train", 20), ("test", 3)):
        for name in ("ant", "bee"):
            for number in range(count):
                picture(home / "images" / part / name / f"{number:02d}.png")
    text = QUICK.replace("@datasets.digits()", "@datasets.image_folder()").replace(
        "train_limit = 150", "train_limit = 20"
    )
    more = "datasets.image_folder.root = 'images'\ndatasets.image_folder.resolution = 8\n"
    (home / "images.gin").write_text(text + more)
    return home / "images"


def postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(executed) (w) file closefile\n")


def claiming(path: Path, width: int, height: int) -> None:
    """A small PNG of one bit a pixel that says it has so many."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * (width // 8 + 1), 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:150])


def words(path: Path) -> None:
    path.write_text("no image")


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "postscript": (postscript, "allowed: an intact PNG, JPEG, BMP, WEBP, PPM, TIFF file"),
    "wide": (
        lambda path: claiming(path, 60_000_000, 1),
        "got 60000000x1 pixels, which are 480000000x8 before cropping, at most 67108864",
    ),
    "huge": (
        lambda path: claiming(path, 9_000, 9_000),
        "got 9000x9000 pixels, at most 67108864 in all are decoded",
    ),
    "pipe": (pipe, "it is no regular file"),
    "device": (device, "it is no regular file"),
    "cut": (cut, "cannot be decoded"),
    "text": (words, "cannot be decoded"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_test_image_is_found_before_training_and_by_check(
    images: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = BROKEN[case]
    make(images / "test" / "bee" / "01.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for command in (["check", "images.gin", "--data"], ["run", "images.gin", *CPU]):
        assert main(command) == 2, f"{command[0]} takes it"
        shown = capsys.readouterr().err
        assert "test/bee/01.png: " in shown, f"the file is named: {shown}"
        assert said in shown, f"and what is wrong: {shown}"
    assert not Path("runs").exists(), "nothing was trained"
    assert not Path("executed").exists(), "no interpreter was started"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1_000_000, f"{grown} kB were taken for one file"


def test_check_reads_every_image(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "images.gin", "--data"]) == 0, capsys.readouterr().err
    assert "40 train, 6 test images" in capsys.readouterr().out, "it says how many it read"
    assert main(["check", "images.gin", "--data", "--no-data"]) == 2, "both at once mean nothing"


def arrays(**changed: np.ndarray) -> dict[str, np.ndarray]:
    images, labels = np.zeros((6, 4, 4), np.uint8), np.arange(6) % 3
    return {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels} | changed


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("label", [2_000_000_000, 2**62])
def test_one_large_label_takes_no_memory(home: Path, part: str, label: int) -> None:
    np.savez(home / "x.npz", **arrays(**{f"y_{part}": np.array([0, 1, 2, 0, 1, label])}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=f"y_{part} holds"):
        matx.datasets["npz"](path="x.npz")()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "classes were made up to the label"


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_header_that_asks_for_more_than_there_is(home: Path, part: str) -> None:
    np.savez(home / "x.npz", **arrays(**{f"y_{part}": np.arange(6) % 3}))
    with zipfile.ZipFile(home / "y.npz", "w") as made, zipfile.ZipFile(home / "x.npz") as stored:
        for name in stored.namelist():
            raw = stored.read(name)
            if name == f"y_{part}.npy":
                raw = raw.replace(b"'shape': (6,), }" + b" " * 11, b"'shape': (6000000000,), }  ")
                assert b"6000000000" in raw, "the header says more"
            made.writestr(name, raw)
    with pytest.raises(DataError, match=f"y_{part} is said to have 48000000000 bytes, of which "):
        matx.datasets["npz"](path="y.npz")()


def test_a_pipe_is_no_archive_and_no_weights(home: Path) -> None:
    os.mkfifo(home / "x.npz")
    with pytest.raises(DataError, match="which is no regular file"):
        matx.datasets["npz"](path="x.npz")()
