"""Results as sheets of text: what every form of a report shows, before it is laid out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from matx.pages import Sheet
from matx.results import NOT_CHECKED, Results, Score, headings, mean_of, models_of, scores_at

__all__ = ["Seconds", "Section", "Sheet", "by_table", "figure", "label", "sections"]

Seconds = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""{checkpoint: {weights: {model: {'clean', threat key, 'all', 'sanity': seconds}}}}."""
_SCORES = "Scores, counts in per cent, and what the sanity checks say of them"
_CHECKPOINTS = ("best", "last")
_KINDS = ("raw", "ema")
_GRAVEST_FIRST = ("fail", "warn", "pass")


@dataclass(frozen=True, kw_only=True)
class Section:
    """The sheets of one checkpoint."""

    checkpoint: str
    heading: str
    sheets: Sequence[Sheet]


def sections(found: Results, seconds: Seconds | None = None) -> list[Section]:
    """Each checkpoint's sheets: its scores, the tables of further metrics, and seconds where given."""
    scored = dict.fromkeys(score.checkpoint for score in found.scores)
    ordered = [
        *(name for name in _CHECKPOINTS if name in scored),
        *(name for name in scored if name not in _CHECKPOINTS),
    ]
    return [
        Section(checkpoint=name, heading=_heading(found, name), sheets=list(_sheets(found, name, seconds or {})))
        for name in ordered
    ]


def _heading(found: Results, checkpoint: str) -> str:
    epoch = found.epochs.get(checkpoint)
    return f"Checkpoint {checkpoint}" if epoch is None else f"Checkpoint {checkpoint}, epoch {epoch}"


def _sheets(found: Results, checkpoint: str, seconds: Seconds) -> Iterator[Sheet]:
    for caption, scores in by_table(found, scores_at(found.scores, checkpoint=checkpoint)).items():
        own = [score for score in scores if score.source is None]
        if caption == "" and own:
            yield _first(found, own)
        elif own:
            yield from _by_norm(found, caption, own)
        yield from _matrices(caption, [score for score in scores if score.source is not None])
    yield from _seconds(seconds.get(checkpoint, {}))


def by_table(found: Results, scores: Iterable[Score]) -> dict[str, list[Score]]:
    """{caption of a table: its scores}, the first table ('') first."""
    captions = {used.name: used.table for used in found.metrics}
    tables: dict[str, list[Score]] = {"": []}
    for score in scores:
        tables.setdefault(captions.get(score.metric, ""), []).append(score)
    return tables


def label(model: str, weights: str) -> str:
    """The name of a model's row; averaged weights are marked."""
    return model if weights == _KINDS[0] else f"{model} ({weights.upper()})"


def figure(value: float, *, count: bool) -> str:
    """A share of samples as per cent with one decimal, another value with four digits."""
    return f"{100.0 * value:.1f}" if count else f"{value:.4g}"


def _cell(score: Score | None) -> str:
    """The figure and its interval."""
    if score is None or score.n == 0:
        return "-"
    count = score.correct is not None
    shown = figure(score.value, count=count)
    if score.low is None or score.high is None:
        return shown
    return f"{shown} [{figure(score.low, count=count)}, {figure(score.high, count=count)}]"


def _with_verdict(score: Score | None) -> str:
    """The cell of a column that has a verdict of its own: that of a threat model."""
    checked = score is not None and score.sanity != NOT_CHECKED and score.threat is not None
    return f"{_cell(score)} {score.sanity}" if score is not None and checked else _cell(score)


def _rows(scores: Sequence[Score]) -> list[tuple[str, str]]:
    """(model, weights): each model's raw weights, and its averaged ones below."""
    there = {(score.model, score.weights) for score in scores}
    return [(model, kind) for model in models_of(scores) for kind in _KINDS if (model, kind) in there]


def _first(found: Results, scores: Sequence[Score]) -> Sheet:
    """Every score of the first table with its verdict, and the mean over scored peers if there are several."""
    columns, known = headings(scores), _known(scores)
    rows = []
    for row in _rows(scores):
        own = [known.get((*row, *column)) for column in columns]
        rows.append(
            [label(*row), *map(_with_verdict, own), _gravest(score.sanity for score in own if score is not None)]
        )
    rows += [line for kind in _KINDS for line in _mean(found, [s for s in scores if s.weights == kind], kind, columns)]
    return Sheet(caption=_SCORES, head=["model", *columns.values(), "sanity"], rows=rows, bold=_bold(found))


