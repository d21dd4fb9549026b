"""One thread a test process: two of them then use two cores, and figures do not depend on the machine's width."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
