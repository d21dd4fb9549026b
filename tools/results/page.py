"""docs/results.md, and gin/measured.json for the end of `matx run`, from docs/results/embedded.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matx.compare import Difference, Interval, crossed_bootstrap, paired_t
from matx.compare.table import ENOUGH_SEEDS

from .stored import Method, Right, read

ROOT = Path(__file__).resolve().parents[2]
MEASURED = Path("gin/measured.json")
SOURCE, PAGE = Path("docs/results/embedded.json"), Path("docs/results.md")
WORDS = Path("docs/results/words.md")
"""What stands around the tables, written by hand: each paragraph behind a line `<!-- NAME -->`."""
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


def place(name: str) -> str:
    """A checkpoint and its weights in words."""
    checkpoint, weights = name.split()
    return checkpoint if weights == "raw" else f"{checkpoint}, averaged"


def spread(right: Right) -> str:
    """The mean over seeds, and the lowest and highest."""
    values = 100 * right.mean(1)
    return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"


def differences(base: Method, others: Sequence[Method]) -> list[str]:
    """Each method minus the baseline, on the seeds that both have."""
    head = ["minus `" + base.name + "`", "passes an image", "seeds", "clean, best", "robust, best", "robust, last"]
    rows = []
    for other in others:
        seeds = [seed for seed in other.seeds if seed in base.seeds]
        cells = [difference(base, other, seeds, *where) for where in
                 (("best raw", "clean"), ("best raw", "robust"), ("last raw", "robust"))]  # fmt: skip
        rows.append([f"`{other.name}`", f"{other.cost} against {base.cost}", str(len(seeds)), *cells])
    return table(head, rows)


def difference(base: Method, other: Method, seeds: Sequence[int], where: str, metric: str) -> str:
    """Mean, t interval over seeds, crossed bootstrap over seeds and images, and the word that both allow."""
    images = other.right(where, metric, seeds) - base.right(where, metric, seeds)
    values = images.mean(1)
    found = Difference(
        column=metric,
        by_seed=tuple(zip(seeds, values.tolist(), strict=True)),
        mean=float(values.mean()),
        t=paired_t(values),
        bootstrap=crossed_bootstrap(images),
        p=None,
    )
    word = found.word or "too few seeds"
    return f"{100 * found.mean:+.1f}; t {ends(found.t)}; seeds x images {ends(found.bootstrap)}; **{word}**"


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
        f"{metric} {difference(base, other, seeds, 'best raw', metric).replace('**', '')}"
        for metric in ("robust", "clean")
    )
    return (
        f"{other.name} minus {base.name} over {len(seeds)} seeds, in points: {said}; at {times:.1f} times the passes. "
        f"One run cannot tell the two apart: `matx run {base.name} {other.name} --seeds 0-4` compares them here, and "
        "docs/results.md has all methods."
    )


def ends(interval: Interval | None) -> str:
    """The ends of an interval in points."""
    return "-" if interval is None else f"[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def confirmations(methods: Sequence[Method]) -> list[str]:
    """AutoAttack and the sanity checks, on one seed of each."""
    rows = []
    for method in methods:
        found = method.stored["confirmed"]
        if found is None:
            continue
        union = [100 * row["value"] for row in found["scores"] if row["column"] == "union"]
        shown = " and ".join(f"{value:.1f}" for value in union)
        said = ", ".join(found["sanity"]) + "".join(f"; {reason}" for reason in found["reasons"])
        rows.append([f"`{method.name}`", str(method.seeds[0]), str(found["images"]), shown, said])
    return table(["method", "seed", "test images", "robust under AutoAttack, best", "sanity checks"], rows)


def trials(searches: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Every trial of every search; a copied result is named."""
    rows = []
    for name in names:
        for trial in searches.get(name, ()):
            settings = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in trial["params"].items())
            settings = f"the best before, {settings}" if str(trial["start"]).startswith("the best") else settings
            score = "-" if not trial["values"] else f"{100 * trial['values'][0]:.1f}"
            copied = trial["duplicate_of"]
            rows.append([f"`{name}`", str(trial["number"]), settings, score if copied is None else f"as {copied}"])
    return table(["method", "trial", "settings", "robust, validation"], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def words() -> dict[str, str]:
    """{name: text} of what is written by hand."""
    parts = (ROOT / WORDS).read_text(encoding="utf-8").split("<!-- ")[1:]
    return {name: text.strip() for name, _, text in (part.partition(" -->") for part in parts)}


def page() -> str:
    """The whole page."""
    methods, searches = read(ROOT / SOURCE)
    said = words()
    lines = [
        "# Results",
        "",
        "Written by `python -m tools.results` from docs/results/.",
        "",
    ]
    lines += [said["head"], ""]
    for part, (baseline, names) in PARTS.items():
        there = [methods[name] for name in names if name in methods]
        if baseline not in methods:
            continue
        lines += [said[part], "", *figures(there), "", *differences(methods[baseline], there[1:]), ""]
        if part in ALSO:
            other, against = ALSO[part]
            lines += [*differences(methods[other], [methods[name] for name in against if name in methods]), ""]
        lines += [said[f"{part} said"], "", *confirmations(there), ""]
    every = [name for _, names in PARTS.values() for name in names]
    lines += [said["search"], "", *trials(searches, every), "", said["leads"], ""]
    return "\n".join(lines)


def files() -> dict[Path, str]:
    """{file: its text} of all that is written."""
    return {ROOT / PAGE: page(), ROOT / MEASURED: json.dumps(measured(read(ROOT / SOURCE)[0]), indent=1) + "\n"}
