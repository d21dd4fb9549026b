"""Folders, data and weights that somebody prepared to run code, to write elsewhere, or to exhaust the machine."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .bench import Bench, recipe
from .commands import matx
from .outcomes import Case, Found, Outcome
from .promises import judged

__all__ = ["CASES"]

_MARK = "executed"
_EVIL = f"from pathlib import Path\nPath(__file__).with_name({_MARK!r}).write_text('')\n"
_CPU = ("--device", "cpu")
_RESUME = ("run", "--resume", "theirs")
_EVAL = ("eval", "theirs", "--no-sanity", *_CPU)
Words = Sequence[str]


class _Opener:
    """A pickle that leaves the mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.mark)!r}, 'w').close()",)


def _import_line(folder: Path) -> Sequence[Words]:
    config = folder / "theirs" / "config.gin"
    config.write_text("import evil\n" + config.read_text())
    (folder / "theirs" / "evil.py").write_text(_EVIL)
    dry = ("run", "theirs/config.gin", "--dry-run", *_CPU)
    return [_EVAL, _RESUME, ("check", "theirs/config.gin"), dry, ("run", "theirs/config.gin", *_CPU)]


def _listed_plugin(folder: Path) -> Sequence[Words]:
    (folder / "theirs" / "evil.py").write_text(_EVIL)
    _change(folder / "theirs" / "environment.json", plugins=[str(folder / "theirs" / "evil.py")])
    return [_EVAL, _RESUME]


def _escaping_name(folder: Path) -> Sequence[Words]:
    _change(folder / "theirs" / "environment.json", experiment=f"/../../{_MARK}")
    return [_EVAL, _RESUME, ("run", "theirs/config.gin", *_CPU)]


def _link(name: str, folder: Path) -> Sequence[Words]:
    (folder / "precious").write_text("precious")
    (folder / "theirs" / name).unlink(missing_ok=True)
    (folder / "theirs" / name).symlink_to(folder / "precious")
    return [_RESUME]


def _pickled_checkpoint(folder: Path) -> Sequence[Words]:
    for name in ("best.pt", "last.pt", "previous.pt"):
        torch.save(_Opener(folder / _MARK), folder / "theirs" / "checkpoints" / name)
    bare = ("eval", "--weights", "theirs/checkpoints/best.pt", "--architecture", "tiny", "--dataset", "digits", *_CPU)
    return [_EVAL, _RESUME, bare]


def _pickled_flags(folder: Path) -> Sequence[Words]:
    content = np.array([_Opener(folder / _MARK)], dtype=object)
    np.savez(folder / "theirs" / "flags.npz", schema=content)
    (folder / "theirs" / "done.json").rename(folder / "theirs" / "results.json")
    shutil.copytree(folder / "theirs", folder / "same")
    return [("compare", "theirs", "same")]


def _pickled_images(folder: Path) -> Sequence[Words]:
    content = np.array([_Opener(folder / _MARK)], dtype=object)
    np.savez(folder / "x.npz", x_train=content, y_train=content, x_test=content, y_test=content)
    return [_on_npz("run"), _on_npz("check")]


def _huge_label(folder: Path) -> Sequence[Words]:
    images = np.zeros((20, 8, 8), np.uint8)
    labels = np.arange(20) % 2
    labels[3] = 2_000_000_000
    np.savez(folder / "x.npz", x_train=images, y_train=labels, x_test=images, y_test=labels % 2)
    return [_on_npz("run"), (*_on_npz("run"), "-s", "datasets.npz.class_names=['a', 'b']")]


def _timm_checkpoint(folder: Path) -> Sequence[Words]:
    (folder / "evil.pth").write_bytes(pickle.dumps(_Opener(folder / _MARK)))
    network = ("-s", "Peer.architecture=@architectures.timm()", "-s", "architectures.timm.name='test_resnet'")
    options = ("-s", f"architectures.timm.options={{'checkpoint_path': '{folder}/evil.pth'}}")
    return [("check", "quick.gin", *network, *options), ("run", "quick.gin", *network, *options, *_CPU)]


