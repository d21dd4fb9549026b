"""What a run folder says of its experiment."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from matx.config import Loaded, load_experiment
from matx.consent import refusal
from matx.effect import has_effect
from matx.errors import ConfigError, RunError
from matx.plugins import load_plugin, module_name
from matx.runtime.folder import RunFolder
from matx.runtime.identity import identity_of
from matx.text import is_name

__all__ = ["load_own", "read_environment", "read_identity", "with_run_name"]


def load_own(folder: RunFolder, bindings: Sequence[str] = ()) -> Loaded:
    """The experiment of a run folder, with the plug-ins that it was started with, if the user consents to them.

    A relative path that leads nowhere from here is taken from the directory in which the run was started.
    """
    given = (Path(file) for file in read_environment(folder)["plugins"])
    files = [file.parent if file.name == "__init__.py" else file for file in given]
    wanted = [file for file in files if module_name(file) not in sys.modules]
    refused = [said for file in wanted if (said := refusal(f'{folder.environment}: plugin "{file}"', file)) is not None]
    for file in wanted if not refused else ():
        load_plugin(file)
    try:
        loaded = load_experiment([folder.config], list(bindings))
    except ConfigError as error:
        raise ConfigError([*refused, *error.problems]) from error
    if refused:
        raise ConfigError(refused)
    home = read_environment(folder).get("directory")
    return loaded if home is None else replace(loaded, experiment=_from(Path(home), loaded.experiment))


def _from(home: Path, value: Any) -> Any:
    """A value of the experiment, with every relative path in it that is only found from `home` as that one."""
    if isinstance(value, Path):
        return home / value if not value.is_absolute() and not value.exists() and (home / value).exists() else value
    if isinstance(value, Mapping):
        found: Any = {key: _from(home, item) for key, item in value.items()}
        return found if any(found[key] is not item for key, item in value.items()) else value
    if isinstance(value, list | tuple):
        items = [_from(home, item) for item in value]
        return type(value)(items) if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if is_dataclass(value) and not isinstance(value, type):
        options = {option.name: _option(home, value, option) for option in fields(value) if option.init}
        changed = {name: new for name, new in options.items() if new is not getattr(value, name)}
        return replace(value, **changed) if changed else value
    return value


def _option(home: Path, owner: object, option: Field[Any]) -> Any:
    """An option as `_from` gives it; a text on which no figure depends may be the path of something, too."""
    value = getattr(owner, option.name)
    if not isinstance(value, str) or has_effect(option) or not value:
        return _from(home, value)
    found = _from(home, Path(value))
    return value if found == Path(value) else str(found)


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
    allowed = "allowed: the file as matx wrote it at the start"
    missing = [key for key in ("experiment", "device", "plugins") if key not in found]
    if missing:
        raise RunError(f"{folder.environment}: holds no {', '.join(missing)}; {allowed}")
    if not is_name(found["experiment"]):  # folders are named after it
        raise RunError(f"{folder.environment}: got the experiment {found['experiment']!r}, {allowed}")
    plugins = found["plugins"]
    if not isinstance(plugins, list) or not all(isinstance(file, str) for file in plugins):
        raise RunError(f"{folder.environment}: got the plugins {plugins!r}, {allowed}")
    return found


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; a RunError where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); allowed: a run folder as matx wrote it") from error
    return found if isinstance(found, dict) else {}
