"""What the processes that commands are forked from have done already: imported matx, its components and what they use.

The script of pages, the same in every one, is made by a process of its own: making it starts threads, which no process
that is forked may have.
"""

import subprocess
import sys
from functools import cache

import jsonschema  # noqa: F401
import optuna  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch._dynamo
import torch.utils.tensorboard  # noqa: F401

from matx import plugins
from matx.pages import page

plugins.import_all()
_MADE = subprocess.run(
    [sys.executable, "-c", "import sys; from matx.pages import page; sys.stdout.write(page._bundle())"],
    check=True,
    stdout=subprocess.PIPE,
)
_SCRIPT = _MADE.stdout.decode("utf-8")
page._bundle = cache(lambda: _SCRIPT)
