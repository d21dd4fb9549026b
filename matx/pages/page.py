"""A page: parts with text, tables and figures, filled into one template; everything that it needs is inside it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from matx.pages.figures import Figure
from matx.pages.pictures import Gallery

__all__ = ["Page", "Part", "Sheet", "render"]

_INTERVAL = re.compile(r"(\[[-+.e\d]+, [-+.e\d]+\])")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table of text; the first cell of a row names it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    bold: frozenset[str] = frozenset()
    """The names of rows that matter most."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a page under a heading: sentences, a list, tables, figures, pictures, and text in a fixed font."""

    heading: str
    says: Sequence[str] = ()
    items: Sequence[str] = ()
    sheets: Sequence[Sheet] = ()
    figures: Sequence[Figure] = ()
    galleries: Sequence[Gallery] = ()
    code: str = ""
    folded: bool = False
    """True: shown when asked for."""
    by_clock: bool = False
    """True: what it shows is otherwise each time that the same is done."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page."""

    title: str
    says: Sequence[str] = ()
    parts: Sequence[Part] = ()


def render(page: Page) -> str:
    """The HTML of a page: one file with style, figures and their script; it opens without a network."""
    drawn = any(part.figures for part in page.parts)
    template = _environment().get_template("page.html.j2")
    return template.render(
        page=page,
        style=Markup(_text("style.css")),
        bundle=Markup(_bundle()) if drawn else "",
        draw=Markup(_text("draw.js")),
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("matx.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["spec"] = _spec
    return environment


def _text(name: str) -> str:
    return files("matx.pages").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and vega-embed as one script."""
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script")


def _spec(figure: Figure) -> Markup:
    """A specification as JSON in which nothing ends the script element around it."""
    return Markup(json.dumps(figure.spec, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _cell(cell: str) -> Markup:
    """The interval small, the verdict in its colour."""
    found = str(escape(cell))
    for word, kind in (("pass", "pass"), ("warn", "warn"), ("fail", "fail"), ("not checked", "unchecked")):
        if cell == word or cell.endswith(f" {word}"):
            found = f'{found.removesuffix(word)}<span class="{kind}">{word}</span>'
    return Markup(_INTERVAL.sub(r"<small>\1</small>", found))
