"""Batches in parts: the gradients of the whole batch from little memory, and statistics that are the parts'."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.engine import Training, step
from matx.engine.parts import parts_of
from matx.errors import CheckpointError, OptionError
from matx.run import resume, run
from tests.engine.world import L2, LINF, Launch, first_batch, independent, mat, peer, pgd, same, weights
from tests.engine.world import run as steps
from tests.sample_runs import sample


@dataclass(frozen=True, kw_only=True)
class Smooth:
    """A convolution and two layers, without batch statistics."""

    width: int = 4

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        channels, height, wide = image_shape
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(self.width * height * wide, 16),
            nn.GELU(),
            nn.Linear(16, num_classes),
        )

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]


class Keeping(torch.optim.SGD):
    """Gradient descent that keeps the gradients of its last step."""

    def step(self, closure: Any = None) -> Any:
        self.kept = [p.grad.clone() for group in self.param_groups for p in group["params"]]
        return super().step(closure)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An optimizer whose gradients a test may read."""

    clip: float | None = None

    def __call__(self, parameters: Any) -> torch.optim.Optimizer:
        return Keeping(parameters.values(), lr=0.05)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]


def smooth(*threats: Any, **options: Any) -> Any:
    return peer(*threats, architecture=Smooth(), optimizer=Kept(), **options)


def frozen(path: Path, **options: Any) -> Any:
    torch.manual_seed(3)
    torch.save(Smooth()((1, 8, 8), 10).state_dict(), path)
    return smooth(frozen=True, weights=str(path), **options)


def exact(training: Training) -> tuple[dict[str, list[Tensor]], dict[str, dict[str, float]], dict[str, Any]]:
    """Two steps on the same 20 images in float64: the gradients of the second, its losses, and all states."""
    training.copies = {}  # they are of the run's precision
    for learner in training.learners.values():
        learner.module.double()
        if learner.ema_module is not None:
            learner.ema_module.double()
    batch = first_batch(training)
    batch = replace(batch, images=batch.images[:20].double(), labels=batch.labels[:20], indices=batch.indices[:20])
    step(training, batch)
    record = step(training, batch)
    optimizers = {name: learner.optimizer for name, learner in training.learners.items()}
    gradients = {name: optimizer.kept for name, optimizer in optimizers.items() if isinstance(optimizer, Keeping)}
    return gradients, {name: dict(terms) for name, terms in record.losses.items()}, training.states


def pair(tmp_path: Path) -> dict[str, Any]:
    return {"a": smooth(LINF), "b": smooth(L2)}


def perturbed(tmp_path: Path) -> dict[str, Any]:
    return {"a": smooth(LINF, weight_perturbation=0.01), "b": smooth(L2)}


def two_views(tmp_path: Path) -> dict[str, Any]:
    return {"a": smooth(LINF, replace(L2, norm="l1", eps=2.0))}


def adaptive(tmp_path: Path) -> dict[str, Any]:
    return {"a": smooth(LINF, L2, union=matx.unions["random_choice"](per="sample")), "b": smooth(L2)}


def roles(tmp_path: Path) -> dict[str, Any]:
    return {"natural": smooth(), "robust": smooth(LINF)}


def with_teachers(tmp_path: Path) -> dict[str, Any]:
    return {
        "a": smooth(LINF),
        "robust": frozen(tmp_path / "r.pt", attacks=[pgd(LINF)]),
        "natural": frozen(tmp_path / "n.pt"),
    }


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
@pytest.mark.parametrize(
    ("strategy", "peers"),
    [
        ("independent", pair),
        ("mat", pair),
        ("mat", perturbed),
        ("mat", adaptive),
        ("agree", pair),  # coupled, with an objective of its own
        ("ramp", two_views),  # a mean over the samples that are right
        ("d2r", roles),  # the absolute value of a difference of means
        ("mtard", with_teachers),  # a state that remembers the losses of the first batch
    ],
)
def test_gradients_losses_and_states_are_those_of_the_whole_batch(
    launch: Launch, tmp_path: Path, strategy: str, peers: Callable[[Path], dict[str, Any]], order: str
) -> None:
    whole, parts = (
        exact(launch(matx.strategies[strategy](), peers(tmp_path), update_order=order, micro_batch=size))
        for size in (None, 7)
    )
    for name, gradients in whole[0].items():
        largest = max(float(gradient.abs().max()) for gradient in gradients)
        assert largest > 1e-4, f"{strategy}: the gradient of {name} is {largest}, so nothing is compared"
        for one, other in zip(gradients, parts[0][name], strict=True):
            apart = float((one - other).abs().max())
            assert apart < 1e-12, f"{strategy}: the gradient of {name} differs by up to {apart}"
    for name, terms in whole[1].items():
        assert parts[1][name] == pytest.approx(terms, abs=1e-12), f"{strategy}: the terms of {name} differ"
    for name, state in whole[2].items():
        for key, value in state.items():
            assert float(parts[2][name][key]) == pytest.approx(float(value), abs=1e-12), f"{strategy}: {name}.{key}"


