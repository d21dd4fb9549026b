"""Reading runs for a comparison: their figures, per-sample values and costs, refused where they cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matx.compare.alike import named_differences, refuse_unlike
from matx.errors import RunError
from matx.results import FlagColumn, Results, Score, headings, mean_of, read_flags, read_results, scores_at
from matx.runtime.folder import RunFolder

__all__ = ["ComparedColumn", "Figures", "Gathered", "Method", "gather"]

Array = NDArray[np.float64]
_SEED = "seed"
"""The setting that the runs of one method differ in."""
_WEIGHTS = "raw"
"""Runs are compared by their trained weights, not by averages of these."""


@dataclass(frozen=True, kw_only=True)
class ComparedColumn:
    """A column of figures that all runs have."""

    metric: str
    heading: str
    count: bool
    """Whether it is a share of samples, shown in per cent."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """One run's figures: means over its scored peers, per column, as a whole and per image."""

    path: Path
    seed: int
    means: Mapping[str, float]
    """{heading: value}."""
    images: Mapping[str, Array]
    """{heading: (n,) mean over the scored peers}, of the columns whose figure is the mean of a value per sample."""
    passes: float
    """Forward and backward passes per training image, all peers and teachers included."""
    passes_with_teachers: float | None
    """The same with the training of frozen teachers; None: not known."""
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """Everything that is compared."""

    methods: tuple[Method, ...]
    """In order of first appearance."""
    columns: tuple[ComparedColumn, ...]
    dataset: str
    remarks: tuple[str, ...]
    """Sentences on what differs and does not make the runs incomparable."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    """A run folder as read."""

    path: Path
    seed: int
    method: Mapping[str, Any]
    """What its figures depend on but the seed: its name, its training images, its settings."""
    found: Results
    scores: Sequence[Score]
    """Those of the chosen checkpoint and of scored peers, on their own examples."""
    flags: Mapping[FlagColumn, NDArray[Any]]

    @property
    def columns(self) -> dict[tuple[str, object], str]:
        """{(metric, threat model or name): the column's name here} of the columns that all scored peers have."""
        peers = len(self.found.scored)
        names: dict[tuple[str, object], list[str]] = {}
        for score in self.scores:
            names.setdefault((score.metric, score.threat or score.column), []).append(score.column)
        return {key: columns[0] for key, columns in names.items() if len(columns) == peers}


def gather(paths: Sequence[Path], *, checkpoint: str = "best") -> Gathered:
    """The methods behind run folders and the columns that all have; RunError where they cannot be compared."""
    if len(paths) < 2:
        raise RunError(f"compare: got {len(paths)} run, allowed: two or more")
    results = [(path, read_results(path)) for path in paths]
    refuse_unlike(results)
    read = [_read(path, found, checkpoint) for path, found in results]
    groups: dict[str, list[_Read]] = {}
    for run in read:
        groups.setdefault(json.dumps(run.method, sort_keys=True), []).append(run)
    columns, missing = _columns(read)
    methods = [
        _method(name, [_figures(run, columns) for run in members])
        for name, members in zip(_names(list(groups.values())), groups.values(), strict=True)
    ]
    remarks = named_differences([(run.path, run.seed, run.found) for run in read])
    if missing:
        remarks.append(f"Not in all runs, and left out: {', '.join(missing)}.")
    return Gathered(
        methods=tuple(methods),
        columns=tuple(columns.values()),
        dataset=", ".join(f"{key} {read[0].found.dataset[key]}" for key in ("name", "split", "n")),
        remarks=tuple(remarks),
    )


def _read(path: Path, found: Results, checkpoint: str) -> _Read:
    if not found.scored:
        raise RunError(f"{path}: no scored peer was evaluated; allowed: results that hold at least one")
    scores = scores_at(found.scores, checkpoint=found.checkpoint_of(checkpoint), weights=_WEIGHTS)
    own = [score for score in scores if score.model in found.scored and score.source is None]
    if not own:
        there = ", ".join(dict.fromkeys(score.checkpoint for score in found.scores))
        scored = ", ".join(found.scored)
        raise RunError(
            f"{path}: holds no figures of {scored} at checkpoint {checkpoint!r}; checkpoints: {there or 'none'}"
        )
    folder = RunFolder(path)
    environment = _json(folder.environment, "seed")
    if not isinstance(environment["seed"], int):
        raise RunError(f"{folder.environment}: got seed {environment['seed']!r}, allowed: an integer as matx wrote it")
    old = folder.resolved.with_suffix(".json")  # runs of the first version wrote no identity
    identity = _json(folder.identity if folder.identity.is_file() else old)
    return _Read(
        path=path,
        seed=environment["seed"],
        method={"experiment": found.experiment, "images": environment.get("data"), **identity, _SEED: None},
        found=found,
        scores=own,
        flags=read_flags(path),
    )


def _json(file: Path, *names: str) -> dict[str, Any]:
    """A JSON object that has these names; RunError where it is none."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); allowed: a run folder as matx wrote it") from None
    if not isinstance(found, dict):
        raise RunError(f"{file}: got {type(found).__name__}, allowed: a JSON object as matx wrote it")
    missing = [name for name in names if name not in found]
    if missing:
        raise RunError(f"{file}: holds no {', '.join(missing)}; allowed: a run folder as matx wrote it")
    return found


def _columns(read: Sequence[_Read]) -> tuple[dict[tuple[str, object], ComparedColumn], list[str]]:
    """The columns that all runs have, as the first spells them, and the headings of those that some lack."""
    everywhere = [run.columns for run in read]
    found: dict[tuple[str, object], ComparedColumn] = {}
    missing: dict[str, None] = {}
    for run in read:
        titles = headings(run.scores)
        for score in run.scores:
            key, title = (score.metric, score.threat or score.column), titles[score.metric, score.column]
            if not all(key in columns for columns in everywhere):
                missing[title] = None
            elif key not in found:
                found[key] = ComparedColumn(metric=score.metric, heading=title, count=score.correct is not None)
    return found, list(missing)


def _names(groups: Sequence[Sequence[_Read]]) -> list[str]:
    """Each method's experiment; with its first folder behind it where several methods share a name."""
    plain = [members[0].found.experiment for members in groups]
    return [
        name if plain.count(name) == 1 else f"{name} ({members[0].path.name})"
        for name, members in zip(plain, groups, strict=True)
    ]


def _method(name: str, runs: list[Figures]) -> Method:
    seen: dict[int, Path] = {}
    for run in runs:
        if run.seed in seen:
            raise RunError(
                f"compare: {seen[run.seed]} and {run.path} are both seed {run.seed} of {name}; allowed: one a seed"
            )
        seen[run.seed] = run.path
    return Method(name=name, runs=tuple(sorted(runs, key=lambda run: run.seed)))


def _figures(run: _Read, columns: Mapping[tuple[str, object], ComparedColumn]) -> Figures:
    means: dict[str, float] = {}
    images: dict[str, Array] = {}
    for key, column in columns.items():
        own = run.columns[key]
        mean = mean_of(run.scores, run.found.scored, column.metric, own)
        assert mean is not None, "a compared column is there for every scored peer"
        means[column.heading] = mean
        values = _per_sample(run, column.metric, own)
        if values is not None and np.isclose(values.mean(), mean, rtol=1e-4):
            images[column.heading] = values
    return Figures(
        path=run.path,
        seed=run.seed,
        means=means,
        images=images,
        passes=sum(run.found.passes.values()),
        passes_with_teachers=run.found.all_passes(),
        epochs=run.found.epochs.get("last"),
    )


def _per_sample(run: _Read, metric: str, column: str) -> Array | None:
    """(n,) the mean over the scored peers; None where one of them has no such values."""
    peers = [
        run.flags.get(
            FlagColumn(
                checkpoint=run.scores[0].checkpoint,
                weights=_WEIGHTS,
                model=peer,
                source=None,
                metric=metric,
                column=column,
            )
        )
        for peer in run.found.scored
    ]
    present = [np.asarray(values, dtype=np.float64) for values in peers if values is not None]
    return np.mean(present, axis=0) if len(present) == len(peers) else None
