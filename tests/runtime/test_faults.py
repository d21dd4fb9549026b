"""Faults of the machine in the middle of a run: named as such, and the run goes on as if there was none."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from matx.cli import main
from matx.errors import MachineError
from matx.interfaces import AttackInput
from matx.run import resume, run
from matx.runtime import checkpoint
from matx.runtime.faults import fault_of
from matx.runtime.files import write_torch
from matx.runtime.folder import RunFolder
from matx.runtime.log import explained
from tests.run.test_resume import assert_equal_runs
from tests.sample_runs import Judged, Watched, nothing, sample


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process may become longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Let something happen in the attacks of a step of training."""

    def arrange(step: int, what: Callable[[], object]) -> None:
        left = [what]

        def fate(given: AttackInput) -> None:
            if given.step == step and left:
                left.pop()()

        monkeypatch.setattr(Watched, "FATE", staticmethod(fate))
        monkeypatch.setattr(Judged, "FATE", staticmethod(nothing))

    return arrange


def allocate_by_torch() -> None:
    torch.empty(2**50, dtype=torch.uint8)


def allocate_by_numpy() -> None:
    np.zeros(2**50, dtype=np.uint8)


@pytest.mark.parametrize("allocate", [allocate_by_torch, allocate_by_numpy])
def test_too_little_memory_names_what_needs_less(
    tmp_path: Path, straight: RunFolder, at_step: Callable[..., None], allocate: Callable[[], None]
) -> None:
    at_step(6, allocate)
    with pytest.raises(MachineError) as caught:
        run(sample(), out=tmp_path / "run", device="cpu")
    said, folder = str(caught.value), RunFolder(tmp_path / "run")
    assert said.startswith("memory is short ("), f"it does not say what is short: {said}"
    assert f"{folder.last} is whole and holds the state after epoch 1;" in said, f"it does not say what is kept: {said}"
    for word in ("micro_batch", "fewer peers a process", "checkpoint_every", f"matx run --resume {folder.path}"):
        assert word in said, f"{word} is not in: {said}"
    assert "defect" not in said, f"the machine's fault is called a defect: {said}"
    assert "Traceback" in folder.log.read_text(), "the log has no traceback"
    at_step(-1, nothing)
    resume(folder.path, loaded=sample())
    assert_equal_runs(folder, straight)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_file_that_may_not_grow_keeps_the_last_checkpoint(
    tmp_path: Path, straight: RunFolder, at_step: Callable[..., None]
) -> None:
    limit = file_limit(20_000)
    at_step(5, limit.__enter__)
    try:
        with pytest.raises(MachineError) as caught:
            run(sample(checkpoint_every=3), out=tmp_path / "run", device="cpu")
    finally:
        limit.__exit__(None, None, None)
    said, folder = str(caught.value), RunFolder(tmp_path / "run")
    assert "a file would be larger than this process may write" in said, f"it does not say what failed: {said}"
    assert f"{folder.last} is whole and holds the state after epoch 1" in said, f"it does not say what is kept: {said}"
    assert "ulimit -f" in said, f"it does not say what helps: {said}"
    assert not list(folder.path.rglob("*.partial")), "the half of a file is left"
    at_step(-1, nothing)
    resume(folder.path, loaded=sample(checkpoint_every=3))
    assert_equal_runs(folder, straight)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of TensorBoard's own thread
@pytest.mark.parametrize("moved", [False, True])
def test_a_folder_that_goes_away_is_named(
    tmp_path: Path, straight: RunFolder, at_step: Callable[..., None], moved: bool
) -> None:
    place, other = tmp_path / "run", tmp_path / "elsewhere"
    at_step(6, lambda: place.rename(other) if moved else shutil.rmtree(place))
    with pytest.raises(MachineError) as caught:
        run(sample(checkpoint_every=3), out=place, device="cpu")
    said = str(caught.value)
    assert f"{place}: the folder is gone: it was moved or deleted" in said, f"it does not say what is gone: {said}"
    assert "put it back" in said, f"it does not say what helps: {said}"
    assert not place.exists(), "a new folder was made in the place of the one that is gone"
    if moved:
        at_step(-1, nothing)
        resume(other, loaded=sample(checkpoint_every=3))
        assert_equal_runs(RunFolder(other), straight)


def test_a_failing_write_inside_torch_says_why(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    write_torch(path, {"weights": torch.zeros(10)})
    before = path.read_bytes()
    with file_limit(4096), pytest.raises(OSError, match="File too large") as caught:
        write_torch(path, {"weights": torch.zeros(100_000)})
    assert caught.value.errno == errno.EFBIG, "torch's RuntimeError hides what the system said"
    assert caught.value.filename == str(path), f"the file is not named: {caught.value.filename}"
    assert path.read_bytes() == before, "the old file is not there as it was"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), "x/y: no space is left on the disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up"),
        (OSError(errno.EROFS, "Read-only file system", "x/y"), "x/y: the file system is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "x/.r.md.1-a.partial"), "x: there is no permission"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "memory is short"),
        (MemoryError(), "memory is short (MemoryError)"),
        (RuntimeError("[enforce fail at inline_container.cc:603] . PytorchStreamWriter failed"), "a write failed"),
    ],
)
def test_a_fault_of_the_machine_is_never_called_a_defect(error: Exception, said: str) -> None:
    sentence = explained(error)
    assert sentence.startswith(said), f"the sentence is: {sentence}"
    assert "defect" not in sentence, f"the machine's fault is called a defect: {sentence}"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), 2),
        (PermissionError(errno.EACCES, "Permission denied", "x/y"), 2),
        (MemoryError(), 2),
        (RuntimeError("shapes differ"), 1),
    ],
)
def test_the_exit_code_tells_the_machine_s_faults_from_defects(
    error: Exception, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise error

    monkeypatch.setattr("matx.run.report", fail)
    assert main(["report", str(tmp_path)]) == code, f"outside of a run {error!r} does not end with {code}"


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "No such file", "x"), RuntimeError("shapes differ")])
def test_other_errors_are_no_faults(error: Exception, tmp_path: Path) -> None:
    assert fault_of(error, tmp_path) is None, "a mistake passes for a fault of the machine"
    assert "defect of matx or of a plug-in" in explained(error), "what matx did not foresee is not called so"


def test_a_folder_that_cannot_be_written_begins_nothing(tmp_path: Path) -> None:
    with file_limit(2_000), pytest.raises(MachineError, match=re.escape("no run was begun")):
        run(sample(), out=tmp_path / "run", device="cpu")
    assert os.listdir(tmp_path) == [], "something is left of a run that could not be begun"


def test_what_is_kept_is_said_of_the_checkpoint_that_is_whole(tmp_path: Path) -> None:
    folder = run(sample(epochs=1), out=tmp_path / "run", device="cpu")
    folder.last.write_bytes(folder.last.read_bytes()[:100])
    assert checkpoint.kept(folder) == f"{folder.previous} is whole and holds the state after epoch 0", (
        "not the one before"
    )
