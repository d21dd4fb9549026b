"""`import matx.networks` tells other libraries the names of registered networks, so that they build them by name."""

from __future__ import annotations

import matx.plugins  # noqa: F401  # reading the registry finds installed plug-ins by it
from matx.registration import libraries

__all__: list[str] = []

for _library in libraries().values():
    _library.make_known()
