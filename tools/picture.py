"""Write the README's picture from a run of mat_union: the bars of its report, and robust accuracy as it was learned.

python -m tools.picture runs/first docs/pictures/mat_union.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import vl_convert

from matx.pages import Figure
from matx.report.drawn import drawn_scores, drawn_training
from matx.results import models_of, read_results
from matx.runtime.folder import RunFolder

LEARNED = "validation/union"


def main(run: str, target: str) -> None:
    folder = RunFolder(Path(run))
    found = read_results(folder.results)
    metrics = [json.loads(line) for line in folder.metrics.read_text(encoding="utf-8").splitlines()]
    figures = {figure.title: figure for figure in drawn_training(metrics, models_of(found.scores), None)}
    if LEARNED not in figures:
        raise SystemExit(f"{run}: has no curve {LEARNED!r}; it has {', '.join(figures)}")
    scores = next(iter(drawn_scores(found, found.checkpoint_of("best"))))
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(vl_convert.vegalite_to_svg(beside(scores, figures[LEARNED])), encoding="utf-8")


def beside(left: Figure, right: Figure) -> dict[str, Any]:
    """One picture of two figures, on white, so that it can be read on dark pages too."""
    parts = []
    for place, (figure, width) in enumerate(((left, 560), (right, 300))):
        spec = json.loads(json.dumps(figure.spec).replace('"pick"', f'"pick_{place}"'))  # a name belongs to one figure
        parts.append({**spec, "title": figure.title, "width": width})
    return {"background": "white", "padding": 12, "hconcat": parts, "resolve": {"scale": {"color": "independent"}}}


if __name__ == "__main__":
    main(*sys.argv[1:])
