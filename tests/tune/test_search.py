"""The noun Tune: ranges, corners, objectives, and one sentence for whatever is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from matx.errors import OptionError
from matx.experiment.tune import Tune
from matx.plugins import import_all

SPACE = {
    "a.x": ("float", 0.0, 1.0),
    "a.y": ("log", 0.1, 10.0),
    "b.n": ("int", 1, 5, 2),
    "b.w": ("categorical", ["p", "q"]),
}


def test_axes_are_what_was_declared() -> None:
    axes = {axis.name: axis for axis in Tune(space=SPACE).axes}
    assert [axis.kind for axis in axes.values()] == ["float", "log", "int", "categorical"], "kinds keep their order"
    assert axes["b.n"].points() == (1, 3, 5), "an int range with a step has these points"
    assert axes["a.x"].holds(0.5), "0.5 is in 0 to 1"
    assert not axes["a.x"].holds(1.5), "1.5 is not in 0 to 1"
    assert not axes["b.w"].holds("r"), "r is no choice"
    assert not axes["a.x"].holds(None), "None is no number"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"space": {"a.x": ("flaot", 0, 1)}}, "did you mean 'float'"),
        ({"space": {"a.x": ()}}, "kind of range"),
        ({"space": {"a.x": ("float", 1.0, 0.0)}}, "a low end under the high end"),
        ({"space": {"a.x": ("float", 0.0)}}, "(low, high)"),
        ({"space": {"a.x": ("log", 0.0, 1.0)}}, "over 0"),
        ({"space": {"a.x": ("int", 0.5, 2)}}, "whole numbers"),
        ({"space": {"a.x": ("int", 1, 4, 2)}}, "reaches the high end"),
        ({"space": {"a.x": ("float", 0.0, 1.0, 2.0)}}, "as the step"),
        ({"space": {"a.x": ("categorical", ["one"])}}, "two or more different"),
        ({"space": {"a.x": ("categorical", [["a"], ["b"]])}}, "plain values"),
        ({"space": SPACE, "corners": {"plain": {"a.xx": 0.0}}}, "did you mean 'a.x'"),
        ({"space": SPACE, "corners": {"plain": {"a.x": 2.0}}}, "0 to 1, as in Tune.space"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"pruner": "asha"}, "'hyperband', 'median', 'none'"),
        ({"objectives": []}, "one, or two different ones"),
        ({"objectives": ["union", "clean", "loss"]}, "one, or two different ones"),
        ({"directions": ["up"]}, "'maximize', 'minimize'"),
        ({"directions": ["maximize", "minimize"]}, "one each"),
        ({"objectives": ["union", "clean"], "sampler": "cmaes"}, "with two objectives"),
        ({"space": SPACE, "sampler": "grid"}, "no step, which a grid needs"),
        ({"seeds": [1]}, "none, or two or more different seeds"),
        ({"epochs": 0}, "1 or more, or None"),
    ],
)
def test_bad_declarations_are_refused_in_a_sentence(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError) as refused:
        Tune(**settings)
    assert said in str(refused.value), "the sentence must say what is allowed"
    assert str(refused.value).startswith("Tune."), "the sentence must begin with the setting"


def test_a_loss_is_minimized_unless_said() -> None:
    assert Tune(objectives=["a/loss"]).headings == ("minimize",), "less loss is better"
    assert Tune(objectives=["union", "clean"]).headings == ("maximize", "maximize"), "more accuracy is better"


def test_a_grid_is_the_product_of_the_points() -> None:
    space = {"a.x": ("float", 0.0, 0.3, 0.1), "b.w": ("categorical", ["p", "q"])}
    points = Tune(space=space, sampler="grid").grid()
    assert len(points) == 8, "four values times two choices"
    assert {point["a.x"] for point in points} == {0.0, 0.1, 0.2, 0.3}, "values without a float's tail"


def test_a_bare_kind_takes_what_the_option_declares() -> None:
    import_all()
    space = {
        "strategies.mat.alpha": ("float",),
        "linf/Peer.ema": ("float",),
        "strategies.mat.reading": ("categorical",),
    }
    found = {axis.name: axis for axis in Tune(space=space).axes}
    assert (found["strategies.mat.alpha"].low, found["strategies.mat.alpha"].high) == (0, 1), "a component's range"
    assert found["linf/Peer.ema"].declared() == "0 to 1", "a noun's, in a scope"
    assert "others" in found["strategies.mat.reading"].choices, "choices"
    with pytest.raises(OptionError, match=r"Tune\.space\['Peer\.swa_from'\]: got 'float' alone, allowed: that for an"):
        _ = Tune(space={"Peer.swa_from": ("float",)}).axes
