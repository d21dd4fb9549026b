"""What the harness must find, and what its page must say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.faults import form, mutants
from tools.faults.bench import Bench, different
from tools.faults.commands import Ended, Trigger, matx
from tools.faults.kills import RUN, compared
from tools.faults.outcomes import Found, Outcome
from tools.faults.page import PAGE, page
from tools.faults.promises import judged
from tools.faults.soak import faults_of, read_soak


def test_the_page_is_what_the_long_form_found() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "docs/reliability.md is out of date: run python -m tools.faults"
    known, faults = form.read_records(form.LONG), [case.fault for case in form.CASES]
    assert [fault for fault in faults if fault in known] == list(known), "the page has other faults than the harness"
    assert "silently" not in PAGE.read_text(encoding="utf-8"), "a fault led to a wrong figure without a word"


def test_the_soak_is_long_and_what_grows_is_found() -> None:
    found = read_soak()
    assert (found.steps, found.epochs) == (3000, 300), "the committed soak is another one"
    assert faults_of(found) == [], "memory or open files grew"
    grown = replace(found, most=found.first + 30_000_000, files_most=found.files_first + 2)
    assert [line.split()[0] for line in faults_of(grown)] == ["memory", "open"], "what grows passes for flat"


def test_what_differs_is_found(bench: Bench, tmp_path: Path) -> None:
    wanted = bench.run()
    (tmp_path / "quick.gin").write_text((bench.home / "run" / "quick.gin").read_text())
    assert matx(*RUN, "--seed", "6", folder=tmp_path).code == 0, "the run fails"
    names = different(tmp_path / "run", wanted)
    assert {"metrics.jsonl", "best.pt", "last.pt"} <= set(names), f"the figures of another seed pass for equal: {names}"
    assert different(wanted, wanted) == [], "a folder differs from itself"
    (tmp_path / "run" / ".results.json.1-ab.partial").touch()
    found = compared(tmp_path / "run", tmp_path / "run", Outcome.RESUMED, "")
    assert found.outcome is Outcome.LEFTOVER, "a partial file is not seen"


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (Ended(None, "", True, []), Outcome.HANG),
        (Ended(2, "Error: peer 'one': got nan", True, []), Outcome.REFUSED),
        (Ended(1, "Error: KeyError: 3 (breaking.py:7)", True, []), Outcome.NAMED),
        (Ended(2, "Error: something is wrong", True, []), Outcome.UNNAMED),
        (Ended(2, "Usage: matx\nError: No such option '--breaking'.", True, []), Outcome.UNNAMED),
        (Ended(1, "Error: x; this is a defect of matx or of a plug-in", True, []), Outcome.BLAMED),
        (Ended(1, "Traceback (most recent call last):\nbreaking", True, []), Outcome.TRACEBACK),
        (Ended(-15, "", True, []), Outcome.LOST),
    ],
)
def test_how_a_command_ended_is_told_apart(ended: Ended, outcome: Outcome) -> None:
    found = judged(ended, "x")
    assert found is not None, "a command that failed passes for one that did not"
    assert found.outcome is outcome, f"{ended} is taken for {found.outcome}"


def test_a_mutant_that_gin_reads_otherwise_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with gin must be able to fail: a setting that only matx sees."""
    monkeypatch.setattr(mutants, "mutant", lambda text, draw: text)
    case = next(case for case in form.CASES if "gin file" in case.fault)
    assert case.attempt(Bench(tmp_path), tmp_path, 1) == Found(Outcome.AS_GIN), "an unchanged file is not read as it is"
    loaded = mutants.resolved_by_gin(str(tmp_path / "mutant.gin"))
    monkeypatch.setattr(mutants, "resolved_by_gin", lambda *files, bindings=(): loaded | {"epochs": 3})
    assert case.attempt(Bench(tmp_path), tmp_path, 1).outcome is Outcome.SILENT, "other values pass for the same"


def test_a_trigger_that_is_never_met_says_so(bench: Bench, tmp_path: Path) -> None:
    ended = matx("--version", folder=tmp_path, triggers=[Trigger(event="open", matching="nowhere", send=9)])
    assert (ended.code, ended.fired, ended.counts) == (0, False, [0]), (
        "a fault that was not made passes for one that was"
    )
