"""Checkpoints: whole or not at all, plain, and tied to one experiment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from matx.errors import CheckpointError
from matx.runtime import checkpoint
from matx.runtime.checkpoint import Checkpoint
from matx.runtime.environment import provenance, provenance_changes


@dataclass(frozen=True, kw_only=True)
class Part:
    size: float = 1.0
    names: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Whole:
    parts: dict[str, Part]
    other: object = None
    checkpoint_every: int | None = None
    tune: object = None


WHOLE = Whole(parts={"one": Part(), "two": Part(size=2.0)})


def stored(**changes: object) -> Checkpoint:
    base = Checkpoint(
        training={"weights": torch.arange(3.0), "position": [1, 2], "nested": {"x": torch.ones(2, dtype=torch.int64)}},
        settings=checkpoint.settings(WHOLE),
        provenance=provenance("cpu"),
        data={"train": "abc"},
        metrics_bytes=17,
    )
    return replace(base, **changes)


def test_settings_hold_every_leaf_by_its_path() -> None:
    found = checkpoint.settings(WHOLE)
    assert found["parts.two.size"] == "2.0", "a value inside a mapping of components is found by its path"
    assert found["parts.one.names[1]"] == "'b'", "an item of a sequence is found by its number"
    assert found["parts.one"].endswith("Part"), "the class of a component is part of the settings"
    assert found["other"] == "None", "None is a value too"


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        (replace(WHOLE, other=3), "other: None -> 3"),
        (replace(WHOLE, parts={"one": Part()}), "parts.two.size: 2.0 -> absent"),
        (replace(WHOLE, parts={**WHOLE.parts, "three": Part()}), "parts.three.size: absent -> 1.0"),
        (replace(WHOLE, parts={**WHOLE.parts, "two": Part(size=2.5)}), "parts.two.size: 2.0 -> 2.5"),
    ],
)
def test_another_experiment_is_refused_with_the_difference(other: Whole, shown: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.refuse_others(stored(), checkpoint.settings(other), Path("last.pt"))
    assert shown in str(caught.value), f"the sentence names what differs: {caught.value}"
    assert "last.pt" in str(caught.value), "the sentence names the file"


def test_what_changes_no_result_may_change() -> None:
    other = checkpoint.settings(replace(WHOLE, checkpoint_every=5, tune=Part()))
    checkpoint.refuse_others(stored(), other, Path("last.pt"))
    assert checkpoint.differences(checkpoint.settings(WHOLE), other) == [], "what a search would do counts for nothing"


def test_round_trip_and_plain_content(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, stored())
    found = checkpoint.load(path)
    assert torch.equal(found.training["weights"], torch.arange(3.0)), "tensors come back as they were"
    assert found.training["position"] == [1, 2], "plain values come back as they were"
    assert found.settings == stored().settings, "the fingerprint comes back"
    assert found.metrics_bytes == 17, "the length of the metrics comes back"
    assert torch.load(path, weights_only=True)["training"]["position"] == [1, 2], "torch's safe reader takes the file"
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"], "no temporary file is left"


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, stored())
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        checkpoint.save(path, stored(training={"bad": lambda: None}))
    assert path.read_bytes() == before, "the old checkpoint is there, byte for byte"


def test_missing_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(path)
    checkpoint.save(path, stored())
    whole = path.read_bytes()
    for broken in (b"", b"not a checkpoint", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="damaged, or not a checkpoint"):
            checkpoint.load(path)
    torch.save({"schema": 99}, path)
    with pytest.raises(CheckpointError, match="schema 99"):
        checkpoint.load(path)
    torch.save({"schema": checkpoint.SCHEMA, "training": {}}, path)
    with pytest.raises(CheckpointError, match="holds no 'settings'"):
        checkpoint.load(path)


def test_a_file_that_runs_code_is_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "ran"
    torch.save({"schema": checkpoint.SCHEMA, "training": Evil(str(marker))}, path)
    with pytest.raises(CheckpointError):
        checkpoint.load(path)
    assert not marker.exists(), "reading a checkpoint never runs what it carries"


class Evil:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.marker, "w"))


def test_provenance_changes_name_what_bit_for_bit_depends_on() -> None:
    now = provenance("cpu")
    assert provenance_changes(now, now) == [], "the same provenance has no changes"
    then = {**now, "threads": 64, "torch": "1.0"}
    assert provenance_changes(then, now) == [
        f"torch: 1.0 -> {now['torch']}",
        f"threads: 64 -> {now['threads']}",
    ], "every difference is named with both values"


def test_a_checkpoint_of_the_first_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, stored())
    old = torch.load(path, weights_only=True)
    old["circumstances"] = old.pop("provenance")
    torch.save(old, path)
    assert checkpoint.load(path).provenance == provenance("cpu"), "the old name of the provenance is not known"
