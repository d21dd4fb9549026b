"""`matx list`, `show` and `check`: components, nouns, gin files and runs, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matx.cli import main
from matx.registration import REGISTRIES


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0, "listing everything ends well"
    everything = capsys.readouterr().out
    for kind, registry in REGISTRIES.items():
        for name in registry:
            assert f"{kind}.{name}" in everything, f"{kind}.{name} is listed"
    assert main(["list", "attacks"]) == 0, "listing one kind ends well"
    attacks = capsys.readouterr().out
    assert "attacks.pgd" in attacks, "the kind's components are listed"
    assert "unions.average" not in attacks, "those of other kinds are not"
    assert main(["list", "recipes"]) == 0, "recipes can be listed"


def test_show(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "attacks.pgd"]) == 0, "showing a component ends well"
    shown = capsys.readouterr().out
    assert "attacks.pgd.steps: an integer (1 or more) = 10" in shown, "options are shown with type and default"
    assert "attacks.pgd.threat: ThreatModel  (required)" in shown, "required options are marked"
    assert "pgd.py:" in shown, "the source is named"
    assert main(["show", "ThreatModel"]) == 0, "showing a noun ends well"
    assert "ThreatModel.norm" in capsys.readouterr().out, "its options are shown"
    assert main(["show", "quick.gin", "-s", "*/attacks.pgd.steps=9"]) == 0, "showing a file ends well"
    shown = capsys.readouterr().out
    assert "attacks.pgd.steps = 9" in shown, "the flattened text holds the override"
    assert "# peers.one.attacks[0].steps = 9" in shown, "the resolved values are shown"
    assert "# peers.one.attacks[0] = attacks.pgd" in shown, "components are shown by name"


def test_show_a_run(finished: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(finished)]) == 0, "showing a run ends well"
    config, _, resolved = capsys.readouterr().out.partition("\n# resolved:\n")
    assert config.rstrip() == (finished / "config.gin").read_text().rstrip(), "not the flattened text of the run"
    values = [line.removeprefix("# ") for line in resolved.splitlines()]
    assert values == (finished / "resolved.txt").read_text().splitlines(), "not the values of the run"
    assert "seed = 3" in values, "the seed of the command line is not shown"
    assert main(["show", str(finished), "-s", "Experiment.epochs=3"]) == 2, "a run is as it was: -s is refused"
    assert "-s belongs to a gin file" in capsys.readouterr().err, "the sentence does not say why"
    (home / "none").mkdir()
    assert main(["show", "none"]) == 2, "a folder that is no run is refused"
    assert "not a run folder" in capsys.readouterr().err, "the sentence does not say what is wrong"


def one_document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a verb writes to standard output with --json: a single document."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0, f"{arguments} --json ends well"
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_json_of_list_show_and_check(finished: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything = one_document(["list"], capsys)
    assert set(everything) == {*REGISTRIES, "recipes"}, "a kind is not listed"
    assert set(everything["attacks"]) == set(REGISTRIES["attacks"]), "an attack is not listed"
    assert list(one_document(["list", "unions"], capsys)) == ["unions"], "other kinds are listed, too"
    options = {one["parameter"]: one for one in one_document(["show", "attacks.pgd"], capsys)["options"]}
    assert (options["steps"]["type"], options["steps"]["default"]) == ("an integer (1 or more)", "10"), (
        "an option is shown otherwise"
    )
    own, run = (one_document(["show", what], capsys) for what in ("quick.gin", str(finished)))
    assert set(own) == set(run) == {"name", "config", "resolved"}, "a file and a run are shown in different forms"
    assert run["resolved"] == json.loads((finished / "resolved.json").read_text()), "not the values of the run"
    assert own["resolved"] == {**run["resolved"], "seed": 0}, "the run's file has other values than its run"
    sound = one_document(["check", "quick.gin", "--no-data"], capsys)
    assert (sound["sound"], sound["data_checked"], sound["peers"]) == (True, False, ["one", "two"]), f"got {sound}"
    contracts = one_document(["check", "unions.average"], capsys)
    assert contracts["sound"], "a sound component is not called so"
    assert {row["passed"] for row in contracts["contracts"]} == {True}, "a contract of a sound component fails"
    assert main(["list", "nothing", "--json"]) == 2, "an error stays an error"
    assert capsys.readouterr().out == "", "an error writes to standard output"


def test_check(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "quick.gin"]) == 0, "a sound file passes"
    assert "quick: sound" in capsys.readouterr().out, "it is said to be sound"
    assert main(["check", "unions.average"]) == 0, "a sound component passes"
    assert "contracts kept" in capsys.readouterr().out, "its contracts are counted"
    assert main(["check", "paper/cifar10_mat_2"]) == 2, "data that is not there is an error"
    assert "every statement is sound, but its data cannot be read" in capsys.readouterr().err, (
        "the file is not to blame"
    )
    assert main(["check", "paper/cifar10_mat_2", "--no-data"]) == 0, "without its data it is sound"
    assert "sound" in capsys.readouterr().out, "and it is said to be so"


def test_two_experiments_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "at_union", "--diff", "mat_union", "--json"]) == 0, "two recipes have differences"
    found = json.loads(capsys.readouterr().out)
    assert (found["first"], found["second"]) == ("at_union", "mat_union"), "which is which"
    assert found["differences"]["strategy"] == ["strategies.independent", "strategies.specialists"], "what differs"
    assert found["differences"]["strategy.temperature"] == [None, "3.0"], "a setting that one alone has"
    assert "epochs" not in found["differences"], "what is alike is left out"
    assert main(["show", "mat", "--diff", "mat"]) == 0, "nothing differs"
    assert capsys.readouterr().out == "mat and mat are the same experiment\n", "and that is said"
    assert main(["show", "attacks.pgd", "--diff", "mat"]) == 2, "a component is no experiment"
    assert "--diff compares experiments, FILE or RUN, not components" in capsys.readouterr().err, "in one sentence"
