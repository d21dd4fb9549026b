"""gin files and overrides with something changed: each is read as gin itself reads it, or refused with its place."""

from __future__ import annotations

import math
import random
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from matx.config import load_experiment, packaged_recipes
from matx.errors import ConfigError, MatxError

from .bench import Bench, recipe
from .outcomes import Case, Found, Outcome
from .real_gin import resolved_by_gin

__all__ = ["CASES", "mutant"]

_PATIENCE = 30
"""Seconds of this process, not of a machine that is busy with others."""
_VALUES = (
    "1e999", "-1", "0", "nan", "True", "None", "'x'", "''", "[]", "{}", "()", "1e308", "10**9", "99999999999999999999",
    "'8/0'", "'8/255'", "0x10", "1_000", "1j", "b'x'", "f'x'", "...", "[1, [2, [3]]]", "{'a': 1, 'a': 2}", "{1e999: 1}",
    "@Peer()", "@Peer", "@one/Peer()", "@attacks.pgd()", "@attacks.pgd", "@nobody()", "%NOBODY", "@/attacks.pgd()",
    "@gin.macro()", "lambda: 1", "__import__('os')", "(" * 200, "[" * 80 + "]" * 80, "'" + "x" * 5000 + "'", "'\\x00'",
)  # fmt: skip
_MARKS = ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\r", "\x00", "\ufeff", "\t", "\\\n", "\\", "#", '"""', "'", '"',
          "(", ")", "[", "]", "{", "}", "=", ",", "@", "%",
          "/", ".", ":", ";", "\u00e9", "\U0001f600", "\x1a")  # fmt: skip
_LINES = (
    "include 'nobody.gin'", "include 'quick.gin'", "include ''", "include", "import nobody", "import",
    "from os import path",
    "x = 1", "Experiment.epochs", "Experiment.epochs =", "= 3", "one/two/three/Peer.ema = 0.5", "Peer.ema = 0.5",
    "Experiment.peers = {}", "Tune.epochs = 1", "def f(): pass", "gin.constant = 1", "Experiment.epochs: 3",
)  # fmt: skip
_Change = Callable[[str, random.Random], str]


def _character(text: str, draw: random.Random) -> str:
    at = draw.randrange(len(text))
    return text[:at] + draw.choice(["", text[at] * 2, draw.choice(_MARKS), draw.choice(text)]) + text[at + 1 :]


def _inserted(text: str, draw: random.Random) -> str:
    at = draw.randrange(len(text))
    return text[:at] + draw.choice(_MARKS) + text[at:]


def _swapped(text: str, draw: random.Random) -> str:
    at = draw.randrange(max(1, len(text) - 1))
    return text[:at] + text[at + 1 : at + 2] + text[at] + text[at + 2 :]


def _value(text: str, draw: random.Random) -> str:
    found = list(re.finditer(r"(?m)= *(.+)$", text))
    if not found:
        return text + draw.choice(_VALUES)
    match = draw.choice(found)
    return text[: match.start(1)] + draw.choice(_VALUES) + text[match.end(1) :]


def _number(text: str, draw: random.Random) -> str:
    found = list(re.finditer(r"\d+(\.\d+)?", text))
    if not found:
        return text + "0"
    match = draw.choice(found)
    other = draw.choice(
        ["0", "-" + match[0], match[0] + "0" * 9, match[0] + ".5", "1e400", str(math.pi), match[0] + "L"]
    )
    return text[: match.start()] + other + text[match.end() :]


def _word(text: str, draw: random.Random) -> str:
    found = list(re.finditer(r"[A-Za-z_]\w+", text))
    if len(found) < 2:
        return text + "x"
    match, other = draw.sample(found, 2)
    new = draw.choice([other[0], match[0][:-1], match[0].upper(), match[0] + "s", f"one/{match[0]}"])
    return text[: match.start()] + new + text[match.end() :]


def _line(text: str, draw: random.Random) -> str:
    lines = text.splitlines()
    at = draw.randrange(len(lines))
    choice = draw.randrange(5)
    if choice == 0:
        del lines[at]
    elif choice == 1:
        lines.insert(at, draw.choice(lines))
    elif choice == 2:
        lines.insert(at, draw.choice(_LINES))
    elif choice == 3:
        lines[at] = draw.choice(("  ", "\t", "\u00a0", "# ")) + lines[at]
    else:
        other = draw.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines) + "\n"


_CHANGES: tuple[_Change, ...] = (_character, _inserted, _swapped, _value, _number, _word, _line)


def mutant(text: str, draw: random.Random) -> str:
    """A text with one to three changes."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        text = draw.choice(_CHANGES)(text, draw) or "x"
    return text


def _file(bench: Bench, folder: Path, number: int) -> Found:
    draw = random.Random(f"file {number}")
    (folder / "quick.gin").write_text(recipe())
    text = (
        recipe()
        if number % 2
        else load_experiment([bench.kept("recipes", lambda: list(packaged_recipes()))[number % 40]]).text
    )
    file = folder / "mutant.gin"
    file.write_text(mutant(text, draw), encoding="utf-8", newline="")
    return _judged(r"\S+\.gin:\d+: ", (str(file),))


def _override(bench: Bench, folder: Path, number: int) -> Found:
    draw = random.Random(f"override {number}")
    (folder / "quick.gin").write_text(recipe())
    settings = [line for line in recipe().splitlines() if " = " in line and "include" not in line]
    binding = mutant(draw.choice(settings), draw)
    return _judged(r"-s ['\"]|\S+\.gin:\d+: ", (str(folder / "quick.gin"),), (binding,))


def _judged(place: str, files: tuple[str, ...], bindings: tuple[str, ...] = ()) -> Found:
    """Read, and compare with what gin makes of it; every problem of a refusal must begin with its place."""
    try:
        with _in_time():
            loaded = load_experiment(files, bindings)
    except TimeoutError:
        return Found(Outcome.HANG, f"{files} {bindings}")
    except ConfigError as error:
        bad = [problem for problem in error.problems if not re.match(place, problem)]
        return Found(Outcome.UNNAMED, "; ".join(bad)) if bad else Found(Outcome.REFUSED, str(error))
    except MatxError as error:
        return Found(Outcome.UNNAMED, f"{type(error).__name__}: {error}")
    except (Exception, RecursionError) as error:
        return Found(Outcome.TRACEBACK, f"{type(error).__name__}: {error}")
    try:
        theirs = resolved_by_gin(*files, bindings=tuple(binding.strip() for binding in bindings))
    except Exception as error:
        return Found(Outcome.SILENT, f"gin refuses what was read: {type(error).__name__}: {error}")
    same = repr(theirs) == repr(dict(loaded.resolved))
    return Found(Outcome.AS_GIN) if same else Found(Outcome.SILENT, f"gin reads something else: {files} {bindings}")


@contextmanager
def _in_time() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, _PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


CASES = [
    Case(
        section="Configurations",
        fault="a gin file with one to three changes of characters, values, words or lines",
        short=60,
        long=2000,
        attempt=_file,
    ),
    Case(
        section="Configurations",
        fault="an override (`-s`) with one to three such changes",
        short=60,
        long=2000,
        attempt=_override,
    ),
]
