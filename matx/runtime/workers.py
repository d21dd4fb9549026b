"""Worker processes: each is given one task after another and reports its progress; one that crashes is replaced."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

from matx.errors import MachineError, RunError
from matx.runtime.interrupt import STOPS
from matx.runtime.log import explained

__all__ = ["Event", "Work", "Worker", "WorkerPool", "usable_cores"]

Job = TypeVar("Job")
Work = Callable[[Any, Callable[[Any], Any]], Any]
"""work(task, report) -> result, at the top level of a module; `report(message)` returns the reply of the caller."""


@dataclass(frozen=True)
class Event(Generic[Job]):
    """What a worker sent: `reported` (it waits for a reply), `done`, or why not, in a sentence.

    `failed`; `fault`: the machine failed, so that other jobs will, too; `stopped` by a signal; `crashed`.
    """

    kind: str
    worker: Worker[Job]
    job: Job
    content: Any


@dataclass(eq=False)
class Worker(Generic[Job]):
    """One process and its job, as the caller knows it; None: idle."""

    position: int
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    ready: bool = False
    """Whether the process has started and said so."""

    def reply(self, value: Any) -> None:
        """Send a value; that the worker has crashed meanwhile is reported by the next `wait`."""
        try:
            self.connection.send(value)
        except (BrokenPipeError, ConnectionResetError):
            return


@dataclass(eq=False)
class WorkerPool(Generic[Job]):
    """Up to `size` workers, started when first needed."""

    work: Work
    size: int
    workers: list[Worker[Job]] = field(default_factory=list)

    def idle(self) -> int:
        """How many more jobs could be assigned now."""
        return self.size - len(self.busy())

    def busy(self) -> list[Worker[Job]]:
        """Those with a job."""
        return [worker for worker in self.workers if worker.job is not None]

    def free_position(self) -> int:
        """The position of the worker that the next job is assigned to: 0 up to `size`."""
        return self._free().position

    def assign(self, job: Job, task: Any) -> None:
        """Send a task to an idle worker."""
        worker = self._free()
        worker.job = job
        worker.reply(task)

    def wait(self, timeout: float) -> list[Event[Job]]:
        """What busy workers send within so many seconds; after all but `reported` a worker has no job."""
        ready = wait([worker.connection for worker in self.busy()], timeout)
        events = [self._event(worker) for worker in self.busy() if worker.connection in ready]
        return [event for event in events if event is not None]

    def stop(self) -> None:
        """Send SIGTERM to those at work, which `interrupted_by` makes Interrupted, and wait until they have ended."""
        for worker in self.busy():
            if worker.process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGTERM)
        while self.busy():
            self.wait(1.0)

    def terminate(self) -> None:
        """End every process at once."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()
        self.workers.clear()

    def _event(self, worker: Worker[Job]) -> Event[Job] | None:
        job = worker.job
        assert job is not None, "only busy workers are waited for"
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            worker.connection.close()
            self.workers.remove(worker)
            kind, content = "crashed", _exit_in_words(worker.process.exitcode)
            if not worker.ready and (worker.process.exitcode or 0) > 0:
                raise RunError(f"a worker process cannot start: it {content}; its own message is above") from None
        if kind == "ready":
            worker.ready = True
            return None
        if kind != "reported":
            worker.job = None
        return Event(kind, worker, job, content)

    def _free(self) -> Worker[Job]:
        for worker in self.workers:
            if worker.job is None:
                if worker.process.is_alive():
                    return worker
                worker.connection.close()
                self.workers.remove(worker)
                break
        position = min(set(range(self.size)) - {worker.position for worker in self.workers})
        worker = _started(self.work, position)
        self.workers.append(worker)
        return worker


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _started(work: Work, position: int) -> Worker[Any]:
    # A forked child would share torch's thread pools and gin's global state.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True, name=f"matx-worker-{position}")
    process.start()
    theirs.close()
    return Worker(position, process, ours)


def _serve(connection: Connection, work: Work) -> None:
    """What a worker process runs: it ignores what a terminal sends, which its parent handles, and ends with it."""
    for number in STOPS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def report(message: Any) -> Any:
        connection.send(("reported", message))
        return connection.recv()

    connection.send(("ready", None))
    while True:
        try:
            task = connection.recv()
            connection.send(_outcome(work, task, report))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _outcome(work: Work, task: Any, report: Callable[[Any], Any]) -> tuple[str, Any]:
    try:
        return "done", work(task, report)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except KeyboardInterrupt as stop:
        return "stopped", str(stop)
    except MachineError as error:
        return "failed" if error.memory else "fault", explained(error)
    except Exception as error:  # the caller goes on with other tasks and shows this one
        return "failed", explained(error)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _exit_in_words(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"ended with exit code {code}"
