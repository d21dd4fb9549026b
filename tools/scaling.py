"""Speed and traffic of several processes: 1, 2 and 4 on this machine, in both placements, against one process.

    python tools/scaling.py [--repeats 5] [--steps 4]        # prints a table of docs/scaling.md; minutes on two cores
    python tools/scaling.py --architecture small_resnet --steps 10      # a network on which it takes seconds

Every way is run in turn, `repeats` times; the best run of each counts, since other work on the machine only slows.
The processor time of a process is shown beside, with its spread: other work takes none of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import matx
from matx.data import Data, MemorySplit
from matx.distributed import collectives, joined
from matx.engine import fit, start
from matx.experiment import Evaluation, Experiment, Peer
from matx.threat import ThreatModel

BATCH = 32
WAYS: dict[str, dict[str, Any]] = {
    "1 process, 1 thread": {"processes": 1, "threads": 1},
    "1 process, 2 threads": {"processes": 1, "threads": 2},
    "2 processes, samples": {"processes": 2, "threads": 1},
    "2 processes, peers": {"processes": 2, "threads": 1, "placement": "peers"},
    "4 processes, samples": {"processes": 4, "threads": 1},
    "4 processes, 2 peers x 2 shards": {"processes": 4, "threads": 1, "placement": "peers", "shards": 2},
}


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Random colour images of 32 x 32, in 10 classes: what is in them does not matter to the clock."""

    def __call__(self) -> Data:
        images = torch.rand(64 * BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        split = MemorySplit.of(images, torch.arange(len(images)) % 10)
        return Data(
            name="noise", train=split, open_test=lambda: split, image_shape=(3, 32, 32), num_classes=10,
            class_names=tuple("abcdefghij"), mean=(0.5,) * 3, std=(0.25,) * 3,
        )  # fmt: skip

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Noise]:
        return [cls()]


def experiment(architecture: str, placement: str, shards: int) -> Experiment:
    """Two peers that teach each other, PGD of 10 steps: 54 passes a training image."""
    made: Any = matx.attacks["pgd"]
    sgd: Any = matx.optimizers["sgd"]
    peer = Peer(
        architecture=matx.architectures[architecture](),
        attacks=[made(threat=ThreatModel(norm="linf", eps="8/255"), steps=10)],
        optimizer=sgd(lr=0.01),
    )
    return Experiment(
        dataset=Noise(), peers={"a": peer, "b": peer}, strategy=matx.strategies["mat"](), evaluation=Evaluation(),
        batch_size=BATCH, placement=placement, shards=shards,  # type: ignore[arg-type]  # one of the two literals
    )  # fmt: skip


def worker(steps: int, architecture: str, placement: str, shards: int) -> None:
    """In each process: some steps, and from rank 0 one JSON line of what they took."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    with joined("cpu") as world:
        declared = experiment(architecture, placement, shards)
        training = start(declared, declared.dataset(), world=world)
        records = fit(training)
        next(records)
        sent = _counted()
        before, began, cpu = vars(training.passes).copy(), time.monotonic(), time.process_time()
        for _ in range(steps):
            next(records)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        passes = sum(vars(training.passes).values()) - sum(before.values())
        if world.writes:
            weights = sum(p.numel() for p in training.learners["a"].module.parameters())
            found = {"seconds": seconds, "cpu": cpu, "passes": passes, "sent": sum(sent), "calls": len(sent)}
            print(json.dumps({**found, "weights": weights}), flush=True)


def _counted() -> list[int]:
    """The bytes of the tensors that are given to each collective from now on."""
    sizes: list[int] = []
    real = collectives._collective

    def counted(call: Any, *arguments: Any) -> None:
        sizes.append(sum(a.numel() * a.element_size() for a in arguments if isinstance(a, Tensor)))
        real(call, *arguments)

    collectives._collective = counted
    return sizes


def once(way: dict[str, Any], steps: int, architecture: str) -> dict[str, float]:
    """One run of a way; what rank 0 says."""
    words = [__file__, "--worker", "--steps", str(steps), "--architecture", architecture]
    words += ["--placement", str(way.get("placement", "samples")), "--shards", str(way.get("shards", 1))]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(way["processes"])]
    command = [sys.executable, *(launcher if way["processes"] > 1 else []), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(way["threads"])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    found: dict[str, float] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--steps", type=int, default=4)
    options.add_argument("--architecture", default="preact_resnet18")
    options.add_argument("--ways", default=",".join(map(str, range(len(WAYS)))), help="positions, such as 0,1,2")
    options.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options.add_argument("--placement", default="samples", help=argparse.SUPPRESS)
    options.add_argument("--shards", type=int, default=1, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.worker:
        worker(given.steps, given.architecture, given.placement, given.shards)
        return
    names = [list(WAYS)[int(place)] for place in given.ways.split(",")]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(given.repeats):
        for name in names:
            runs[name].append(once(WAYS[name], given.steps, given.architecture))
    show(runs, given.steps)


def show(runs: dict[str, list[dict[str, float]]], steps: int) -> None:
    """The table: the best run of each way by the clock, and its processor times."""
    best = {name: min(some, key=lambda run: run["seconds"]) for name, some in runs.items()}
    first = next(iter(best.values()))
    repeats, load = len(next(iter(runs.values()))), os.getloadavg()[0]
    print(f"best of {repeats}, {steps} steps of {BATCH} images, {first['weights']:,.0f} weights; load {load:.1f}")
    print(
        "| way | s a step | speed | processor s a step | passes a process and image | MB a step | collectives a step |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, run in best.items():
        cpu = sorted(one["cpu"] / steps for one in runs[name])
        row = [f"{run['seconds'] / steps:.3f}", f"{first['seconds'] / run['seconds']:.2f}x"]
        row += [f"{cpu[0]:.3f} to {cpu[-1]:.3f}", f"{run['passes'] / steps / BATCH:.1f}"]
        row += [f"{run['sent'] / steps / 1e6:.4g}", f"{run['calls'] / steps:.0f}"]
        print(f"| {name} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
