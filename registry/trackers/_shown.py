"""Records in the forms that several trackers show them in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matx.interfaces import Picture, Table

__all__ = ["bytes_of", "markdown_of"]


def markdown_of(table: Table) -> str:
    """The lines of a Markdown table, in whose cells a pipe is a slash."""
    rows = (table.head, ["---"] * len(table.head), *table.rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def bytes_of(picture: Picture) -> NDArray[Any]:
    """(H, W, 3) uint8."""
    found: NDArray[np.uint8] = (picture.pixels.permute(1, 2, 0) * 255.0).round().byte().numpy()
    return found
