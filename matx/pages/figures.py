"""Figures as Vega-Lite specifications: what is drawn is plain data, who draws it is the page's script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "bars", "intervals", "lines", "matrix", "paths", "points"]

Row = Mapping[str, Any]
_PICK = {"name": "pick", "select": {"type": "point", "fields": ["series"]}, "bind": "legend"}
_FADED = {"condition": {"param": "pick", "value": 1}, "value": 0.12}
_HEIGHT = 240


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A specification with its title and, for who does not see it, one sentence of what it shows."""

    title: str
    says: str
    spec: Mapping[str, Any]


def bars(title: str, says: str, rows: Sequence[Row], *, across: str, up: str) -> Figure:
    """Bars with intervals. Rows: `place` (a group), `series` (a bar of it), `value`, `low`, `high` in per cent."""
    groups, series = _order(rows, "place"), _order(rows, "series")
    axis = {"field": "place", "type": "nominal", "sort": groups, "title": across, "axis": {"labelAngle": 0}}
    offset = {"xOffset": {"field": "series", "sort": series}}
    tip = [_tip("series", ""), _tip("place", across), _tip("value", up), _tip("low", "from"), _tip("high", "to")]
    bar = {
        "mark": {"type": "bar"},
        "params": [_PICK],
        "encoding": {"y": _axis("value", up), "color": _colour(series), "opacity": _FADED, "tooltip": tip},
    }
    interval = {
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "encoding": {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}, "opacity": _FADED},
    }
    spec = {"encoding": {"x": axis, **offset}, "layer": [bar, interval]}
    return Figure(title=title, says=says, spec=_whole(spec, rows))


def intervals(title: str, says: str, rows: Sequence[Row], *, across: str, up: str) -> Figure:
    """A dot with its interval, and a line at 0. Rows as those of `bars`."""
    groups, series = _order(rows, "place"), _order(rows, "series")
    place = {"field": "place", "type": "nominal", "sort": groups, "title": across or None, "axis": {"labelAngle": 0}}
    shared = {"x": place, "xOffset": {"field": "series", "sort": series}, "opacity": _FADED, "color": _colour(series)}
    tip = [_tip("series", ""), _tip("place", across), _tip("value", up), _tip("low", "from"), _tip("high", "to")]
    dot = {
        "mark": {"type": "point", "filled": True, "size": 60},
        "params": [_PICK],
        "encoding": {**shared, "y": _axis("value", up), "tooltip": tip},
    }
    whisker = {
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": {**shared, "y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}},
    }
    zero = {
        "data": {"values": [{"y": 0}]},
        "mark": {"type": "rule"},
        "encoding": {"y": {"field": "y", "type": "quantitative"}},
    }
    return Figure(title=title, says=says, spec=_whole({"layer": [zero, whisker, dot]}, rows))


def lines(
    title: str, says: str, rows: Sequence[Row], *, across: str, up: str, marks: Mapping[str, float] | None = None
) -> Figure:
    """Lines with a dot at each value. Rows: `series`, `x`, `y`, and `low` and `high` where there is a band.

    `marks`: {what: x} of upright lines, such as the best epoch.
    """
    series = _order(rows, "series")
    tip = [_tip("series", ""), _tip("x", across), _tip("y", up)]
    x = {"field": "x", "type": "quantitative", "title": across, "axis": _numbers(rows)}
    shared = {"x": x, "color": _colour(series), "opacity": _FADED}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "line", "point": {"size": 18}, "tooltip": True},
            "params": [_PICK],
            "encoding": {**shared, "y": _axis("y", up, zero=False), "tooltip": tip},
        }
    ]
    if any("low" in row for row in rows):
        band = {"y": {"field": "low", "type": "quantitative", "title": up}, "y2": {"field": "high"}}
        ghost = {**shared, "opacity": {"condition": {"param": "pick", "value": 0.18}, "value": 0.02}}
        layers.append({"mark": {"type": "area"}, "encoding": {**ghost, **band}})
    for name, place in (marks or {}).items():
        rule = {
            "mark": {"type": "rule", "strokeDash": [4, 3]},
            "encoding": {"x": {"field": "x", "type": "quantitative"}},
        }
        word = {
            "mark": {"type": "text", "align": "left", "dx": 4, "y": 8, "text": name},
            "encoding": {"x": {"field": "x", "type": "quantitative"}},
        }
        layers.append({"data": {"values": [{"x": place}]}, "layer": [rule, word]})
    return Figure(title=title, says=says, spec=_whole({"layer": layers}, rows))


