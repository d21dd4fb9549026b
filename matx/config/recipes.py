"""Finding gin files: as given, beside the file that includes them, in the working directory, or packaged with matx."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matx
from matx.errors import ConfigError, did_you_mean

__all__ = ["find_recipe", "include_candidates", "packaged_recipes", "recipe_root", "show_path"]

_NAME = 255
"""Characters that the name of a file may have."""


def recipe_root() -> Path:
    """The folder of the packaged recipes: `matx/gin` in a wheel, `gin/` beside `matx/` in a checkout."""
    package = Path(matx.__file__).resolve().parent
    inside = package / "gin"
    # In a wheel, `gin` beside matx is the library gin-config; the recipes' folder never holds an __init__.py.
    beside = package.parent / "gin"
    return beside if not inside.is_dir() and not (beside / "__init__.py").exists() else inside


def packaged_recipes() -> list[str]:
    """The packaged experiments by name (`mat_union`, `paper/x`), without the parts in `base/`."""
    root = recipe_root()
    names = [path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.gin")]
    return sorted(name for name in names if not name.startswith("base/"))


def find_recipe(name: str | Path) -> Path:
    """The file that a user means: a path (from the working directory) or a packaged recipe, `.gin` optional.

    ConfigError with the nearest name where there is none.
    """
    if any(len(part) > _NAME for part in Path(name).parts):
        raise ConfigError([f"{str(name)[:40]}...: got a name of {len(str(name))} characters, allowed: that of a file"])
    for candidate in _spellings(Path(), str(name)) + _spellings(recipe_root(), str(name)):
        if candidate.is_file():
            return candidate
    known = packaged_recipes()
    local = sorted(path.as_posix() for path in _folder(name).glob("*.gin")) if _folder(name).is_dir() else []
    path = Path(name)
    known_files = [known_file for known_file in local if known_file != path.as_posix()]
    near = did_you_mean(str(name), [*known_files, *known, *(f"{recipe}.gin" for recipe in known)])
    why = "is a folder" if path.is_dir() else "no such file" if not path.exists() else "is no file"
    raise ConfigError([f"{name}: {why}{near}; packaged recipes: {_shown(known)}"])


def _shown(known: Sequence[str]) -> str:
    """Recipes of the top by name, those of folders by their number: with the papers' there are over a hundred."""
    top = [name for name in known if "/" not in name]
    folders = Counter(name.partition("/")[0] for name in known if "/" in name)
    counted = [f"{count} in {folder}/" for folder, count in folders.items()]
    return f"{', '.join([*top, *counted]) or 'none'} (`matx list recipes`)"


def _folder(name: str | Path) -> Path:
    return Path(name).parent


def _spellings(folder: Path, name: str) -> list[Path]:
    return [folder / name, folder / f"{name}.gin"]


def include_candidates(name: str, including: Path | None) -> list[Path]:
    """Where an included file is looked for, in this order: the including file's folder, here, the packaged recipes."""
    folders: Sequence[Path] = (*([including.parent] if including else []), Path(), recipe_root())
    return [folder / name for folder in folders]


def show_path(path: Path) -> str:
    """A path for messages and headers: from the working directory, `gin/...` where packaged, else as it is."""
    whole = path.resolve()
    for folder in (Path.cwd(), recipe_root().parent):
        if whole.is_relative_to(folder.resolve()):
            return whole.relative_to(folder.resolve()).as_posix()
    return str(path)
