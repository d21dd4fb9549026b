"""Checkpoints: whole or not at all, plain, and tied to one experiment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from matx.effect import NO_EFFECT
from matx.errors import CheckpointError
from matx.runtime import checkpoint
from matx.runtime.checkpoint import Checkpoint
from matx.runtime.environment import provenance, provenance_changes
from matx.runtime.identity import identity_of


@dataclass(frozen=True, kw_only=True)
class Part:
    size: float = 1.0
    names: tuple[str, ...] = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Whole:
    parts: dict[str, Part]
    other: object = None
    checkpoint_every: int | None = field(default=None, metadata=NO_EFFECT)
    tune: object = field(default=None, metadata=NO_EFFECT)


WHOLE = Whole(parts={"one": Part(), "two": Part(size=2.0)})


def stored(**changes: object) -> Checkpoint:
    base = Checkpoint(
        training={"weights": torch.arange(3.0), "position": [1, 2], "nested": {"x": torch.ones(2, dtype=torch.int64)}},
        identity=identity_of(WHOLE),
        provenance=provenance("cpu"),
        images={"train": "abc"},
        metrics_bytes=17,
    )
    return replace(base, **changes)


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
        checkpoint.refuse_other_experiment(stored(), identity_of(other), Path("last.pt"))
    assert shown in str(caught.value), f"the sentence names what differs: {caught.value}"
    assert "last.pt" in str(caught.value), "the sentence names the file"


def test_an_option_that_is_newer_than_a_checkpoint_is_as_given() -> None:
    older = {path: text for path, text in identity_of(WHOLE).items() if not path.endswith(("other", ".size"))}
    checkpoint.refuse_other_experiment(stored(identity=older), identity_of(WHOLE), Path("last.pt"))
    other = replace(WHOLE, parts={**WHOLE.parts, "one": Part(names=("c", "b"))})
    with pytest.raises(CheckpointError, match=r"parts\.one\.names\[0\]: 'a' -> 'c'"):
        checkpoint.refuse_other_experiment(stored(identity=older), identity_of(other), Path("last.pt"))


def test_what_changes_no_result_may_change() -> None:
    other = identity_of(replace(WHOLE, checkpoint_every=5, tune=Part()))
    checkpoint.refuse_other_experiment(stored(), other, Path("last.pt"))


def test_other_images_are_refused() -> None:
    checkpoint.refuse_other_images(stored(), {"train": "abc"}, Path("last.pt"))
    with pytest.raises(CheckpointError, match=r"last\.pt: the images are not those of the start \(train: abc -> abd\)"):
        checkpoint.refuse_other_images(stored(), {"train": "abd"}, Path("last.pt"))


def test_round_trip_and_plain_content(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, stored())
    found = checkpoint.load(path)
    assert torch.equal(found.training["weights"], torch.arange(3.0)), "tensors come back as they were"
    assert found.training["position"] == [1, 2], "plain values come back as they were"
    assert found.identity == stored().identity, "the identity comes back"
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
    with pytest.raises(CheckpointError, match="holds no 'identity'"):
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
    old = torch.load(path, weights_only=True) | {"schema": 1}
    del old["digest"]
    for name, now in (("circumstances", "provenance"), ("data", "images"), ("settings", "identity")):
        old[name] = old.pop(now)
    old["settings"] = {**old["settings"], "parts.one": "some.module.Part", "checkpoint_every": "5"}
    torch.save(old, path)
    found = checkpoint.load(path)
    assert found.provenance == provenance("cpu"), "the old name of the provenance is not known"
    assert found.images == {"train": "abc"}, "the old name of the images is not known"
    checkpoint.refuse_other_experiment(found, identity_of(WHOLE), path)
    with pytest.raises(CheckpointError, match=r"parts\.two\.size: 2\.0 -> 2\.5"):
        checkpoint.refuse_other_experiment(
            found, identity_of(replace(WHOLE, parts={**WHOLE.parts, "two": Part(size=2.5)})), path
        )
