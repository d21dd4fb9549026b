"""results.json as tables: Markdown for the run folder, rich for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from matx.report.results import Results

__all__ = ["blocks", "grid", "markdown", "percent", "radii", "radii_table", "summary", "table", "titles"]


def percent(share: float) -> str:
    """A fraction as per cent with one decimal."""
    return f"{100.0 * share:.1f}"


def _cell(row: Mapping[str, float]) -> str:
    return f"{percent(row['accuracy'])} [{percent(row['low'])}, {percent(row['high'])}]"


def titles(block: Mapping[str, Any]) -> list[str]:
    """The columns of a block: peer, clean, every threat key in order of first appearance, union, union in 8 bits."""
    keys: dict[str, None] = {}
    for peer in block["peers"].values():
        keys.update(dict.fromkeys(peer["threats"]))
    return ["peer", "clean", *keys, "union", *(["8-bit"] if _rounded(block) else [])]


def _rounded(block: Mapping[str, Any]) -> bool:
    """Whether examples were judged rounded, too."""
    return any("eight_bit" in peer for peer in block["peers"].values())


def grid(block: Mapping[str, Any]) -> list[list[str]]:
    """The rows of a block: a peer each, the ensemble, then the mean over scored peers where there are several."""
    rounded = _rounded(block)
    keys = titles(block)[2 : -2 if rounded else -1]
    rows = []
    ensemble = {"ensemble": block["ensemble"]} if "ensemble" in block else {}
    for name, peer in (block["peers"] | ensemble).items():
        threats = [_cell(peer["threats"][key]) if key in peer["threats"] else "-" for key in keys]
        last = [_cell(peer["eight_bit"]["union"]) if "eight_bit" in peer else "-"] if rounded else []
        rows.append([name, _cell(peer["clean"]), *threats, _cell(peer["union"]), *last])
    scored = block.get("scored", {"peers": [], "mean": {}})
    if len(scored["peers"]) > 1:
        mean = scored["mean"]
        threats = [percent(mean["threats"][key]) if key in mean["threats"] else "-" for key in keys]
        name = f"mean of {len(scored['peers'])} scored"
        rows.append([name, percent(mean["clean"]), *threats, percent(mean["union"]), *(["-"] if rounded else [])])
    return rows


def radii(block: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The grid of a block as a table's head and rows, a peer and norm each; no rows where there is no grid."""
    known = {(peer, norm): row for peer, norms in block.get("grid", {}).items() for norm, row in norms.items()}
    most = max((len(row) for row in known.values()), default=0)
    rows = []
    for (peer, norm), row in known.items():
        cells = [f"{one['eps']}: {percent(one['accuracy'])}" for one in row]
        rows.append([peer, norm, *cells, *[""] * (most - len(cells))])
    return ["peer", "norm", *[f"radius {number + 1}" for number in range(most)]], rows


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
    if _rounded(found):
        lines.append("8-bit: right on every example found for the union, each rounded towards the clean pixel.")
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
        if "grid" in block:
            parts += ["Accuracy by radius (what breaks an image at a radius breaks it at every larger one):"]
            parts += [_pipes(*radii(block))]
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


def radii_table(found: Results, *, checkpoint: str | None = None) -> Table | None:
    """The terminal's table of accuracies by radius, where the results hold a grid."""
    _, block = next((one for one in blocks(found) if checkpoint in (None, one[1]["checkpoint"])), next(blocks(found)))
    head, rows = radii(block)
    if not rows:
        return None
    shown = Table(title="accuracy by radius, %")
    for title in head:
        shown.add_column(title)
    for row in rows:
        shown.add_row(*row)
    return shown
