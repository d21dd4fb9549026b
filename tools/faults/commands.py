"""matx commands as processes of their own, and what happens to them on the way.

A command is forked from a process that has imported matx, so it starts in a tenth of a second; from there on it is what
`python -m matx` is. What happens to it is tied to its audit events (`sys.addaudithook`): the opening, renaming, linking
and removing of files, which Python reports, and `faults.attack`, which the attack of `plugins/probe.py` reports.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FILE_CHANGES", "PATIENCE", "Command", "Ended", "Trigger", "matx", "start"]

PATIENCE = 900.0
"""Seconds after which a command counts as hung: many times what one takes, also on a machine that is busy."""
FILE_CHANGES = "open|os.rename|os.link|os.remove|os.mkdir|os.rmdir|os.truncate"


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """What happens at the `nth` audit event of a name whose arguments match a pattern."""

    event: str
    """A regular expression of names; 'open' means opening for writing."""
    matching: str = ""
    nth: int = 1
    """0: never; then the events are only counted."""
    send: int = 0
    """A signal to the process itself."""
    remove: str = ""
    """A folder to be removed."""
    move: str = ""
    """A folder to be renamed to MOVE.elsewhere."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int | None
    """None: it hung, and was killed."""
    said: str
    fired: bool
    """Whether a trigger came to its event."""
    counts: Sequence[int]
    """Per trigger, how many events matched; empty where the command was killed."""

    @property
    def error(self) -> str:
        """The last line that speaks of an error, else the last of all."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if "Error" in line or "stopped" in line), (lines or [""])[-1])


@dataclass(frozen=True)
class Command:
    """A running command."""

    process: multiprocessing.process.BaseProcess
    files: Path

    def wait(self, patience: float = PATIENCE) -> Ended:
        """How it ends; one that does not end in time is killed with all its processes."""
        self.process.join(patience)
        hung = self.process.is_alive()
        if hung:
            self.kill()
        said = self.files.with_suffix(".said")
        counts = self.files.with_suffix(".counts")
        return Ended(
            code=None if hung else self.process.exitcode,
            said=said.read_text(encoding="utf-8", errors="replace") if said.exists() else "",
            fired=self.files.with_suffix(".fired").exists(),
            counts=json.loads(counts.read_text()) if counts.exists() else [],
        )

    def kill(self, *, group: bool = True) -> None:
        """SIGKILL to the process, and to those that it started."""
        assert self.process.pid is not None, "the command was started"
        try:
            (os.killpg if group else os.kill)(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:  # not yet the leader of its group, or ended
            self.process.kill()
        self.process.join()


def start(
    words: Sequence[object],
    folder: Path,
    *,
    triggers: Sequence[Trigger] = (),
    limits: Mapping[int, int] | None = None,
) -> Command:
    """Start `matx WORDS` in a working directory, with {resource: limit}; of address space, so much more."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tools.faults.preload"])
    told = folder.parent / "told"
    told.mkdir(exist_ok=True)
    files = told / f"{folder.name}-{len(list(told.glob('*.said')))}"
    files.with_suffix(".said").touch()
    arguments = ([str(word) for word in words], folder, files, tuple(triggers), dict(limits or {}))
    process = context.Process(target=_become_matx, args=arguments)
    process.start()
    return Command(process, files)


def matx(
    *words: object,
    folder: Path,
    triggers: Sequence[Trigger] = (),
    limits: Mapping[int, int] | None = None,
    patience: float = PATIENCE,
) -> Ended:
    """Run `matx WORDS` in a working directory to its end."""
    return start(words, folder, triggers=triggers, limits=limits).wait(patience)


def _become_matx(
    words: list[str], folder: Path, files: Path, triggers: Sequence[Trigger], limits: Mapping[int, int]
) -> None:
    """What the new process runs: `matx WORDS`, with its output in a file."""
    os.setsid()
    os.chdir(folder)
    output = os.open(files.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    counts = [0] * len(triggers)
    if triggers:
        _watch(triggers, counts, files.with_suffix(".fired"))
    for asks in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a harness in the background may ignore them
        signal.signal(asks, signal.default_int_handler if asks is signal.SIGINT else signal.SIG_DFL)
    for number, limit in limits.items():
        resource.setrlimit(number, (limit + _present(number), resource.getrlimit(number)[1]))
    sys.argv = ["matx", *words]
    from matx.cli import main

    try:
        code = main()
    finally:
        for number in limits:
            resource.setrlimit(number, (resource.getrlimit(number)[1], resource.getrlimit(number)[1]))
        files.with_suffix(".counts").write_text(json.dumps(counts))
    sys.exit(code)


def _present(number: int) -> int:
    """The address space that the process has already; 0 for other resources."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if number == resource.RLIMIT_AS else 0
    return pages * resource.getpagesize()


def _watch(triggers: Sequence[Trigger], counts: list[int], fired: Path) -> None:
    at_work = False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal at_work
        if at_work or event.startswith(("object.", "compile", "exec", "import")):
            return
        at_work = True
        try:
            for position, trigger in enumerate(triggers):
                if _matches(trigger, event, arguments):
                    counts[position] += 1
                    if counts[position] == trigger.nth:
                        fired.write_text(event)
                        _act(trigger)
        finally:
            at_work = False

    sys.addaudithook(hook)


def _matches(trigger: Trigger, event: str, arguments: tuple[object, ...]) -> bool:
    if not re.fullmatch(trigger.event, event):
        return False
    if event == "open":
        flags = arguments[2] if len(arguments) > 2 else 0
        if not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)):
            return False
    return re.search(trigger.matching, " ".join(map(str, arguments))) is not None


def _act(trigger: Trigger) -> None:
    if trigger.remove:
        shutil.rmtree(trigger.remove)
    if trigger.move:
        Path(trigger.move).rename(f"{trigger.move}.elsewhere")
    if trigger.send:
        os.kill(os.getpid(), trigger.send)
