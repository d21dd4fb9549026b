"""The engine attacks crafting copies that follow their peers, and the peers judge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import matx
from matx.engine import step
from tests.engine.world import LINF, Launch, first_batch, independent, peer, pgd


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_engine_attacks_copies_and_judges_by_peers(launch: Launch, precision: str, mode: str) -> None:
    """Eval mode has a folded copy in either precision; batch statistics are never folded."""
    seen: list[matx.AttackInput] = []

    class Seeing(type(pgd(LINF))):  # type: ignore[misc]
        def __call__(self, given: matx.AttackInput) -> Tensor:
            seen.append(given)
            x = given.images
            logits, own = given.model(x), given.judge(x)
            module = training.learners["a"].module
            assert module.training == (mode == "train"), f"the peer is attacked in another mode than {mode}"
            assert torch.equal(own, module(x)), "the judge is not the peer in fp32 and in its attack mode"
            near = (logits - own).abs().max() / own.abs().max()
            low, high = {"fp32": (0.0, 1e-5), "bf16": (1e-5, 0.05)}[precision]
            assert low <= near <= high, f"the copy in {precision} is {float(near):.2g} from the peer"
            return super().__call__(given)  # type: ignore[no-any-return]

    attacks = [Seeing(threat=LINF, steps=2)]
    training = launch(independent(), {"a": peer(attacks=attacks, attack_mode=mode)}, precision=precision)
    for _ in range(3):  # weights move in between, and the copy follows
        step(training, first_batch(training))
    assert len(seen) == 3, "the attack did not run"
    assert ("a" in training.copies) == (mode == "eval"), "a copy with folded statistics in train mode, or none in eval"
