"""tests/oldest.txt, which `tools/oldest.sh` installs, holds the lower bound of each declared dependency."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def test_the_oldest_versions_are_the_declared_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    unbounded = [one for one in declared if not re.fullmatch(r"[\w.\[\]-]+>=[\d.]+|matx\[\w+\]", one)]
    assert unbounded == [], "a dependency has no lower bound, or more than that"
    wanted = sorted({one.replace(">=", "==") for one in declared if ">=" in one})
    listed = sorted((ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8").split())
    assert listed == wanted, "tests/oldest.txt is out of date: it holds each lower bound, as NAME==VERSION"


def test_the_python_versions_are_those_that_were_run() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [one.rpartition(" ")[2] for one in project["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert versions == ["3.11"], "CI runs Python 3.11 alone"
    assert project["requires-python"] == f">={versions[0]}", "the oldest Python is the one that is run"


def test_every_push_is_tried_on_the_oldest_and_on_the_newest_versions() -> None:
    files = [path.name for path in (ROOT / ".github" / "workflows").iterdir()]
    assert files == ["ci.yml"], "versions are listed in one place"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert {"push", "pull_request", "schedule"} <= set(workflow[True]), "a push, or a week without one, is not tried"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    steps = workflow["jobs"]["oldest"]["steps"]
    assert {"run": "tools/oldest.sh"} in steps, "nothing runs the oldest versions"
    (python,) = (step["with"]["python-version"] for step in steps if "with" in step)
    assert project["requires-python"] == f">={python}", "the oldest versions are run on another Python than the oldest"
    newest = workflow["jobs"]["newest"]
    assert any(".ci/run" in step.get("run", "") for step in newest["steps"]), "nothing runs the newest versions"
    classified = [one.rpartition(" ")[2] for one in project["classifiers"] if re.search(r":: 3\.\d+$", one)]
    assert set(classified) <= set(newest["strategy"]["matrix"]["python"]), "a classifier names a Python that CI lacks"
