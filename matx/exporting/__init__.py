"""Trained peers, taken out of a run folder: weights in a format that others read, with a model card."""

from matx.exporting.export import export
from matx.exporting.formats import FORMATS, known_formats

__all__ = ["FORMATS", "export", "known_formats"]
