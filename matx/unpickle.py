"""Pickles of others, read as data: arrays, plain values and the classes named, never code."""

from __future__ import annotations

import pickle
from collections.abc import Collection
from typing import Any, BinaryIO

__all__ = ["load_plain"]

_ARRAYS = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *(("numpy", name) for name in ("ndarray", "dtype")),
    ("_codecs", "encode"),
}


def load_plain(file: BinaryIO, allowed: Collection[tuple[str, str]] = ()) -> Any:
    """What a pickle holds; pickle.UnpicklingError where it names anything but NumPy's parts and what is allowed."""
    return _Plain({*_ARRAYS, *allowed}, file, encoding="latin1").load()


class _Plain(pickle.Unpickler):
    """Finds these names alone."""

    def __init__(self, allowed: Collection[tuple[str, str]], *given: Any, **how: Any) -> None:
        super().__init__(*given, **how)
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no plain value")
        return super().find_class(module, name)
