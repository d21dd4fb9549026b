"""Run folders as far as a comparison reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sample_scores import count, sample_results

from matx.results import AttackUsed, FlagColumn, Score, write_flags, write_results

ATTACK = AttackUsed(name="pgd", threat="linf:0.1", options={"steps": 20, "restarts": 1})


def a_run(
    folder: Path,
    name: str,
    seed: int,
    clean: Sequence[bool],
    robust: Sequence[bool],
    *,
    key: str = "linf:0.1",
    further: Sequence[tuple[Score, Sequence[float] | None]] = (),
    identity: Mapping[str, str] | None = None,
    images: str = "abc",
    **changes: Any,
) -> Path:
    """A run folder as far as a comparison reads it: one scored peer `a` with these flags, and further scores of it with
    what they are of each image; `identity` and training `images` change the experiment, `changes` the results."""
    folder.mkdir()
    n = len(clean)
    columns = {("clean", "clean"): clean, ("robust", key): robust, ("robust", "union"): robust}
    own = [count(metric, column, "a", sum(flags), n) for (metric, column), flags in columns.items()]
    per_sample = {where: np.array(flags) for where, flags in columns.items()}
    for score, values in further:
        per_sample |= {} if values is None else {(score.metric, score.column): np.array(values)}
    dataset = {"name": "digits", "split": "test", "n": n, "fingerprint": "abc"}
    known = {"experiment": name, "dataset": dataset, "scored": ("a",), "passes": {"forward": 10.0}}
    known |= {"epochs": {"best": 4, "last": 4}, "attacks": [replace(ATTACK, threat=key)]}
    known |= {"seed": changes.pop("draws", seed)}
    found = sample_results(**{**known, **changes})
    write_results(folder / "results.json", replace(found, scores=[*own, *(score for score, _ in further)]))
    flags = {
        FlagColumn(checkpoint="best", weights="raw", model="a", source=None, metric=metric, column=column): values
        for (metric, column), values in per_sample.items()
    }
    write_flags(folder / "flags.npz", flags, indices=np.arange(n), labels=np.zeros(n, dtype=np.int64))
    known = {"seed": str(seed), "epochs": "4", **(identity or {})}
    (folder / "identity.json").write_text(json.dumps(known))
    (folder / "environment.json").write_text(json.dumps({"seed": seed, "data": {"train": images}}))
    return folder


def coin(seed: int, share: float, n: int = 200) -> list[bool]:
    return [bool(x) for x in np.random.default_rng(seed).random(n) < share]
