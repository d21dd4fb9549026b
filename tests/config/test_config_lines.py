"""Lines end where Python's tokenizer says: at a line feed, and at no other character that str.splitlines knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from config.refused import only, problems
from matx.config import load_experiment, loaded_from

Write = Callable[[str, str], str]

INSIDE = {
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "next line": "\x85",
    "vertical tab": "\v",
    "form feed": "\f",
    "file separator": "\x1c",
    "group separator": "\x1d",
    "record separator": "\x1e",
}
"""What ends a line for str.splitlines alone."""

each = pytest.mark.parametrize("character", INSIDE.values(), ids=list(INSIDE))


@each
def test_a_comment_goes_on_behind_it(character: str, write: Write) -> None:
    text = f"include 'base.gin'\nExperiment.seed = 7  # was{character}Experiment.epochs = 3\n# or{character}EPS = 1\n"
    loaded = load_experiment([write("top.gin", text)])
    assert (loaded.experiment.seed, loaded.experiment.epochs) == (7, 10), "what a comment says is not set"
    with_it = load_experiment(["base.gin"], [f"Experiment.seed=7  # was{character}Experiment.epochs=3"]).experiment
    assert (with_it.seed, with_it.epochs) == (7, 10), "nor behind an override"


@each
def test_a_string_keeps_it(character: str, write: Write) -> None:
    said = f"a{character}b"
    text = f"include 'base.gin'\nl2/Peer.attacks = [@attacks.odd()]\nattacks.odd.names = ['{said}']\n"
    loaded = load_experiment([write("top.gin", f"{text}attacks.odd.threat = @ThreatModel()\n")])
    (attack,) = loaded.experiment.peers["l2"].attacks
    assert attack.names == [said], "the string is as written"
    again = load_experiment([write("flat.gin", loaded.text)])
    assert again.experiment == loaded.experiment, f"the flattened text keeps it:\n{loaded.text!r}"


@each
def test_line_numbers_behind_it_are_an_editor_s(character: str, write: Write) -> None:
    found = only([write("top.gin", f"# a{character}b\ninclude 'base.gin'  # {character}\n\nExperiment.epochs = 0\n")])
    assert found.startswith("top.gin:4: Experiment.epochs: got 0"), found


@each
def test_it_ends_no_statement(character: str, write: Write) -> None:
    found = only([write("top.gin", f"include 'base.gin'\nExperiment.seed = 1{character}Experiment.epochs = 3\n")])
    assert found.startswith("top.gin:2: broken syntax: "), found


@pytest.mark.parametrize(
    "line",
    ["Experiment.seed = 7  # was\rExperiment.epochs = 3", "# was\rExperiment.epochs = 3", "EPS = 'a\rb'", "\rEPS = 3"],
)
def test_a_lone_carriage_return_is_refused(line: str) -> None:
    Path("top.gin").write_bytes(f"include 'base.gin'\n{line}\nExperiment.epochs = 0\n".encode())
    found = problems(["top.gin"])
    wanted = "top.gin:2: got a carriage return without a line feed, allowed: lines that end in \\n or \\r\\n; in a "
    assert found[0] == f"{wanted}string write \\r", f"editors end the line there, gin does not: {found}"
    assert found[1].startswith("top.gin:3: Experiment.epochs: got 0"), (
        f"the lines behind it keep their numbers: {found}"
    )
    assert len(found) == 2, found


def test_lines_may_end_in_carriage_return_and_line_feed(write: Write) -> None:
    text = Path("base.gin").read_text() + "Experiment.seed = 7  # was\n\n"
    Path("top.gin").write_bytes(text.replace("\n", "\r\n").encode())
    assert load_experiment(["top.gin"]).experiment.seed == 7, "as Windows writes them"


@pytest.mark.parametrize("character", ["\n", "\r", *INSIDE.values()])
def test_a_name_ends_no_line_of_the_flattened_text(character: str, write: Write) -> None:
    name = write(f"top{character}Experiment.epochs = 3 #.gin", "include 'base.gin'\nExperiment.seed = 7\n")
    loaded = load_experiment([name])
    again = load_experiment([write("flat.gin", loaded.text)])
    assert again.experiment == loaded.experiment, f"a file's name sets nothing:\n{loaded.text}"
    text = loaded_from(dataclasses.replace(loaded.experiment, seed=8), name).text
    assert load_experiment([write("made.gin", text)]).experiment.epochs == 10, f"nor does an experiment's:\n{text}"
