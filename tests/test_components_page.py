"""docs/components.md, docs/components/, docs/recipes.md, docs/results.md, heads of gin/paper: what the tools write."""

from __future__ import annotations

from matx.config import packaged_recipes
from matx.registration import REGISTRIES
from tools import writing
from tools.components import built_in, head, pages
from tools.paper.heads import recipes
from tools.results import page


def test_the_committed_pages_are_up_to_date() -> None:
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: run python tools/components.py"


def test_the_committed_heads_are_up_to_date() -> None:
    for path, text in recipes().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: run python -m tools.paper"


def test_the_committed_pages_of_kinds_are_up_to_date() -> None:
    for path, text in writing.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: run python -m tools.writing"


def test_every_component_and_recipe_is_on_its_page() -> None:
    components, recipes, _ = pages().values()
    for kind in REGISTRIES:
        assert built_in(kind), f"the built-in {kind} are found"
        for name in built_in(kind):
            assert f"### {kind}.{name}\n" in components, f"{kind}.{name} has an entry"
    assert "L_i = CE(f_i(x), y) + beta KL(p_i(x) || p_i(x'_i))" in components, "formulas are shown as they are laid out"
    assert "| `beta` | `a number (0 or more)` | `6.0` |" in components, "options are shown with their defaults"
    for name in packaged_recipes():
        assert f"| `{name}` |" in recipes, f"{name} has a row"


def test_a_head_is_read_by_its_words() -> None:
    text = "# What it\n# is.\n# Beside: it\n#\n#   matx run\n#\n# Hardware and time: one\n# GPU\n# Expect: 7\n\nx = 1\n"
    assert head(text) == ("What it is.", "one GPU", "7"), "what it is, what it costs, what to expect"


def test_the_committed_results_are_up_to_date() -> None:
    for path, text in page.files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: run python -m tools.results"