@contextmanager
def saved_bytes(peak: list[int]) -> Any:
    """Measure the most bytes that graphs keep at one time."""
    live = [0]

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor, self.size = tensor, tensor.nbytes
            live[0] += self.size
            peak[0] = max(peak[0], live[0])

        def __del__(self) -> None:
            live[0] -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        yield


def test_parts_need_less_memory_in_crafting_and_in_training(launch: Launch) -> None:
    peaks = {}
    for size in (None, 8):
        training = launch(mat(), {"a": smooth(LINF), "b": smooth(L2)}, micro_batch=size)
        peak = [0]
        with saved_bytes(peak):
            step(training, first_batch(training))
        peaks[size] = peak[0]
    assert peaks[8] < 0.4 * peaks[None], f"graphs of 8 of 32 images keep {peaks[8]} bytes, of all {peaks[None]}"


def test_no_network_sees_more_images_than_a_part_has(launch: Launch) -> None:
    seen: list[int] = []
    training = launch(mat(), {"a": smooth(LINF), "b": smooth(L2)}, micro_batch=8)
    for learner in training.learners.values():
        learner.module.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    step(training, first_batch(training))
    assert max(seen) == 16, f"8 images of two sources are one training forward; a network saw {max(seen)}"


def test_parts_are_few_and_nearly_equal() -> None:
    for count in range(2, 40):
        for size in range(3, 12):
            parts = parts_of(count, size)
            sizes = [part.stop - part.start for part in parts]
            assert sum(sizes) == count, f"{count} in parts of {size}: {sizes} leave some out"
            assert max(sizes) <= size, f"{count} in parts of {size}: {sizes} has a larger one"
            assert min(sizes) >= 2, f"{count} in parts of {size}: {sizes} has a single image, without statistics"


def test_one_part_is_the_step_without_parts_bit_for_bit(launch: Launch) -> None:
    peers = {"a": peer(LINF, weight_perturbation=0.01), "b": peer(L2)}
    first, second = (launch(mat(), peers, micro_batch=size) for size in (None, 32))
    assert steps(first, 2) == steps(second, 2), "a part that holds the batch changes figures"
    for name in peers:
        one, other = (weights(training, name) for training in (first, second))
        assert same(one, other), f"a part that holds the batch changes the weights of {name}"


def test_a_resumed_run_in_parts_is_the_same_bit_for_bit(launch: Launch) -> None:
    peers = {"a": peer(LINF, L2, union=matx.unions["adaptive"]()), "b": peer(L2)}
    through, stopped, resumed = (launch(mat(), peers, micro_batch=12) for _ in range(3))
    expected = steps(through, 4)
    steps(stopped, 2)
    resumed.load_state_dict(stopped.state_dict())
    assert steps(resumed, 2) == expected[2:], "a resumed training in parts goes on otherwise"


def test_statistics_of_parts_are_named_and_single_images_refused(
    launch: Launch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "matx.run"):
        run(sample(epochs=1, micro_batch=5), out=tmp_path / "run", device="cpu")
    said = [record.getMessage() for record in caplog.records if "micro_batch" in record.getMessage()]
    assert said, "a run whose BatchNorm sees parts does not say so"
    assert "parts of at most 5 images" in said[0], f"it does not say how many: {said[0]}"
    with pytest.raises(OptionError, match=r"micro_batch: got 2, allowed: 3 or more, since peer 'a' has BatchNorm"):
        launch(independent(), {"a": peer(LINF)}, micro_batch=2)
    launch(independent(), {"a": smooth(LINF)}, micro_batch=1)


def test_a_run_may_go_on_with_smaller_parts_but_not_as_another(tmp_path: Path) -> None:
    folder = run(sample(epochs=1), out=tmp_path / "run", device="cpu")
    folder.results.unlink()
    with pytest.raises(CheckpointError, match="batch_size"):
        resume(folder.path, loaded=sample(epochs=1, micro_batch=4, batch_size=8))
    assert resume(folder.path, loaded=sample(epochs=1, micro_batch=4)).finished, "smaller parts are refused"
