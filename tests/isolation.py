"""For tests that load plug-ins: what they register, append to sys.path and import is undone."""

from __future__ import annotations

import sys
import sysconfig
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
        for name in set(sys.modules) - modules:
            if not _installed(name):
                del sys.modules[name]
        for kept, before in ((plugins._LOADED, loaded), (plugins._IMPORTED, imported)):
            kept.clear()
            kept.update(before)


def _installed(name: str) -> bool:
    """Whether a module is a package's or Python's own, which others may have imported from by now."""
    file = getattr(sys.modules[name], "__file__", None)
    ours = name.partition(".")[0] in ("matx", "registry")
    return ours or file is None or "site-packages" in file or file.startswith(sysconfig.get_path("stdlib"))
