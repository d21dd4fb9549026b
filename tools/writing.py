"""Write the second half of docs/components/KIND.md: the contracts of the kind, and its complete example.

    python tools/writing.py [--check]

With --check nothing is written; the exit code is 1 where a page is not what would be written.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from matx.registration import KINDS
from matx.scaffold import example_of
from matx.testing import CONTRACTS, Contract

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "components"
MARK = "<!-- The rest is written by `python tools/writing.py`, from the contracts and the example. -->\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, tell what is out of date")
    check = parser.parse_args().check
    stale = {path: text for path, text in pages().items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8", newline="\n")
    return 1 if check and stale else 0


def pages() -> dict[Path, str]:
    """{file: what it should hold}, a page a kind: what stands above the mark, and what is written below it."""
    found = {}
    for kind in KINDS:
        path = FOLDER / f"{kind.name}.md"
        above, mark, _ = path.read_text(encoding="utf-8").partition(MARK)
        if not mark:
            raise SystemExit(f"{path}: holds no line {MARK!r}, below which its contracts and example are written")
        found[path] = "\n".join([f"{above}{mark}", *_contracts(kind.name), *_example(kind.name)])
    return found


def _contracts(kind: str) -> Iterator[str]:
    yield from ("## The contracts", "", f"`matx check {kind}.NAME` tries each of them on each of its `examples`.", "")
    yield from ("| contract | what it promises |", "|---|---|")
    for contract in CONTRACTS[kind]:
        yield f"| `{contract.__name__}` | {_promise(contract)} |"
    yield ""


def _promise(contract: Contract) -> str:
    return " ".join((inspect.getdoc(contract) or "").split()).replace("|", "\\|")


def _example(kind: str) -> Iterator[str]:
    path = example_of(kind)
    code = path.read_text(encoding="utf-8").rstrip()
    yield from ("## A complete example", "", f"`examples/{path.name}`, which `matx new` copies under another name:", "")
    yield from ("```python", code, "```", "")


if __name__ == "__main__":
    sys.exit(main())
