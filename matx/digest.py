"""A checksum over content, kept beside the content in the same file: one flipped bit is noticed when it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["DIGEST", "checked", "digest_of", "with_digest"]

DIGEST = "digest"
"""The key under which a mapping holds its own checksum."""


def digest_of(value: object) -> str:
    """blake2b of mappings (in their order), sequences, tensors, arrays and plain values, however a file holds them."""
    digest = hashlib.blake2b(digest_size=16)
    _add(digest, value)
    return digest.hexdigest()


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content and its checksum."""
    return {**content, DIGEST: digest_of(content)}


def checked(stored: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """(the content, whether a checksum came with it); ValueError where the checksum is another content's."""
    content = {key: value for key, value in stored.items() if key != DIGEST}
    if DIGEST not in stored:
        return content, False
    if str(stored[DIGEST]) != digest_of(content):
        raise ValueError("its content is not that of its checksum")
    return content, True


def _add(digest: Any, value: object) -> None:
    if isinstance(value, Tensor):
        digest.update(f"tensor {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype.str} {value.shape};".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)};".encode())
        for key, item in value.items():
            _add(digest, key)
            _add(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"sequence {len(value)};".encode())
        for item in value:
            _add(digest, item)
    else:
        digest.update(f"{type(value).__name__} {value!r};".encode())
