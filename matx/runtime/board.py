"""TensorBoard events of a run: a folder a peer below the run's own, so that peers are lines of one card."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Board"]

log = logging.getLogger("matx.run")
_RUN = ""
"""The owner of what is no peer's."""
Values = Mapping[str, Mapping[str, float]]
"""{peer: {term: value}}."""


class Board:
    """The open event files. One that fails is named and switched off; no run stops for it."""

    def __init__(self, folder: Path, *, steps: int = 0) -> None:
        self._folder = folder
        self._purge = steps + 1 if steps else None
        self._writers: dict[str, SummaryWriter] = {}
        self._off = False

    def scalars(self, group: str, values: Values, step: int) -> None:
        """A card a term, a line a peer."""
        for peer, terms in values.items():
            for term, value in terms.items():
                self.scalar(_tag(group, term), value, step, peer)

    def scalar(self, tag: str, value: float, step: int, peer: str = _RUN) -> None:
        """Of a peer, or of the whole run."""
        self._do(peer, lambda w: w.add_scalar(_tag(tag), value, step))

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Of the whole run."""
        self._do(_RUN, lambda w: w.add_text(_tag(tag), markdown, step))

    def picture(self, tag: str, peer: str, grid: Tensor, step: int) -> None:
        """A (C, H, W) picture of a peer."""
        self._do(peer, lambda w: w.add_image(_tag(tag), grid, step))

    def outcome(self, settings: Mapping[str, bool | int | float | str], metrics: Mapping[str, float]) -> None:
        """The run as a row of the tab 'hparams': its settings, and what it came to."""

        def write(writer: SummaryWriter) -> None:
            from torch.utils.tensorboard.summary import hparams

            found = {_tag(name): value for name, value in metrics.items()}
            file: Any = writer.file_writer
            make: Any = hparams
            for summary in make(dict(settings), found):
                file.add_summary(summary)

        self._do(_RUN, write)

    def table(self, tag: str, head: Sequence[str], rows: Sequence[Sequence[str]], step: int) -> None:
        """A table of the whole run, as text."""
        self.text(tag, "\n".join(_pipes(head, rows)), step)

    def close(self) -> None:
        """Close every file."""
        for owner in list(self._writers):
            self._do(owner, lambda w: w.close())
        if self._writers:
            _QUIET.remove(id(self))
        self._writers.clear()

    def _do(self, owner: str, write: Callable[[SummaryWriter], object]) -> None:
        if self._off:
            return
        try:
            write(self._writer(owner))
        except Exception as error:  # whatever it is, the run is worth more than its curves
            self._off = True
            log.warning(
                "TensorBoard is switched off, and the run goes on; %s and metrics.jsonl have the rest (%s: %s)",
                "report.html", type(error).__name__, str(error).partition("\n")[0],
            )  # fmt: skip
            for writer in self._writers.values():
                with suppress(Exception):  # it has failed already
                    writer.close()

    def _writer(self, owner: str) -> SummaryWriter:
        if owner not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            if not self._writers:
                _QUIET.add(id(self))
            home = self._folder / _folder_name(owner) if owner else self._folder
            self._writers[owner] = SummaryWriter(str(home), purge_step=self._purge)
        return self._writers[owner]


class _Quiet:
    """Keeps failures of TensorBoard's threads off the terminal while any board is open, whichever closes first."""

    def __init__(self) -> None:
        self._boards: set[int] = set()
        self._before = threading.excepthook

    def add(self, board: int) -> None:
        """A board has opened."""
        if not self._boards:
            self._before = threading.excepthook
            threading.excepthook = _without_tensorboard(self._before)
        self._boards.add(board)

    def remove(self, board: int) -> None:
        """A board has closed."""
        self._boards.discard(board)
        if not self._boards:
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


def _tag(*parts: str) -> str:
    """The name of a card; TensorBoard takes no colon."""
    return "/".join(part for part in parts if part).replace(":", "_")


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
