"""TensorBoard's files that are gone: the run goes on, and its thread prints no traceback over the terminal."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from matx.runtime.board import Board


def test_a_folder_that_is_gone_switches_the_board_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    before, board = threading.excepthook, Board(tmp_path / "events")
    board.scalar("a", 1.0, 1)
    (writer,) = board._writers.values()
    thread: Any = writer.file_writer.event_writer._async_writer._worker
    writer.flush()
    shutil.rmtree(tmp_path / "events")
    thread._next_flush_time = 0
    board.scalar("a", 2.0, 2)
    thread.join(60)
    assert isinstance(thread.exception, FileNotFoundError), f"the case shows nothing: {thread.exception}"
    board.scalar("a", 3.0, 3)
    board.close()
    assert "TensorBoard is switched off, and the run goes on" in caplog.text, "nobody is told"
    assert "Traceback" not in capsys.readouterr().err, "the thread's traceback is on the terminal"
    assert threading.excepthook is before, "other threads' failures are not shown as before"


def test_boards_that_take_turns_leave_the_hook_as_it_was(tmp_path: Path) -> None:
    before, boards = threading.excepthook, [Board(tmp_path / name) for name in ("first", "second")]
    for board in boards:
        board.scalar("a", 1.0, 1)
    for board in boards:  # the first opened is the first closed
        board.close()
    assert threading.excepthook is before, "other threads' failures are not shown as before"
