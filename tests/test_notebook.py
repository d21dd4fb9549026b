"""The notebook runs from top to bottom, in a kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parents[1] / "examples" / "tutorial.ipynb"
RUN = """
import json, sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
print(json.dumps(notebook))
"""


def test_the_notebook_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(NOTEBOOK)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, f"a cell fails:\n{done.stderr[-3000:]}"
    cells = [cell for cell in json.loads(done.stdout.splitlines()[-1])["cells"] if cell["cell_type"] == "code"]
    printed = "".join(output.get("text", "") for cell in cells for output in cell["outputs"])
    assert "union" in printed, f"the figures of the run are shown: {printed}"
    assert (tmp_path / "notebook_run" / "report.html").is_file(), "the run is a run folder like any other"


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not [cell for cell in cells if cell.get("outputs")], (
        "outputs of somebody's machine are no part of the sources"
    )
