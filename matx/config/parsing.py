"""One text in gin's syntax -> its statements, by gin's own parser, every syntax error reported with file and line."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gin import config_parser

from matx.config.statements import Binding, Import, Include, Macro, Place, Problems, Reference, Statement
from matx.options import BROKEN

__all__ = ["parse"]


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
    lines = _lines(text, place, problems)
    for _ in range(len(lines) + 1):
        start = [1]
        try:
            return list(_statements("\n".join(lines) + "\n", place, problems, start))
        except (SyntaxError, tokenize.TokenError, ValueError, RecursionError) as error:
            problems.incomplete = True
            line = _error_line(error, start[0], len(lines))
            unclosed = line > start[0] and bool(_BEGINS.match(lines[line - 1]))
            shown = start[0] if unclosed or isinstance(error, tokenize.TokenError) else line
            problems.add(_at(place, shown), _syntax(error, lines, shown, unclosed, start[0]))
            _blank(lines, start[0], line)
    return []


def _lines(text: str, place: Place, problems: Problems) -> list[str]:
    """The lines as Python's tokenizer counts them; str.splitlines would end some at U+2028, a form feed, and others.

    A lone carriage return is refused: editors end the line there, the tokenizer does not, Python's evaluation does.
    """
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if "\r" in line:
            problems.incomplete = True
            said = "got a carriage return without a line feed, allowed: lines that end in \\n or \\r\\n; "
            problems.add(_at(place, number), f"{said}in a string write \\r")
            lines[number - 1] = ""
    return lines


def _at(place: Place, line: int) -> Place:
    return place if place.is_override else Place(place.file, line, place.root, place.included)


def _statements(text: str, place: Place, problems: Problems, start: list[int]) -> Iterator[Statement]:
    parser = config_parser.ConfigParser(text, _Delegate())
    item = parser._parse_dict_item

    def keyed_item() -> tuple[_Key, Any]:
        key, value = item()
        return _Key(key), value

    parser._parse_dict_item = keyed_item
    parser._token_generator = _no_joined_strings(parser._token_generator, place, problems)
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


def _no_joined_strings(
    tokens: Iterator[tokenize.TokenInfo], place: Place, problems: Problems
) -> Iterator[tokenize.TokenInfo]:
    """The tokens; two strings side by side are a problem (a comma is missing, and gin would join them)."""
    previous = tokenize.NEWLINE
    for token in tokens:
        if token.type == tokenize.STRING == previous:
            problems.add(
                _at(place, token.start[0]), f"a comma is missing before {token.string}; gin would join the strings"
            )
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            previous = token.type
        yield token


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


def _syntax(error: Exception, lines: list[str], line: int, unclosed: bool, start: int) -> str:
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
    if line > start:
        told += f" In the statement that begins at line {start}."
    elif "=" not in text and ":" not in text:
        return f"broken syntax: got {text}, allowed: NAME.PARAMETER = VALUE, import MODULE, or include 'FILE'"
    return f"broken syntax: got {text} ({' '.join(told.split())})"
