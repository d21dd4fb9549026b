"""Pages: templates filled with text, tables and figures into one HTML file that needs nothing beside it."""

from matx.pages.figures import Figure, bars, intervals, lines, matrix, paths, points
from matx.pages.page import Page, Part, Sheet, render

__all__ = ["Figure", "Page", "Part", "Sheet", "bars", "intervals", "lines", "matrix", "paths", "points", "render"]
