"""The gate of the study: does plain training lose from its best epoch to its last, as overfitting does?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .. import collected

GATE = Path(__file__).resolve().parents[3] / "docs" / "results" / "cifar10_gate.json"
NEEDED = 0.03
"""Best minus last, in robust accuracy of the gate's validation images under PGD-10."""


def store(runs: Sequence[Path]) -> None:
    """Keep what runs of `at` on the gate's images showed in each epoch."""
    found = [
        {"images": images(run), "augmented by": augmentations(run), "robust": collected.scores(run)} for run in runs
    ]
    GATE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def images(run: Path) -> int:
    """How many images a run trained on."""
    limit = json.loads((run / "resolved.json").read_text(encoding="utf-8")).get("train_limit")
    return 2_000 if limit is None else int(limit)


def augmentations(run: Path) -> list[str]:
    """What changes its training images, by name."""
    stored = json.loads((run / "resolved.json").read_text(encoding="utf-8"))["augment"]
    return [one["@"].rpartition(".")[2] for one in stored]


def lines() -> list[str]:
    """What the gate says, for the plan."""
    shown = [
        "## The gate",
        "",
        f"`at`, seed 0, validated on 1,000 images that serve nothing else. At least {100 * NEEDED:.0f} points must be "
        "lost from the best epoch to the last, and the best must be 20 % or more. The setting that was fixed "
        "beforehand (2,000 images, padded crops and flips, 50 epochs) does not pass, nor does half its images. **Two "
        "changes of the protocol**, made before the first fresh seed: no row has padded crops, and training ends after "
        "30 epochs, which costs less. The last line is the setting of all rows.",
        "",
        "| training images | augmented by | best, % | epoch | last, % | lost | passed |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in json.loads(GATE.read_text(encoding="utf-8")):
        robust = run["robust"]
        best, last = max(robust), robust[-1]
        cells = (
            f"{run['images']:,}", ", ".join(run["augmented by"]), f"{100 * best:.1f}",
            f"{1 + robust.index(best)} of {len(robust)}", f"{100 * last:.1f}", f"{100 * (best - last):.1f}",
            "yes" if best - last >= NEEDED else "no",
        )  # fmt: skip
        shown.append(f"| {' | '.join(cells)} |")
    return shown
