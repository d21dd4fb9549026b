"""What is not finite is never saved: the step is left out, the training stops, and the last checkpoint replays it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from sample_runs import sample

import matx
from matx.engine import Training, fit, refuse_weights, start, step
from matx.errors import NotFiniteError, RunError
from matx.exchange import Exchange, Needs, PeerInfo, PeerLoss
from matx.run import resume, run
from matx.runtime import checkpoint
from matx.runtime.folder import RunFolder
from tests.engine.world import LINF, first_batch, peer
from tests.run.test_resume import assert_equal_runs, assert_same


@dataclass(frozen=True, kw_only=True)
class Cliff:
    """Every peer learns from its own examples; at one place the loss is finite, and its gradient is 0 / 0."""

    AT: ClassVar[tuple[str, int] | None] = None
    neutral = None
    symmetric = True

    def needs(self, peers: Sequence[PeerInfo]) -> Needs:
        return Needs(train={info.name: (info.own_source,) for info in peers})

    def loss(self, exchange: Exchange, name: str) -> PeerLoss:
        logits = exchange.logits(name, exchange.info(name).own_source)
        total = matx.losses.cross_entropy(logits, exchange.labels).mean()
        if (name, exchange.step) == type(self).AT:
            total = total + (logits - logits).sum().sqrt()
        return PeerLoss(total=total)


@pytest.fixture
def cliff(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    return lambda name, step: monkeypatch.setattr(Cliff, "AT", (name, step))


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_such_a_step_changes_nothing(
    launch: Callable[..., Training], cliff: Callable[[str, int], None], order: str, optimizer: str
) -> None:
    one = peer(LINF, optimizer=matx.optimizers[optimizer](lr=0.01), ema=0.9)
    training = launch(Cliff(), {"a": one, "b": one}, update_order=order)
    step(training, first_batch(training))
    cliff("b" if order == "simultaneous" else "a", 1)
    before = copy.deepcopy(training.state_dict()["learners"])
    with pytest.raises(
        NotFiniteError, match=r"gradient that is not finite in epoch 1, step 2, where its loss is"
    ) as caught:
        step(training, first_batch(training))
    found = training.state_dict()["learners"]
    for name in ("a", "b"):  # Adam's count of steps is no figure, and stays on the CPU
        assert_same(found[name], before[name], f"{name}: weights, optimizer, average and buffers")
    named = caught.value
    assert (named.peer, named.epoch, named.step) == (Cliff.AT[0] if Cliff.AT else "", 1, 2), "it names another place"
    assert named.indices == tuple(first_batch(training).indices.tolist()), "it names another batch"
    assert training.position.step == 1, "the step counts as taken"


def test_in_the_first_step_no_state_is_nan(launch: Callable[..., Training], cliff: Callable[[str, int], None]) -> None:
    training = launch(Cliff(), {"a": peer(LINF)})
    cliff("a", 0)
    with pytest.raises(NotFiniteError):
        step(training, first_batch(training))
    state = training.state_dict()["learners"]["a"]["optimizer"]["state"]
    tensors = [value for entry in state.values() for value in entry.values() if isinstance(value, torch.Tensor)]
    assert all(tensor.isfinite().all() for tensor in tensors), "the optimizer's first state is not finite"


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(sample(strategy=Cliff()), out=tmp_path_factory.mktemp("cliff") / "run", device="cpu")


@pytest.mark.parametrize("at", [6, 11])
def test_the_last_checkpoint_survives_and_replays_the_step(
    tmp_path: Path, wanted: RunFolder, cliff: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    cliff("two", at)
    where = f"epoch {at // 4 + 1}, step {at % 4 + 1}"
    with pytest.raises(
        RunError, match=f"peer 'two': got a gradient that is not finite in {where}.*`matx run --resume`"
    ):
        run(sample(strategy=Cliff()), out=tmp_path / "run", device="cpu")
    folder = RunFolder(tmp_path / "run")
    assert not folder.finished, "a run that broke in its last step passes for a finished one"
    stored = checkpoint.load(folder.last)
    weights = [value for state in stored.training["learners"].values() for value in state["module"].values()]
    assert all(value.isfinite().all() for value in weights), "the last checkpoint is not finite"

    bundle: dict[str, Any] = json.loads(folder.not_finite.read_text())
    assert bundle["position"] == stored.training["position"], "the bundle names another checkpoint"
    loaded = sample(strategy=Cliff())
    training = start(loaded.experiment, loaded.experiment.dataset())
    training.load_state_dict(stored.training)
    with pytest.raises(NotFiniteError, match=where) as again:
        list(fit(training))
    assert list(again.value.indices) == bundle["indices"], "the replay comes to another batch"

    monkeypatch.setattr(Cliff, "AT", None)
    resume(folder.path, loaded=loaded)
    assert_equal_runs(folder, wanted)
    assert not folder.not_finite.exists(), "a run that went on still names the step"


def test_a_state_that_is_not_finite_is_not_saved(launch: Callable[..., Training]) -> None:
    training = launch(Cliff(), {"a": peer(LINF, ema=0.9)})
    step(training, first_batch(training))
    learner = training.learners["a"]
    learner.module.register_buffer("mask", torch.full((2,), -torch.inf))
    refuse_weights(training)  # a constant of the network may be infinite
    last = list(learner.module.parameters())[-1].data
    state = next(iter(learner.optimizer.state.values())) if learner.optimizer else {}
    statistics = next(b for name, b in learner.module.named_buffers() if name.endswith("running_var"))
    for tensor in (last, state["momentum_buffer"], statistics, list(learner.ema_module.buffers())[-2]):
        kept = tensor.clone()
        tensor.view(-1)[0] = torch.inf
        with pytest.raises(NotFiniteError, match=r"peer 'a': got weights or statistics .* after epoch 1, step 1"):
            refuse_weights(training)
        tensor.copy_(kept)
    refuse_weights(training)
