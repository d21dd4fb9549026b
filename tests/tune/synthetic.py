"""Quick stand-ins for training, and one process on a study with them: `python synthetic.py STORAGE STUDY TOTAL ...`."""

from __future__ import annotations

import argparse
import ast
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPACE = {"x": ("float", 0.0, 1.0), "y": ("log", 0.1, 10.0), "kind": ("categorical", ["good", "bad"])}


def work(task: dict[str, Any], report: Callable[[Any], Any]) -> dict[str, Any]:
    """A score that x decides, after a while; x over 0.97 has no number for a score. A log says what began and ended."""
    _note(task["log"], f"began {task['number']} {os.getpid()}")
    time.sleep(task["seconds"])
    top = 1.0 - (task["x"] - 0.6) ** 2 - (0.3 if task["kind"] == "bad" else 0.0)
    values = (top if task["x"] <= 0.97 else math.nan,)
    stopped = not report({"epoch": 1, "values": values})
    _note(task["log"], f"done {task['number']} {os.getpid()}")
    return {"values": values, "epochs": 1, "stopped": stopped, "seconds": task["seconds"]}


def train(task: Any, report: Callable[[Any], Any]) -> dict[str, Any]:
    """In place of training a Task: each epoch's score rises towards a top that alpha and the seed decide.

    alpha under 0.05 has no number for a score; the file `die` beside the study kills the worker that meets it.
    """
    given = {name: ast.literal_eval(value) for name, _, value in (binding.partition("=") for binding in task.bindings)}
    alpha, seed = given.get("strategies.mat.alpha", 0.5), task.seed or 0
    home = Path(task.recipe).parent
    _note(str(home.with_name(f"{home.name}.log")), f"{Path(task.folder).name} {alpha!r} {seed}")
    with contextlib.suppress(FileNotFoundError):
        home.with_name("die").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    best = (0.0,) * len(task.objectives)
    for epoch in range(1, task.epochs + 1):
        top = 0.9 - (alpha - 0.8) ** 2 + 0.01 * math.sin(seed) if alpha >= 0.05 else math.nan
        now = (top * epoch / task.epochs, *([1.0 - alpha] if len(task.objectives) > 1 else []))
        best = now
        if not report({"epoch": epoch, "values": now}):
            return {"values": now, "epochs": epoch, "stopped": True, "seconds": 0.1}
    return {"values": best, "epochs": task.epochs, "stopped": False, "seconds": 0.1}


def curve(task: dict[str, float], report: Callable[[Any], Any]) -> dict[str, Any]:
    """Nine epochs whose scores rise to a top that x decides, the sooner the smaller y is."""
    for epoch in range(1, 10):
        values = ((1.0 - (task["x"] - 0.6) ** 2) * (1.0 - math.exp(-epoch / (1.0 + 5.0 * task["y"]))),)
        if not report({"epoch": epoch, "values": values}):
            return {"values": values, "epochs": epoch, "stopped": True, "seconds": 0.1}
    return {"values": values, "epochs": 9, "stopped": False, "seconds": 0.1}


def slow(task: Any, report: Callable[[Any], Any]) -> dict[str, Any]:
    """The same, so slowly that it can be stopped."""
    time.sleep(0.5)
    return train(task, report)


def _note(log: str, line: str) -> None:
    with Path(log).open("a") as file:
        file.write(line + "\n")


def main() -> None:
    """Work on a study until it is finished."""
    parser = argparse.ArgumentParser()
    parser.add_argument("storage")
    parser.add_argument("study")
    parser.add_argument("total", type=int)
    parser.add_argument("--log", required=True)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--lease", type=float, default=3.0)
    parser.add_argument("--host")
    given = parser.parse_args()

    import optuna

    from matx.experiment.tune import Tune
    from matx.runtime.workers import WorkerPool
    from matx.tune import trial_queue
    from matx.tune.sampling import distributions, sampler
    from matx.tune.storage import load_or_create, open_storage
    from matx.tune.study_worker import StudyWorker

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if given.host:
        trial_queue.HOST = given.host
    tune = Tune(space=SPACE, sampler="random", pruner="none")
    study = load_or_create(open_storage(given.storage), given.study, ["maximize"], given.storage)
    study.sampler, study.pruner = (
        sampler(tune, lambda trial: trial_queue.slot_of(study, trial)),
        optuna.pruners.NopPruner(),
    )
    queue = trial_queue.TrialQueue(study, total=given.total, space=distributions(tune.axes), lease=given.lease)
    queue.enqueue({"recipe": {"x": 0.5, "y": 1.0, "kind": "good"}, "plain": {"x": 0.0, "y": 1.0, "kind": "good"}})

    def task(trial: Any, position: int) -> dict[str, Any]:
        return {"number": trial.number, "log": given.log, "seconds": given.seconds, **trial.params}

    StudyWorker(queue, WorkerPool(work, 1), task, lambda end: None, epochs=1).work(poll=1.0)


if __name__ == "__main__":
    main()
