"""`startup`: processor seconds of commands in processes of their own, above `import torch`."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from statistics import median

from benchmarks.measuring import Row, Settings, Tables

IMPORT = "import torch"
COMMANDS = {
    IMPORT: ["-c", "import torch"],
    "matx --help": ["-m", "matx", "--help"],
    "matx list": ["-m", "matx", "list"],
    "matx check mat_union": ["-m", "matx", "check", "mat_union"],
    "matx check at --no-data": ["-m", "matx", "check", "at", "--no-data"],
}


def measure(settings: Settings) -> Tables:
    commands = dict(list(COMMANDS.items())[: 2 if settings.brief else None])
    for words in () if settings.brief else commands.values():
        _spent(words)
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(settings.rounds):
        for name, words in commands.items():
            spent[name].append(_spent(words))
    rows: list[Row] = []
    for name, times in spent.items():
        above = [mine - torch for mine, torch in zip(times, spent[IMPORT], strict=True)]
        rows.append(
            {"command": name, "min s": min(times), "median s": median(times), "above import torch": median(above)}
        )
    return {"startup": rows}


def _spent(words: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, *words], check=True, capture_output=True, cwd=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