def _repository(folder: Path) -> Sequence[Words]:
    script = folder / "monitor.sh"
    script.write_text(f"#!/bin/sh\ntouch {folder}/{_MARK}\n")
    script.chmod(0o755)
    for words in (["init", "-q"], ["config", "core.fsmonitor", str(script)], ["add", "quick.gin"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    (folder / _MARK).unlink(missing_ok=True)
    return [("run", "quick.gin", "--out", "mine", *_CPU)]


def _postscript(path: Path) -> None:
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n")


def _bomb(path: Path) -> None:
    """A PNG of 4 kB that says that it is 30,000 pixels wide and high."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3_000_000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def _half_a_picture(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:90])


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _picture(part: str, damage: Callable[[Path], None], number: int, folder: Path) -> Sequence[Words]:
    """Images of two classes, of which one is damaged: another one for each number, where a split has so many."""
    for split, count in (("train", 20), ("test", 3)):
        for name in ("ant", "bee"):
            (folder / "images" / split / name).mkdir(parents=True)
            for number in range(count):
                noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(noise).save(folder / "images" / split / name / f"{number:02d}.png")
    damaged = sorted((folder / "images" / part).glob("*/*.png"))
    damage(damaged[number // 2 % len(damaged)])
    return [_on_images("run"), (*_on_images("check"), "--data")]


def _on_npz(verb: str) -> Words:
    words = (verb, "quick.gin", "-s", "Experiment.dataset=@datasets.npz()", "-s", "datasets.npz.path='x.npz'")
    return (*words, *_CPU) if verb == "run" else words


def _on_images(verb: str) -> Words:
    words = (verb, "quick.gin", "-s", "Experiment.dataset=@datasets.image_folder()", "-s", "Experiment.train_limit=30")
    more = ("-s", "datasets.image_folder.root='images'", "-s", "datasets.image_folder.resolution=8")
    return (*words, *more, *(_CPU if verb == "run" else ()))


def _change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def _tried(prepare: Callable[[Path], Sequence[Words]], refused: bool, bench: Bench, folder: Path, number: int) -> Found:
    """One of the commands that meet what was prepared: it must run none of it and write nowhere else."""
    shutil.copytree(bench.run(), folder / "theirs")
    (folder / "theirs" / "results.json").rename(folder / "theirs" / "done.json")
    (folder / "quick.gin").write_text(recipe())
    commands = prepare(folder)
    words = commands[number % len(commands)]
    ended = matx(*words, folder=folder)
    precious = folder / "precious"
    if any(folder.parent.glob(_MARK)) or any(folder.rglob(_MARK)):
        return Found(Outcome.ESCAPED, f"{' '.join(words)}: {ended.error}")
    if precious.exists() and precious.read_text() != "precious":
        return Found(Outcome.ESCAPED, f"{' '.join(words)}: a file out of the folder was written")
    found = judged(ended, " ".join(words[:3]), ".")
    if found is None:
        return Found(Outcome.SILENT, f"{words}: taken") if refused else Found(Outcome.UNHARMED, " ".join(words[:3]))
    if found.outcome is Outcome.NAMED:  # exit code 1: nobody foresaw it
        return Found(Outcome.BLAMED, found.seen)
    return found


def _tried_picture(part: str, damage: Callable[[Path], None], bench: Bench, folder: Path, number: int) -> Found:
    return _tried(partial(_picture, part, damage, number), True, bench, folder, number)


_LINKS = ("lock", "log.txt", "metrics.jsonl", "timing.json")
_PREPARED: dict[str, tuple[Callable[[Path], Sequence[Words]], int]] = {
    "an `import` line in a run folder's config.gin": (_import_line, 5),
    "a plug-in in a run folder's environment.json": (_listed_plugin, 2),
    "the name `/../../x` in a run folder": (_escaping_name, 3),
    **{f"`{name}` of a run folder is a link out of it": (partial(_link, name), 1) for name in _LINKS},
    "checkpoints that are pickles of code": (_pickled_checkpoint, 3),
    "flags.npz with a pickle of code": (_pickled_flags, 1),
    "datasets.npz with pickles of code": (_pickled_images, 2),
    "timm's `checkpoint_path` with a pickle of code": (_timm_checkpoint, 2),
    "a label of 2e9 among twenty": (_huge_label, 2),
}
_PICTURES: dict[str, Callable[[Path], None]] = {
    "PostScript named .png": _postscript,
    "a PNG of 4 kB for 900 million pixels": _bomb,
    "half a picture": _half_a_picture,
    "a named pipe": _fifo,
    "a link to a device": _device,
}
_IN_SHORT = (
    "an `import` line in a run folder's config.gin",
    "the name `/../../x` in a run folder",
    "`lock` of a run folder is a link out of it",
    "checkpoints that are pickles of code",
    "a label of 2e9 among twenty",
)
"""Of those above; `tests/strangers` has each of them in the process of the tests."""
CASES = [
    *(
        Case(
            section="Folders, weights and data of somebody else",
            fault=what,
            short=what in _IN_SHORT,
            long=max(5, commands),
            attempt=partial(_tried, prepare, True),
        )
        for what, (prepare, commands) in _PREPARED.items()
    ),
    Case(
        section="Folders, weights and data of somebody else",
        fault="a repository around the run whose `core.fsmonitor` is a program",
        short=0,
        long=5,
        attempt=partial(_tried, _repository, False),
    ),
    *(
        Case(
            section="Folders, weights and data of somebody else",
            fault=f"{what} among the {part} images",
            short=part == "test" and damage in (_postscript, _fifo),
            long=6,
            attempt=partial(_tried_picture, part, damage),
        )
        for what, damage in _PICTURES.items()
        for part in ("train", "test")
    ),
]
