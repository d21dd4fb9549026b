"""The built-in plug-in: importing it puts every component on its shelf, as anyone's plug-in would."""

from registry import architectures, attacks, datasets, strategies, unions

__all__ = ["architectures", "attacks", "datasets", "strategies", "unions"]
