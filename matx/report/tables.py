"""results.json as tables: Markdown for the run folder, rich for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from matx.report.results import Results

__all__ = ["blocks", "grid", "markdown", "percent", "summary", "table", "titles"]


def percent(share: float) -> str:
    """A fraction as per cent with one decimal."""
    return f"{100.0 * share:.1f}"


def _cell(row: Mapping[str, float]) -> str:
    return f"{percent(row['accuracy'])} [{percent(row['low'])}, {percent(row['high'])}]"


def titles(block: Mapping[str, Any]) -> list[str]:
    """The columns of a block: peer, clean, every threat key in order of first appearance, union."""
    keys: dict[str, None] = {}
    for peer in block["peers"].values():
        keys.update(dict.fromkeys(peer["threats"]))
    return ["peer", "clean", *keys, "union"]


def grid(block: Mapping[str, Any]) -> list[list[str]]:
    """The rows of a block: a peer each, then the mean over scored peers where there are several."""
    keys = titles(block)[2:-1]
    rows = []
    for name, peer in block["peers"].items():
        threats = [_cell(peer["threats"][key]) if key in peer["threats"] else "-" for key in keys]
        rows.append([name, _cell(peer["clean"]), *threats, _cell(peer["union"])])
    scored = block.get("scored", {"peers": [], "mean": {}})
    if len(scored["peers"]) > 1:
        mean = scored["mean"]
        threats = [percent(mean["threats"][key]) if key in mean["threats"] else "-" for key in keys]
        name = f"mean of {len(scored['peers'])} scored"
        rows.append([name, percent(mean["clean"]), *threats, percent(mean["union"])])
    return rows


def blocks(found: Results) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(heading, block) of each checkpoint in the results."""
    yield _heading(found["checkpoint"], found.get("best_epoch")), found
    if "last" in found:
        yield _heading("last", found["last"].get("epoch")), found["last"]


def _heading(checkpoint: str, epoch: int | None) -> str:
    return f"Checkpoint {checkpoint}" if epoch is None else f"Checkpoint {checkpoint}, epoch {epoch}"


def summary(found: Results) -> list[str]:
    """What the tables do not say: data, interval, scored peers, passes."""
    dataset = found["dataset"]
    lines = [
        f"{dataset['n']} images of {dataset['name']}, split {dataset['split']}. Accuracies in per cent, as counts over "
        "samples, with the 95 % Wilson interval; union: right under every threat model, per image."
    ]
    scored = found.get("scored", {}).get("peers", [])
    if scored:
        lines.append(f"Scored peers: {', '.join(scored)}.")
    if found.get("passes"):
        passes = ", ".join(f"{name.replace('_', ' ')} {count:.1f}" for name, count in found["passes"].items())
        lines.append(f"Passes per training image: {passes}.")
    return lines


def markdown(found: Results) -> str:
    """report.md: a table for each checkpoint, and what it counts."""
    parts = [f"# {found['experiment']}", *summary(found)]
    for heading, block in blocks(found):
        parts += [f"## {heading}", _pipes(titles(block), grid(block))]
    return "\n\n".join(parts) + "\n"


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, rule, *rows))


def table(found: Results, *, checkpoint: str | None = None) -> Table:
    """The terminal's table: peers by clean, threat models and union, of the results' checkpoint or of `last`."""
    heading, block = next(
        (one for one in blocks(found) if checkpoint in (None, one[1]["checkpoint"])), next(blocks(found))
    )
    shown = Table(title=f"{found['experiment']}: {heading[0].lower()}{heading[1:]}")
    for position, title in enumerate(titles(block)):
        shown.add_column(title, justify="right" if position else "left", no_wrap=position == 0)
    for row in grid(block):
        shown.add_row(*row, style="bold" if row[0] in block.get("scored", {}).get("peers", []) else "")
    return shown
