"""The events of MkDocs: pages of the root are on the site, and links to files that are not become their words."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
"""Files of the root that are pages of the site."""
_LINK = re.compile(r"\[([^\]\n]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """MkDocs' event: add the pages of the root."""
    from mkdocs.structure.files import File

    for name in PAGES:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """MkDocs' event: links as they hold on the site."""
    known = {file.src_uri for file in files}
    return _LINK.sub(lambda found: linked(found, page.file.src_uri, known), markdown)


def linked(found: re.Match[str], page: str, known: set[str]) -> str:
    """A link of a page as it holds on the site; to a file that is not on it, the words and the file's name."""
    text, target, anchor = found[1], found[2], found[3] or ""
    if "://" in target or target.startswith("mailto:"):
        return found[0]
    home = "" if page in PAGES else "docs"
    place = posixpath.normpath(posixpath.join(home, posixpath.dirname(page), target))
    inside = place.removeprefix("docs/")
    if inside in known:
        return f"[{text}]({posixpath.relpath(inside, posixpath.dirname(page) or '.')}{anchor})"
    return text if (ROOT / place).exists() else found[0]
