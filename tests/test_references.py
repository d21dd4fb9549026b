"""Attacks against what reference implementations found at the same budget, as tools/reference_flags.py recorded it.

No reference is installed here: the flags are committed, the network and the images come from a formula.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import matx
import registry
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel
from tools.reference_flags import FILE, SEEDS, fooled, network, samples

assert registry.__all__, "importing the built-ins registers them"

ROWS: list[dict[str, Any]] = json.loads(FILE.read_text())


def name_of(row: dict[str, Any]) -> str:
    options = "-".join(str(value) for value in row["options"].values())
    return f"{row['attack']}-{row['threat']}-{row['reference']}-{options}"


def recorded(row: dict[str, Any]) -> Tensor:
    """(seeds, N) bool."""
    packed = [np.frombuffer(bytes.fromhex(flags), np.uint8) for flags in row["fooled"]]
    return torch.tensor(np.stack([np.unpackbits(bits, count=row["samples"]) for bits in packed]).astype(bool))


def ours(row: dict[str, Any]) -> Tensor:
    """(seeds, N) bool."""
    model, threat = network(), ThreatModel.parse(row["threat"])
    images, labels = samples(model, row["samples"])
    attack: Any = matx.attacks[row["attack"]](threat=threat, **row["options"])
    flags = []
    for seed in range(len(row["fooled"])):
        draws = SampleGenerator(seed, torch.arange(len(images)))
        found = attack(matx.AttackInput(model=model, images=images, labels=labels, generator=draws))
        flags.append(fooled(model, found, images, labels, threat))
    return torch.stack(flags)


@pytest.mark.parametrize("row", [row for row in ROWS if not row["random"]], ids=name_of)
def test_without_chance_the_same_samples_fall_as_under_the_reference(row: dict[str, Any]) -> None:
    mine, its = ours(row)[0], recorded(row)[0]
    assert 0.1 < float(its.double().mean()) < 0.95, "the radius decides nothing, so the test proves nothing"
    gained, lost = int((mine & ~its).sum()), int((its & ~mine).sum())
    assert lost <= 1, f"{row['reference']} {row['version']} alone fools {lost} of {row['samples']}, ours alone {gained}"
    assert gained <= 1 or row["attack"] in ("cw", "deepfool"), f"ours alone fools {gained} of {row['samples']}"


@pytest.mark.parametrize("row", [row for row in ROWS if row["random"]], ids=name_of)
def test_with_chance_no_more_samples_stand_than_the_references_own_range_allows(row: dict[str, Any]) -> None:
    mine, its = (1.0 - flags.double().mean(1) for flags in (ours(row), recorded(row)))
    assert len(its) == SEEDS, f"the reference ran with {len(its)} seeds"
    assert 0.05 < float(its.mean()) < 0.9, "the radius decides nothing, so the test proves nothing"
    spread = float(its.max() - its.min())
    assert float(mine.mean()) <= float(its.mean()) + spread + 1e-9, (
        f"robust accuracies of ours {mine.tolist()}, of {row['reference']} {row['version']} {its.tolist()}"
    )
