"""Checksums over content: what a damaged file, or one without, leads to. Single flipped bits: `tests/faults`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sample_runs import sample

from matx.digest import checked, digest_of, with_digest
from matx.errors import CheckpointError, MatxError
from matx.learner import read_weights
from matx.run import resume
from matx.runtime import checkpoint
from matx.runtime.files import keep_as, read_npz, write_npz, write_torch
from matx.runtime.folder import RunFolder
from matx.runtime.journal import as_line, read_rows
from tests.run.test_resume import assert_equal_runs
from tools.faults.flips import content


def flip(file: Path) -> None:
    """Flip a bit of a weight, which the container does not check."""
    weights = checkpoint.load(file).training["learners"]["one"]["module"].values()
    largest = max(weights, key=torch.Tensor.numel).contiguous(memory_format=torch.channels_last)
    content = bytearray(file.read_bytes())
    content[content.index(largest.permute(0, 2, 3, 1).numpy().tobytes())] ^= 16
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, Path.unlink, lambda file: file.write_bytes(b"")])
def test_the_checkpoint_before_a_damaged_one_is_used_and_said(
    tmp_path: Path, straight: RunFolder, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object]
) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(straight.path, folder.path)
    folder.results.unlink()
    before = checkpoint.load(folder.previous).training["position"]
    assert before == [2, 4], "the checkpoint before the last one is not the one of step 12"
    damage(folder.last)
    resume(folder.path, loaded=sample(checkpoint_every=3))
    assert "last.pt: " in caplog.text, "the damaged file is not named"
    assert "the checkpoint before it is used, which holds the state after epoch 2 and 4 steps" in caplog.text
    assert_equal_runs(folder, straight)


def test_files_of_before_are_read_and_named(
    tmp_path: Path, straight: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(straight.path, folder.path)
    wanted = {name: content(folder.path, name) for name in ("results.json", "flags.npz")}
    rows = read_rows(folder.metrics)
    results = json.loads(folder.results.read_text())
    del results["digest"]
    folder.results.write_text(json.dumps(results))
    arrays, _ = read_npz(folder.flags)
    np.savez(folder.flags, **arrays)
    folder.metrics.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    stored = torch.load(folder.last, weights_only=True)
    del stored["digest"]
    torch.save(stored, folder.last)
    assert not caplog.text, f"files with a checksum are complained of: {caplog.text}"
    for name, before in wanted.items():
        assert content(folder.path, name) == before, f"{name} of before is read as something else"
    assert read_rows(folder.metrics) == rows, "metrics.jsonl of before is read as something else"
    assert checkpoint.load(folder.last).training["position"] == [3, 0], "a checkpoint of before is not read"
    for name in ("results.json", "flags.npz", "metrics.jsonl", "last.pt"):
        assert f"{name}: unchecked" in caplog.text, f"{name} is not named as unchecked"


def test_a_line_of_metrics_that_lost_its_checksum_is_named(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"epoch": 1}\n' + as_line({"epoch": 2}))
    assert read_rows(file) == [{"epoch": 1}, {"epoch": 2}], "a run that an earlier version began does not go on"
    file.write_text(as_line({"epoch": 1}) + '{"epoch": 2}\n')
    with pytest.raises(MatxError, match=r"metrics\.jsonl:2: not a JSON record \(it lost its checksum\)"):
        read_rows(file)


def test_weights_from_a_damaged_run_are_refused(tmp_path: Path, straight: RunFolder) -> None:
    shutil.copytree(straight.path, tmp_path / "run")
    flip(tmp_path / "run" / "checkpoints" / "best.pt")
    with pytest.raises(CheckpointError, match=r"best\.pt does not hold plain weights"):
        read_weights(str(tmp_path / "run"), "one")


def test_the_digest_is_of_content(tmp_path: Path) -> None:
    value: dict[str, Any] = {"a": (1, 2.5, None, "x"), "b": torch.arange(6.0).reshape(2, 3), "c": np.arange(3)}
    assert digest_of(value) == digest_of({**value, "a": [1, 2.5, None, "x"]}), "JSON knows no tuples"
    strided = torch.arange(6.0).reshape(2, 3).t().contiguous().t()
    assert digest_of(value) == digest_of({**value, "b": strided}), "strides are no content"
    others: list[dict[str, Any]] = [
        {**value, "a": [1.0, 2.5, None, "x"]}, {**value, "b": value["b"].double()}, {**value, "b": value["b"].t()},
        {**value, "c": np.arange(3, dtype=np.int32)}, {"b": value["b"], "a": value["a"], "c": value["c"]},
    ]  # fmt: skip
    assert all(digest_of(other) != digest_of(value) for other in others), "another type, shape or order has its digest"
    assert checked(with_digest(value))[1], "what has just been made does not match"
    write_npz(tmp_path / "a.npz", {"x": np.arange(3), "y": np.array("text")})
    assert read_npz(tmp_path / "a.npz")[1], "arrays do not match their own checksum"


def test_a_second_name_stays_when_the_file_is_replaced(tmp_path: Path) -> None:
    file, other = tmp_path / "a.pt", tmp_path / "b.pt"
    write_torch(file, {"x": 1})
    for _ in range(2):  # the second time both are one file already
        keep_as(file, other)
    write_torch(file, {"x": 2})
    assert torch.load(other, weights_only=True)["x"] == 1, "the old content is lost"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt"], "a file was left behind"


def test_a_checkpoint_says_which_epoch_it_is_of(tmp_path: Path, straight: RunFolder) -> None:
    found = checkpoint.load(straight.last)
    checkpoint.save(tmp_path / "best.pt", found)
    identity = dict(found.identity)
    assert checkpoint.load_of(tmp_path / "best.pt", identity, epoch=3).identity == identity, "its own epoch is refused"
    with pytest.raises(CheckpointError, match=r"best\.pt: got the state after epoch 3, allowed: that after epoch 1"):
        checkpoint.load_of(tmp_path / "best.pt", identity, epoch=1)
    checkpoint.save(tmp_path / "best.pt", replace(found, identity={**identity, "seed": "9"}))
    with pytest.raises(CheckpointError, match=r"best\.pt: belongs to another experiment \(seed: 9 -> 0\)"):
        checkpoint.load_of(tmp_path / "best.pt", identity, epoch=3)
