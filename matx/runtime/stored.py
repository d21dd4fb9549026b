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
from matx.runtime.identity import identity_of

__all__ = ["load_own", "read_environment", "read_identity", "with_run_name"]


def load_own(folder: RunFolder, bindings: Sequence[str] = ()) -> Loaded:
    """The experiment of a run folder, with the plug-ins that it was started with."""
    for plugin in read_environment(folder)["plugins"]:
        load_plugin(Path(plugin))
    return load_experiment([str(folder.config)], list(bindings))


def read_identity(folder: RunFolder) -> dict[str, str]:
    """The identity of a run's experiment; runs of the first version stored none, and it is made of their config.gin."""
    if not folder.identity.is_file():
        return identity_of(load_own(folder).experiment)
    return {path: str(text) for path, text in _read_object(folder.identity).items()}


def with_run_name(loaded: Loaded, file: str) -> Loaded:
    """What was read from this file; a run folder's own config.gin has the name of the run's experiment."""
    folder = RunFolder(Path(file).parent)
    if Path(file).name != folder.config.name or not folder.environment.is_file():
        return loaded
    return replace(loaded, name=str(read_environment(folder)["experiment"]))


def read_environment(folder: RunFolder) -> dict[str, Any]:
    """environment.json of a run folder; a RunError where it is damaged."""
    found = _read_object(folder.environment)
    missing = [key for key in ("experiment", "device", "plugins") if key not in found]
    if missing:
        raise RunError(
            f"{folder.environment}: holds no {', '.join(missing)}; allowed: the file as matx wrote it at the start"
        )
    return found


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; a RunError where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); allowed: a run folder as matx wrote it") from error
    return found if isinstance(found, dict) else {}