def _known(scores: Sequence[Score]) -> dict[tuple[str, str, str, str], Score]:
    return {(score.model, score.weights, score.metric, score.column): score for score in scores}


def _gravest(verdicts: Iterable[str]) -> str:
    known = set(verdicts)
    return next((verdict for verdict in _GRAVEST_FIRST if verdict in known), NOT_CHECKED)


def _bold(found: Results) -> frozenset[str]:
    return frozenset(label(model, kind) for model in found.scored for kind in _KINDS)


def _mean(
    found: Results, scores: Sequence[Score], weights: str, columns: Mapping[tuple[str, str], str]
) -> Iterator[list[str]]:
    """The row of the mean over the scored peers that have these weights, if there are several."""
    models = [model for model in found.scored if model in models_of(scores)]
    if len(models) < 2:
        return
    cells = []
    for metric, column in columns:
        mean = mean_of(scores, models, metric, column)
        count = all(s.correct is not None for s in scores if (s.metric, s.column) == (metric, column))
        cells.append("-" if mean is None else figure(mean, count=count))
    verdicts = [_gravest(score.sanity for score in scores if score.model == model) for model in models]
    gravest = NOT_CHECKED if NOT_CHECKED in verdicts else _gravest(verdicts)
    yield [label(f"mean of {len(models)} scored", weights), *cells, gravest]


def _by_norm(found: Results, caption: str, scores: Sequence[Score]) -> Iterator[Sheet]:
    """A metric's own table; one a norm where its columns are threat models of several."""
    norms: dict[str, list[Score]] = {}
    for score in scores:
        norms.setdefault("" if score.threat is None else score.threat.norm, []).append(score)
    parts = {"": list(scores)} if "" in norms or len(norms) == 1 else norms
    for norm, own in parts.items():
        columns, known = headings(own), _known(own)
        rows = [[label(*row), *(_cell(known.get((*row, *column))) for column in columns)] for row in _rows(own)]
        title = f"{caption}, {norm}" if norm else caption
        yield Sheet(caption=title, head=["model", *columns.values()], rows=rows, bold=_bold(found))


def _matrices(caption: str, scores: Sequence[Score]) -> Iterator[Sheet]:
    """A table for each column: the models asked, by whose adversarial examples they were asked."""
    for (metric, column), heading in headings(scores).items():
        for kind in _KINDS:
            own = [s for s in scores if (s.metric, s.column, s.weights) == (metric, column, kind)]
            known = {(score.source, score.model): score for score in own}
            models, sources = models_of(own), dict.fromkeys(source for source, _ in known)
            sources = dict.fromkeys([*(model for model in models if model in sources), *sources])
            rows = [[str(source), *(_cell(known.get((source, model))) for model in models)] for source in sources]
            title = label(f"{caption or metric}: {heading}", kind)
            yield from [Sheet(caption=title, head=["source", *models], rows=rows)] if rows else []


def _seconds(spent: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[Sheet]:
    """What each threat model cost; the total is that of the attacks, without the sanity checks."""
    models = dict.fromkeys(model for kind in _KINDS for model in spent.get(kind, {}))
    cells = {
        label(model, kind): spent[kind][model] for model in models for kind in _KINDS if model in spent.get(kind, {})
    }
    if not cells:
        return
    keys = dict.fromkeys(key for row in cells.values() for key in row)
    last = [key for key in ("all", "sanity") if key in keys]
    columns = [*(key for key in keys if key not in last), *last]
    rows = [[name, *(f"{row[key]:.1f}" if key in row else "-" for key in columns)] for name, row in cells.items()]
    rows.append(["all", *(f"{sum(row.get(key, 0.0) for row in cells.values()):.1f}" for key in columns)])
    yield Sheet(caption="Seconds", head=["model", *("total" if key == "all" else key for key in columns)], rows=rows)
