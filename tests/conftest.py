"""One thread a test process: two of them then use two cores, and figures do not depend on the machine's width."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from matx.runtime.folder import RunFolder

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where a shell runs the tests in its background, SIGINT arrives ignored, and SIGHUP behind nohup; commands that tests
# interrupt would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_plug_in_is_left() -> Iterator[None]:
    """A plug-in that a test leaves loaded changes what later tests print (`isolated_plugins` undoes it)."""
    from matx.plugins import loaded_modules

    before = loaded_modules()
    yield
    assert loaded_modules() == before, "the test left a plug-in loaded"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with the quick experiment in it."""
    from sample_runs import QUICK

    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.gin").write_text(QUICK)
    return tmp_path


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of the sample experiment that nothing stopped; it is only looked at."""
    from sample_runs import sample

    from matx.run import run

    return run(sample(checkpoint_every=3), out=tmp_path_factory.mktemp("straight") / "run", device="cpu")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run made by the command line."""
    from sample_runs import QUICK

    from matx.cli import main

    folder = tmp_path_factory.mktemp("finished")
    (folder / "quick.gin").write_text(QUICK)
    code = main(["run", str(folder / "quick.gin"), "--out", str(folder / "run"), "--device", "cpu", "--seed", "3"])
    assert code == 0, "the run ends well"
    return folder / "run"
