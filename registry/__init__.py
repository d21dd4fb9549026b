"""The built-in plug-in: importing it registers every component, as anyone's plug-in would. A folder a kind."""

import importlib
import pkgutil

__all__ = [module.name for module in pkgutil.iter_modules(__path__)]

for _name in __all__:
    importlib.import_module(f"{__name__}.{_name}")
