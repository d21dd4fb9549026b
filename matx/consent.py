"""What the files of others may run in this process: what the user has named, installed or imported, or has trusted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from matx.plugins import installed, loaded_modules, module_name, place_of

__all__ = ["Consent", "consent", "consenting", "in_matx_folder", "refusal"]

_RUN, _STUDY, _EXPORT = "environment.json", "study.json", "model.json"
"""The files by which a run folder, a study folder and an export are known."""


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What the user has agreed to on the command line."""

    plugins: Sequence[str] = ()
    """Plug-ins by file or module, each named by the user."""
    trust: bool = False
    """Whatever files ask for may run, and links in folders may be followed."""

    def words(self) -> list[str]:
        """The options that give the same consent to a later command: to all that this process has loaded."""
        named = {module_name(plugin) for plugin in self.plugins}
        more = self.trust or any(module not in named for module in loaded_modules())
        return [*(word for plugin in self.plugins for word in ("--plugin", plugin)), *(["--trust"] if more else [])]


_CONSENT: ContextVar[Consent] = ContextVar("consent", default=Consent())  # noqa: B039 (it is frozen)


def consent() -> Consent:
    """What the user has agreed to; a new thread begins with nothing."""
    return _CONSENT.get()


@contextmanager
def consenting(given: Consent) -> Iterator[None]:
    """Let what is inside run with this consent."""
    before = _CONSENT.set(given)
    try:
        yield
    finally:
        _CONSENT.reset(before)


def refusal(asked: str, plugin: str | Path, near: Sequence[Path] = ()) -> str | None:
    """Why the plug-in that a file asks for, as in `import mine`, is not loaded; None where it may be.

    What is imported already runs nothing more; what is installed was installed to be found; loading what is not there
    says so.
    """
    module = module_name(plugin)
    if consent().trust or module in sys.modules or installed(module):
        return None
    place = place_of(plugin, near)
    allowed = "allowed: a plug-in that is installed, that --plugin names, or any with --trust"
    return None if place is None else f"{asked}: would run the code of {place}; {allowed}"


def in_matx_folder(path: Path) -> bool:
    """Whether a gin file lies in a run or study folder or an export, so that it need not be the user's own."""
    for folder in {path.parent.absolute(), path.resolve().parent}:
        if any((folder / mark).exists() for mark in (_RUN, _STUDY, _EXPORT)) or (folder.parent / _STUDY).exists():
            return True
    return False