def points(title: str, says: str, rows: Sequence[Row], *, across: str, up: str, log: bool = False) -> Figure:
    """Dots. Rows: `series`, `x` (a number, or text for named values), `y`, and `what` to be read on hovering."""
    series = _order(rows, "series")
    named = any(isinstance(row["x"], str) for row in rows)
    x: dict[str, Any] = {"field": "x", "title": across, "type": "nominal" if named else "quantitative"}
    if named:
        x |= {"sort": _order(rows, "x"), "axis": {"labelAngle": 0}}
    else:
        x |= {"scale": {"type": "log"}} if log else {"scale": {"zero": False}, "axis": _numbers(rows)}
    encoding = {
        "x": x,
        "y": _axis("y", up, zero=False),
        "color": _colour(series),
        "opacity": _FADED,
        "tooltip": [_tip("what", ""), _tip("x", across), _tip("y", up)],
    }
    spec = {"mark": {"type": "point", "filled": True, "size": 55}, "params": [_PICK], "encoding": encoding}
    return Figure(title=title, says=says, spec=_whole(spec, rows))


def paths(title: str, says: str, rows: Sequence[Row], *, across: str, up: str, shade: str | None = None) -> Figure:
    """A thin line each `line`. Rows: `series`, `line`, `x` (a number, or text for named stops), `y`.

    `shade`: the lines are coloured by their `value`, which it names, instead of by series.
    """
    named = any(isinstance(row["x"], str) for row in rows)
    x: dict[str, Any] = {"field": "x", "title": across or None, "type": "nominal" if named else "quantitative"}
    if named:
        x |= {"sort": _order(rows, "x"), "axis": {"labelAngle": -40}}  # the names of settings are long
    else:
        x["axis"] = _numbers(rows)
    colour = _colour(_order(rows, "series"))
    if shade is not None:
        colour = {"field": "value", "type": "quantitative", "scale": {"scheme": "viridis"}, "legend": {"title": shade}}
    encoding = {
        "x": x,
        "y": _axis("y", up, zero=False),
        "detail": {"field": "line"},
        "color": colour,
        "tooltip": [{"field": "line", "title": "trial"}, _tip("x", across), _tip("y", up)],
    }
    spec = {"mark": {"type": "line", "strokeWidth": 1, "opacity": 0.7}, "encoding": encoding}
    return Figure(title=title, says=says, spec=_whole(spec, rows))


def matrix(title: str, says: str, rows: Sequence[Row], *, across: str, up: str) -> Figure:
    """A square a pair, its value written in it. Rows: `column`, `row`, `value` in per cent."""
    shared = {
        "x": {"field": "column", "type": "nominal", "sort": _order(rows, "column"), "title": across,
              "axis": {"labelAngle": 0}},
        "y": {"field": "row", "type": "nominal", "sort": _order(rows, "row"), "title": up},
    }  # fmt: skip
    square = {
        "mark": {"type": "rect", "tooltip": True},
        "encoding": {
            "color": {
                "field": "value",
                "type": "quantitative",
                "scale": {"domain": [0, 100], "scheme": "blues"},
                "legend": None,
            }
        },
    }
    word = {
        "mark": {"type": "text"},
        "encoding": {
            "text": {"field": "value", "format": ".1f"},
            "color": {"condition": {"test": "datum.value > 55", "value": "white"}, "value": "black"},
        },
    }
    height = 34 * len(_order(rows, "row"))
    return Figure(
        title=title, says=says, spec=_whole({"encoding": shared, "layer": [square, word]}, rows, height=height)
    )


def _whole(spec: Mapping[str, Any], rows: Sequence[Row], *, height: int = _HEIGHT) -> dict[str, Any]:
    return {
        "width": "container",
        "height": height,
        "data": {"values": [dict(row) for row in rows]},
        **spec,
    }


def _order(rows: Sequence[Row], name: str) -> list[Any]:
    """The values of a field in order of first appearance."""
    return list(dict.fromkeys(row[name] for row in rows))


def _colour(series: Sequence[str]) -> dict[str, Any]:
    """A colour a series; a single series without a name needs no legend."""
    legend = None if list(series) in ([""], []) else {"title": None, "orient": "bottom", "columns": 4}
    return {"field": "series", "type": "nominal", "sort": list(series), "legend": legend}


def _axis(field: str, title: str, *, zero: bool = True) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": zero}}


def _tip(field: str, title: str) -> dict[str, Any]:
    found: dict[str, Any] = {"field": field, "title": title or field}
    return found if field in ("series", "place", "what") else {**found, "format": ".4~g"} if field != "x" else found


def _numbers(rows: Sequence[Row]) -> dict[str, Any]:
    """The axis of `x`: some nine whole numbers where all are whole, as there are no halves of epochs."""
    if not rows or not all(float(row["x"]).is_integer() for row in rows):
        return {}
    low, high = (int(end(row["x"] for row in rows)) for end in (min, max))
    step = next(size for power in range(18) for size in (10**power, 2 * 10**power, 5 * 10**power)
                if high - low <= 8 * size)  # fmt: skip
    return {"values": list(range(-(-low // step) * step, high + 1, step)), "format": "d"}
