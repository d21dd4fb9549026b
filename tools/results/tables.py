"""Tables of methods over seeds: means with the lowest and highest seed, and paired differences with both intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matx.compare import Difference, Interval, crossed_bootstrap, paired_t

from .stored import Method, Right


def place(name: str) -> str:
    """A checkpoint and its weights in words."""
    checkpoint, weights = name.split()
    return checkpoint if weights == "raw" else f"{checkpoint}, averaged"


def spread(right: Right) -> str:
    """The mean over seeds, and the lowest and highest."""
    values = 100 * right.mean(1)
    return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"


def difference(base: Right, other: Right, seeds: Sequence[int]) -> str:
    """Mean, t interval over seeds, crossed bootstrap over seeds and images, and the word that both allow."""
    images = other - base
    values = images.mean(1)
    found = Difference(
        column="other minus base",
        by_seed=tuple(zip(seeds, values.tolist(), strict=True)),
        mean=float(values.mean()),
        t=paired_t(values),
        bootstrap=crossed_bootstrap(images),
        p=None,
    )
    word = found.word or "too few seeds"
    return f"{100 * found.mean:+.1f}; t {ends(found.t)}; seeds x images {ends(found.bootstrap)}; **{word}**"


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
