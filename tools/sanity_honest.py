"""Run the sanity checks on ten honest models: none may fail.

    OMP_NUM_THREADS=1 python tools/sanity_honest.py --images 200 --keep honest.jsonl --write docs/evaluation.md
    OMP_NUM_THREADS=1 python tools/sanity_honest.py --effort quick --keep quick.jsonl --write docs/evaluation.md

Ten small networks on digits: three widths, several seeds, trained on clean images, or by PGD in l_inf or l2. Each is
scored by PGD on cross entropy and on the margin, then inspected with Square and with examples of the model before it.
What the file `--keep` has is not measured again: stopped, the same command goes on with the next model.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from page_tables import put
from torch import nn
from trained_models import Images, load

import matx
from matx.craft import attackable
from matx.data import MemorySplit, channel_statistics
from matx.interfaces import Attack
from matx.learner import Normalised
from matx.measure import EvaluationSettings, Rate, flags_of
from matx.measure.sanity import EFFORTS, Effort, Scored, inspect, verdict
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel

RECIPES: Sequence[tuple[int, int, str]] = (
    (0, 8, ""), (1, 8, ""), (2, 16, ""), (3, 4, ""), (4, 8, "linf:0.1"), (5, 8, "linf:0.1"), (6, 16, "linf:0.1"),
    (7, 8, "l2:0.5"), (8, 16, "l2:0.5"), (9, 4, "linf:0.05"),
)  # fmt: skip
"""(seed, width, what is trained on; nothing: clean images)."""
THREAT = ThreatModel.parse("linf:0.1")


def made(name: str, **options: Any) -> Attack:
    component: Any = matx.attacks[name]
    attack: Attack = component(**options)
    return attack


def trained(images: Images, seed: int, width: int, key: str, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    tiny: Any = matx.architectures["tiny"]
    module: nn.Module = Normalised(tiny(width=width)((1, 8, 8), 10), *channel_statistics(images.train))
    module = module.to(memory_format=torch.channels_last)
    attack = made("pgd", threat=ThreatModel.parse(key), steps=4) if key else None
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    for epoch in range(epochs):
        order = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(1000 * seed + epoch))
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            seen, labels = images.train[rows], images.train_labels[rows]
            if attack is not None:
                with attackable(module) as model:
                    draws = SampleGenerator(epoch, rows)
                    seen = attack(matx.AttackInput(model=model, images=seen, labels=labels, generator=draws))
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(module.train()(seen), labels))
            optimizer.step()
    return module.eval()


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table, a model a row: its figures, the verdict, and the value of each check that is graded by a figure."""
    checks = [finding["check"] for finding in rows[-1]["findings"] if finding["check"] != "eval mode"]
    found = [
        "| model | clean | robust | verdict | " + " | ".join(checks) + " | CPU s |",
        "|---" * (5 + len(checks)) + "|",
    ]
    for row in rows:
        values = {finding["check"]: f"{finding['value']:.2g}" for finding in row["findings"]}
        cells = [row["model"], f"{row['clean']:.3f}", f"{row['robust']:.3f}", row["verdict"]]
        found.append(
            f"| {' | '.join([*cells, *(values.get(check, '-') for check in checks)])} | {row['seconds']:.0f} |"
        )
    counts = ", ".join(f"{sum(row['verdict'] == word for row in rows)} {word}" for word in ("pass", "warn", "fail"))
    return [*found, "", f"{len(rows)} models, {rows[0]['images']} images: {counts}."]


def measured(
    images: Images, seed: int, width: int, key: str, epochs: int, before: Mapping[str, nn.Module], effort: Effort
) -> Any:
    """(the row of one model, the model)."""
    split = MemorySplit.of(images.test, images.test_labels)
    suite = [
        made("pgd", threat=THREAT, steps=20, restarts=5, early_exit=True, objective=objective)
        for objective in ("cross_entropy", "margin")
    ]
    steps = 20 if effort.searches else 100
    searches = [
        made("square", threat=THREAT, queries=200 if effort.searches else 500),
        made("apgd", threat=THREAT, steps=steps, early_exit=True),
        made("pgd", threat=THREAT, steps=steps, early_exit=True, objective="margin"),
    ]
    module = trained(images, seed, width, key, epochs)
    settings = EvaluationSettings(attacks=suite, seed=seed)
    flags = flags_of({"model": module}, split, settings)["model"]
    began = time.process_time()
    found = inspect(
        Scored(module=module, split=split, flags=flags), settings, searches=searches, others=before, effort=effort
    )
    row = {
        "model": f"seed {seed}, width {width}, trained on {key or 'clean images'}",
        "images": len(images.test),
        "clean": Rate.of(flags.clean).accuracy,
        "robust": Rate.of(flags.union).accuracy,
        "verdict": verdict(found),
        "seconds": time.process_time() - began,
        "findings": [finding.row() for finding in found],
    }
    return row, module


def kept(file: Path | None) -> dict[str, Any]:
    """{model: row} of an earlier call."""
    if file is None or not file.is_file():
        return {}
    return {row["model"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--effort", choices=list(EFFORTS), default="full")
    parser.add_argument("--keep", type=Path, help="a file of rows, one a model")
    parser.add_argument("--write", type=Path, help="the page with the markers")
    options = parser.parse_args()
    images = load(None, 8000, options.images)
    known, rows = kept(options.keep), []
    before: dict[str, nn.Module] = {}
    for place, (seed, width, key) in enumerate(RECIPES):
        row = known.get(f"seed {seed}, width {width}, trained on {key or 'clean images'}")
        if row is None:
            if place and not before:
                before = {"before": trained(images, *RECIPES[place - 1], options.epochs)}
            row, module = measured(images, seed, width, key, options.epochs, before, EFFORTS[options.effort])
            before = {"before": module}
            if options.keep is not None:
                with options.keep.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")
        rows.append(row)
        print(f"{row['model']}: clean {row['clean']:.3f}, robust {row['robust']:.3f}: {row['verdict']}", flush=True)
        for finding in row["findings"]:
            if finding["status"] != "pass":
                print(f"  {finding['status']}  {finding['check']}: {finding['sentence']}", flush=True)
    print("\n".join(lines(rows)))
    if options.write is not None:
        put(options.write, f"sanity honest {options.effort}", lines(rows))


if __name__ == "__main__":
    main()
