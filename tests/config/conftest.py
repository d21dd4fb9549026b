from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from isolation import isolated_plugins

from matx.consent import Consent, consenting

PLUGIN = '''
from __future__ import annotations
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal
import matx
from matx.errors import OptionError
from matx.exchange import Needs
from matx.interfaces import Attack, FirstOrderAttack, ObjectiveName
from matx.threat import ThreatModel

@matx.attacks.register("probe")
@dataclass(frozen=True, kw_only=True)
class Probe:
    kind: ClassVar = "maximise"
    threat: ThreatModel
    steps: int = 10
    """How many steps."""
    size: float | None = None
    mode: Literal["a", "b"] = "a"
    objective: ObjectiveName = "cross_entropy"
    def __post_init__(self):
        if self.steps < 0:
            raise OptionError("steps", got=str(self.steps), allowed="0 or more")
    def __call__(self, given):
        return given.images

@matx.attacks.register("chain")
@dataclass(frozen=True, kw_only=True)
class Chain:
    kind: ClassVar = "maximise"
    parts: Sequence[Attack]
    first: FirstOrderAttack | None = None
    @property
    def threat(self):
        return self.parts[0].threat

@matx.attacks.register("odd")
@dataclass(frozen=True, kw_only=True)
class Odd:
    kind: ClassVar = "maximise"
    threat: ThreatModel
    pair: tuple[int, float] = (1, 2.0)
    names: list[str] = field(default_factory=list)
    table: Mapping[str, float] = field(default_factory=dict)
    where: Path | None = None
    def __post_init__(self):
        if self.names == ["bug"]:
            raise KeyError("bug")
        if self.names == ["value"]:
            raise ValueError("names say value")

@matx.attacks.register("echo")
@dataclass(frozen=True, kw_only=True)
class Echo:
    kind: ClassVar = "maximise"
    threat: ThreatModel
    sources: Sequence[str] = ()

@matx.unions.register("both")
@dataclass(frozen=True, kw_only=True)
class Both:
    says_winners: ClassVar = True

    def start(self):
        return {}

    def views(self, count):
        return count

@matx.architectures.register("net")
@dataclass(frozen=True, kw_only=True)
class Net:
    widths: Sequence[int] = (1, 2)

@matx.datasets.register("dots")
@dataclass(frozen=True, kw_only=True)
class Dots:
    n: int = 3

@matx.strategies.register("apart")
@dataclass(frozen=True, kw_only=True)
class Apart:
    alpha: float = 0.5
    def needs(self, peers):
        return Needs(train={p.name: (p.name,) for p in peers})

@matx.strategies.register("led")
@dataclass(frozen=True, kw_only=True)
class Led:
    leader: str
    beta: float = 1.0
    def needs(self, peers):
        names = [p.name for p in peers]
        if self.leader not in names:
            raise OptionError("leader", got=repr(self.leader), allowed=", ".join(names))
        return Needs(train={p.name: (p.name,) for p in peers})
'''

BASE = """import probing
EPS = '8/255'
Experiment.dataset = @datasets.dots()
Experiment.strategy = @strategies.apart()
Experiment.peers = {
    'linf': @linf/Peer(), 'l2': @l2/Peer(), 'generalist': @generalist/Peer(),
}
Peer.architecture = @architectures.net()
architectures.net.widths = [3, 4]
Peer.attacks = [@attacks.probe()]
attacks.probe.threat = @ThreatModel()
linf/ThreatModel.norm = 'linf'
linf/ThreatModel.eps = %EPS
l2/ThreatModel.norm = 'l2'
l2/ThreatModel.eps = 0.5
generalist/Peer.attacks = [@linf/attacks.probe(), @l2/attacks.probe()]
generalist/Peer.union = @unions.both()
Peer.optimizer = @optimizers.sgd()
"""
"""The example of the design, on the components of the plug-in above; 18 lines."""


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory with the plug-in `probing.py`, which may be imported, and the configuration `base.gin`."""
    (tmp_path / "probing.py").write_text(PLUGIN)
    (tmp_path / "base.gin").write_text(BASE)
    monkeypatch.chdir(tmp_path)
    with isolated_plugins(), consenting(Consent(trust=True)):
        yield


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file below the working directory; its name."""

    def put(name: str, text: str) -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return name

    return put
