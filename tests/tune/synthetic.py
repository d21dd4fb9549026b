"""A quick stand-in for training, and one hand on a study with it: `python synthetic.py STORAGE STUDY TOTAL ...`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPACE = {"x": ("float", 0.0, 1.0), "y": ("log", 0.1, 10.0), "kind": ("categorical", ["good", "bad"])}


def work(task: dict[str, Any], tell: Callable[[Any], Any]) -> dict[str, Any]:
    """A curve that rises over three epochs to a value that x decides; x over 0.97 has no number for a score."""
    log = Path(task["log"])
    with log.open("a") as file:
        file.write(f"began {task['number']} {os.getpid()}\n")
    values: tuple[float, ...] = (0.0,)
    for epoch in (1, 2, 3):
        time.sleep(task["seconds"] / 3)
        top = 1.0 - (task["x"] - 0.6) ** 2 - (0.3 if task["kind"] == "bad" else 0.0)
        values = (top * epoch / 3,) if task["x"] <= 0.97 else (float("nan"),)
        if not tell({"epoch": epoch, "values": values}):
            return {"values": values, "epochs": epoch, "stopped": True, "seconds": 0.0}
    with log.open("a") as file:
        file.write(f"done {task['number']} {os.getpid()}\n")
    return {"values": values, "epochs": 3, "stopped": False, "seconds": 0.0}


def main() -> None:
    """Work on a study until it is finished."""
    parser = argparse.ArgumentParser()
    parser.add_argument("storage")
    parser.add_argument("study")
    parser.add_argument("total", type=int)
    parser.add_argument("--log", required=True)
    parser.add_argument("--seconds", type=float, default=0.03)
    parser.add_argument("--lease", type=float, default=3.0)
    parser.add_argument("--host")
    parser.add_argument("--pruner", default="none")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    import optuna

    from matx.search import Tune
    from matx.tune import ledger as ledgers
    from matx.tune.drive import Hand
    from matx.tune.sampling import distributions, pruner, sampler
    from matx.tune.storage import open_storage, open_study
    from matx.workers import Crew

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if given.host:
        ledgers.HOST = given.host
    tune = Tune(space=SPACE, sampler="random", pruner=given.pruner)
    study = open_study(open_storage(given.storage), given.study, ["maximize"], given.storage)
    study.sampler, study.pruner = sampler(tune), pruner(tune, epochs=3, every=1)
    ledger = ledgers.Ledger(study, total=given.total, space=distributions(tune.axes), lease=given.lease)
    ledger.enqueue({"recipe": {"x": 0.5, "y": 1.0, "kind": "good"}, "plain": {"x": 0.0, "y": 1.0, "kind": "good"}})

    def task(trial: Any, position: int) -> dict[str, Any]:
        return {"number": trial.number, "log": given.log, "seconds": given.seconds, **trial.params}

    hand = Hand(ledger, Crew(work, 1), task, lambda ended: None, epochs=3)
    try:
        hand.work(poll=0.2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
