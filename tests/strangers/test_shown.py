"""Names from files in every output: no tag, no markup, no command to the terminal."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from matx.cli import main
from matx.cli.tables import show_table, text_table
from matx.experiment import Tune
from matx.report import html, markdown, tables
from matx.results import Results, read_results, write_results
from matx.runtime.log import logged_to
from matx.runtime.progress import Display
from matx.text import in_markdown, is_name, printable
from matx.tune.report import write_reports
from matx.tune.study_folder import StudyFolder

NAMES = [
    "[/x]",
    "[bold red]x",
    "\x1b[2J\x1b]0;title\x07",
    "<script>alert(1)</script>",
    "![x](http://a/b)",
    "a|b`c",
    "\u202eabc",
]


class _Elements(HTMLParser):
    """How many elements of each tag."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] += 1


def _elements(page: str) -> Counter[str]:
    parser = _Elements()
    parser.feed(page)
    return parser.found


def _named(finished: Path, name: str) -> Results:
    """The results of a run with a name for the experiment, a peer and the data."""
    found = read_results(finished)
    scores = [replace(score, model=name if score.model == "one" else score.model) for score in found.scores]
    return replace(found, experiment=name, scores=scores, scored=[name, "two"], dataset={**found.dataset, "name": name})


@pytest.mark.parametrize("name", NAMES)
def test_names_of_results_are_text_in_every_output(name: str, home: Path, finished: Path) -> None:
    named, harmless = _named(finished, name), _named(finished, "harmless")
    assert _elements(html(named)) == _elements(html(harmless)), "a name became an element of the page"
    text = markdown(named)
    for tag in ("<script", "<img"):
        assert tag not in text, "a name became a tag of the Markdown"
    assert "](http" not in text, "a name became a link or picture"
    assert not any(bad in text for bad in ("\x1b", "\x07", "\u202e")), "the Markdown holds control characters"
    out = io.StringIO()
    for table in tables(named):
        Console(file=out, width=200).print(table) if isinstance(table, str) else show_table(Console(file=out), table)
    assert not any(bad in out.getvalue() for bad in ("\x1b", "\x07", "\u202e")), "a name commands the terminal"
    write_results(home / "results.json", named)
    assert json.loads((home / "results.json").read_text())["experiment"] == named.experiment, "it is stored as it is"


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files_are_text_on_the_terminal(name: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "x.gin").write_text(f"Experiment.sed = 1  # {name}\nattacks.{name} = 3\n")
    for command in (["check", "x.gin"], ["show", f"{name}.gin"], ["run", "--resume", name], ["compare", name, name]):
        assert main(command) == 2, "it is refused"
        shown = capsys.readouterr().err
        assert shown.strip(), "with a sentence"
        assert not any(bad in shown for bad in ("\x1b", "\x07", "\u202e")), f"{command[0]} commands the terminal"
        assert "MarkupError" not in shown, "a name is no markup"


@pytest.mark.parametrize("name", NAMES)
def test_names_in_progress_and_tables(name: str) -> None:
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=True, color_system=None, width=120))
    with display.bar(name, 2) as bar:
        bar(1, name, line=True)
    display.say(name)
    show_table(display.console, text_table(name, [name, name], [[name, name]]))
    assert "\x07" not in out.getvalue(), "a name commands the terminal"
    assert "\x1b[2J" not in out.getvalue(), "a name commands the terminal"
    assert "\u202e" not in out.getvalue(), "a name turns the line around"


def test_what_text_is() -> None:
    assert printable("a\nb\x1b\u202e\x7f") == "a\nb\\x1b\\u202e\\x7f", "what a terminal obeys is spelled out"
    assert in_markdown("a\nb") == "a\\nb", "a name stays on its line"
    assert [is_name(x) for x in ("mat_union", "été 1", "a/b", "..", "")] == [True, True, False, False, False]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text_in_a_log(name: str, home: Path) -> None:
    with logged_to(home / "log.txt"):
        logging.getLogger("matx.run").warning("peer %r of %s: damaged", name, name)
    written = (home / "log.txt").read_text()
    assert not any(bad in written for bad in ("\x1b", "\x07", "\u202e")), "whoever reads the log is commanded by it"
    assert written.count("\n") == 1, "a line of the log became several"


def test_a_spreadsheet_computes_nothing_of_a_study(home: Path) -> None:
    tune = Tune(space={"Peer.optimizer": ("categorical", ["@a()", "@b()"]), "x": ("float", -1.0, 1.0)}, seeds=[1, 2])
    study = optuna.create_study()
    spaces = {
        "Peer.optimizer": optuna.distributions.CategoricalDistribution(["@a()", "@b()"]),
        "x": optuna.distributions.FloatDistribution(-1, 1),
    }
    outcome = {"epochs": 1, "reason": '=HYPERLINK("http://a/b")\x1b[2J'}
    for state, value in ((optuna.trial.TrialState.COMPLETE, -0.5), (optuna.trial.TrialState.FAIL, None)):
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=value,
                params={"Peer.optimizer": "@a()", "x": -0.25},
                distributions=spaces,
                user_attrs={"outcome": outcome},
            )
        )
    write_reports(StudyFolder(home), study, tune)
    with (home / "trials.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["Peer.optimizer"] == "'@a()", "a setting is a formula"
    assert row["reason"] == '\'=HYPERLINK("http://a/b")\\x1b[2J', "a reason is a formula, or commands a terminal"
    assert float(row["x"]) == -0.25, "a negative number is no number any more"
