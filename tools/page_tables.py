"""Tables that tools write into pages, between two comments that name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def put(page: Path, name: str, lines: Sequence[str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- end NAME -->` in a page."""
    page.write_text(placed(page.read_text(encoding="utf-8"), name, lines, page), encoding="utf-8")


def placed(text: str, name: str, lines: Sequence[str], page: Path) -> str:
    """The text of a page with other lines between the two markers; ValueError where it lacks them."""
    start, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    if start not in text or end not in text:
        raise ValueError(f"{page}: got no markers {start} and {end}, allowed: both, in this order")
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return "\n".join([before + start, "", *lines, "", end + after])
