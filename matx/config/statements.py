"""One text in gin's syntax -> its statements, by gin's own parser, every syntax error reported with file and line."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gin import config_parser

__all__ = ["BROKEN", "Binding", "Import", "Include", "Macro", "Place", "Problems", "Reference", "Statement", "parse"]


@dataclass(frozen=True)
class Place:
    """Where a statement stands, and by which door it came in."""

    file: str
    """The file as shown to the user, or the text of an override."""
    line: int = 0
    """From 1; 0 for an override."""
    root: int = 0
    """Which of the given files brought it in; overrides come after all of them."""
    included: bool = False

    @property
    def is_override(self) -> bool:
        """Whether it was given with -s."""
        return self.line == 0

    def __str__(self) -> str:
        return f"-s {self.file!r}" if self.is_override else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Reference:
    """`@scope/name()`, or `@scope/name` where not evaluated."""

    scope: str
    name: str
    evaluated: bool = True

    def __str__(self) -> str:
        scope = f"{self.scope}/" if self.scope else ""
        return f"@{scope}{self.name}{'()' if self.evaluated else ''}"

    __repr__ = __str__


BROKEN = Reference("", "broken")
"""Stands where a value was wrong and has been reported; it fits everything."""


@dataclass(frozen=True)
class Macro:
    """`%NAME`."""

    name: str

    def __str__(self) -> str:
        return f"%{self.name}"

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class Binding:
    """`scope/name.parameter = value`; a macro has no parameter, and its scope belongs to its name."""

    scope: str
    name: str
    parameter: str
    value: Any
    place: Place
    everywhere: bool = False
    """An override written `*/name.parameter`: it replaces the scoped bindings too."""

    @property
    def is_macro(self) -> bool:
        """Whether it defines a macro."""
        return not self.parameter

    @property
    def key(self) -> tuple[str, str, str]:
        """What it sets; a later binding of the same key replaces it."""
        return self.scope, self.name, self.parameter

    @property
    def label(self) -> str:
        """Its left side, as written."""
        scope = f"{self.scope}/" if self.scope else ""
        return f"{scope}{self.name}{'.' if self.parameter else ''}{self.parameter}"


@dataclass(frozen=True)
class Import:
    """`import module`."""

    module: str
    place: Place


@dataclass(frozen=True)
class Include:
    """`include 'file.gin'`."""

    file: str
    place: Place


Statement = Binding | Import | Include


@dataclass
class Problems:
    """What is wrong so far."""

    found: dict[tuple[Place, str], None] = field(default_factory=dict)
    incomplete: bool = False
    """A file could not be read in full: what else seems to be missing may stand in the rest."""
    hidden: bool = False
    """A reference or name is wrong: what would have been built below it is unknown."""
    uncertain: set[str] = field(default_factory=set)
    """Names with a wrong parameter: a required one that seems unset may be meant by it."""

    def add(self, place: Place, text: str) -> None:
        """Report a sentence once for each place."""
        self.found[place, text] = None

    def lines(self) -> list[str]:
        """`file:line: sentence`, in the order of files and lines."""
        files = list(dict.fromkeys(place.file for place, _ in self.found))
        order = sorted(self.found, key=lambda it: (it[0].root, it[0].included, files.index(it[0].file), it[0].line))
        return [f"{place}: {text}" for place, text in order]


@dataclass(frozen=True, eq=False)
class _Key:
    """A dict key as parsed, so that gin's dict() keeps both of two equal ones for us to refuse."""

    value: Any


class _Delegate:
    """What gin's parser makes of @ and %."""

    def configurable_reference(self, scoped_name: str, evaluate: bool) -> Reference:
        scope, _, name = scoped_name.rpartition("/")
        return Reference(scope, name, evaluate)

    def macro(self, name: str) -> Macro:
        return Macro(name)


def parse(text: str, place: Place, problems: Problems) -> list[Statement]:
    """The statements of a text; `place` says where it comes from. After a syntax error, reading goes on below it."""
    lines = text.splitlines()
    for _ in range(len(lines) + 1):
        start = [1]
        try:
            return list(_statements("\n".join(lines) + "\n", place, problems, start))
        except (SyntaxError, tokenize.TokenError, ValueError, RecursionError) as error:
            problems.incomplete = True
            line = _error_line(error, start[0], len(lines))
            unclosed = line > start[0] and bool(_BEGINS.match(lines[line - 1]))
            shown = start[0] if unclosed or isinstance(error, tokenize.TokenError) else line
            problems.add(_at(place, shown), _syntax(error, lines, shown, unclosed))
            _blank(lines, start[0], line)
    return []


