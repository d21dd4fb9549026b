"""Runs of Weights & Biases, kept as files until they are sent, or sent as they go."""

from __future__ import annotations

import netrc
import os
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlparse

import matx
from matx.effect import NO_EFFECT
from matx.interfaces import Outcome, Picture, Record, Scalars, Table, Text, TrackedRun, not_installed
from registry.trackers._kept import keep, read_kept
from registry.trackers._shown import bytes_of

_KEPT = "wandb.json"
"""In the run's folder: the run's id, and the last step of each kind of record that was written."""


@matx.trackers.register("wandb")
@dataclass(frozen=True, kw_only=True)
class WandB:
    """A run of Weights & Biases: `pip install 'matx[wandb]'`; offline unless said, in the folder `wandb` of the run.

    Numbers are `PEER/GROUP/TERM`, so that peers are sections; settings are its config, the final means its summary.
    Pictures and transfer tables are media. A resumed run has the same id; records that were written are not written
    again. Offline nothing is sent; `wandb sync RUN/wandb/offline-run-*` does it later, after `wandb login`. Where the
    process is killed, wandb loses what it was told in the last seconds.
    """

    mode: Literal["offline", "online"] = field(default="offline", metadata=NO_EFFECT)
    """'online': sent as it goes, to the address and by the login that wandb itself is configured with."""
    project: str | None = field(default=None, metadata=NO_EFFECT)
    """The project that the run belongs to; None: the recipe's name."""
    entity: str | None = field(default=None, metadata=NO_EFFECT)
    """The user or team; None: whose the login is."""

    def lacks(self) -> str | None:
        missing = not_installed("wandb", "matx[wandb]")
        if missing is None and self.mode == "online" and not _signed_in():
            return "found no login, which mode 'online' needs; allowed: `wandb login` first, or mode 'offline'"
        return missing

    def where(self, folder: Path) -> str:
        home = folder / "wandb"
        return f"wandb sync {shlex.quote(str(home))}/offline-run-*" if self.mode == "offline" else str(home)

    def open(self, run: TrackedRun) -> _Run:
        kept = read_kept(run.folder / _KEPT) or {"id": secrets.token_hex(4), "last": {}}
        keep(run.folder / _KEPT, kept)
        live = self._live(run, str(kept["id"]))
        _unlink_others(run.folder)
        return _Run(folder=run.folder, kept=kept, live=live)

    def _live(self, run: TrackedRun, number: str) -> Any:
        hooks = sys.exit, sys.excepthook
        if self.mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read where wandb is imported
        import wandb

        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, disable_code=True, disable_job_creation=True,
            x_disable_stats=True, x_disable_meta=True, x_save_requirements=False,
        )  # fmt: skip
        try:
            return wandb.init(
                id=number, dir=run.folder, mode=self.mode, project=self.project or run.name, entity=self.entity,
                name=run.folder.name, group=run.name, config=dict(run.settings), settings=settings,
                resume="allow" if self.mode == "online" else None, reinit="create_new",
            )  # fmt: skip
        finally:
            sys.exit, sys.excepthook = hooks  # how this process ends is matx's affair, and `close` says it

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        return [cls()]


@dataclass(eq=False, kw_only=True)
class _Run:
    """An open run of wandb."""

    folder: Path
    live: Any
    kept: dict[str, Any]

    def write(self, record: Record) -> None:
        kind, shown = _shown(record)
        if not shown or record.step <= self.kept["last"].get(kind, -1):
            return
        if isinstance(record, Outcome):
            self.live.summary.update(shown)
        else:
            self.live.log(shown, step=record.step)
        self.kept["last"][kind] = record.step
        keep(self.folder / _KEPT, self.kept)

    def close(self, *, finished: bool) -> None:
        self.live.finish(exit_code=0 if finished else 1)


def _shown(record: Record) -> tuple[str, Mapping[str, Any]]:
    """What a record is called among those of its run, and what wandb is given of it."""
    import wandb

    match record:
        case Scalars():
            named = {f"{peer}/{name}" if peer else name: value for peer, name, value in record.named()}
            return f"scalars {record.group}", named
        case Text():
            return f"text {record.name}", {
                record.name: wandb.Html(f"<pre>{escape(record.markdown, quote=False)}</pre>")
            }
        case Table():
            table = wandb.Table(columns=list(record.head), data=[list(row) for row in record.rows])
            return f"table {record.name}", {record.name: table}
        case Picture():
            key = f"{record.peer}/{record.name}"
            return f"picture {key}", {key: wandb.Image(bytes_of(record))}
        case Outcome():
            return "outcome", dict(record.metrics)


def _unlink_others(folder: Path) -> None:
    """Remove links to files elsewhere, such as wandb's own log: a run whose folder has some is not resumed."""
    for path in (folder / "wandb").rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            path.unlink()


def _signed_in() -> bool:
    """Whether a key is known for the host that wandb is configured with; nothing is asked of the network."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    named = os.environ.get("NETRC")
    files = [Path(named)] if named else [Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()]
    for file in files:
        try:
            if netrc.netrc(file).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
