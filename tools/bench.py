"""Measure matx: print tables and write them as JSON, from which docs/performance.md is made.

    pip install -e '.[parity]'
    python tools/bench.py all --npz cifar10.npz --out docs/performance     every verb: about half an hour of one core
    python tools/bench.py step --out docs/performance                      one of them
    python tools/bench.py page                                             docs/performance.md from docs/performance

Everything is measured in processor time, in rounds in which what is compared takes turns; a ratio is taken within a
round. Reference loops are plain PyTorch, with torchattacks' PGD as its README shows it. --brief only shows that
everything runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import torch
from benchmarks import attack, evaluation, page, peers, startup, step
from benchmarks.measuring import Settings, Tables, machine

ROOT = Path(__file__).resolve().parents[1]
VERBS: Mapping[str, Callable[[Settings], Tables]] = {
    "step": step.measure,
    "attack": attack.measure,
    "eval": evaluation.measure,
    "peers": peers.measure,
    "memory": peers.measure_memory,
    "startup": startup.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=[*VERBS, "all", "page"])
    parser.add_argument("--out", type=Path, default=None, help="the folder for a JSON file a verb")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="of step and attack")
    parser.add_argument("--npz", type=Path, default=None, help="CIFAR-10 as uint8 arrays, for eval; else the digits")
    parser.add_argument("--folder", type=Path, default=Path("trained_models"), help="where eval keeps its networks")
    parser.add_argument("--brief", action="store_true", help="tiny sizes, one round: no figure means anything")
    given = parser.parse_args()
    if given.verb == "page":
        target = ROOT / "docs" / "performance.md"
        target.write_text(page.written(target, ROOT / "docs" / "performance"), encoding="utf-8")
        return
    torch.set_num_threads(given.threads)
    rounds = 1 if given.brief else given.rounds
    settings = Settings(brief=given.brief, rounds=rounds, npz=given.npz, folder=given.folder, device=given.device)
    for verb in VERBS if given.verb == "all" else (given.verb,):
        run(verb, settings, given.out)


def run(verb: str, settings: Settings, out: Path | None) -> None:
    """Measure, print, and write the file of the verb."""
    tables = VERBS[verb](settings)
    for name, rows in tables.items():
        print(f"\n{name}\n", *page.table(rows), sep="\n", flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        day = datetime.now(UTC).date().isoformat()
        document = {
            "verb": verb,
            "machine": machine(settings.device),
            "rounds": settings.rounds,
            "day": day,
            "tables": tables,
        }
        (out / f"{verb}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
