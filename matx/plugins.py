"""The three ways to bring a plug-in, one mechanism: import the module, and its decorators register components."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from matx.errors import PluginError, RegistrationError, did_you_mean
from matx.registration import REGISTRIES

__all__ = [
    "GROUP",
    "import_all",
    "installed",
    "load_plugin",
    "loaded_files",
    "loaded_modules",
    "module_name",
    "place_of",
    "plugin_of",
]

GROUP = "matx.plugins"
"""The entry-point group in which an installed plug-in names its module."""

_LOCK = threading.RLock()
_IMPORTED: dict[str, str] = {}
"""{entry point as `name = module`: name} of what `import_all` has imported."""
_SEARCHED: list[str] = []
"""sys.path when `import_all` last looked for entry points (reading them all takes tens of milliseconds)."""
_LOADED: dict[str, None] = {}
"""The modules that `load_plugin` has imported."""


def import_all() -> list[str]:
    """Import every plug-in that installed distributions announce (the built-ins too); names in alphabetical order.

    A second call imports only what is new. PluginError where one does not import, registers nothing or takes a name.
    Registries call it when they are read.
    """
    with _LOCK:
        if sys.path != _SEARCHED:
            _SEARCHED[:] = sys.path  # before importing: a plug-in may read a registry while it is imported
            try:
                _import_new()
            except PluginError:
                _SEARCHED.clear()
                raise
        return sorted(_IMPORTED.values())


def _import_new() -> None:
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        key = f"{point.name} = {point.value}"
        if key not in _IMPORTED:
            _run(point.name, point.module, point.load)
            _IMPORTED[key] = point.name


for _registry in REGISTRIES.values():
    _registry.discover = import_all


def load_plugin(path_or_module: str | Path, near: Sequence[Path] = ()) -> str:
    """Import a plug-in by file (`mine.py`, or a package's folder) or by module name; the module's name.

    A file's folder is appended to sys.path, never put first, so a plug-in cannot replace a module of that name. What
    is not found there is also looked for in the folders `near` (the gin file's, for an `import` line).
    """
    with _LOCK:
        import_all()  # first: what a plug-in that fails has registered is undone, and must not include the built-ins
        path = Path(path_or_module)
        by_file = isinstance(path_or_module, Path) or module_name(path_or_module) != str(path_or_module)
        module, folder = _from_file(path) if by_file else (str(path_or_module), None)
        appended = _append(folder) if folder is not None else _append_near(module, near)
        try:
            if by_file:
                _check_unshadowed(module, path)
            _run(module, module, lambda: importlib.import_module(module))
        except PluginError:
            if appended is not None:
                sys.path.remove(appended)
            raise
        _LOADED[module] = None
        return module


def plugin_of(component: type[Any]) -> str | None:
    """The module to `import` for a component that came through `load_plugin`; None where an entry point brings it."""
    home = component.__module__
    return next((module for module in _LOADED if home == module or home.startswith(module + ".")), None)


def installed(module: str) -> bool:
    """Whether a module is an installed plug-in's, so that no gin file need import it."""
    homes = (key.partition(" = ")[2].partition(":")[0] for key in _IMPORTED)
    return any(module == home or module.startswith(f"{home}.") for home in homes)


def module_name(plugin: str | Path) -> str:
    """The name under which a plug-in is imported: that of its file or package's folder, or itself."""
    path = Path(plugin)
    return path.stem if isinstance(plugin, Path) or path.suffix == ".py" or len(path.parts) > 1 else str(plugin)


def place_of(plugin: str | Path, near: Sequence[Path] = ()) -> str | None:
    """The file that loading a plug-in would run, found without running anything; None where there is none."""
    if module_name(plugin) != str(plugin):
        return str(plugin) if Path(plugin).exists() else None
    top = str(plugin).partition(".")[0]
    found = _file_near(top, near)
    return _origin(top) or (None if found is None else str(found))


def _from_file(path: Path) -> tuple[str, Path]:
    """The module name and folder of a plug-in file or package folder."""
    if not path.exists():
        siblings = [str(p) for p in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        raise PluginError(f"plug-in {path}: no such file{did_you_mean(str(path), siblings)}")
    if not path.stem.isidentifier() or not (path.suffix == ".py" or (path / "__init__.py").is_file()):
        raise PluginError(
            f"plug-in {path}: not importable, allowed: a .py file or a package's folder whose name is an identifier"
        )
    return path.stem, path.parent.resolve()


def _append(folder: Path) -> str | None:
    """Append a folder to sys.path unless it is there; what was appended."""
    importlib.invalidate_caches()
    if str(folder) in sys.path:
        return None
    sys.path.append(str(folder))
    return str(folder)


def _append_near(module: str, near: Sequence[Path]) -> str | None:
    """Append the first folder that holds the module, where sys.path does not find it."""
    top = module.partition(".")[0]
    importlib.invalidate_caches()
    if _origin(top) is not None:
        return None
    found = _file_near(top, near)
    if found is not None:
        return _append((found.parent if found.stem == top else found.parent.parent).resolve())
    names = sorted(p.stem for folder in near for p in folder.glob("*.py"))
    places = ", ".join(dict.fromkeys(str(folder) for folder in near))
    where = f"on Python's path or in {places}" if places else "on Python's path"
    raise PluginError(f"plug-in {module!r} does not import: no such module {where}{did_you_mean(top, names)}")


def _file_near(top: str, near: Sequence[Path]) -> Path | None:
    """The first module or package of this name in these folders."""
    files = (folder / file for folder in near for file in (f"{top}.py", f"{top}/__init__.py"))
    return next((file for file in files if file.is_file()), None)


def _origin(module: str) -> str | None:
    """The file (or 'built-in') that a top-level import of this name gives; None where there is none."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None) or "built-in"
    spec = importlib.util.find_spec(module)
    return None if spec is None else spec.origin or "a folder without __init__.py"


def _check_unshadowed(module: str, path: Path) -> None:
    expected = path / "__init__.py" if path.is_dir() else path
    origin = _origin(module)
    if origin is None or Path(origin).resolve() != expected.resolve():
        raise PluginError(f"plug-in {path}: the module name {module!r} belongs to {origin} already; rename the file")


def _run(name: str, module: str, importer: Callable[[], Any]) -> None:
    """Import a plug-in, check that it registers something, record its name; leave no trace of one that fails."""
    before = {kind: dict(registry.components) for kind, registry in REGISTRIES.items()}
    imported = frozenset(sys.modules)
    try:
        importer()
        if not _registers(module, before):
            file = getattr(sys.modules.get(module), "__file__", None)
            raise PluginError(
                f"plug-in {name} registers nothing: {file} was imported, allowed: a module that registers components, "
                "as @matx.attacks.register('mine') does"
            )
    except PluginError:
        _undo(module, before, imported)
        raise
    except RegistrationError as error:
        _undo(module, before, imported)
        raise PluginError(f"plug-in {name} cannot register: {error}") from error
    except (Exception, SystemExit) as error:
        _undo(module, before, imported)
        raise PluginError(f"plug-in {name} does not import: {_explain(error, module)}") from error
    for registry in REGISTRIES.values():
        if name not in registry.plugins:
            registry.plugins.append(name)


def _registers(module: str, before: dict[str, dict[str, type[Any]]]) -> bool:
    """Whether the registries changed, or hold something that lives in the module or that it imported."""
    imported = set(map(id, vars(sys.modules[module]).values()))
    for kind, registry in REGISTRIES.items():
        if registry.components != before[kind]:
            return True
        for component in registry.components.values():
            home = component.__module__
            if home == module or home.startswith(module + ".") or id(component) in imported:
                return True
    return False


def _undo(module: str, before: dict[str, dict[str, type[Any]]], imported: frozenset[str]) -> None:
    """Restore the registries and forget the new modules, so that a corrected plug-in can be loaded again."""
    for kind, registry in REGISTRIES.items():
        registry.components.clear()
        registry.components.update(before[kind])
    kept = {component.__module__ for components in before.values() for component in components.values()}
    for known in [m for m in sys.modules if m == module or m.startswith(module + ".")]:
        if known not in imported and not any(home == known or home.startswith(known + ".") for home in kept):
            del sys.modules[known]


def _explain(error: BaseException, module: str) -> str:
    """`ValueError: why (file:line)`, the line being the deepest one in the plug-in itself."""
    if isinstance(error, SyntaxError):  # its own frames end in the import machinery
        place = f" ({error.filename}:{error.lineno})" if error.filename else ""
        return f"{type(error).__name__}: {error.msg}{place}"
    top = module.partition(".")[0]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if top in Path(f.filename).with_suffix("").parts]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def loaded_modules() -> tuple[str, ...]:
    """The plug-ins that came through `load_plugin`, in order, for a process that has to load them again."""
    return tuple(_LOADED)


def loaded_files() -> list[str]:
    """The files, or packages' folders, of those plug-ins, so that a run can be resumed with them."""
    files = (getattr(sys.modules.get(module), "__file__", None) for module in _LOADED if "." not in module)
    paths = [Path(file).resolve() for file in files if file]
    return [str(path.parent if path.name == "__init__.py" else path) for path in paths]
