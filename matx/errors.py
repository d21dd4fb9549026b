"""What went wrong, in one sentence that a user can act on: what, got, allowed or did-you-mean, where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DamagedError",
    "DataError",
    "ExchangeError",
    "FormError",
    "LostProcessError",
    "MachineError",
    "MatxError",
    "ModelError",
    "NotFiniteError",
    "OptionError",
    "PluginError",
    "RegistrationError",
    "RunError",
    "did_you_mean",
]


class MatxError(Exception):
    """Base of every error that matx raises on purpose; the CLI prints it without a traceback and exits with 2.

    >>> import matx
    >>> try:
    ...     matx.ThreatModel(norm="linf", eps=8)
    ... except matx.MatxError as error:
    ...     print(error)
    ThreatModel.eps: got 8 in linf, allowed: at most 1, for pixels lie in [0,1]; did you mean '8/255'?
    """


class OptionError(MatxError, ValueError):
    """An option of a component or noun has the wrong type or lies outside its range.

    `OptionError("steps", got="0", allowed="1 or more")`; without a parameter it is about the component as a whole, and
    without `got` and `allowed` the text is a sentence of its own. Whose option it is, `matx.options` adds.
    """

    def __init__(self, text: str, *, got: str | None = None, allowed: str | None = None, owner: str = "") -> None:
        super().__init__(text)
        self.parameter = "" if got is None else text
        self.got, self.allowed = got, allowed
        self.owner = owner
        """The name of the component, as in gin."""
        self.component: object = None
        """The component itself."""

    def __str__(self) -> str:
        if self.got is None:
            return str(self.args[0])
        about = ".".join(part for part in (self.owner, self.parameter) if part)
        return f"{about}{': ' if about else ''}got {self.got}, allowed: {self.allowed}"


class RegistrationError(MatxError):
    """A name is taken, unknown, or not a valid name."""


class PluginError(MatxError):
    """A plug-in cannot be imported, or registers nothing."""


class DataError(MatxError):
    """A dataset is missing, malformed, or outside [0,1]."""


class ModelError(MatxError):
    """A model cannot be built, or does not do what a classifier must."""


class ExchangeError(MatxError):
    """A strategy declared the impossible, or read what it had not declared."""


class RunError(MatxError):
    """A run folder exists already, is missing, or does not fit."""


class FormError(RunError):
    """A file is in a form of another version of matx, which is not read here: perhaps a newer one's, and whole."""


class MachineError(RunError):
    """The machine failed, not the program or its input: its disk, a folder, its memory."""

    def __init__(self, sentence: str, *, memory: bool = False) -> None:
        super().__init__(sentence)
        self.memory = memory
        """True: too little of it; otherwise no work that writes can go on."""


class LostProcessError(RunError):
    """Another process of the same run is gone, or does not answer."""


class NotFiniteError(RunError):
    """A loss, a gradient or a weight of a peer is not finite."""

    def __init__(
        self, sentence: str, *, peer: str = "", epoch: int = 0, step: int = 0, indices: tuple[int, ...] = ()
    ) -> None:
        super().__init__(sentence)
        self.peer, self.epoch, self.step = peer, epoch, step
        """Epoch and step of the epoch count from 1."""
        self.indices = indices
        """Of the batch's samples, in order; none where no batch is to blame."""


class CheckpointError(MatxError):
    """A checkpoint is missing, damaged, or belongs to another experiment."""


class DamagedError(CheckpointError):
    """A checkpoint is missing, or is not what was written."""


class ConfigError(MatxError):
    """Everything wrong with a configuration, reported at once: one `file:line: sentence` each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """`"; did you mean 'pgd'?"` for the nearest of the known names, or the empty string.

    >>> did_you_mean("pdg", ["pgd", "fgsm"])
    "; did you mean 'pgd'?"
    """
    near = get_close_matches(got, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
