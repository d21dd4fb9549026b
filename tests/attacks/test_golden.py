"""APGD and AutoAttack against the original code (github.com/fra31/auto-attack).

`golden/attacks` was made by `tools/parity_original.py`: flags and losses of APGD from our random starts (weights and
images come from numpy's default_rng), and the settings that the original's set_version makes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import matx
from matx import losses
from matx.randomness import SampleGenerator
from registry.attacks.apgd import APGD
from registry.attacks.autoattack import AutoAttack
from registry.attacks.fab import FAB
from registry.attacks.square import Square

GOLDEN = Path(__file__).parents[1] / "golden" / "attacks"
CASES = json.loads((GOLDEN / "apgd.json").read_text())["cases"]
VERSIONS = json.loads((GOLDEN / "autoattack.json").read_text())["versions"]
IMAGES = 100


def case() -> tuple[nn.Module, Tensor, Tensor]:
    """(model, images with many pixels at the edges of the box, labels)."""
    draws = np.random.default_rng(7)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 40), nn.SiLU(), nn.Linear(40, 6)).requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.tensor(draws.normal(size=tuple(parameter.shape)) * 1.5, dtype=torch.float32))
    pixels = np.clip(1.6 * draws.random((IMAGES, 1, 6, 6)) - 0.3, 0, 1)
    images = torch.tensor(pixels, dtype=torch.float32)
    return model, images, model(images).argmax(1)


@pytest.mark.parametrize("wanted", CASES, ids=[case["name"] for case in CASES])
def test_apgd_does_what_the_original_does(wanted: dict[str, Any]) -> None:
    model, images, labels = case()
    threat = matx.ThreatModel.parse(wanted["threat"])
    given = matx.AttackInput(
        model=model, images=images, labels=labels, generator=SampleGenerator(3, torch.arange(IMAGES))
    )
    found = APGD(threat=threat, steps=wanted["steps"], **wanted["options"])(given)
    logits = model(found)
    if "robust" in wanted:
        robust = "".join("01"[int(right)] for right in logits.argmax(1) == labels)
        others = sum(mine != its for mine, its in zip(robust, wanted["robust"], strict=True))
        assert others <= 1, f"{others} of {IMAGES} images do not end as under the original: {robust}"
        assert 0.1 < robust.count("1") / IMAGES < 0.9, "the case shows nothing: nearly all are robust, or nearly none"
        return
    values = getattr(losses, wanted["options"]["objective"])(logits, labels).double()
    near = torch.isclose(values, torch.tensor(wanted["values"], dtype=torch.float64), rtol=1e-3, atol=1e-4)
    others = IMAGES // 5 if threat.norm == "l1" else IMAGES // 20  # l1 counts moved entries, down to rounding errors
    assert int((~near).sum()) <= others, f"only {int(near.sum())} of {IMAGES} losses are the original's"


def told(member: APGD | FAB | Square) -> dict[str, Any]:
    """A member's settings, by the names of the golden file."""
    if isinstance(member, APGD):
        name = {"cross_entropy": "apgd-ce", "dlr": "apgd-dlr", "targeted_dlr": "apgd-t"}[member.objective]
        settings: dict[str, Any] = {"steps": member.steps, "eot": member.eot, "rho": member.rho}
        settings["shrinking"] = member.epsilon_schedule
    elif isinstance(member, FAB):
        name = "fab-t" if member.targets else "fab"
        settings = {part: getattr(member, part) for part in ("steps", "alpha_max", "eta", "beta")}
    else:
        name, settings = "square", {"queries": member.queries, "p": member.p, "rescale": member.rescale_schedule}
    if name.endswith("-t"):
        settings["targets"] = getattr(member, "targets", 0)
    return {"attack": name, "restarts": member.restarts, **settings}


@pytest.mark.parametrize("key", VERSIONS)
def test_each_version_is_made_as_the_originals(key: str) -> None:
    version, norm = key.split()
    attack = AutoAttack(threat=matx.ThreatModel(norm=norm, eps=0.1), version=version)
    members = attack.members(10)
    assert [told(member) for member in members] == VERSIONS[key], f"{key} has other members or settings"
    assert all(not getattr(member, "exact", False) for member in members), "a member leaves the published steps"
