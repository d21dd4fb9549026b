"""The transfer matrix: every share against a count by hand, and what the peers' likeness must show."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.data import MemorySplit
from matx.errors import OptionError
from matx.measure.transfer import Answers, transfer
from matx.plugins import import_all
from matx.report.transfer import transfer_markdown, transfer_tables
from matx.threat import ThreatModel


def planted() -> Answers:
    """Four images of class 0; b fails on one clean image; attacks break a on 0, 1 and b on 1, 2, 3."""

    def classes(*values: int) -> Tensor:
        return torch.tensor(values)

    crafted = {
        "a": {"a": classes(1, 2, 0, 0), "b": classes(1, 1, 0, 1)},
        "b": {"a": classes(0, 2, 2, 0), "b": classes(0, 2, 2, 1)},
    }
    return Answers(
        labels=classes(0, 0, 0, 0),
        clean={"a": classes(0, 0, 0, 0), "b": classes(0, 0, 0, 1)},
        crafted={"linf:0.1": crafted},
    )


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ("accuracy", {"a": {"a": 0.5, "b": 0.25}, "b": {"a": 0.5, "b": 0.25}}),
        ("fooled", {"a": {"a": 1.0, "b": 1.0}, "b": {"a": 1.0, "b": 1.0}}),
        ("shared", {"a": {"a": 1.0, "b": 0.25}, "b": {"a": 0.25, "b": 1.0}}),
        ("agreement", {"a": {"a": 1.0, "b": 0.5}, "b": {"a": 0.75, "b": 1.0}}),
    ],
)
def test_every_share_is_what_one_counts_by_hand(matrix: str, expected: dict[str, dict[str, float]]) -> None:
    found = planted().row()
    assert found["threats"]["linf:0.1"][matrix] == expected, f"{matrix} is not what the planted answers count to"
    assert found["clean"]["agreement"]["a"]["b"] == 0.75, "three of four clean answers are the same"


def test_means_leave_the_diagonal_out() -> None:
    assert planted().row()["threats"]["linf:0.1"]["mean"]["agreement"] == 0.625, "the mean is not that of 0.5 and 0.75"


def linear(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))


def found_on(models: dict[str, nn.Module], batch_size: int = 256) -> Answers:
    import_all()
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = models["a"](images).argmax(1)
    pgd: Any = matx.attacks["pgd"]
    attack = pgd(threat=ThreatModel.parse("linf:0.2"), steps=5, early_exit=True)
    return transfer(models, MemorySplit.of(images, labels), [attack], seed=3, batch_size=batch_size)


def test_twins_share_everything_and_strangers_less() -> None:
    first = linear(0)
    twins = found_on({"a": first, "b": copy.deepcopy(first)}).row()["threats"]["linf:0.2"]["mean"]
    strangers = found_on({"a": first, "b": linear(1)}).row()["threats"]["linf:0.2"]["mean"]
    assert twins["fooled"] == 1.0, "what breaks a model does not break its twin"
    assert twins["agreement"] == 1.0, "twins answer differently"
    assert strangers["fooled"] < 1.0, "examples transfer between strangers as between twins"


def test_batches_change_nothing_and_models_stay_as_they_were() -> None:
    models = {"a": linear(0).train(), "b": linear(1)}
    whole, parts = found_on(models), found_on(models, batch_size=7)
    assert whole.row() == parts.row(), "the batch size changes the matrix"
    assert all(parameter.requires_grad for parameter in models["a"].parameters()), "weights stay frozen"
    assert models["a"].training, "the mode was not put back"


def test_one_model_has_nobody_to_transfer_to() -> None:
    with pytest.raises(OptionError, match="at least two"):
        found_on({"a": linear(0)})


def test_tables_and_markdown_show_the_runs_side_by_side() -> None:
    row = planted().row()
    found = {"runs": {"mutual": {"best": row}, "independent": {"best": row}}}
    titles, markdown = [title for title, _, _ in transfer_tables(found)], transfer_markdown(found)
    for name in ("mutual", "independent"):
        assert any(title.startswith(f"{name}, best, linf:0.1: accuracy") for title in titles), (
            f"the matrices of {name} are missing"
        )
        assert f"| {name} | best | linf:0.1 | 37.5 |" in markdown, f"the means of {name} are not in the Markdown"
