"""Pages: everything is inside, names are text, and a browser draws every figure without an error."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from matx.pages import (
    Figure,
    Gallery,
    Page,
    Part,
    Sheet,
    bars,
    coloured,
    intervals,
    lines,
    matrix,
    paths,
    picture,
    points,
    render,
)

_HOSTILE = "</script><img src=x onerror=alert(1)>"


def _figures() -> list[Figure]:
    names = ("linf", "generalist", _HOSTILE)
    return [
        bars(
            "Bars", "bars of two", across="", up="%",
            rows=[{"place": p, "series": s, "value": 5, "low": 4, "high": 6} for p in ("clean", "l2") for s in names],
        ),
        lines(
            "Lines", "lines with a band", across="epoch", up="loss", marks={"best": 2.0},
            rows=[{"series": s, "x": x, "y": x / 2, "low": 0, "high": x} for s in names for x in (1, 2, 3)],
        ),
        intervals("Differences", "a minus b", across="", up="points",
                  rows=[{"place": p, "series": "t", "value": 1, "low": -1, "high": 3} for p in ("clean", "union")]),
        points("Points", "named places", across="reading", up="score",
               rows=[{"series": "complete", "x": x, "y": 1.5, "what": "trial 1"} for x in ("owner", "others")]),
        points("Log", "a log axis", across="lr", up="score", log=True,
               rows=[{"series": "complete", "x": x, "y": 1.5, "what": "trial 1"} for x in (0.01, 0.1)]),
        paths("Paths", "stops", across="", up="share", shade="score",
              rows=[{"series": "complete", "line": "1", "x": x, "y": 0.5, "value": 1.0} for x in ("alpha", "score")]),
        matrix("Matrix", "who fools whom", across="asked", up="examples of",
               rows=[{"column": c, "row": r, "value": 50.0} for c in names for r in names]),
    ]  # fmt: skip


def _page() -> Page:
    sheet = Sheet(
        caption="Scores", head=["model", *(f"linf:{n}/255" for n in range(1, 20))],
        rows=[["generalist", *["80.0 [58.4, 91.9] pass"] * 19], [_HOSTILE, *["not checked"] * 19]],
        bold=frozenset({"generalist"}),
    )  # fmt: skip
    shown = picture(
        np.full((1, 8, 8), 7, dtype=np.uint8), f"a {_HOSTILE}", [(_HOSTILE, False), ("two: 3 (99 %)", True)]
    )
    gallery = Gallery(
        caption=f"Examples of {_HOSTILE}", head=["true", *(f"l{n}" for n in range(9))], key=[("#1b6ca8", _HOSTILE)],
        rows=[(_HOSTILE, [shown] * 9)],
    )  # fmt: skip
    parts = [
        Part(heading="Figures", figures=_figures()),
        Part(heading="Pictures", galleries=[gallery, replace(gallery, folded=True)]),
        Part(heading="Tables", says=[_HOSTILE], items=["one", "two"], sheets=[sheet]),
        Part(heading="Configuration", code="x = 1\n" + "y" * 300, folded=True),
    ]
    return Page(title=_HOSTILE, says=["A sentence."], parts=parts)


_INSIDE = "data:image/png;base64,"


class _Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def _elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Elements()
    parser.feed(text)
    return parser.found


def test_everything_is_inside() -> None:
    text = render(_page())
    outside = [
        (tag, attributes) for tag, attributes in _elements(text)
        if not (attributes.get("src") or _INSIDE).startswith(_INSIDE)
        or not (attributes.get("href") or "#").startswith("#")
    ]  # fmt: skip
    assert not outside, f"the page reads something from elsewhere: {outside}"
    assert len(text) < 1_200_000, f"a page with six figures weighs {len(text):,} characters"
    assert len(render(Page(title="x", parts=[Part(heading="y", says=["z"])]))) < 10_000, "no figure, no script"


def test_names_are_text() -> None:
    text = render(_page())
    assert _HOSTILE not in text, "a name became markup"
    pictures = [attributes for tag, attributes in _elements(text) if tag == "img"]
    assert {str(p["alt"]) for p in pictures} == {f"a {_HOSTILE}"}, "a name became an element, or lost its text"
    assert len(pictures) == 18, "two galleries of nine pictures each"
    specs = re.findall(r'<script type="application/json">(.*?)</script>', text)
    assert len(specs) == 7, "a name ended the element of a specification"
    assert _HOSTILE in {row["series"] for row in json.loads(specs[0])["data"]["values"]}, "the data keep the name"


def test_who_does_not_see_is_told() -> None:
    found = _elements(render(_page()))
    plots = [attributes for _, attributes in found if attributes.get("class") == "plot"]
    assert [plot["aria-label"] for plot in plots][:2] == ["bars of two", "lines with a band"], (
        "figures say what they show"
    )
    regions = [attributes for _, attributes in found if attributes.get("role") == "region"]
    assert all(region["tabindex"] == "0" for region in regions), "a wide table is scrolled by keyboard, too"
    assert ("html", {"lang": "en"}) in found, "the language is told"


def test_pictures_are_what_was_given() -> None:
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    for given, mode in ((pixels, "RGB"), (pixels[:1], "L"), (np.repeat(pixels[:1], 5, 0), "L")):
        data = base64.b64decode(picture(given, "").data.removeprefix(_INSIDE))
        read = Image.open(io.BytesIO(data))
        assert read.mode == mode, f"{len(given)} channels become {read.mode}"
        again = np.asarray(read)
        wanted = given.transpose(1, 2, 0) if mode == "RGB" else given[0]
        assert (again == wanted).all(), "every pixel is as it was"
    colours = coloured(np.array([[0, 1], [20, -1]]))
    assert (colours[:, 0, 0] == colours[:, 1, 0]).all(), "the colours begin anew after twenty classes"
    assert colours[:, 1, 1].tolist() == [0, 0, 0], "what is no class is black"
    assert colours[:, 0, 0].tolist() == [0x1B, 0x6C, 0xA8], "the first colour of the palette"


def test_bytes_repeat() -> None:
    assert render(_page()) == render(_page()), "a page depends on what it is given alone"


def test_axes_of_whole_numbers_have_whole_ticks() -> None:
    def axis(figure: Figure) -> object:
        spec = figure.spec.get("layer", [figure.spec])[0]
        return spec["encoding"]["x"].get("axis")

    for places, values in (((1, 2, 3), [1, 2, 3]), ((1, 40), [5, 10, 15, 20, 25, 30, 35, 40]), ((0.5, 1), None)):
        rows = [{"series": "a", "line": "1", "x": x, "y": x, "what": "t"} for x in places]
        wanted = {} if values is None else {"values": values, "format": "d"}
        for draw in (lines, points, paths):
            found = axis(draw("t", "says", rows, across="epoch", up="score"))
            assert found == wanted, f"{draw.__name__}: epochs and trials have no halves: {found}"


_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(
    _BROWSER is None, reason="no Chromium here: pages are not tried in a browser (apt install chromium)"
)
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_draws_every_figure(tmp_path: Path, width: int) -> None:
    measure = (
        "<script>setTimeout(() => { document.body.dataset.over = "
        "document.documentElement.scrollWidth - document.documentElement.clientWidth }, 8000)</script>"
    )
    file = tmp_path / "page.html"
    file.write_text(render(_page()) + measure, encoding="utf-8")
    command = [
        *(str(_BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=15000", f"--window-size={width},1400"),
        file.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, f"the browser's console: {said}"
    found = _elements(done.stdout)
    drawn = [attributes for tag, attributes in found if tag == "figure" and attributes.get("data-drawn") == "yes"]
    assert len(drawn) == 7, f"{len(drawn)} of 7 figures were drawn"
    over = next(attributes["data-over"] for tag, attributes in found if tag == "body")
    assert over == "0", f"at {width} px the page scrolls sideways by {over} px"
