"""A run that stops anywhere and goes on equals the straight run, bit for bit."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch

import matx
from matx.engine import Training
from tests.engine.world import L2, LINF, peer, run, same, weights

Launch = Callable[..., Training]


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


@pytest.mark.parametrize(
    ("after", "precision"), [(1, "fp32"), (2, "fp32"), (4, "fp32"), (6, "fp32"), (2, "auto"), (4, "bf16")]
)
def test_resume_equals_the_straight_run(launch: Launch, after: int, precision: str) -> None:
    """An epoch is 3 steps and its record: 1 and 2 stop in mid-epoch, 4 at the epoch's end."""

    def fresh() -> Training:
        union = matx.unions["random_choice"]()
        augment = [matx.augmentations["pad_crop"](pad=1), matx.augmentations["flip"]()]
        peers = {"a": peer(LINF, ema=0.9, weight_perturbation=0.005), "b": peer(LINF, L2, union=union)}
        return launch(matx.strategies["mat"](), peers, augment=augment, precision=precision)

    straight, first, second = fresh(), fresh(), fresh()
    expected = run(straight)
    started = run(first, after)
    second.load_state_dict(through_a_file(first.state_dict()))
    resumed = run(second)
    assert repr(started + resumed) == repr(expected), "the records differ from those of the straight run"
    for name in ("a", "b"):
        assert same(weights(straight, name), weights(second, name)), f"peer {name} ended elsewhere"
    average = straight.learners["a"].ema_module
    other = second.learners["a"].ema_module
    assert average is not None, "peer a keeps a moving average"
    assert other is not None, "the resumed peer a keeps a moving average"
    assert same(average.state_dict(), other.state_dict()), "the moving averages differ"
    assert straight.best == second.best, "the best epoch differs"


def test_a_run_goes_on_in_the_precision_in_which_it_began(launch: Launch) -> None:
    """Also where the device would take another for 'auto', and also where the checkpoint stored none."""
    peers = {"a": peer(LINF), "b": peer(LINF)}
    began = {p: launch(matx.strategies["mat"](), peers, precision=p) for p in ("fp32", "bf16")}
    for precision, first in began.items():
        run(first, 2)
        stored = through_a_file(first.state_dict())
        again = launch(matx.strategies["mat"](), peers, precision="auto")
        again.load_state_dict(stored)
        assert again.precision == precision, f"{precision} went on as {again.precision}"
        assert repr(run(again)) == repr(run(first)), f"a run in {precision} goes on otherwise under 'auto'"
    del stored["precision"]
    former = launch(matx.strategies["mat"](), peers, precision="auto")
    former.load_state_dict(stored)
    assert former.precision == "fp32", "'auto' was fp32 on CPUs when checkpoints stored no precision"


def test_a_checkpoint_without_the_state_of_a_union_is_read(launch: Launch) -> None:
    """Checkpoints written when only unions with memory had a state: the others start with an empty one."""
    training = launch(matx.strategies["mat"](), {"a": peer(LINF, L2), "b": peer(LINF)})
    stored = through_a_file(training.state_dict())
    assert stored["states"].pop("union.a") == {}, "a union without memory has a state that is not empty"
    training.load_state_dict(stored)
    assert training.states["union.a"] == {}, "the union lost its state"
    run(training, 1)
