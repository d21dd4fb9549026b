"""What a component is given: copies, and after the call the proof that it wrote into none of them.

Version counters miss writes through `.data` and numpy; a comparison with what was kept misses none.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor

from matx.errors import ModelError

__all__ = ["copied", "default_type_kept", "refuse_writes"]

T = TypeVar("T")
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def copied(value: T) -> T:
    """The same value with every tensor in its mappings, sequences and dataclasses copied; the rest is shared."""
    found: object = value
    if isinstance(value, Tensor):
        found = value.clone()
    elif isinstance(value, Mapping):
        found = {key: copied(item) for key, item in value.items()}
    elif isinstance(value, tuple | list) and type(value) in (tuple, list):
        found = type(value)([copied(item) for item in value])
    elif is_dataclass(value) and not isinstance(value, type):
        found = copy.copy(value)
        for option in fields(value):
            object.__setattr__(found, option.name, copied(getattr(value, option.name)))
    return cast("T", found)


def refuse_writes(component: object, given: object, kept: object, what: str = "") -> None:
    """A ModelError that names the component (or `what`) if it wrote into `given`, the copy of `kept`."""
    written = [path for path, ours, theirs in _pairs(given, kept, "") if not _same(ours, theirs)]
    if written:
        raise ModelError(
            f"{what or repr(component)}: wrote into its input ({', '.join(written)}), "
            "allowed: to read it, and to return new tensors"
        )


@contextmanager
def default_type_kept(component: object) -> Iterator[None]:
    """A ModelError that names the component if it changes torch's default type, which is put back."""
    before = torch.get_default_dtype()
    try:
        yield
    finally:
        after = torch.get_default_dtype()
        torch.set_default_dtype(before)
    if after != before:
        raise ModelError(f"{component!r}: changed torch's default type to {after}, allowed: to leave it at {before}")


def _pairs(given: object, kept: object, path: str) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(path, tensor of the copy, tensor kept) of everything that `copied` copied."""
    if isinstance(given, Tensor) and isinstance(kept, Tensor):
        yield path or "images", given, kept
    elif isinstance(kept, Mapping) and isinstance(given, Mapping):
        for key, item in kept.items():
            yield from _pairs(given.get(key), item, _below(path, " on ".join(key) if isinstance(key, tuple) else key))
    elif isinstance(kept, tuple | list) and isinstance(given, tuple | list):
        for position, (ours, theirs) in enumerate(zip(given, kept, strict=True)):
            yield from _pairs(ours, theirs, f"{path}[{position}]")
    elif is_dataclass(kept) and not isinstance(kept, type):
        for option in fields(kept):
            yield from _pairs(getattr(given, option.name), getattr(kept, option.name), _below(path, option.name))


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _same(ours: Tensor, theirs: Tensor) -> bool:
    """Whether two tensors are equal bit for bit, so that a nan equals itself."""
    bits = _BITS[theirs.element_size()]
    return ours.dtype == theirs.dtype and torch.equal(ours.detach().view(bits), theirs.detach().view(bits))
