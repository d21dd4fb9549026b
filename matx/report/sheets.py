"""results.json as sheets of text: what every form of a report shows, before it is laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from matx.measure.sanity import worst
from matx.report.results import Results
from matx.report.verdicts import NOT_CHECKED, blocks_by_name, rows

__all__ = ["Seconds", "Sheet", "blocks", "percent", "sheets", "summary"]

Seconds = Mapping[str, Mapping[str, Mapping[str, float]]]
"""{checkpoint, as `matx.report.named` says: {peer: {'clean', threat key, 'all', 'sanity': seconds}}}."""
Row = TypeVar("Row")
_EMA = " (EMA)"
_SCORES = "Accuracy, %, and what the sentinel says of it"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table of text; the first cell of a row names it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[str] = field(default_factory=frozenset)
    """The names of rows that matter most."""


def sheets(found: Results, seconds: Seconds | None = None) -> Iterator[tuple[str, list[Sheet]]]:
    """(heading, sheets) of each checkpoint: the scores, accuracy by radius where it was asked, seconds where given."""
    for heading, block in blocks(found):
        parts = [Sheet(caption=_SCORES, head=_titles(block), rows=_scores(block), bold=_bold(block)), *_radii(block)]
        spent = _seconds(found, block, seconds or {})
        yield heading, [*parts, *spent]


def blocks(found: Results) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(heading, block) of each checkpoint in the results."""
    averaged = "" if found.get("weights", "raw") == "raw" else ", averaged weights (EMA)"
    yield _heading(found["checkpoint"], found.get("best_epoch")) + averaged, found
    if "last" in found:
        yield _heading("last", found["last"].get("epoch")) + averaged, found["last"]


def _heading(checkpoint: str, epoch: int | None) -> str:
    return f"Checkpoint {checkpoint}" if epoch is None else f"Checkpoint {checkpoint}, epoch {epoch}"


def percent(share: float) -> str:
    """A fraction as per cent with one decimal."""
    return f"{100.0 * share:.1f}"


def _cell(row: Mapping[str, float]) -> str:
    return f"{percent(row['accuracy'])} [{percent(row['low'])}, {percent(row['high'])}]"


def _keys(block: Mapping[str, Any]) -> list[str]:
    """Every threat key, in order of first appearance."""
    return list(dict.fromkeys(key for peer in block["peers"].values() for key in peer["threats"]))


def _rounded(block: Mapping[str, Any]) -> bool:
    """Whether examples were judged rounded, too."""
    return any("eight_bit" in peer for peer in block["peers"].values())


def _titles(block: Mapping[str, Any]) -> list[str]:
    return ["peer", "clean", *_keys(block), "union", "sanity", *(["8-bit"] if _rounded(block) else [])]


def _scores(block: Mapping[str, Any]) -> list[list[str]]:
    """A peer each, its averaged weights below it, the ensemble, and the mean over scored peers if there are several."""
    keys, rounded = _keys(block), _rounded(block)
    averaged = block.get("ema", {"peers": {}})
    both = _paired(dict(rows(block)), dict(rows(averaged)))
    found = [_score(name, row, keys, rounded) for name, row in both.items()]
    return [*found, *_mean(block, "", keys, rounded), *_mean(averaged, _EMA, keys, rounded)]


def _paired(raw: Mapping[str, Row], averaged: Mapping[str, Row]) -> dict[str, Row]:
    """Each peer's row, and the row of its averaged weights behind it."""
    found: dict[str, Row] = {}
    for name, row in raw.items():
        found[name] = row
        if name in averaged:
            found[f"{name}{_EMA}"] = averaged[name]
    return found


def _score(name: str, row: Mapping[str, Any], keys: Sequence[str], rounded: bool) -> list[str]:
    sanity = row.get("sanity", {})
    words = sanity.get("threats", {})
    threats = [
        f"{_cell(row['threats'][key])} {words.get(key, '')}".rstrip() if key in row["threats"] else "-" for key in keys
    ]
    last = [_cell(row["eight_bit"]["union"]) if "eight_bit" in row else "-"] if rounded else []
    return [name, _cell(row["clean"]), *threats, _cell(row["union"]), sanity.get("verdict", NOT_CHECKED), *last]


