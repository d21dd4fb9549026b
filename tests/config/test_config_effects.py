"""Bindings without effect: an error in the file given, a warning in included parts or where something replaced it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from matx.config import load_experiment
from matx.errors import ConfigError

Write = Callable[[str, str], str]


def problems(files: list[str], overrides: list[str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_experiment(files, overrides or [])
    return list(caught.value.problems)


def test_without_effect_is_an_error_in_the_file_given_and_a_warning_in_a_part(write: Write) -> None:
    line = "attacks.chain.parts = []\n"
    write("part.gin", line)
    assert problems([write("top.gin", f"include 'base.gin'\n{line}")])[0].startswith("top.gin:2: "), "given: an error"
    loaded = load_experiment([write("top.gin", "include 'base.gin'\ninclude 'part.gin'\n")])
    assert loaded.warnings == ("part.gin:1: attacks.chain.parts has no effect: no @attacks.chain() is built",), (
        "included: a warning"
    )


def test_a_leftover_reference_to_a_component_that_nobody_builds_is_a_warning(write: Write) -> None:
    write("part.gin", "nobody/Peer.union = @unions.average()\n")
    loaded = load_experiment([write("top.gin", "include 'base.gin'\ninclude 'part.gin'\n")])
    assert len(loaded.warnings) == 1, loaded.warnings
    assert loaded.warnings[0].startswith("part.gin:1: nobody/Peer.union has no effect"), loaded.warnings


def test_an_override_that_replaces_a_component_excuses_its_bindings(write: Write) -> None:
    lines = "include 'base.gin'\nExperiment.strategy = @strategies.led()\nstrategies.led.leader = 'l2'\n"
    write("top.gin", lines + "W = 0.5\nstrategies.led.beta = %W\n")
    loaded = load_experiment(["top.gin"], ["Experiment.strategy=@strategies.apart()"])
    assert [line.partition(" has")[0] for line in loaded.unused] == [
        "top.gin:3: strategies.led.leader",
        "top.gin:5: strategies.led.beta",
    ], loaded.unused
    write("top.gin", lines + "strategies.apart.alpha = 0.5\n")
    found = problems(["top.gin"], ["Experiment.strategy=@strategies.mat()"])
    assert len(found) == 1, found
    assert "strategies.apart.alpha has no effect" in found[0], "what had no effect before the override stays an error"


def test_a_file_given_later_overrides_and_excuses(write: Write) -> None:
    write("top.gin", "include 'base.gin'\nExperiment.strategy = @strategies.led()\nstrategies.led.leader = 'l2'\n")
    write("quick.gin", "Experiment.strategy = @strategies.apart()\nExperiment.epochs = 1\nEPS = '1/255'\n")
    loaded = load_experiment(["top.gin", "quick.gin"])
    assert loaded.name == "top", "the first file names the experiment"
    assert loaded.experiment.epochs == 1, "the later file has the last word"
    assert loaded.experiment.peers["linf"].attacks[0].threat.eps == "1/255", "macros too"
    assert [line.split(":")[0] for line in loaded.warnings] == ["top.gin"], loaded.warnings


def test_an_override_that_reaches_only_some_lists_what_hides_it(write: Write) -> None:
    write("top.gin", "include 'base.gin'\nlinf/attacks.probe.steps = 5\nattacks.probe.steps = 9\n")
    (found,) = problems(["top.gin"], ["attacks.probe.steps=50"])
    assert found == (
        "-s 'attacks.probe.steps=50': attacks.probe.steps reaches only some: hidden by linf/attacks.probe.steps "
        '(top.gin:2); -s "*/attacks.probe.steps=50" sets all; to keep those as they are, give them with -s too'
    )
    every = load_experiment(["top.gin"], ["*/attacks.probe.steps=50"])
    steps = [attack.steps for peer in every.experiment.peers.values() for attack in peer.attacks]
    assert steps == [50] * 4, "'*/' sets all"
    one = load_experiment(["top.gin"], ["linf/attacks.probe.steps=50"])
    assert one.experiment.peers["linf"].attacks[0].steps == 50, "a scoped override replaces the scoped binding"
    assert one.experiment.peers["l2"].attacks[0].steps == 9, "and nothing else"
    both = load_experiment(["top.gin"], ["attacks.probe.steps=50", "linf/attacks.probe.steps=20"])
    assert both.experiment.peers["l2"].attacks[0].steps == 50, "overrides may hide one another: the user said so"


def test_an_override_without_effect_is_an_error(write: Write) -> None:
    (found,) = problems(["base.gin"], ["ThreatModel.norm='l1'"])
    assert "has no effect: hidden by linf/ThreatModel.norm (base.gin:12), l2/ThreatModel.norm (base.gin:14)" in found, (
        found
    )
    (found,) = problems(["base.gin"], ["l3/attacks.probe.steps=3"])
    assert "not in 'l3' (unknown scope 'l3'; did you mean 'l2'?" in found, found
    (found,) = problems(["base.gin"], ["SPEED=3"])
    assert "macro SPEED is never used" in found, found


@pytest.mark.parametrize("text", ["*/linf/attacks.probe.steps=3", "*/EPS=3"])
def test_the_star_precedes_a_plain_name(text: str) -> None:
    (found,) = problems(["base.gin"], [text])
    assert "allowed: '*/" in found, found


def test_a_line_undone_by_an_include_below_it(write: Write) -> None:
    write("part.gin", "Experiment.seed = 5\n")
    (found,) = problems([write("top.gin", "include 'base.gin'\nExperiment.seed = 4\ninclude 'part.gin'\n")])
    assert found == (
        "top.gin:2: Experiment.seed has no effect: part.gin:1, included below it, sets it; put the include first"
    )


def test_a_part_that_two_parts_include_is_read_once(write: Write) -> None:
    write("root.gin", "Experiment.seed = 1\nExperiment.epochs = 1\n")
    write("one.gin", "include 'root.gin'\nExperiment.seed = 2\n")
    write("two.gin", "include 'root.gin'\nExperiment.epochs = 2\n")
    experiment = load_experiment(
        [write("top.gin", "include 'base.gin'\ninclude 'one.gin'\ninclude 'two.gin'\n")]
    ).experiment
    assert (experiment.seed, experiment.epochs) == (2, 2), "reading root.gin again would silently undo one.gin"


def test_deeper_scopes_follow_gin_s_prefixes(write: Write) -> None:
    lines = [
        "include 'base.gin'",
        "l2/Peer.attacks = [@l2/strong/attacks.probe()]",
        "l2/strong/attacks.probe.steps = 40",
    ]
    experiment = load_experiment([write("top.gin", "\n".join(lines))]).experiment
    attack = experiment.peers["l2"].attacks[0]
    assert (attack.steps, attack.threat.norm) == (40, "l2"), "l2/strong reads its own bindings and those of l2"


def test_a_replaced_component_is_one_line_that_counts_what_lost_its_effect(write: Write) -> None:
    part = "Evaluation.attacks = [@full/attacks.probe(), @full/attacks.odd()]\nfull/attacks.probe.steps = 9\n"
    part += "full/attacks.odd.threat = @ThreatModel()\nfull/attacks.odd.names = ['a']\nfull/ThreatModel.eps = 0.5\n"
    write("part.gin", f"include 'base.gin'\nExperiment.evaluation = @Evaluation()\n{part}SPARE = 1\n")
    loaded = load_experiment([write("top.gin", "include 'part.gin'\nEvaluation.attacks = [@l2/attacks.probe()]\n")])
    assert loaded.warnings == (
        "top.gin:2: Evaluation.attacks replaces a value, so 4 bindings have no effect; -v lists them",
        "part.gin:8: macro SPARE is never used; write %SPARE where it is meant",
    ), loaded.warnings
    assert len(loaded.unused) == 5, "each is listed apart"


def test_a_bare_option_is_told_its_owner() -> None:
    (found,) = problems(["base.gin"], ["epochs=3"])
    assert found.endswith("; did you mean Experiment.epochs?"), found
