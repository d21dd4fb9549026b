"""What a run folder says of its experiment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matx.config import Loaded, load_experiment
from matx.errors import RunError
from matx.plugins import load_plugin
from matx.runtime.folder import RunFolder

__all__ = ["load_own", "read_environment", "with_run_name"]


def load_own(folder: RunFolder, bindings: Sequence[str] = ()) -> Loaded:
    """The experiment of a run folder, with the plug-ins that it was started with."""
    for plugin in read_environment(folder)["plugins"]:
        load_plugin(Path(plugin))
    return load_experiment([str(folder.config)], list(bindings))


def with_run_name(loaded: Loaded, file: str) -> Loaded:
    """What was read from this file; a run folder's own config.gin has the name of the run's experiment."""
    folder = RunFolder(Path(file).parent)
    if Path(file).name != folder.config.name or not folder.environment.is_file():
        return loaded
    return replace(loaded, name=str(read_environment(folder)["experiment"]))


def read_environment(folder: RunFolder) -> dict[str, Any]:
    """environment.json of a run folder; a RunError where it is damaged."""
    try:
        found = json.loads(folder.environment.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{folder.environment}: cannot be read ({error}); allowed: a run folder as matx wrote it"
        ) from error
    missing = [key for key in ("experiment", "device", "plugins") if not isinstance(found, dict) or key not in found]
    if missing:
        raise RunError(
            f"{folder.environment}: holds no {', '.join(missing)}; allowed: the file as matx wrote it at the start"
        )
    return dict(found)
