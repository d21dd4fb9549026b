"""Where faults are tried: recipes, what commands must give where nothing happens, and how two folders are compared."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from matx.digest import digest_of
from matx.errors import DamagedError
from matx.report import without_clock
from matx.runtime import checkpoint

from .commands import PATIENCE, Ended, matx

T = TypeVar("T")
__all__ = ["PLUGINS", "Bench", "different", "partial_files", "recipe"]

PLUGINS = Path(__file__).parent / "plugins"
RECIPE = """Experiment.dataset = @datasets.digits()
Experiment.peers = {'one': @one/Peer(), 'two': @two/Peer()}
Experiment.strategy = @strategies.mat()
Experiment.evaluation = @Evaluation()
Experiment.epochs = 2
Experiment.seed = 5
Experiment.batch_size = 50
Experiment.train_limit = 150
Experiment.checkpoint_every = 2
Evaluation.attacks = [@test/ATTACK()]
Evaluation.validation_attacks = [@validation/ATTACK()]
Evaluation.validation_images = 20
Evaluation.images = 40
one/Peer.ema = 0.9
two/Peer.ema = None
Peer.architecture = @architectures.tiny()
Peer.attacks = [@training/ATTACK()]
Peer.optimizer = @optimizers.sgd()
Peer.schedule = @schedules.cosine()
architectures.tiny.width = 4
ATTACK.threat = @ThreatModel()
ThreatModel.norm = 'linf'
ThreatModel.eps = 0.1
"""
_EACH = {"attacks.pgd": "steps = 2", "attacks.probe": "where = 'WHERE'", "attacks.breaking": "how = 'nothing'"}
_WHERE = ("training", "validation", "test")
FILES = ("results.json", "flags.npz", "metrics.jsonl", "report.md", "report.html", "config.gin")
CHECKPOINTS = ("best.pt", "last.pt")


def recipe(attack: str = "attacks.pgd") -> str:
    """The experiment that faults are tried on: one attack with settings of its own in training, validation and test."""
    each = "".join(f"{where}/ATTACK.{_EACH[attack]}\n".replace("WHERE", where) for where in _WHERE)
    return (RECIPE + each).replace("ATTACK", attack)


@dataclass(frozen=True)
class Bench:
    """A folder for everything that cases share: what commands leave where nothing happens to them, made once."""

    home: Path
    made: dict[str, Ended] = field(default_factory=dict)
    seconds: dict[tuple[object, ...], float] = field(default_factory=dict)
    """{words: how long the command takes}."""
    figures: dict[str, Any] = field(default_factory=dict)

    def straight(
        self, name: str, *words: str | Path, text: str, run: Path | None = None, patience: float = PATIENCE
    ) -> Path:
        """The working directory in which `matx WORDS` ran to its end on `quick.gin`; it is only looked at.

        `run`: a run folder that is there beforehand, as a link.
        """
        folder = self.home / name
        if name not in self.made:
            if not self.made:
                matx("--version", folder=self.home)  # begins the process that all are forked from
            folder.mkdir(parents=True)
            (folder / "quick.gin").write_text(text)
            if run is not None:
                (folder / "run").symlink_to(run)
            began = time.monotonic()
            self.made[name] = matx(*words, folder=folder, patience=patience)
            self.seconds[words] = time.monotonic() - began
            assert self.made[name].code == 0, f"matx {words} fails without a fault: {self.made[name].said}"
        return folder

    def new(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.home))

    def kept(self, what: str, make: Callable[[], T]) -> T:
        """What is made once."""
        if what not in self.figures:
            self.figures[what] = make()
        found: T = self.figures[what]
        return found

    def run(self) -> Path:
        """The folder of a run to which nothing happened."""
        return self.straight("run", "run", "quick.gin", "--out", "run", "--device", "cpu", text=recipe()) / "run"


def different(found: Path, wanted: Path, files: tuple[str, ...] = FILES) -> list[str]:
    """What differs in the figures of two folders, byte for byte, and weight for weight where there are checkpoints."""
    names = [name for name in files if _content(found / name) != _content(wanted / name)]
    for name in CHECKPOINTS:
        there = wanted / "checkpoints" / name
        if there.exists() and _weights(found / "checkpoints" / name) != _weights(there):
            names.append(name)
    return names


def partial_files(folder: Path) -> list[str]:
    """What killed writers left in a folder and below."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*") if "partial" in path.name]


def _content(path: Path) -> str:
    """What the file is, but for what a page says of the clock."""
    if not path.is_file():
        return "missing"
    content = path.read_bytes()
    if path.suffix == ".html":
        content = without_clock(content.decode("utf-8", errors="replace")).encode()
    return hashlib.sha256(content).hexdigest()


def _weights(path: Path) -> str:
    try:
        return digest_of(dict(checkpoint.load(path).training))
    except DamagedError as error:
        return str(error)
