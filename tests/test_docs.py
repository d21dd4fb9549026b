"""Documentation runs: the Python blocks of each page, in order, in one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = {"python.md": 7, "zoo.md": 1}
"""{page of docs: how many blocks it has at least}."""


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[1] / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)
    assert len(blocks) >= PAGES[page], f"docs/{page} has {len(blocks)} blocks of Python"
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"docs/{page}, block {number}", "exec"), namespace)
