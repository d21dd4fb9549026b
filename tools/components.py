"""Write docs/components.md, docs/recipes.md and README.md's table of registries, from these and the packaged recipes.

    python tools/components.py [--check]

With --check nothing is written; the exit code is 1 where a file is not what would be written.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matx.config import NOUNS, describe, find_recipe, packaged_recipes
from matx.registration import REGISTRIES

ROOT = Path(__file__).resolve().parents[1]
MARK, END = "<!-- registries: written by tools/components.py -->\n", "<!-- end registries -->\n"
WRITTEN = "Written by `python tools/components.py`; change the {source}, not this file.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, tell what is out of date")
    check = parser.parse_args().check
    stale = [path for path, text in pages().items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            path.write_text(pages()[path], encoding="utf-8", newline="\n")
    return 1 if check and stale else 0


def pages() -> dict[Path, str]:
    """{file: what it should hold}."""
    found = {ROOT / "docs" / "components.md": components(), ROOT / "docs" / "recipes.md": recipes()}
    readme = ROOT / "README.md"
    return {**found, readme: with_registries(readme.read_text(encoding="utf-8"))} if readme.is_file() else found


def with_registries(text: str) -> str:
    """A text with the table of what the registries hold between its marks."""
    rows = ["| kind | built in | |", "|---|---|---|"]
    for kind in REGISTRIES:
        names = built_in(kind)
        rows.append(f"| {kind} | {len(names)} | {', '.join(f'`{name}`' for name in names)} |")
    start, mark, rest = text.partition(MARK)
    if not mark:
        raise SystemExit(f"README.md: holds no line {MARK!r}")
    return start + mark + "\n".join(rows) + "\n\n" + rest[rest.index(END) :]


def components() -> str:
    """Every built-in component by registry: what it is, formula and source, its options; then the nouns."""
    registries = {kind: built_in(kind) for kind in REGISTRIES}
    lines = [
        "# Components",
        "",
        WRITTEN.format(source="docstrings"),
        "`matx show KIND.NAME` says the same, with the place of the source.",
        "",
    ]
    for kind, found in registries.items():
        names = ", ".join(f"[{name}](#{kind}{name})" for name in found)
        lines += [f"- **{kind}** ({len(found)}): {names}"]
    lines += [f"- **nouns** ({len(NOUNS)}): " + ", ".join(f"[{name}](#{name.lower()})" for name in NOUNS), ""]
    for kind, found in registries.items():
        lines += [f"## {kind}", ""]
        for name, component in found.items():
            lines += entry(f"{kind}.{name}", component)
    lines += ["## Nouns", ""]
    for name, noun in NOUNS.items():
        lines += entry(name, noun)
    return "\n".join(lines).rstrip() + "\n"


def built_in(kind: str) -> dict[str, type[Any]]:
    """The components of a registry that come with matx, by name."""
    registry = REGISTRIES[kind]
    return {name: registry[name] for name in registry if registry[name].__module__.startswith("registry.")}


def entry(name: str, component: type[Any]) -> Iterator[str]:
    """The lines of one component: its first paragraph, the rest as it is laid out, its options."""
    first, _, rest = (inspect.getdoc(component) or "").partition("\n\n")
    yield from (f"### {name}", "", *(["```text", first, "```"] if "\n" in first else [first]), "")
    if rest:
        yield from ("```text", rest, "```", "")
    options = describe(component)
    if options:
        yield from ("| option | type | default | |", "|---|---|---|---|")
    for option in options:
        cells = (f"`{option.parameter}`", f"`{option.type}`", f"`{option.default}`", option.doc)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield from ("", f"Defined in `{component.__module__}`.", "")


def recipes() -> str:
    """Every packaged recipe: what it is, what it costs, what to expect."""
    lines = [
        "# Recipes",
        "",
        WRITTEN.format(source="heads of the gin files"),
        "`matx run NAME`; suites are for `matx eval RUN --suite`.",
        "",
    ]
    lines += ["| recipe | what | time | expected |", "|---|---|---|---|"]
    for name in packaged_recipes():
        what, time, expected = head(find_recipe(name).read_text(encoding="utf-8"))
        cells = (f"`{name}`", what, time, expected)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def head(text: str) -> tuple[str, str, str]:
    """(what it is, hardware and time, what to expect) of a gin file's head."""
    comments = [line.removeprefix("#").strip() for line in text.split("\n\n", 1)[0].splitlines()]
    block = " ".join(line or "\n" for line in comments)
    fields = re.split(r"(Beside|Hardware and time|Expect): ", block)
    found = dict(zip(fields[1::2], (part.replace("\n", " ").strip() for part in fields[2::2]), strict=True))
    what = " ".join(fields[0].split("\n")[0].split())
    return what, found.get("Hardware and time", ""), found.get("Expect", "")


if __name__ == "__main__":
    sys.exit(main())
