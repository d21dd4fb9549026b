"""What a tracker keeps of a run in a JSON file of the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["keep", "read_kept"]


def read_kept(file: Path) -> dict[str, Any]:
    """What was kept; nothing where none can be read, so that the run is begun."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def keep(file: Path, kept: Mapping[str, Any]) -> None:
    """Replace the file, whole or not at all."""
    partial = file.with_name(f".{file.name}")
    partial.write_text(json.dumps(kept), encoding="utf-8")
    partial.replace(file)
