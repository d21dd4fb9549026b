"""What lies in the file of an offline run of wandb: a log of LevelDB's form that holds protobuf records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER, BLOCK, FRAME = 7, 32768, 7
"""Bytes: before the first block, of a block, before a piece of a record (checksum, length, kind)."""
FULL, LAST = 1, 4


def records(file: Path) -> Iterator[Any]:
    """Each record of the file, in order."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = file.read_bytes(), HEADER, b""
    while at + FRAME <= len(content):
        if BLOCK - at % BLOCK < FRAME:
            at += BLOCK - at % BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + FRAME : at + FRAME + length]
        at += FRAME + length
        if kind in (FULL, LAST):
            record: Any = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def history(file: Path) -> list[tuple[int, str, Any]]:
    """(step, name, value) of everything that was logged."""
    found = []
    for record in records(file):
        if record.WhichOneof("record_type") == "history":
            step = record.history.step.num
            for item in record.history.item:
                name = item.key or "/".join(item.nested_key)
                if not name.startswith("_"):
                    found.append((step, name, json.loads(item.value_json)))
    return found
