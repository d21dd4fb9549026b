"""A component that writes into what it is given is named and stopped, by whatever way it writes: no figure is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from isolation import isolated_plugins
from torch import Tensor, nn

import matx
from matx.cli import main
from matx.data import MemorySplit
from matx.engine import Training, step
from matx.engine.loop import _augmented
from matx.errors import ModelError
from matx.exchange import Crafted, Exchange, PeerLoss
from matx.interfaces import AttackInput, Column, copied, refuse_writes
from matx.measure import EvaluationSettings, correct, flags_of, measure, verify
from matx.measure.records import SearchRecord
from matx.measure.verify import Verified
from tests.engine.world import L2, LINF, first_batch, peer, pgd

PLUGIN = '''
"""An attack that writes into its input, and returns its images moved with it."""
from __future__ import annotations
from dataclasses import dataclass
import matx
from matx.threat import ThreatModel

@matx.attacks.register("writer")
@dataclass(frozen=True, kw_only=True)
class Writer:
    """Writes."""

    kind = "maximise"
    threat: ThreatModel
    way: str = "place"

    def __call__(self, given):
        images = given.images
        if self.way == "place":
            images.mul_(0.5)
        elif self.way == "data":
            images.data.mul_(0.5)
        elif self.way == "numpy":
            images.numpy()[:] = 0.5
        elif self.way == "labels":
            given.labels.data.zero_()
        elif self.way == "indices":
            given.generator.indices.numpy()[:] = 3
        return images

    @classmethod
    def examples(cls, tmp_path):
        return [cls(threat=ThreatModel(norm="linf", eps=0.1))]
'''
WRITTEN = dict.fromkeys(("place", "data", "numpy"), "images") | {"labels": "labels", "indices": "generator.indices"}
WRITER = ["-s", "attacks.writer.threat=@ThreatModel()", "--device", "cpu", "--plugin", "writer.py"]


@pytest.fixture
def writer(home: Path) -> Iterator[None]:
    with isolated_plugins():
        (home / "writer.py").write_text(PLUGIN)
        yield


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.usefixtures("writer")
def test_an_attack_that_writes_is_stopped(finished: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    said = f"way='{way}'): wrote into its input ({WRITTEN[way]})"
    options = [*WRITER, "-s", f"attacks.writer.way='{way}'"]
    assert main(["run", "quick.gin", *options, "-s", "Peer.attacks=[@attacks.writer()]"]) == 2, "training went on"
    assert said in capsys.readouterr().err, "training does not name the attack and what it wrote"
    evaluated = ["eval", str(finished), *options, "-s", "Evaluation.attacks=[@attacks.writer()]"]
    assert main([*evaluated, "--out", "evaluated"]) == 2, "the evaluation went on"
    assert said in capsys.readouterr().err, "the evaluation does not name the attack and what it wrote"
    assert not Path("evaluated/results.json").exists(), "there are figures of an attack that moved the clean images"


@dataclass(frozen=True)
class Halving:
    """An augmentation that works in place."""

    def __call__(self, images: Tensor, generator: Any) -> Tensor:
        return images.data.mul_(0.5)


@dataclass(frozen=True)
class Zeroing:
    """A union that sets the labels to zero before its attacks see them."""

    says_winners = False

    def start(self) -> dict[str, Any]:
        return {}

    def views(self, count: int) -> int:
        return 1

    def __call__(self, attacks: Any, given: AttackInput, state: Any) -> Crafted:
        given.labels.zero_()
        return Crafted(views=given.images[None], state=state)


@dataclass(frozen=True)
class Blunting:
    """A strategy that changes a table of the exchange."""

    table: str
    inner: Any = field(default_factory=lambda: matx.strategies["mat"](alpha=0.5, beta=0.5))

    def needs(self, peers: Any) -> Any:
        return self.inner.needs(peers)

    def loss(self, exchange: Exchange, name: str) -> PeerLoss:
        found: PeerLoss = self.inner.loss(exchange, name)
        given = getattr(exchange, self.table)
        for tensor in given.values() if isinstance(given, Mapping) else [given]:
            tensor.data.zero_()
        return found


@pytest.mark.parametrize(
    ("strategy", "options", "said"),
    [
        (None, {"peers": peer(LINF, L2, union=Zeroing())}, "Zeroing() or an attack that it steps"),
        (Blunting("labels"), {}, "wrote into its input (labels)"),
        (Blunting("teach"), {}, "wrote into its input (teach.a on a, teach.b on b)"),
        (Blunting("train"), {}, "wrote into its input (train.a on a, train.a on b)"),
    ],
)
def test_other_components_are_stopped_in_training(
    launch: Callable[..., Training], strategy: Any, options: dict[str, Any], said: str
) -> None:
    one = options.pop("peers", peer(LINF))
    training = launch(strategy or Blunting("labels").inner, {"a": one, "b": peer(LINF)}, **options)
    with pytest.raises(ModelError) as caught:
        step(training, first_batch(training))
    assert said in str(caught.value), f"the sentence names another component or place: {caught.value}"
    assert training.position.step == 0, "the step counts as taken"


def test_an_augmentation_is_stopped() -> None:
    given = images().images
    kept = given.clone()
    with pytest.raises(ModelError, match=r"Halving\(\): wrote into its input \(images\)"):
        _augmented(given, [Halving()], matx.randomness.SampleGenerator(0, torch.arange(12)))
    assert torch.equal(given, kept), "the batch was changed"


class Moving(nn.Module):
    """A model that normalises its images in place."""

    def forward(self, images: Tensor) -> Tensor:
        return images.sub_(0.5).flatten(1)[:, :3]


@dataclass(frozen=True, kw_only=True)
class Relabelling:
    """A metric that relabels what it cannot classify."""

    table: ClassVar[str] = ""

    def measure(self, models: Any, batch: Any, settings: Any) -> dict[Column, Tensor]:
        settings.findings("a").clean.fill_(True)
        batch.labels[:] = models["a"](batch.images).argmax(1)
        return {Column("a", "clean"): correct(models["a"], batch.images, batch.labels)}

    def summarise(self, columns: Any) -> list[Any]:
        return []


def images(count: int = 12) -> MemorySplit:
    generator = torch.Generator().manual_seed(1)
    return MemorySplit.of(torch.rand(count, 1, 4, 4, generator=generator), torch.arange(count) % 3)


def linear() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def test_models_and_metrics_are_stopped_in_an_evaluation() -> None:
    settings = EvaluationSettings(attacks=[pgd(LINF)])
    with pytest.raises(ModelError, match=r"model 'a': wrote into its input \(images\)"):
        flags_of({"a": Moving()}, images(), settings)
    with pytest.raises(ModelError, match=r"Relabelling\(\): wrote into its input \(labels\)"):
        measure({"a": linear()}, images(), replace(settings, metrics=[Relabelling()]))


def test_findings_that_one_metric_changes_are_whole_for_the_next() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Asking(Relabelling):
        seen: list[Tensor] = field(default_factory=list)

        def measure(self, models: Any, batch: Any, settings: Any) -> dict[Column, Tensor]:
            self.seen.append(settings.findings("a").clean.clone())
            settings.findings("a").clean.fill_(True)
            self.seen.append(settings.findings("a").clean)
            return {Column("a", "clean"): self.seen[0]}

    asking = Asking()
    measure({"a": linear()}, images(), EvaluationSettings(attacks=[pgd(LINF)], metrics=[asking]))
    assert not asking.seen[0].all(), "the model is right everywhere, so that nothing is shown"
    assert torch.equal(*asking.seen), "what one metric wrote into the findings is read by the next"


def test_records_with_other_labels_are_not_verified() -> None:
    split, rows = images(), torch.arange(12)
    record = SearchRecord(
        threat="linf:0.1", attack="x", rows=rows, indices=rows, labels=torch.zeros_like(split.labels),
        robust=torch.zeros(12, dtype=torch.bool), examples=split.images, seconds=0.0,
    )  # fmt: skip
    with pytest.raises(matx.errors.RunError, match=r"linf:0\.1: got labels other than those of the images"):
        verify(linear(), split, [record], Verified())


def test_what_an_attack_keeps_of_its_result_changes_no_example() -> None:
    kept: list[Tensor] = []

    @dataclass(frozen=True)
    class Reusing:
        kind: ClassVar[str] = "maximise"
        threat: Any = LINF

        def __call__(self, given: AttackInput) -> Tensor:
            kept.append(given.images.clone())
            return kept[-1]

    draws = matx.randomness.SampleGenerator(0, torch.arange(12))
    given = AttackInput(model=linear(), images=images().images, labels=images().labels, generator=draws)
    found = matx.interfaces.run_attack(Reusing(), given)
    kept[-1].zero_()
    assert torch.equal(found, images().images), "an attack changed its examples after it had returned them"


def test_copies_keep_bits_and_graphs() -> None:
    weight = torch.tensor([1.0, torch.nan], requires_grad=True)
    given = {"a": [weight * 2.0], "b": "text"}
    seen = copied(given)
    refuse_writes("x", seen, given)
    seen["a"][0][0].backward()
    assert torch.equal(weight.grad, torch.tensor([2.0, 0.0])), "no gradient passes through a copy"
