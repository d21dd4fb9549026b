"""The committed results of methods: for each run the images that are right, for each search its trials."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Right = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """A method's runs: for each place and metric (seeds, images), the mean over its scored peers."""

    name: str
    stored: Mapping[str, Any]
    seeds: tuple[int, ...]

    def right(self, place: str, metric: str, seeds: Sequence[int] | None = None) -> Right:
        """(seeds, images) of these seeds, all by default."""
        runs = {run["seed"]: run for run in self.stored["runs"]}
        chosen = self.seeds if seeds is None else seeds
        count = self.stored["apgd images"] if place.startswith("apgd") else self.stored["test"]["n"]
        return np.stack([self._mean(at(runs[seed], place)[metric], count) for seed in chosen])

    def has(self, place: str, seed: int) -> bool:
        """Whether the run of a seed was attacked at a place."""
        return any(run["seed"] == seed and at(run, place) for run in self.stored["runs"])

    def _mean(self, packed: Sequence[str], count: int) -> Right:
        peers = [np.unpackbits(np.frombuffer(base64.b64decode(one), np.uint8), count=count) for one in packed]
        found: Right = np.stack(peers).astype(np.float64).mean(axis=0)
        return found

    @property
    def cost(self) -> str:
        """Passes per training image."""
        with_teachers = self.stored["passes"] + self.stored["teachers"]
        more = f" ({with_teachers:g} with the frozen peer's)" if self.stored["teachers"] else ""
        return f"{self.stored['passes']:g}{more}"


def at(run: Mapping[str, Any], place: str) -> Mapping[str, Sequence[str]]:
    """A run's flags at a place, none where it was not attacked there.

    Where the best epoch is the last one, both are stored as the best.
    """
    same = run["epochs"]["best"] == run["epochs"]["last"]
    found: Mapping[str, Sequence[str]] = run["flags"].get(place.replace("last", "best") if same else place, {})
    return found


def read(source: Path) -> tuple[dict[str, Method], dict[str, Any]]:
    """The methods, and the trials of each search."""
    found = json.loads(source.read_text(encoding="utf-8"))
    methods = {
        name: Method(name=name, stored=stored, seeds=tuple(run["seed"] for run in stored["runs"]))
        for name, stored in found["methods"].items()
    }
    return methods, found["searches"]
