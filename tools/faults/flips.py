"""Damaged files: single flipped bits, halves, emptied files and files of another form, read and continued from."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from matx.digest import digest_of
from matx.errors import MatxError
from matx.results import read_flags, read_results
from matx.runtime import checkpoint
from matx.runtime.folder import RunFolder
from matx.runtime.journal import check_metrics, read_rows

from .bench import Bench, different
from .commands import matx
from .outcomes import Case, Found, Outcome

__all__ = ["CASES", "content"]

READ = ("checkpoints/last.pt", "checkpoints/best.pt", "results.json", "flags.npz", "metrics.jsonl")
_FORMS = (b"", b"[]", b"{}", b"null", b"\x00" * 64, b'{"schema": 2}', b"PK\x05\x06" + bytes(18))


def flipped(content: bytes, draw: random.Random) -> bytes:
    """The same with one other bit."""
    at = draw.randrange(8 * len(content))
    damaged = bytearray(content)
    damaged[at // 8] ^= 1 << at % 8
    return bytes(damaged)


def shortened(content: bytes, draw: random.Random) -> bytes:
    """The beginning, as a write leaves it that was cut off; or something else altogether."""
    forms = [content[: draw.randrange(len(content))], *_FORMS]
    return draw.choice([forms[0], draw.choice(forms)])


Damage = Callable[[bytes, random.Random], bytes]


def _read(name: str, damage: Damage, bench: Bench, folder: Path, number: int) -> Found:
    """Damage a file of a finished run, and read it as every later command does."""
    whole = bench.run()
    wanted = bench.kept(f"content of {name}", lambda: content(whole, name))
    target = folder / "run" / name
    (folder / "run" / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "last.pt", folder / "run" / "checkpoints" / "last.pt")
    draw = random.Random(f"{name} {damage.__name__} {number}")
    target.write_bytes(damage((whole / name).read_bytes(), draw))
    with _said() as said:
        try:
            found = content(folder / "run", name)
        except MatxError as error:
            named = Path(name).name in str(error)
            return Found(Outcome.REFUSED if named else Outcome.UNNAMED, str(error))
        except Exception as error:
            return Found(Outcome.TRACEBACK, f"{type(error).__name__}: {error}")
    if found == wanted:
        return Found(Outcome.UNCHANGED)
    named = any(Path(name).name in line for line in said)
    return Found(Outcome.NAMED, "; ".join(said)) if named else Found(Outcome.SILENT, f"{name} is believed")


def content(run: Path, name: str) -> str:
    """A digest of everything that a reader gets from a file of a run."""
    folder = RunFolder(run)
    readers: dict[str, Callable[[], object]] = {
        "results.json": lambda: read_results(folder.results).content(),
        "flags.npz": lambda: {str(column): values for column, values in read_flags(run).items()},
        "metrics.jsonl": lambda: _rows(folder),
    }
    return digest_of(readers.get(name, lambda: vars(checkpoint.load(run / name)))())


def _rows(folder: RunFolder) -> object:
    """The rows that the last checkpoint knows of."""
    size = checkpoint.load(folder.last).metrics_bytes
    check_metrics(folder.metrics, size)
    return read_rows(folder.metrics, size)


@contextmanager
def _said() -> Iterator[list[str]]:
    """What the matx logger says meanwhile."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler, logger = Kept(logging.WARNING), logging.getLogger("matx")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def _continue_from(name: str, damage: Damage, bench: Bench, folder: Path, number: int) -> Found:
    """Damage a file of a run whose evaluation is not done, and continue it."""
    wanted = bench.run()
    shutil.copytree(wanted, folder / "run")
    if name != "results.json":
        (folder / "run" / "results.json").unlink()
    target = folder / "run" / name
    draw = random.Random(f"continue {name} {damage.__name__} {number}")
    target.write_bytes(damage(target.read_bytes(), draw))
    ended = matx("run", "--resume", "run", folder=folder)
    said = f"{Path(name).name}: " in ended.said or f"{Path(name).name}:" in ended.said
    if ended.code is None:
        return Found(Outcome.HANG)
    if "Traceback (most" in ended.said:
        return Found(Outcome.TRACEBACK, ended.error)
    if "defect of matx" in ended.said:
        return Found(Outcome.BLAMED, ended.error)
    if ended.code != 0:
        return Found(Outcome.REFUSED if said else Outcome.UNNAMED, ended.error)
    names = different(folder / "run", wanted)
    if names:
        return Found(Outcome.SILENT, f"{', '.join(names)} differ: {ended.said[-300:]}")
    if name.endswith("last.pt") and said:
        return Found(Outcome.PREVIOUS)
    return Found(Outcome.RESUMED, "" if said else "not named")


CASES = [
    *(
        Case(
            section="Damaged files",
            fault=f"one bit of `{name}` flipped, then read",
            short=12,
            long=200,
            attempt=partial(_read, name, flipped),
        )
        for name in READ
    ),
    *(
        Case(
            section="Damaged files",
            fault=f"`{name}` cut off, emptied or of another form, then read",
            short=6,
            long=100,
            attempt=partial(_read, name, shortened),
        )
        for name in READ
    ),
    *(
        Case(
            section="Damaged files",
            fault=f"one bit of `{name}` flipped, then `matx run --resume`",
            short=0,
            long=20,
            attempt=partial(_continue_from, name, flipped),
        )
        for name in READ
        if name != "flags.npz"
    ),
    *(
        Case(
            section="Damaged files",
            fault=f"`{name}` cut off, emptied or of another form, then `matx run --resume`",
            short=0,
            long=10,
            attempt=partial(_continue_from, name, shortened),
        )
        for name in READ
        if name != "flags.npz"
    ),
]
