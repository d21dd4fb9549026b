"""One thread a test process: two of them then use two cores, and figures do not depend on the machine's width."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where a shell runs the tests in its background, SIGINT arrives ignored, and commands that tests interrupt inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
