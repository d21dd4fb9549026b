"""Published losses: values and gradients of the original public code on committed logits, in float64.

Each file of `golden/strategies` names its source (repository, commit, file), the seed of numpy's default_rng from which
its logits were drawn, and the numbers that the released code gave, with its logarithms' guards set to 0 where it has
any; `released` holds the values with the guards as they are; `teacher_mode` is the mode in which trained peers answer
there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.exchange import PeerInfo
from matx.experiment import teacher_mode, trained_teachers
from matx.roles import example_peer as peer
from matx.testing.live import experiment_of
from tests.strategies.tables import Key, Logits, exchange

FILES = sorted((Path(__file__).parents[1] / "golden" / "strategies").glob("*.json"))
STEPS = [path for path in FILES if "mtard" in path.stem]
"""Of MTARD and of B-MTARD three steps in a row, with a state between them."""


def read(path: Path) -> tuple[dict[str, Any], tuple[PeerInfo, ...], Logits]:
    golden = json.loads(path.read_text())
    peers = tuple(peer(p["name"], *p["norms"], frozen=p.get("frozen", False)) for p in golden["peers"])
    labels = torch.tensor(golden["labels"])
    return golden, peers, Logits(train=_table(golden["trained"]), teach=_table(golden["teach"]), ema={}, labels=labels)


def _table(rows: dict[str, Any]) -> dict[Key, Tensor]:
    return {_key(key): _views(torch.tensor(z, dtype=torch.float64)) for key, z in rows.items()}


def _key(key: str) -> Key:
    name, source = key.split("|")
    return name, source


def _views(z: Tensor) -> Tensor:
    return z if z.ndim == 3 else z[None]


@pytest.mark.parametrize("path", [path for path in FILES if path not in STEPS], ids=lambda path: path.stem)
def test_loss_and_gradient_equal_the_original_code(path: Path) -> None:
    golden, peers, values = read(path)
    strategy = matx.strategies[golden["strategy"]](**golden["options"])
    for group, value in golden["losses"].items():
        leaves = {key: z.clone().requires_grad_() for key, z in values.train.items()}
        table = exchange(strategy, peers, values, progress=golden["progress"], leaves=leaves)
        total = torch.stack([strategy.loss(table, name).total for name in group.split("+")]).sum()
        found_value = float(total.detach())
        assert found_value == pytest.approx(value, rel=1e-12, abs=1e-12), f"the loss of {golden['source']}"
        total.backward()
        for key, gradient in golden["gradients"][group].items():
            expected = _views(torch.tensor(gradient, dtype=torch.float64))
            found = leaves[_key(key)].grad
            found = torch.zeros_like(leaves[_key(key)]) if found is None else found
            torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-10, atol=1e-12)
        released = golden.get("released", {}).get(group, value)
        assert found_value == pytest.approx(released, rel=5e-5), "guards inside logarithms hardly move the value"


@pytest.mark.parametrize("path", [path for path in FILES if "teacher_mode" in path.read_text()], ids=lambda p: p.stem)
def test_peers_answer_in_the_mode_of_the_original_code(path: Path, tmp_path: Path) -> None:
    golden, peers, _ = read(path)
    declared = experiment_of(matx.strategies[golden["strategy"]](**golden["options"]), peers, tmp_path)
    modes = {name: teacher_mode(declared, name) for name in trained_teachers(declared)}
    assert modes, f"{path.stem}: no peer that is trained teaches"
    assert set(modes.values()) == {golden["teacher_mode"]}, f"{golden['source']}: {golden['teacher_mode']}, not {modes}"


def test_every_code_whose_peers_teach_each_other_says_in_which_mode() -> None:
    pinned = {path.stem for path in FILES if "teacher_mode" in path.read_text()}
    needed = set()
    for path in FILES:
        golden, peers, _ = read(path)
        live = {peer.name for peer in peers if not peer.frozen}
        asked = matx.strategies[golden["strategy"]](**golden["options"]).needs(peers).teach
        needed |= {path.stem} if any(name in live for name, _ in asked) else set()
    assert pinned == needed, f"modes are pinned of {sorted(pinned)}, needed of {sorted(needed)}"


@pytest.mark.parametrize("name", ["mtard", "bmtard"])
def test_mtard_moves_its_weights_and_temperatures_as_the_original_code_does(name: str) -> None:
    state: dict[str, Any] = {}
    steps = [path for path in STEPS if path.stem.partition("_")[0] == name]
    assert len(steps) == 3, "three steps are committed"
    for path in steps:
        golden, peers, values = read(path)
        strategy = matx.strategies["mtard"](**golden["options"])
        leaves = {key: z.clone().requires_grad_() for key, z in values.train.items()}
        loss = strategy.loss(exchange(strategy, peers, values, progress=0.0, state=state, leaves=leaves), "s")
        assert loss.state is not None, "the new weight is in the state"
        state = {**state, **loss.state}
        total = float(loss.total.detach())
        assert total == pytest.approx(golden["losses"]["s"], rel=1e-12), f"the loss of {golden['source']}"
        for term in ("natural_weight", "robust_temperature", "natural_temperature"):
            if term in golden:
                assert float(loss.terms[term]) == pytest.approx(golden[term], rel=1e-12), f"its {term}"
        assert total == pytest.approx(golden["released"]["s"], rel=5e-5), "guards hardly move the value"
        loss.total.backward()
        for key, gradient in golden["gradients"]["s"].items():
            expected = _views(torch.tensor(gradient, dtype=torch.float64))
            torch.testing.assert_close(leaves[_key(key)].grad, expected, rtol=1e-10, atol=1e-12)


def test_every_published_strategy_has_golden_numbers() -> None:
    found = {json.loads(path.read_text())["strategy"] for path in FILES}
    ours = {"independent", "mat", "self_distillation", "soup", "specialists"}
    missing = found.symmetric_difference(set(_built_in()) - ours)
    assert not missing, (
        f"golden numbers for each public code, loops from the formula for {sorted(ours)}; odd: {missing}"
    )


def _built_in() -> list[str]:
    return [name for name in matx.strategies if matx.strategies[name].__module__.startswith("registry.")]
