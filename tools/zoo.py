"""A run's peers into the zoo of the package: `python tools/zoo.py NAME RUN [EVALUATION]` (docs/zoo.md).

With `zoo:NAME` as RUN, an entry gets the figures of another evaluation; its weights stay as they are.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import matx
from matx.evaluation import ZOO
from matx.exporting import export
from matx.text import is_name

HOME = Path(__file__).resolve().parent.parent / "matx" / "zoo"
_LARGEST = 2_000_000
"""Bytes of an entry: the zoo travels with every installation."""


def add(name: str, run: Path, evaluation: Path | None) -> Path:
    """All peers of a finished run, with the figures of the evaluation where one is given."""
    if not is_name(name):
        raise SystemExit(f"NAME: got {name!r}, allowed: letters, digits, '_', '-'")
    loaded = matx.load(run)
    if loaded.path == HOME / name:
        return renew(name, loaded, evaluation)
    folder = export(loaded, loaded.peers, results=evaluation, out=HOME / name, address=f"{ZOO}{name}")
    size = sum(file.stat().st_size for file in folder.iterdir())
    if size > _LARGEST:
        raise SystemExit(f"{folder}: {size:,} bytes, allowed: {_LARGEST:,}; remove it, and publish it elsewhere")
    return folder


def renew(name: str, entry: matx.LoadedRun, evaluation: Path | None) -> Path:
    """The card and the figures of an entry anew, of an evaluation of it."""
    with tempfile.TemporaryDirectory() as place:
        made = export(entry, entry.peers, results=evaluation, out=Path(place) / name, address=f"{ZOO}{name}")
        for file in ("README.md", "results.json"):
            shutil.copyfile(made / file, entry.path / file)
    return entry.path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="as in matx.load('zoo:NAME'): the recipe's name")
    parser.add_argument("run", type=Path, help="a finished run folder, or zoo:NAME")
    parser.add_argument("evaluation", type=Path, nargs="?", help="the folder of `matx eval RUN --suite autoattack`")
    given = parser.parse_args()
    folder = add(given.name, given.run, given.evaluation)
    for file in sorted(folder.iterdir()):
        print(f"{file.stat().st_size:>10,}  {file}")


if __name__ == "__main__":
    main()
