"""What an option may be, declared in its annotation; the check of declarations, and of values against them."""

from matx.options.annotations import (
    BROKEN,
    Misfit,
    allowed,
    alternatives,
    bare,
    container,
    fit,
    fits,
    range_of,
    short,
    spell,
)
from matx.options.declaring import Parameter, concerning, declare, declared_as, one_of, parameters
from matx.options.ranges import Range

__all__ = [
    "BROKEN",
    "Misfit",
    "Parameter",
    "Range",
    "allowed",
    "alternatives",
    "bare",
    "concerning",
    "container",
    "declare",
    "declared_as",
    "fit",
    "fits",
    "one_of",
    "parameters",
    "range_of",
    "short",
    "spell",
]
