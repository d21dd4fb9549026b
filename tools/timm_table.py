"""Measure what becomes of timm's families on small images, and write docs/timm.md.

    python tools/timm_table.py [--size 32] [--out docs/timm.md] [--each 2]

Every network is planned on the meta device, so it needs neither weights nor a download: the `--each` networks with
the shortest names of each family, for several minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
from timm.models import list_modules

from matx.errors import ModelError
from registry.architectures.timm import Timm

MEANING = {
    "adapted": "a small stem, or image and patch size, as the notes say",
    "as is": "made for small images: nothing to adapt",
    "warned": "runs, with a warning that names its output stride",
    "refused": "a forward on the meta device fails: `ModelError` at `matx check`",
}


@dataclass(frozen=True)
class Row:
    """What became of one network."""

    family: str
    name: str
    verdict: str
    stride: str
    note: str


def measure(family: str, name: str, size: int) -> Row:
    try:
        adaptation = Timm(name=name).adaptation((3, size, size), 10)
    except ModelError as error:
        return Row(family, name, "refused", "", str(error).split("images: ")[-1])
    done = adaptation.sentence.split(": ", 1)[1].split("; ")[0]
    return Row(family, name, adaptation.verdict, "?" if adaptation.stride is None else str(adaptation.stride), done)


def chosen(family: str, each: int) -> list[str]:
    """So many names of a family: the shortest, then the first."""
    return sorted(timm.list_models(module=family), key=lambda name: (len(name), name))[:each]


def table(rows: Sequence[Row], size: int, each: int) -> Iterable[str]:
    families = {verdict: {row.family for row in rows if row.verdict == verdict} for verdict in MEANING}
    total = len({row.family for row in rows})
    yield f"# timm on {size}x{size} images"
    yield ""
    yield f"Written by `python tools/timm_table.py --size {size} --each {each}` with timm {timm.__version__}."
    yield f"Up to {each} networks (those with the shortest names) of each of {total} families were planned on the meta"
    yield "device. A family may appear under more than one verdict."
    yield ""
    yield "| verdict | families | networks | meaning |"
    yield "|---|---|---|---|"
    for verdict, meaning in MEANING.items():
        count = sum(row.verdict == verdict for row in rows)
        yield f"| {verdict} | {len(families[verdict])} | {count} | {meaning} |"
    yield ""
    yield "| family | network | verdict | output stride | notes |"
    yield "|---|---|---|---|---|"
    for row in rows:
        note = row.note.replace("|", "/").replace("\n", " ")[:160]
        yield f"| {row.family} | {row.name} | {row.verdict} | {row.stride} | {note} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/timm.md"))
    args = parser.parse_args()
    Timm(name="matx_tiny").check((3, args.size, args.size), 10)  # puts our own networks among timm's
    started = time.perf_counter()
    rows = []
    for family in sorted(list_modules()):
        rows += [measure(family, name, args.size) for name in chosen(family, args.each)]
        print(f"{time.perf_counter() - started:6.0f} s  {family}", file=sys.stderr)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(table(rows, args.size, args.each)) + "\n")
    print(f"{args.out}: {len(rows)} networks")


if __name__ == "__main__":
    main()
