"""What the reference does to docstrings: examples of the interpreter are blocks of code, not quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(?P<indent> *)>>> .*(?:\n(?P=indent).*\S.*)*", flags=re.M)


class Fenced(griffe.Extension):  # type: ignore[misc, unused-ignore]
    """An extension of griffe, which reads the docstrings for mkdocstrings, of the extra `docs`."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Griffe's event, once an object."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
