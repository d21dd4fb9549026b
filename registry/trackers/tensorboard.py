"""TensorBoard events: a folder a peer below the run's own, so that peers are lines of one card."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import matx
from matx.interfaces import Outcome, Picture, Record, Scalars, Table, Text, TrackedRun, not_installed
from registry.trackers._shown import markdown_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_RUN = ""
"""The owner of what is no peer's."""


@matx.trackers.register("tensorboard")
@dataclass(frozen=True, kw_only=True)
class TensorBoard:
    """Event files in the folder `tensorboard` of the run: `tensorboard --logdir RUN/tensorboard` shows them.

    Peers are lines of one card a term; pictures, the configuration, a row of hparams with the final means, every test
    figure, and who is fooled by whom. Steps that a resumed run takes again replace those of before.
    """

    def lacks(self) -> str | None:
        return not_installed("tensorboard", "tensorboard")

    def where(self, folder: Path) -> str:
        return str(folder / "tensorboard")

    def open(self, run: TrackedRun) -> _Events:
        return _Events(run)

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]


@dataclass(eq=False)
class _Events:
    """The open event files."""

    run: TrackedRun
    writers: dict[str, SummaryWriter] = field(default_factory=dict)

    def write(self, record: Record) -> None:
        match record:
            case Scalars():
                for peer, name, value in record.named():
                    self._writer(peer).add_scalar(_tag(name), value, record.step)
            case Text():
                self._writer(_RUN).add_text(_tag(record.name), record.markdown, record.step)
            case Table():
                self._writer(_RUN).add_text(_tag(record.name), markdown_of(record), record.step)
            case Picture():
                self._writer(record.peer).add_image(_tag(record.name), record.pixels, record.step)
            case Outcome():
                self._hparams(record)

    def close(self, *, finished: bool) -> None:
        writers, failed = list(self.writers.values()), []
        self.writers.clear()
        _QUIET.remove(id(self))
        for writer in writers:
            try:
                writer.close()
            except Exception as error:  # the others are closed all the same
                failed.append(error)
        if failed:
            raise failed[0]

    def _hparams(self, record: Outcome) -> None:
        """The run as a row of the tab 'hparams': its settings, and what it came to."""
        from torch.utils.tensorboard.summary import hparams

        found = {_tag(name): value for name, value in record.metrics.items()}
        make: Any = hparams
        file: Any = self._writer(_RUN).file_writer
        for summary in make(dict(self.run.settings), found):
            file.add_summary(summary)

    def _writer(self, owner: str) -> SummaryWriter:
        if owner not in self.writers:
            from torch.utils.tensorboard import SummaryWriter

            _QUIET.add(id(self))
            folder = self.run.folder / "tensorboard"
            home = folder / _folder_name(owner) if owner else folder
            purged = self.run.steps + 1 if self.run.steps else None
            self.writers[owner] = SummaryWriter(str(home), purge_step=purged)
        return self.writers[owner]


class _Quiet:
    """Keeps failures of TensorBoard's threads off the terminal while any files are open, whichever close first."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._before = threading.excepthook

    def add(self, events: int) -> None:
        """Files are open."""
        if not self._open:
            self._before = threading.excepthook
            threading.excepthook = _without_tensorboard(self._before)
        self._open.add(events)

    def remove(self, events: int) -> None:
        """Files are closed, if they were open."""
        if events in self._open:
            self._open.remove(events)
            if not self._open:
                threading.excepthook = self._before


_QUIET = _Quiet()


def _without_tensorboard(hook: Callable[[threading.ExceptHookArgs], object]) -> Callable[..., None]:
    """The hook, but not for TensorBoard's threads: what one fails of is raised again by whoever writes to it next."""

    def report(failed: threading.ExceptHookArgs) -> None:
        if not type(failed.thread).__module__.startswith("tensorboard"):
            hook(failed)

    return report


def _folder_name(peer: str) -> str:
    """A folder's name for any peer's."""
    found = quote(peer, safe=" ")
    return found if found.strip(".") else found.replace(".", "%2E")


def _tag(name: str) -> str:
    """The name of a card; TensorBoard takes no colon."""
    return name.replace(":", "_")