def _mean(block: Mapping[str, Any], label: str, keys: Sequence[str], rounded: bool) -> list[list[str]]:
    scored = block.get("scored", {"peers": [], "mean": {}})
    if len(scored["peers"]) < 2:
        return []
    mean = scored["mean"]
    threats = [percent(mean["threats"][key]) if key in mean["threats"] else "-" for key in keys]
    name = f"mean of {len(scored['peers'])} scored{label}"
    return [
        [name, percent(mean["clean"]), *threats, percent(mean["union"]), _gravest(block), *([""] if rounded else [])]
    ]


def _gravest(block: Mapping[str, Any]) -> str:
    """Of the verdicts of the scored peers; 'not checked' where one of them was not."""
    words = [block["peers"][name].get("sanity", {}).get("verdict", NOT_CHECKED) for name in block["scored"]["peers"]]
    return NOT_CHECKED if NOT_CHECKED in words else worst(*words)


def _bold(block: Mapping[str, Any]) -> frozenset[str]:
    names: Sequence[str] = block.get("scored", {}).get("peers", [])
    return frozenset([*names, *(f"{name}{_EMA}" for name in names)])


def _radii(block: Mapping[str, Any]) -> list[Sheet]:
    """Accuracy by radius, for each norm that has several."""
    known = _paired(block.get("grid", {}), block.get("ema", {}).get("grid", {}))
    found = []
    for norm in dict.fromkeys(norm for norms in known.values() for norm in norms):
        per_peer = {name: norms[norm] for name, norms in known.items() if norm in norms}
        head = [one["eps"] for one in next(iter(per_peer.values()))]
        lines = [[name, *(_cell(one) for one in row)] for name, row in per_peer.items()]
        sheet = Sheet(caption=f"Accuracy by radius in {norm}, %", head=["peer", *head], rows=lines, bold=_bold(block))
        found += [sheet] if len(head) > 1 else []
    return found


def _seconds(found: Results, block: Mapping[str, Any], seconds: Seconds) -> list[Sheet]:
    """What each column cost; the total is that of the evaluation, the sentinel's stands beside it."""
    spent: list[Mapping[str, Mapping[str, float]]] = [{}, {}]
    for names, one in blocks_by_name(found):
        if one is block or one is block.get("ema"):
            spent[one is not block] = next((seconds[name] for name in names if name in seconds), {})
    lines = _paired(*spent)
    if not lines:
        return []
    keys = [key for key in dict.fromkeys(key for row in lines.values() for key in row) if key not in ("all", "sanity")]
    columns = [*keys, "all", *(["sanity"] if any("sanity" in row for row in lines.values()) else [])]
    total = {key: sum(row.get(key, 0.0) for row in lines.values()) for key in columns}
    body = [[name, *(f"{row[key]:.1f}" if key in row else "-" for key in columns)] for name, row in lines.items()]
    body.append(["all", *(f"{total[key]:.1f}" for key in columns)])
    head = ["peer", *("total" if key == "all" else key for key in columns)]
    return [Sheet(caption="Seconds", head=head, rows=body)]


def summary(found: Results) -> list[str]:
    """What the tables do not say: data, interval, what sanity means, scored peers, passes."""
    dataset = found["dataset"]
    lines = [
        f"{dataset['n']} images of {dataset['name']}, split {dataset['split']}. Accuracies in per cent, as counts over "
        "samples, with the 95 % Wilson interval; union: right under every threat model, per image."
    ]
    efforts = {row.get("sanity", {}).get("effort", "") for _, block in blocks_by_name(found) for _, row in rows(block)}
    checked = ", ".join(sorted(efforts - {""}))
    lines.append(
        f"Sanity ({checked}): pass, warn or fail of the checks that concern a score; that of the row is the gravest."
        if checked
        else f"Sanity: {NOT_CHECKED}; `matx eval` checks every score that it makes."
    )
    if _rounded(found):
        lines.append("8-bit: right on every example found for the union, each rounded towards the clean pixel.")
    scored = found.get("scored", {}).get("peers", [])
    if scored:
        lines.append(f"Scored peers: {', '.join(scored)}.")
    if found.get("passes"):
        passes = ", ".join(f"{name.replace('_', ' ')} {count:.1f}" for name, count in found["passes"].items())
        lines.append(f"Passes per training image: {passes}.")
    return lines
