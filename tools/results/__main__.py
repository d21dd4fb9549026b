"""`python -m tools.results`: write what is made from the committed results."""

from __future__ import annotations

from .page import ROOT, files

for path, text in files().items():
    path.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: written")
