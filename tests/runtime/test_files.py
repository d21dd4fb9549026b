"""Files that others read are whole, whoever writes them at once and whoever is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from matx.runtime.files import remove_leftovers, write_file, write_json, write_npz, write_text, write_torch

KILLED = """
import os, signal
from pathlib import Path
from matx.runtime.files import write_file

def half(file):
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

write_file(Path("out.json"), half)
"""


def test_each_form_comes_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    for text in ("first\n", "second\r\n"):
        write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_bytes() == text.encode(), "the file does not hold the text last written"
    write_json(tmp_path / "a.json", {1: (0.5, float("nan")), "ü": None})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"1": [0.5, "nan"], "ü": None}, "not strict JSON"
    for compressed in (False, True):
        write_npz(tmp_path / "a.npz", {"x": np.arange(3)}, compressed=compressed)
        with np.load(tmp_path / "a.npz") as stored:
            assert stored["x"].tolist() == [0, 1, 2], "the arrays do not come back"
    write_torch(tmp_path / "a.pt", {"x": torch.ones(2)})
    assert torch.load(tmp_path / "a.pt", weights_only=True)["x"].tolist() == [1.0, 1.0], "the tensors do not come back"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.npz", "a.pt", "a.txt"], "something is left"


def test_a_write_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def broken(file: BinaryIO) -> None:
        file.write(b"new")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_file(tmp_path / "a.txt", broken)
    with pytest.raises(AttributeError):
        write_torch(tmp_path / "a.txt", {"bad": lambda: None})
    assert (tmp_path / "a.txt").read_text() == "old", "the old content is damaged"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"], "a partial file is left"


def test_a_killed_writer_leaves_no_content_and_its_leftover_is_removed(tmp_path: Path) -> None:
    write_json(tmp_path / "out.json", {"whole": True})
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path)
    assert done.returncode == -signal.SIGKILL, "the writer was not killed in the middle"
    assert json.loads((tmp_path / "out.json").read_text()) == {"whole": True}, "half a file was taken for content"
    (left,) = (path for path in tmp_path.iterdir() if path.name != "out.json")
    assert left.name.startswith("."), "the leftover is not hidden"
    assert list(tmp_path.rglob("*.json")) == [tmp_path / "out.json"], "the leftover is found as content"
    mine = left.with_name(re.sub(r"\.\d+-", f".{os.getpid()}-", left.name))
    mine.touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, "out.json"]), (
        "the leftover of a killed process stays, or a file that may still be written was removed"
    )
    os.utime(mine, (time.time() - 7200,) * 2)
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"], "the leftover stays for ever"


def _write_often(path: str, letter: str) -> None:
    for _ in range(60):
        write_text(Path(path), letter * 50_000)


def test_three_writers_at_once_never_mix(tmp_path: Path) -> None:
    context, path = multiprocessing.get_context("spawn"), tmp_path / "shared.txt"
    write_text(path, "z" * 50_000)
    writers = [context.Process(target=_write_often, args=(str(path), letter)) for letter in "abc"]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        text = path.read_text()
        assert (len(text), len(set(text))) == (50_000, 1), "a reader saw a part, or two writers' content"
    assert [writer.exitcode for writer in writers] == [0, 0, 0], "a writer failed because of another"
    assert [found.name for found in tmp_path.iterdir()] == ["shared.txt"], "a partial file is left"
