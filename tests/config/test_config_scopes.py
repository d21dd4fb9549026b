"""A scope's part in which nothing is set is refused in a reference, unless a peer is entered by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.refused import only
from matx.config import load_experiment

Write = Callable[[str, str], str]

PART = """include 'base.gin'
Experiment.evaluation = @Evaluation()
Evaluation.validation_attacks = [@linf/val/attacks.probe(), @l2/val/attacks.probe()]
Evaluation.attacks = [@linf/test/attacks.probe(), @l2/test/hard/attacks.probe()]
linf/test/attacks.probe.steps = 20
l2/test/hard/attacks.probe.steps = 40
l2/val/attacks.probe.steps = 5
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("@linf/tset/attacks.probe()", "nothing is set in scope 'linf/tset'; did you mean 'linf/test'?; scopes: "),
        ("@lnif/test/attacks.probe()", "nothing is set in scope 'lnif'; did you mean 'linf'?; scopes: "),
        ("@l2/test/hrad/attacks.probe()", "nothing is set in scope 'l2/test/hrad'; did you mean 'l2/test/hard'?; sc"),
        ("@linf/qqqqq/attacks.probe()", "nothing is set in scope 'linf/qqqqq'; scopes: generalist, l2, l2/test/hard, "),
        ("@test/attacks.probe()", "nothing is set in scope 'test'; scopes: "),
        ("@linf/hard/attacks.probe()", "nothing is set in scope 'linf/hard'; scopes: "),
    ],
)
def test_a_part_in_which_nothing_is_set_is_refused_with_its_place(written: str, said: str, write: Write) -> None:
    write("part.gin", PART)
    found = only([write("top.gin", f"include 'part.gin'\nEvaluation.attacks = [{written}]\n")])
    assert found.startswith(f"top.gin:2: Evaluation.attacks: {written}: {said}"), found


def test_a_slip_made_in_every_reference_alike_is_refused_too(write: Write) -> None:
    write("part.gin", PART)
    text = "include 'part.gin'\nEvaluation.attacks = [@linf/tset/attacks.probe(), @l2/tset/attacks.probe()]\n"
    with pytest.raises(Exception, match="'linf/tset'; did you mean 'linf/test'") as caught:
        load_experiment([write("top.gin", text)])
    assert "'l2/tset'; did you mean 'l2/test'" in str(caught.value), "references alone set nothing"


def test_a_part_that_is_set_below_another_norm_is_sound(write: Write) -> None:
    loaded = load_experiment([write("part.gin", PART)])
    assert loaded.warnings == (), "nothing is set in linf/val, but val is a scope of l2"
    steps = [attack.steps for attack in loaded.experiment.evaluation.validation_attacks]
    assert steps == [10, 5], "linf/val reads what linf sets"


def test_a_peer_may_be_like_the_others(write: Write) -> None:
    text = "Experiment.peers = {'linf': @linf/Peer(), 'x': @l2/second/Peer(), 'y': @third/Peer(), 'l2': @l2/Peer()}\n"
    write("part.gin", "include 'base.gin'\nThreatModel.norm = 'linf'\nThreatModel.eps = 0.5\n")
    loaded = load_experiment([write("top.gin", f"include 'part.gin'\n{text}")])
    peers = loaded.experiment.peers
    assert peers["x"] == peers["l2"], "a peer whose scope no binding names is sound"
    assert peers["y"].attacks[0].threat.eps == 0.5, "also where nothing at all is set in it"
    assert load_experiment([write("flat.gin", loaded.text)]).experiment == loaded.experiment, "and when flattened"


OTHER = """attacks.chain.parts = [@attacks.probe()]
extra/attacks.odd.names = ['a']
ThreatModel.norm = 'l1'
ThreatModel.eps = 3
"""


@pytest.mark.parametrize(
    "override",
    [
        "Evaluation.validation_attacks=[@linf/val/attacks.probe()]",
        "Evaluation.validation_attacks=[@linf/val/attacks.chain()]",
        "Evaluation.attacks=[@linf/val/attacks.probe(), @linf/test/attacks.probe()]",
        "Evaluation.validation_attacks=[@extra/attacks.probe()]",
    ],
)
def test_the_flattened_text_names_the_scopes_of_bindings_that_it_leaves_out(override: str, write: Write) -> None:
    write("part.gin", PART + OTHER)
    write("top.gin", "include 'part.gin'\n")
    loaded = load_experiment(["top.gin"], [override, "Evaluation.every=2"])
    again = load_experiment([write("flat.gin", loaded.text)])
    assert again.experiment == loaded.experiment, f"the flattened text must give an equal experiment:\n{loaded.text}"
    assert again.warnings == (), f"and hold nothing without effect:\n{loaded.text}"
    assert again.text.partition("\n")[2] == loaded.text.partition("\n")[2], "flattening twice changes nothing"
