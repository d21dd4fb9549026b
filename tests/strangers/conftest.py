"""A run folder that somebody else prepared: its own lines ask for a plug-in that leaves a mark when it is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolation import isolated_plugins

MARK = "executed"
EVIL = f"""from pathlib import Path
Path({MARK!r}).write_text("code of a stranger")
"""


@pytest.fixture
def theirs(home: Path, finished: Path) -> Iterator[Path]:
    """A finished run with `evil.py` in it, as nobody asks for it yet."""
    shutil.copytree(finished, home / "theirs")
    (home / "theirs" / "evil.py").write_text(EVIL)
    with isolated_plugins():
        yield home / "theirs"


@pytest.fixture
def importing(theirs: Path) -> Path:
    """The same; its gin text imports the plug-in."""
    config = theirs / "config.gin"
    config.write_text("import evil\n" + config.read_text())
    return theirs


@pytest.fixture
def listing(theirs: Path) -> Path:
    """The same; its environment.json lists the plug-in."""
    change(theirs / "environment.json", plugins=[str(theirs / "evil.py")])
    return theirs


def change(file: Path, **values: object) -> None:
    """Give a JSON object other values."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def ran() -> bool:
    """Whether the plug-in's code ran; the mark is taken away."""
    mark = Path(MARK)
    found = mark.is_file()
    mark.unlink(missing_ok=True)
    return found
