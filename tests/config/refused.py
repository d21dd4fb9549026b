"""A configuration is refused, and what is said."""

from __future__ import annotations

import pytest

from matx.config import load_experiment
from matx.errors import ConfigError


def problems(files: list[str], overrides: list[str] | None = None) -> list[str]:
    """Every sentence with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load_experiment(files, overrides or [])
    return list(caught.value.problems)


def only(files: list[str], overrides: list[str] | None = None) -> str:
    """The one sentence with which it is refused."""
    found = problems(files, overrides)
    assert len(found) == 1, "one mistake must give one sentence, got:\n" + "\n".join(found)
    return found[0]
