"""For tests that load plug-ins: what they register, append to sys.path and import is undone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from matx import plugins
from matx.registration import REGISTRIES


@contextmanager
def isolated_plugins() -> Iterator[None]:
    plugins.import_all()
    registries = {kind: (dict(registry.components), list(registry.plugins)) for kind, registry in REGISTRIES.items()}
    path, modules = list(sys.path), set(sys.modules)
    loaded, imported = dict(plugins._LOADED), dict(plugins._IMPORTED)
    try:
        yield
    finally:
        for kind, registry in REGISTRIES.items():
            registry.components.clear()
            registry.components.update(registries[kind][0])
            registry.plugins[:] = registries[kind][1]
        sys.path[:] = path
        roots = {name.partition(".")[0] for name in modules}
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] not in roots:
                del sys.modules[name]
        for kept, before in ((plugins._LOADED, loaded), (plugins._IMPORTED, imported)):
            kept.clear()
            kept.update(before)
