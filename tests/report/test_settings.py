"""The settings that a report shows: those that are not the defaults, each beside its default."""

from __future__ import annotations

from matx.config import load_experiment
from matx.report.settings import settings_sheet


def test_what_differs_is_shown_beside_its_default() -> None:
    loaded = load_experiment(["smoke"], ["Experiment.batch_size=64", "Experiment.seed=7"])
    sheet = settings_sheet(loaded.resolved)
    assert sheet is not None
    rows = {name: (value, default) for name, value, default in sheet.rows}
    assert rows["batch_size"][0] == "64", "what a command sets is shown"
    assert rows["seed"] == ("7", "0"), "with the default beside it"
    assert rows["dataset"] == ("datasets.digits", "must be set"), "a component is named"
    assert "peers.linf.frozen" not in rows, "what is as by default is left out"
    assert not [name for name, (value, default) in rows.items() if value == default], "nothing is shown twice"


def test_nothing_resolved_is_no_table() -> None:
    assert settings_sheet({}) is None, "a run of before has no settings to show"
