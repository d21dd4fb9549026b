"""Compare fgsm, pgd, mim, slide, pgd_topk and apgd with reference implementations, and write docs/parity.md.

    pip install torchattacks foolbox adversarial-robustness-toolbox adv-lib
    git clone https://github.com/fra31/auto-attack
    PYTHONPATH=auto-attack python tools/parity_first_order.py --images 1000 --out docs/parity.md
    PYTHONPATH=auto-attack python tools/parity_first_order.py --images 1000 --npz cifar10.npz --pool 2 \\
        --threats linf:2/255,l2:0.15,l1:1.5 --out docs/parity.md

The networks and images are those of parity_searches.py: up to so many test images that the network gets right. Searches
that leave nothing to chance (no random start, or the original's APGD from the starts that ours draws) are compared
image by image: 'yes' for the same flags on all but 2 in 1,000, 'stronger' where ours fools more. Random ones are
compared over the seeds: our mean not above the reference's by more than the reference's own range. A row is written as
soon as it is measured and replaces its predecessor: a table can be made in parts (--only, --match, --still, --threats).
References that are not installed are named at the end; those that do not offer a case are left out of it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from parity_first_order_cases import CASES
from parity_libraries import Others
from parity_searches import Bench, Search, prepare, show
from torch import Tensor

from matx.threat import ThreatModel

BEGIN = "<!-- first-order {}: written by tools/parity_first_order.py -->"
END = "<!-- end of first-order {} -->"
HEAD = (
    "| threat | attack | ours | reference | its accuracy | flags | images | seconds | as strong |",
    "|---|---|---|---|---|---|---|---|---|",
)


def flags(bench: Bench, search: Search, seed: int) -> Tensor:
    """(N,) bool: fooled, by an image that lies inside."""
    with torch.enable_grad():
        images = search(seed).float()
    inside = bench.threat.size(images - bench.images) <= bench.threat.radius * (1 + 1e-4) + 1e-6
    return torch.logical_and(bench.model(images).argmax(1) != bench.labels, inside)


def verdict(mine: list[Tensor], theirs: list[Tensor], *, random: bool) -> tuple[str, str]:
    """Which flags differ, and whether ours is as strong as asked."""
    if not random:
        gained, lost = int((mine[0] & ~theirs[0]).sum()), int((theirs[0] & ~mine[0]).sum())
        same = gained + lost <= math.ceil(0.002 * len(mine[0]))
        return f"+{gained} -{lost}", "yes" if same else "stronger" if gained > lost else "NO"
    ours, its = ([1 - float(found.float().mean()) for found in each] for each in (mine, theirs))
    spread = max(its) - min(its)
    return "", "yes" if sum(ours) / len(ours) <= sum(its) / len(its) + spread + 1e-9 else "NO"


def rows(bench: Bench, others: Others, names: list[str]) -> Iterator[str]:
    for name in names:
        for case in CASES[name](bench, others):
            if bench.options.match not in case.title or (bench.options.still and case.random):
                continue
            seeds = range(bench.options.seeds if case.random else 1)
            begin = time.process_time()
            mine = [flags(bench, case.ours, seed) for seed in seeds if case.references]
            spent = (time.process_time() - begin) / len(seeds)
            for other, search in case.references.items():
                begin = time.process_time()
                theirs = [flags(bench, search, seed) for seed in seeds]
                took = (time.process_time() - begin) / len(seeds)
                change, strong = verdict(mine, theirs, random=case.random)
                ours, its = (show([1 - float(found.float().mean()) for found in each]) for each in (mine, theirs))
                yield (
                    f"| {bench.threat.key} | {case.title} | {ours} | {other} | {its} | {change} "
                    f"| {len(bench.images)} | {spent:.1f}, {took:.1f} | {strong} |"
                )


def write(path: Path, data: str, title: str, fresh: list[str], closing: str) -> None:
    """Put the rows into the file's section of this data; a row measured anew replaces its predecessor (`key_of`)."""
    old = path.read_text() if path.exists() else "# Parity with reference implementations\n\n"
    begin, end = BEGIN.format(data), END.format(data)
    head, _, rest = old.partition(begin)
    section, _, tail = rest.partition(end)
    known = {key_of(line): line for line in section.splitlines() if line.startswith("| l")}
    table = [*({**known, **{key_of(line): line for line in fresh}}).values()]
    text = "\n".join([title, "", *HEAD, *table, "", closing])
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail or chr(10)}")


def key_of(row: str) -> tuple[str, str, str]:
    """(threat, attack, reference) of a row."""
    cells = [cell.strip() for cell in row.split("|")]
    return cells[1], cells[2], cells[4]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--match", default="", help="only the searches whose title has this in it")
    parser.add_argument("--still", action="store_true", help="only the searches that leave nothing to chance")
    parser.add_argument("--threats", default="linf:0.1,l2:0.6,l1:2.0")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--targets", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--npz", type=Path, default=None)
    parser.add_argument("--pool", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    missing: set[str] = set()
    others = Others.installed(missing)
    data = "digits" if options.npz is None else options.npz.stem
    title = f"### {data}: {options.seeds} seeds, APGD with {options.steps} steps"
    closing = f"Not installed: {', '.join(sorted(missing)) or 'none of the references'}."
    print("\n".join([title, "", *HEAD]), flush=True)
    for key in options.threats.split(","):
        for line in rows(prepare(ThreatModel.parse(key), options), others, options.only.split(",")):
            print(line, flush=True)
            if options.out is not None:
                write(options.out, data, title, [line], closing)
    print(closing)


if __name__ == "__main__":
    main()
