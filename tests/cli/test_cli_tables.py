"""Tables on the terminal: folded by column at 60, 80 and 120 columns, with no number cut."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from matx.cli.tables import folded, show_table, text_table
from matx.compare import Comparison, Difference, Figures, Interval, Method, as_table
from matx.compare.gather import ComparedColumn

NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def of_results(peers: int = 8) -> Table:
    """As `matx eval` shows eight peers under three threat models."""
    head = ["peer", "clean", "linf:8/255", "l2:128/255", "l1:2000/255", "union", "sanity", "8-bit"]
    cell = "53.3 [36.1, 69.8]"
    rows = [[f"specialist_{n}", *[cell] * 4, f"{cell} fail", "not checked", cell] for n in range(peers)]
    return text_table("mat_union: checkpoint best, epoch 100", head, rows)


def of_comparison() -> Table:
    """As `matx compare` shows two methods with five seeds."""
    columns = ("clean", "linf:8/255", "l2:128/255", "l1:12", "union")
    methods = []
    for name in ("mat_union (with-a-long-folder-name-0)", "at_union"):
        runs = [
            Figures(
                path=Path("r"),
                seed=n,
                means=dict.fromkeys(columns, 0.5 + n / 90),
                images={},
                passes=8.0,
                passes_with_teachers=8.0,
                epochs=9,
            )
            for n in range(5)
        ]
        methods.append(Method(name=name, runs=tuple(runs)))
    compared = [ComparedColumn(metric="robust", heading=name, count=True) for name in columns]
    difference = Difference(
        column="union", by_seed=tuple((n, 0.011 * n) for n in range(5)), mean=0.022, t=Interval(-0.012, 0.031),
        bootstrap=Interval(-0.021, 0.041), p=None,
    )  # fmt: skip
    comparison = Comparison(
        methods=tuple(methods), columns=tuple(compared), checkpoint="best", dataset="cifar10",
        differences={"at_union": (difference,) * len(columns)}, remarks=(),
    )  # fmt: skip
    return as_table(comparison)


def of_ranking() -> Table:
    """As `matx tune` shows its best trials."""
    head = ["trial", "value", *(f"strategies.{name}.alpha" for name in ("specialists", "peer_mean")), "state"]
    rows = [[str(n), f"{0.123456 * n:.6f}", f"{1e-7 * n:.3e}", f"{12345.678 * n:.3f}", "complete"] for n in range(9)]
    return text_table("studies/mat_union: the best 9 of 9 trials", head, rows)


TABLES = {"results": of_results, "compare": of_comparison, "tune": of_ranking}


def shown(table: Table, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    show_table(console, table)
    return console.export_text().splitlines()


def numbers(table: Table) -> list[str]:
    """Of all columns but the first, which is repeated."""
    texts = [str(cell) for column in table.columns[1:] for cell in (column.header, *column.cells)]
    return sorted(number for text in texts for number in NUMBER.findall(text))


def cells(lines: list[str]) -> Iterator[str]:
    """What is printed in the columns behind the first, line by line."""
    for line in lines:
        bars = re.split("[│┃]", line)
        yield from bars[2:-1]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", list(TABLES))
def test_no_number_is_cut(name: str, width: int) -> None:
    table = TABLES[name]()
    lines = shown(table, width)
    assert max(len(line) for line in lines) <= width, f"{name} is wider than {width} columns"
    printed = sorted(number for cell in cells(lines) for number in NUMBER.findall(cell))
    assert printed == numbers(table), f"{name} at {width} columns: a number is cut, missing or twice"


def test_the_first_column_is_in_every_part() -> None:
    parts = list(folded(Console(width=60, file=io.StringIO()), of_results()))
    assert len(parts) > 1, "the case folds nothing"
    assert {part.columns[0].header.plain for part in parts} == {"peer"}, "a part does not say whose figures it shows"
    heads = [column.header.plain for part in parts for column in part.columns[1:]]
    assert heads == [column.header.plain for column in of_results().columns[1:]], "columns are lost or in another order"
    assert all(part.row_count == 8 for part in parts), "a row is lost"


def test_a_table_that_fits_stays_whole() -> None:
    table = of_results()
    (part,) = folded(Console(width=200, file=io.StringIO()), table)
    assert len(part.columns) == len(table.columns), "a table that fits was folded"
    assert [line for line in shown(table, 200) if "mat_union" in line] == ["mat_union: checkpoint best, epoch 100"], (
        "the title is not said once"
    )


def test_a_name_wider_than_the_terminal_is_folded_and_its_figures_are_not() -> None:
    name = "a_peer_with_a_name_that_no_terminal_of_sixty_columns_can_show_in_one_line"
    lines = shown(text_table("", ["peer", "clean"], [[name, "53.3 [36.1, 69.8]"]]), 60)
    assert max(len(line) for line in lines) <= 60, "the table is wider than its terminal"
    assert any("69.8]" in line for line in lines), "a figure is cut for the sake of a name"
    assert sum("_" in line for line in lines) > 1, "the case folds nothing"