def _at(place: Place, line: int) -> Place:
    return place if place.is_override else Place(place.file, line, place.root, place.included)


def _statements(text: str, place: Place, problems: Problems, start: list[int]) -> Iterator[Statement]:
    parser = config_parser.ConfigParser(text, _Delegate())
    item = parser._parse_dict_item

    def keyed_item() -> tuple[_Key, Any]:
        key, value = item()
        return _Key(key), value

    parser._parse_dict_item = keyed_item
    while True:
        parser._skip_whitespace_and_comments()
        start[0] = parser.current_token.start[0]
        statement = parser.parse_statement()
        if statement is None:
            return
        at = _at(place, statement.location.line_num)
        if isinstance(statement, config_parser.BindingStatement):
            value = _plain(statement.value, at, problems)
            yield Binding(statement.scope, statement.selector, statement.arg_name, value, at)
        elif isinstance(statement, config_parser.ImportStatement):
            yield Import(statement.module, at)
        elif isinstance(statement, config_parser.IncludeStatement):
            yield Include(statement.filename, at)


def _plain(value: Any, place: Place, problems: Problems) -> Any:
    """The value with plain dicts; two equal keys are a problem (Python and gin let the last one win)."""
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item, place, problems) for item in value)
    if not isinstance(value, dict):
        return value
    plain: dict[Any, Any] = {}
    for key, item in value.items():
        name = key.value
        if not isinstance(name, (str, int, float, bool)):
            problems.add(place, f"got {name!r} as a key, allowed: a string or a number")
            plain[str(name)] = BROKEN
            continue
        if name in plain:
            problems.add(place, f"the key {name!r} is there twice; gin would silently keep the last")
        plain[name] = _plain(item, place, problems)
    return plain


def _error_line(error: Exception, start: int, last: int) -> int:
    line = error.lineno if isinstance(error, SyntaxError) and error.lineno else start
    return max(1, min(line, max(1, last)))


def _blank(lines: list[str], start: int, line: int) -> None:
    """Empty the broken statement: from its first line to the next line that can begin another one."""
    stop = start
    while stop < len(lines) and not (stop >= line - 1 and _BEGINS.match(lines[stop])):
        stop += 1
    lines[start - 1 : max(stop, start)] = [""] * (max(stop, start) - start + 1)


_BEGINS = re.compile(r"[A-Za-z_]")
_WORDS = {"true": "True", "false": "False", "none": "None", "null": "None", "nil": "None"}


def _syntax(error: Exception, lines: list[str], line: int, unclosed: bool) -> str:
    """gin's complaint as a sentence, with a hint for the usual slips."""
    text = lines[line - 1].strip() if lines else ""
    value = text.partition("=")[2].partition("#")[0].strip()
    told = str(error.args[0]) if error.args else str(error)
    token = re.search(r"Failed to parse token '(.*)'", told)
    if unclosed or isinstance(error, (tokenize.TokenError, RecursionError)):
        return f"broken syntax: a bracket or string that begins here is not closed: {text}"
    if token:
        word = token[1].strip("'\"")
        if word.lower() in _WORDS:
            return f"broken syntax: got {word}; did you mean {_WORDS[word.lower()]}?"
        if word.lower() in ("inf", "nan", "infinity"):
            return f"broken syntax: got {word}, allowed: a finite number"
        return f"broken syntax: got {word} without quotes; did you mean {word!r}? In a shell: -s \"name.param='text'\""
    if re.match(r"[-\d.]+\s*[-+*/]", value):
        return f"broken syntax: got {value}, but gin does not calculate; write the number (for an eps also {value!r})"
    if "=" not in text and ":" not in text:
        return f"broken syntax: got {text}, allowed: NAME.PARAMETER = VALUE, import MODULE, or include 'FILE'"
    return f"broken syntax: got {text} ({' '.join(told.split())})"
