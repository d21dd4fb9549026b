"""An experiment made in Python: its gin text gives the same one, and what gin cannot write is refused."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

import matx
from matx.config import load_experiment, loaded_from, packaged_recipes
from matx.errors import OptionError

Write = Callable[[str, str], str]


def made() -> matx.Experiment:
    """The experiment of base.gin, in Python."""
    probing: Any = importlib.import_module("probing")
    net = probing.Net(widths=(3, 4))
    linf, l2 = (
        probing.Probe(threat=matx.ThreatModel(norm="linf", eps="8/255")),
        probing.Probe(threat=matx.ThreatModel(norm="l2", eps=0.5), steps=3, size=1e-3),
    )
    sgd: Any = matx.optimizers["sgd"]
    return matx.Experiment(
        dataset=probing.Dots(),
        strategy=probing.Apart(alpha=0.25),
        peers={
            "linf": matx.Peer(architecture=net, attacks=[linf], optimizer=sgd()),
            "l2": matx.Peer(architecture=net, attacks=[l2], optimizer=sgd(lr=0.01)),
            "both": matx.Peer(architecture=net, attacks=[linf, l2], union=probing.Both(), optimizer=sgd()),
        },
        evaluation=matx.Evaluation(attacks=[probing.Chain(parts=(probing.Chain(parts=(linf,)), l2))]),
        seed=5,
    )


@pytest.fixture(autouse=True)
def _probing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_text_gives_the_same_experiment(write: Write) -> None:
    experiment = made()
    loaded = loaded_from(experiment, "mine")
    assert loaded.experiment is experiment, "it is the experiment given"
    assert "import probing\n" in loaded.text, f"the module of its components is imported:\n{loaded.text}"
    again = load_experiment([write("again.gin", loaded.text)])
    assert again.experiment == experiment, f"the text must give the same experiment:\n{loaded.text}"
    assert dict(again.resolved) == dict(loaded.resolved), "and the same record"
    assert again.warnings == (), "it sets nothing without effect"
    assert "epochs" not in loaded.text, "defaults are left out"
    assert loaded_from(again.experiment, "mine").text == loaded.text, "writing it again changes nothing"


@pytest.mark.parametrize("name", packaged_recipes())
def test_every_recipe_can_be_written_back(name: str, write: Write) -> None:
    experiment = load_experiment([name]).experiment
    text = loaded_from(experiment, "copy").text
    assert load_experiment([write("copy.gin", text)]).experiment == experiment, f"{name}:\n{text}"


def test_a_lambda_is_refused_with_a_sentence() -> None:
    probing: Any = importlib.import_module("probing")
    experiment = replace(made(), dataset=probing.Dots(n=lambda: 3))
    with pytest.raises(OptionError, match=r"datasets\.dots\.n: got <function .*, allowed: what gin can write: numbers"):
        loaded_from(experiment, "mine")


def test_a_class_that_no_file_can_import_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Here:
        n: int = 1

    with pytest.raises(OptionError, match=r"Experiment\.dataset: got a .*Here, which is not registered, allowed: a"):
        loaded_from(replace(made(), dataset=Here()), "mine")  # type: ignore[arg-type]
    matx.datasets.register("here")(Here)
    with pytest.raises(OptionError, match=r"datasets\.here: got .*<locals>.Here, allowed: a class at the top of a mod"):
        loaded_from(replace(made(), dataset=Here()), "mine")  # type: ignore[arg-type]
