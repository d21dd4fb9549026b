"""Worker processes: each is given one task after another, tells how far it is, and may die without harm to the rest."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from matx.errors import RunError
from matx.runtime.log import explained

__all__ = ["Event", "Work", "Worker", "WorkerPool", "usable_cores"]

Job = TypeVar("Job")
Work = Callable[[Any, Callable[[Any], Any]], Any]
"""work(task, tell) -> result, at the top level of a module; `tell(message)` returns what the caller answers."""


@dataclass(frozen=True)
class Event(Generic[Job]):
    """What a worker reports: `told` (it waits for an answer), `done`, `failed` (with a sentence), or `died`."""

    kind: str
    worker: Worker[Job]
    job: Job
    content: Any


@dataclass(eq=False)
class Worker(Generic[Job]):
    """One process and the job that it has, as the caller knows it; None: idle."""

    position: int
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    started: bool = False
    """Whether it has said that it is there."""

    def answer(self, value: Any) -> None:
        """Answer what it told; a worker that has died meanwhile is reported by the next `wait`."""
        try:
            self.connection.send(value)
        except (BrokenPipeError, ConnectionResetError):
            return


@dataclass(eq=False)
class WorkerPool(Generic[Job]):
    """Up to `size` workers, started when first needed."""

    work: Work
    size: int
    members: list[Worker[Job]] = field(default_factory=list)

    def idle(self) -> int:
        """How many more jobs could be given now."""
        return self.size - len(self.busy())

    def busy(self) -> list[Worker[Job]]:
        """Those with a job."""
        return [member for member in self.members if member.job is not None]

    def free_position(self) -> int:
        """The position of the worker that the next job goes to: 0 up to `size`."""
        return self._free().position

    def give(self, job: Job, task: Any) -> None:
        """Hand a task to an idle worker."""
        worker = self._free()
        worker.job = job
        worker.answer(task)

    def wait(self, timeout: float) -> list[Event[Job]]:
        """What busy workers report within so many seconds; one that is done, or has died, has no job any more."""
        ready = wait([worker.connection for worker in self.busy()], timeout)
        events = [self._event(worker) for worker in self.busy() if worker.connection in ready]
        return [event for event in events if event is not None]

    def dismiss(self) -> None:
        """End every process at once."""
        for worker in self.members:
            worker.process.kill()
        for worker in self.members:
            worker.process.join()
            worker.connection.close()
        self.members.clear()

    def _event(self, worker: Worker[Job]) -> Event[Job] | None:
        job = worker.job
        assert job is not None, "only busy workers are waited for"
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            worker.connection.close()
            self.members.remove(worker)
            kind, content = "died", _how(worker.process.exitcode)
            if not worker.started and (worker.process.exitcode or 0) > 0:
                raise RunError(f"a worker process cannot start: it {content}; its own message stands above") from None
        if kind == "here":
            worker.started = True
            return None
        if kind != "told":
            worker.job = None
        return Event(kind, worker, job, content)

    def _free(self) -> Worker[Job]:
        for worker in self.members:
            if worker.job is None:
                if worker.process.is_alive():
                    return worker
                worker.connection.close()
                self.members.remove(worker)
                break
        position = min(set(range(self.size)) - {member.position for member in self.members})
        worker = _hire(self.work, position)
        self.members.append(worker)
        return worker


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hire(work: Work, position: int) -> Worker[Any]:
    # A forked child would share torch's thread pools and gin's global state.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True, name=f"matx-worker-{position}")
    process.start()
    theirs.close()
    return Worker(position, process, ours)


def _serve(connection: Connection, work: Work) -> None:
    """The life of a worker: it ends with its parent and hears no Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(message: Any) -> Any:
        connection.send(("told", message))
        return connection.recv()

    connection.send(("here", None))
    while True:
        try:
            task = connection.recv()
            connection.send(_outcome(work, task, tell))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _outcome(work: Work, task: Any, tell: Callable[[Any], Any]) -> tuple[str, Any]:
    try:
        return "done", work(task, tell)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # the caller goes on with other tasks and shows this one
        return "failed", explained(error)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _how(code: int | None) -> str:
    """How a process ended, in words."""
    if code is not None and code < 0:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"
