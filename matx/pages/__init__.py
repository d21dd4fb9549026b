"""Pages: templates filled with text, tables and figures into one HTML file that needs nothing beside it."""

from matx.pages.figures import Figure, bars, intervals, lines, matrix, paths, points
from matx.pages.page import Page, Part, Sheet, render
from matx.pages.pictures import PALETTE, Gallery, Picture, coloured, picture

__all__ = [
    "PALETTE",
    "Figure",
    "Gallery",
    "Page",
    "Part",
    "Picture",
    "Sheet",
    "bars",
    "coloured",
    "intervals",
    "lines",
    "matrix",
    "paths",
    "picture",
    "points",
    "render",
]
