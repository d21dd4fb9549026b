"""The engine attacks crafting copies that follow their peers, and the peers judge."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

import matx
from matx.engine import step
from matx.errors import OptionError
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


@pytest.mark.skipif(not shutil.which("g++"), reason="NOT RUN: Inductor needs a C++ compiler, and there is no g++")
def test_compiled_copies_follow_their_peers(launch: Launch) -> None:
    peers = {"a": peer(attacks=[pgd(LINF, keep="last")])}
    plain, compiled = (launch(independent(), peers, compile=choice) for choice in ("auto", "on"))
    batch, graphs = first_batch(plain), torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert plain.copies["a"].compiled is None, "copies are compiled on a CPU without being asked for"
    for _ in range(2):  # weights move in between, and are not compiled in
        for training in (plain, compiled):
            step(training, batch)
        copies = [training.copies["a"] for training in (plain, compiled)]
        for copy in copies:
            copy.refresh()
        first, second = (copy(batch.images.clone().requires_grad_()) for copy in copies)
        near = (first - second).abs().max() / first.abs().max()
        assert near < 1e-3, f"the compiled copy is {float(near):.2g} off"
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs + 1, "not one graph was compiled"
    odd = compiled.copies["a"](batch.images[:5])
    assert torch.equal(odd, compiled.copies["a"].folding.graph(batch.images[:5])), "another batch size was compiled"


def test_compiling_without_a_compiler_is_refused(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(OptionError, match=r"Experiment\.compile: got 'on' where no C\+\+ compiler is installed"):
        launch(independent(), {"a": peer(LINF)}, compile="on")
