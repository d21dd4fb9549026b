"""Reading runs for a comparison: their figures, per-image flags and costs, refused where they cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matx.errors import RunError
from matx.report import Results, read_flags, read_results
from matx.threat import ThreatModel

__all__ = ["Figures", "Method", "gather"]

_SETTINGS_OF_A_SEED = ("Experiment.seed", "seed")


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """One run's figures: means over its scored peers, per column, as a whole and per image."""

    path: Path
    seed: int
    means: Mapping[str, float]
    """{column: accuracy}, columns `clean`, each threat key, `union`."""
    images: Mapping[str, NDArray[np.float64]]
    """{column: (n,) share of the scored peers that stand}; empty for a run without flags."""
    passes: float
    """Forward and backward passes per training image, all peers and teachers included."""
    epochs: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Method:
    """Runs that differ in their seed alone."""

    name: str
    runs: tuple[Figures, ...]
    """In order of seed."""

    @property
    def by_seed(self) -> dict[int, Figures]:
        """{seed: run}."""
        return {run.seed: run for run in self.runs}


def gather(paths: Sequence[Path], *, checkpoint: str = "best") -> tuple[Method, ...]:
    """The methods behind run folders, in order of first appearance; RunError where they cannot be compared."""
    if len(paths) < 2:
        raise RunError(f"compare: got {len(paths)} run, allowed: two or more")
    read = [(path, read_results(path)) for path in paths]
    _same_test(read)
    groups: dict[str, list[tuple[Path, Results]]] = {}
    for path, found in read:
        groups.setdefault(json.dumps(_settings(path), sort_keys=True), []).append((path, found))
    names = _names([[path for path, _ in members] for members in groups.values()], [m[0][1] for m in groups.values()])
    columns = _columns(read[0][1])
    return tuple(
        _method(name, [_figures(path, found, columns, checkpoint) for path, found in members])
        for name, members in zip(names, groups.values(), strict=True)
    )


def _method(name: str, runs: list[Figures]) -> Method:
    seen: dict[int, Path] = {}
    for run in runs:
        if run.seed in seen:
            raise RunError(
                f"compare: {seen[run.seed]} and {run.path} are both seed {run.seed} of {name}; allowed: one a seed"
            )
        seen[run.seed] = run.path
    return Method(name=name, runs=tuple(sorted(runs, key=lambda run: run.seed)))


def _settings(path: Path) -> dict[str, Any]:
    """What makes a run's method: its name and every resolved value but the seed."""
    resolved = _json(path, "resolved.json")
    settings = {key: value for key, value in resolved.items() if key not in _SETTINGS_OF_A_SEED}
    return {"experiment": read_results(path)["experiment"], **settings}


def _json(path: Path, name: str) -> dict[str, Any]:
    file = path / name
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); allowed: a run folder as matx wrote it") from None
    return found


def _names(folders: Sequence[Sequence[Path]], first: Sequence[Results]) -> list[str]:
    """Each method's experiment; with its first folder behind it where several methods share a name."""
    plain = [str(found["experiment"]) for found in first]
    return [
        name if plain.count(name) == 1 else f"{name} ({paths[0].name})"
        for name, paths in zip(plain, folders, strict=True)
    ]


def _same_test(read: Sequence[tuple[Path, Results]]) -> None:
    """Refuse runs on different test images or under different threat models (compared by value)."""
    (path, first), others = read[0], read[1:]
    for other, found in others:
        for key in ("name", "split", "n", "fingerprint"):
            mine, its = first["dataset"].get(key), found["dataset"].get(key)
            if mine != its:
                raise RunError(
                    f"compare: {path} and {other} were not tested on the same images: {key} {mine!r} and {its!r}; "
                    "allowed: runs of one test set"
                )
        mine, its = _threats(first), _threats(found)
        if set(mine) != set(its):
            raise RunError(
                f"compare: {path} and {other} were not attacked alike: {', '.join(t.key for t in mine) or 'nothing'} "
                f"and {', '.join(t.key for t in its) or 'nothing'}; allowed: runs of the same threat models"
            )


def _threats(found: Results) -> tuple[ThreatModel, ...]:
    peer = next(iter(found["peers"].values()))
    return tuple(ThreatModel.parse(key) for key in peer["threats"])


def _columns(found: Results) -> tuple[str, ...]:
    return ("clean", *(threat.key for threat in _threats(found)), "union")


def _figures(path: Path, found: Results, columns: Sequence[str], checkpoint: str) -> Figures:
    block = found
    if checkpoint != found["checkpoint"]:
        if checkpoint not in found:
            raise RunError(f"{path}: holds no figures of checkpoint {checkpoint!r}, only of {found['checkpoint']!r}")
        block = found[checkpoint]
    peers = block["scored"]["peers"]
    if not peers:
        raise RunError(f"{path}: no scored peer was evaluated; allowed: results that hold at least one")
    means = {column: _mean([_accuracy(block["peers"][peer], column) for peer in peers]) for column in columns}
    flags = read_flags(path, checkpoint)
    images = {c: np.mean([_flag(flags[peer], c) for peer in peers], axis=0) for c in columns} if flags else {}
    environment = _json(path, "environment.json")
    return Figures(
        path=path,
        seed=int(environment["seed"]),
        means=means,
        images=images,
        passes=sum(found.get("passes", {}).values()),
        epochs=found.get("last", {}).get("epoch"),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _accuracy(row: Mapping[str, Any], column: str) -> float:
    return float(_at(row if column in ("clean", "union") else row["threats"], column)["accuracy"])


def _flag(flags: Mapping[str, NDArray[np.bool_]], column: str) -> NDArray[np.float64]:
    return np.asarray(_at(flags, column), dtype=np.float64)


def _at(table: Mapping[str, Any], column: str) -> Any:
    """The entry of a column; threat keys are compared by value ('linf:8/255' finds 'linf:16/510')."""
    if column in table:
        return table[column]
    wanted = ThreatModel.parse(column)
    return next(value for key, value in table.items() if ":" in key and ThreatModel.parse(key) == wanted)
