"""What docs/results.md says of the embedded recipes, and gin/measured.json for the end of `matx run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matx.compare.table import ENOUGH_SEEDS

from ..stored import Method, read
from ..tables import confirmations, difference, place, spread, table, trials

SOURCE = Path(__file__).resolve().parents[3] / "docs" / "results" / "embedded.json"
PLACES = ("best raw", "last raw", "best ema", "last ema")
PARTS = {
    "linf": ("at", ("at", "mat", "mat_frozen", "self_distillation", "label_smoothing", "trades")),
    "union": ("at_union", ("at_union", "mat_union")),
    "noisy": (
        "noisy_labels_at",
        (
            "noisy_labels_at",
            "noisy_labels_at_usual",
            "noisy_labels",
            "noisy_labels_self_distillation",
            "noisy_labels_smoothing",
        ),
    ),
}
"""{part: (baseline, methods)}."""
ALSO = {"linf": ("mat_frozen", ("mat", "trades")), "noisy": ("noisy_labels_at_usual", PARTS["noisy"][1][2:])}
"""{part: (another one, methods that are compared with it, too)}."""


def figures(methods: Sequence[Method]) -> list[str]:
    """Means over seeds in per cent, with the lowest and the highest seed."""
    head = ["method", "passes an image", "epochs", "seeds", "clean", *(f"robust, {place(one)}" for one in PLACES)]
    rows = []
    for method in methods:
        cells = [spread(method.right("best raw", "clean")), *(spread(method.right(p, "robust")) for p in PLACES)]
        seeds = f"{method.seeds[0]}-{method.seeds[-1]}"
        rows.append([f"`{method.name}`", method.cost, str(method.stored["epochs"]), seeds, *cells])
    return table(head, rows)


def differences(base: Method, others: Sequence[Method]) -> list[str]:
    """Each method minus the baseline, on the seeds that both have."""
    head = ["minus `" + base.name + "`", "passes an image", "seeds", "clean, best", "robust, best", "robust, last"]
    rows = []
    for other in others:
        seeds = [seed for seed in other.seeds if seed in base.seeds]
        cells = [minus(other, base, seeds, *where) for where in
                 (("best raw", "clean"), ("best raw", "robust"), ("last raw", "robust"))]  # fmt: skip
        rows.append([f"`{other.name}`", f"{other.cost} against {base.cost}", str(len(seeds)), *cells])
    return table(head, rows)


def minus(other: Method, base: Method, seeds: Sequence[int], where: str, metric: str) -> str:
    """A difference of two methods at one place, with its intervals."""
    return difference(base.right(where, metric, seeds), other.right(where, metric, seeds), seeds)


def measured(methods: Mapping[str, Method]) -> dict[str, Any]:
    """{recipe: what is shown at the end of a run of it}: its baseline's figures, its own, and what they say."""
    found = {}
    for baseline, names in PARTS.values():
        for name in names:
            base, other = methods.get(baseline), methods.get(name)
            if base is None or other is None or other is base or len(other.seeds) < ENOUGH_SEEDS:
                continue
            if other.stored["teachers"] or name.endswith("_usual"):
                continue  # what a frozen peer's recipe depends on is another run; the usual settings are no recipe
            found[name] = {
                "identity": other.stored["identity"],
                "columns": [["clean", "clean", "clean"], ["robust", "union", "robust"]],
                "methods": [brief(base), brief(other)],
                "sentence": sentence(base, other),
            }
    return found


def brief(method: Method) -> dict[str, Any]:
    """A method's figures, checkpoint best."""
    values = [method.right("best raw", metric).mean(1) for metric in ("clean", "robust")]
    figures = [[round(float(value), 4) for value in (one.mean(), one.min(), one.max())] for one in values]
    return {"recipe": method.name, "seeds": method.seeds, "passes": method.stored["passes"], "figures": figures}


def sentence(base: Method, other: Method) -> str:
    """What ten seeds say of the difference, and what one run does not."""
    seeds = [seed for seed in other.seeds if seed in base.seeds]
    times = other.stored["passes"] / base.stored["passes"]
    said = " and ".join(
        f"{metric} {minus(other, base, seeds, 'best raw', metric).replace('**', '')}" for metric in ("robust", "clean")
    )
    return (
        f"{other.name} minus {base.name} over {len(seeds)} seeds, in points: {said}; at {times:.1f} times the passes. "
        f"One run cannot tell the two apart: `matx run {base.name} {other.name} --seeds 0-4` compares them here, and "
        "docs/results.md has all methods."
    )


def lines(said: Mapping[str, str]) -> list[str]:
    """The sections; `said` are the words around the tables."""
    methods, searches = read(SOURCE)
    found = [said["head"], ""]
    for part, (baseline, names) in PARTS.items():
        there = [methods[name] for name in names if name in methods]
        if baseline not in methods:
            continue
        found += [said[part], "", *figures(there), "", *differences(methods[baseline], there[1:]), ""]
        if part in ALSO:
            other, against = ALSO[part]
            found += [*differences(methods[other], [methods[name] for name in against if name in methods]), ""]
        found += [said[f"{part} said"], "", *confirmations(there), ""]
    every = [name for _, names in PARTS.values() for name in names]
    return [*found, said["search"], "", *trials(searches, every), "", said["leads"], ""]
