"""The progress line is one line that keeps bar, count and time left, however narrow the terminal and many the peers."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from matx.runtime.progress import Display

NOTE = "loss " + ", ".join(f"peer{number} 1.234" for number in range(8)) + "  validation 45.1% (best)"


def shown(width: int, title: str, *, terminal: bool = True) -> list[str]:
    """The last state of a bar with eight peers' losses behind it, line by line."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None, legacy_windows=False)
    with Display(console).bar(title, 200) as bar:
        bar(100, NOTE, line=True)
    last = file.getvalue().replace("\x1b[2K", "\r").split("\r")[-1]
    return [line for line in last.split("\n") if line.strip("\x1b[?25h")]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("title", ["training, epoch", "best of a recipe with quite a long name"])
def test_bar_count_and_eta_stay_and_the_note_is_cut(width: int, title: str) -> None:
    (line,) = shown(width, title)
    assert len(line.rstrip()) <= width, f"wider than the terminal: {line!r}"
    assert "100/200" in line, f"the count is cut: {line!r}"
    assert "ETA" in line, f"the time left is cut: {line!r}"
    assert line.split("ETA")[1].split()[0].count(":") == 2, f"the time left is cut: {line!r}"
    assert line.count("━") >= 6, f"the bar is gone: {line!r}"
    assert line.startswith(title[:12]), f"the title is gone: {line!r}"
    assert "loss p" in line, f"nothing of the note is shown: {line!r}"
    assert (NOTE in line) is False, "eight peers fit nowhere here, so the test tests nothing"


def test_without_a_terminal_nothing_is_cut() -> None:
    (line,) = shown(60, "training, epoch", terminal=False)
    assert line.startswith("training, epoch 100/200  ETA 0:00:0"), f"the line says how far it is: {line!r}"
    assert line.endswith(NOTE), f"a log has room for all of the note: {line!r}"
