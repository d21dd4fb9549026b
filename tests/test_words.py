"""The words that the project retired occur nowhere: not as identifiers, not in messages, comments or pages."""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

COVERED = ("CONTRIBUTING.md", "README.md", "docs", "examples", "gin", "matx", "registry", "tests", "tools")
"""Files, and folders with all that is below them."""

CLASSES = {
    "Agent", "Answers", "Crew", "Doubts", "Expert", "Foreign", "Goal", "Guarded", "Hand", "Judge", "Ledger", "Master",
    "Runner", "Scope", "StatefulUnion", "Subject", "Trainer",
}  # fmt: skip
"""Whole names of classes."""

WORDS = {
    "alone", "casts", "circumstances", "climb", "climbed", "climbs", "crew", "doubt", "doubts", "fallen", "held",
    "ledger", "manners", "sentinel", "shelf", "shelves", "standing", "stands", "taught",
}  # fmt: skip
"""Parts of identifiers: `alone` forbids `alone()` and `is_alone`, and says nothing of the word in a sentence."""

NAMES = {"bring_to_life", "brought_back", "kd_ratio", "x_adv"}
"""Whole identifiers."""

PHRASES = (
    r"\badv acc\b",
    r"\bbr(?:ing|ings|ought|inging)\s+(?:\w+\s+){0,3}(?:to\s+life|back)\b",
    r"\bcasts\b",
    r"\bcircumstances\b",
    r"\bclimb\w*",
    r"\bcrews?\b",
    r"\bdoubts?\b",
    r"\bfallen\b",
    r"\bheld\b",
    r"\bhold\w* (?:\w+ ){1,3}to (?:its|their|the) promises?\b",
    r"\bledgers?\b",
    r"\blet\w* (?:\w+ ){0,3}loose\b",
    r"\bmanners\b",
    r"\bsentinels?\b",
    r"\bshel(?:f|ves)\b",
    r"\b(?:who|that|which|still|is|are) (?:still )?st(?:ands?|anding|ood)\b",
    r"\btaught\b",
)
"""In sentences (comments, docstrings, messages, pages), whatever the case."""

EXCEPTIONS = {
    "tests/test_words.py": (".*", "it lists them"),
    "matx/runtime/checkpoint.py": ("the words 'circumstances'", "files of the first version have a key of that name"),
    "tests/runtime/test_checkpoint.py": ("the words 'circumstances'", "it writes a file of the first version"),
}
"""{file that may hold retired words: (which problems, as a pattern; why)}."""


def files() -> list[Path]:
    roots = [ROOT / name for name in COVERED]
    found = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    return [path for path in found if path.suffix in {".py", ".md", ".gin"}]


def parts(name: str) -> list[str]:
    """The words of an identifier: `is_alone` and `IsAlone` give is, alone."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def identifiers(text: str) -> Iterator[tuple[int, str]]:
    """(line, problem) of the identifiers of Python code."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = token.string
        if token.type != tokenize.NAME or keyword.iskeyword(name):
            continue
        if name in CLASSES | NAMES or WORDS & set(parts(name)):
            yield token.start[0], f"the name {name}"


def sentences(text: str, *, code: bool) -> Iterator[tuple[int, str]]:
    """(line, problem) of a page, or of the comments and strings of Python code."""
    if not code:
        yield from _phrases(text, 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING) or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield from _phrases(token.string, token.start[0])


def _phrases(text: str, first: int) -> Iterator[tuple[int, str]]:
    for phrase in PHRASES:
        for found in re.finditer(phrase, text, flags=re.IGNORECASE):
            yield first + text.count("\n", 0, found.start()), f"the words {found.group()!r}"


def problems(text: str, *, code: bool) -> list[tuple[int, str]]:
    """(line, problem) in order."""
    return sorted({*(identifiers(text) if code else ()), *sentences(text, code=code)})


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_retired_word_is_left(path: Path) -> None:
    where = path.relative_to(ROOT)
    excused, _ = EXCEPTIONS.get(where.as_posix(), ("(?!)", ""))
    found = [one for one in problems(path.read_text(), code=path.suffix == ".py") if not re.fullmatch(excused, one[1])]
    assert not found, "retired words:\n" + "\n".join(f"{where}:{line}: {problem}" for line, problem in found)


def test_all_that_is_covered_exists() -> None:
    assert [name for name in COVERED if not (ROOT / name).exists()] == [], "a path has moved and is covered no more"


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_is_still_needed(name: str) -> None:
    found = [problem for _, problem in problems((ROOT / name).read_text(), code=name.endswith(".py"))]
    assert any(re.fullmatch(EXCEPTIONS[name][0], problem) for problem in found), f"{name} has no such word any more"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("def climb(x):\n    return x\n", [1]),
        ("x = 1\nraise ValueError(f'{x} is held to 1')\n", [2]),
        ('"""An example.\n\nBrought\nto life.\n"""\nx = 1  # who still stands\n', [3, 6]),
        ("class Judge:\n    is_alone = True\n", [1, 2]),
        ("y = cast(int, x)  # alone, in a sentence; and a standing order\n", []),
        ("scope = judge = hand  # of gin\n", []),
    ],
)
def test_names_are_told_from_sentences(text: str, lines: list[int]) -> None:
    assert [line for line, _ in problems(text, code=True)] == lines, "other lines hold retired words"
