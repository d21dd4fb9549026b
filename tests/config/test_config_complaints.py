"""What components say of their values, and what a reference lacks: each in one sentence at the line that says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config.refused import only, problems
from matx.config import load_experiment
from matx.errors import ConfigError, OptionError

Write = Callable[[str, str], str]


def test_a_component_s_complaint_is_placed_at_the_binding_that_it_names(write: Write) -> None:
    lines = ["include 'base.gin'", "Experiment.strategy = @strategies.led()", "", "strategies.led.leader = 'genralist'"]
    found = only([write("top.gin", "\n".join(lines))])
    assert found.startswith("top.gin:4: strategies.led.leader: got 'genralist', allowed: linf, l2"), found


def test_a_complaint_about_a_default_is_placed_where_the_component_is_referred_to(write: Write) -> None:
    lines = ["include 'base.gin'", "generalist/Peer.union = None"]
    found = only([write("top.gin", "\n".join(lines))])
    assert "Peer.union: got none for 2 attacks" in found, found
    assert found.startswith("top.gin:2"), "the binding of the parameter that is named"
    write("half.gin", Path("base.gin").read_text().replace("generalist/Peer.union = @unions.both()\n", ""))
    assert only(["half.gin"]).startswith("half.gin:5: Peer.union: got none"), "the line that builds the peer"


def test_what_the_whole_says_of_a_part_is_placed_at_the_binding_that_says_it(write: Write) -> None:
    lines = ["include 'base.gin'", "Peer.attacks = [@attacks.echo()]", "attacks.echo.threat = @ThreatModel()"]
    lines += ["generalist/Peer.attacks = [@generalist/attacks.echo()]", "generalist/ThreatModel.norm = 'l2'"]
    lines += ["generalist/ThreatModel.eps = 1.0", "attacks.echo.sources = []"]
    write(
        "top.gin", "\n".join([*lines, "l2/attacks.echo.sources = ['linf']", "generalist/attacks.echo.sources = ['l3']"])
    )
    assert only(["top.gin"]).startswith(
        "top.gin:9: attacks.echo.sources: got 'l3', allowed: linf, l2, generalist; did you mean"
    ), "the line that names the peer, not another one of the same setting"
    write("top.gin", "\n".join([*lines, "l2/attacks.echo.sources = ['linf']", "linf/attacks.echo.sources = ['l2']"]))
    found = only(["top.gin"])
    assert "attacks.echo.sources: got a cycle of attacks (linf -> l2 -> linf)" in found, found
    assert not found.startswith("top.gin:1:"), "a line that has a part in it"


def test_a_stranger_s_value_error_is_a_sentence_with_its_cause(write: Write) -> None:
    lines = ["include 'base.gin'", "Peer.attacks = [@attacks.odd()]", "attacks.odd.threat = @ThreatModel()"]
    write("top.gin", "\n".join([*lines, "attacks.odd.names = ['value']", "EPS = '1/255'"]).replace("EPS = '1/255'", ""))
    with pytest.raises(ConfigError) as caught:
        load_experiment(["top.gin"], ["*/Peer.attacks=[@linf/attacks.odd()]"])
    assert "attacks.odd: ValueError: names say value" in str(caught.value), caught.value
    assert isinstance(caught.value.__cause__, ValueError), "the cause is kept for --debug"


def test_required_fields_of_nouns_and_components(write: Write) -> None:
    found = problems([write("bare.gin", "import probing\nExperiment.seed = 1\n")])
    assert [line.split(": ")[1].split(" is ")[0] for line in found] == [
        "Experiment.dataset",
        "Experiment.peers",
        "Experiment.strategy",
    ], found
    assert all(line.startswith("bare.gin:1: ") for line in found), found
    assert "allowed: a component @datasets.NAME() (" in found[0], found[0]
    write("half.gin", Path("base.gin").read_text().replace("l2/ThreatModel.norm = 'l2'\n", ""))
    found = only(["half.gin"])
    assert found == (
        "half.gin:11: ThreatModel.norm is required and not set for scope 'l2'; allowed: 'linf', 'l2', 'l1'"
    ), found


def test_what_no_scope_sets_is_reported_once(write: Write) -> None:
    write("half.gin", Path("base.gin").read_text().replace("Peer.architecture = @architectures.net()\n", ""))
    text = Path("half.gin").read_text().replace("architectures.net.widths = [3, 4]\n", "")
    found = only([write("half.gin", text)])
    assert found.startswith("half.gin:5: Peer.architecture is required and not set; allowed: a component @arch"), found


def test_an_empty_file_says_what_is_missing(write: Write) -> None:
    assert len(problems([write("empty.gin", "")])) == 3, "the three required fields of an experiment"


def test_a_protocol_with_more_methods_asks_for_them(write: Write) -> None:
    lines = ["include 'base.gin'", "Peer.attacks = [@attacks.chain()]", "attacks.chain.parts = [@attacks.probe()]"]
    write(
        "top.gin",
        "\n".join(
            [*lines, "attacks.chain.first = @attacks.probe()", "generalist/Peer.attacks = [@l2/attacks.chain()]"]
        ),
    )
    assert only(["top.gin"]).startswith("top.gin:4: attacks.chain.first: got @attacks.probe()"), "no init and step"
    write("top.gin", "\n".join([*lines, "generalist/Peer.attacks = [@l2/attacks.chain()]"]))
    assert load_experiment(["top.gin"]).experiment.peers["l2"].attacks[0].threat.norm == "l2", "any attack is a part"


def test_pairs_tables_and_paths(write: Write) -> None:
    lines = ["include 'base.gin'", "Peer.attacks = [@attacks.odd()]", "attacks.odd.threat = @ThreatModel()"]
    wrong = [
        "attacks.odd.pair = [1]",
        "attacks.odd.table = {'a': 'b'}",
        "attacks.odd.where = 3",
        "attacks.odd.names = 'a'",
    ]
    found = problems([write("top.gin", "\n".join([*lines, *wrong, "generalist/Peer.attacks = [@l2/attacks.odd()]"]))])
    assert [line.partition(": attacks.odd.")[2].partition(";")[0] for line in found] == [
        "pair: got 1 values, allowed: 2",
        "table['a']: got 'b', allowed: a number",
        "where: got 3, allowed: a path in quotes or None",
        "names: got 'a', allowed: a list ['text', ...]",
    ], found


def test_config_errors_are_not_option_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(["base.gin"], ["attacks.probe.steps=-1"])
    assert isinstance(caught.value.__cause__, OptionError), "what the component said is the cause"


def test_an_annotation_that_no_literal_fits_says_so(write: Write, tmp_path: Path) -> None:
    plugin = (tmp_path / "probing.py").read_text()
    (tmp_path / "probing.py").write_text(plugin.replace("    n: int = 3", "    n: int = 3\n    weights: Table = None"))
    text = (tmp_path / "probing.py").read_text().replace("\n@matx.attacks", "\nclass Table: ...\n\n@matx.attacks", 1)
    (tmp_path / "probing.py").write_text(text)
    found = only([write("top.gin", "include 'base.gin'\ndatasets.dots.weights = 3\n")])
    said = "got 3, allowed: a Table, which no gin value is: make the experiment in Python"
    assert found == f"top.gin:2: datasets.dots.weights: {said}", found
