"""Whether two experiments, or parts of them, are the same: what their figures depend on, as `{path: text}`.

Registered names and options count, and what a path points to counts by its content. Modules, places and options
declared with `matx.effect.NO_EFFECT` do not. The images of a dataset count by their fingerprint, from `images_of`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from matx.data import Data, fingerprints
from matx.effect import has_effect
from matx.errors import CheckpointError, MatxError, RunError
from matx.experiment import Experiment, Peer, splits_of, trained_teachers
from matx.learner import weights_file
from matx.registration import REGISTRIES

__all__ = [
    "as_it_was",
    "common_options",
    "differences",
    "identity_of",
    "images_of",
    "refuse_other",
    "settings",
    "upgraded",
]

_SHOWN = 6
_CONTENT = "content "
"""Before the hash of what a path points to."""


def settings(value: object, prefix: str = "") -> dict[str, str]:
    """Every setting of an experiment, component or noun as `{path: text}`, in declared order.

    >>> settings((1, 2.5), "x")
    {'x[0]': '1', 'x[1]': '2.5'}
    """
    return dict(_leaves(value, prefix, everything=True))


def identity_of(value: object, prefix: str = "") -> dict[str, str]:
    """The settings on which figures depend; two experiments are the same where these are equal."""
    return dict(_leaves(value, prefix, everything=False))


def images_of(experiment: Experiment, data: Data) -> dict[str, str]:
    """The fingerprints of the training and validation images of an experiment, whose dataset gave `data`."""
    return dict(fingerprints(splits_of(experiment, data), test=False))


def differences(stored: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """What differs between two identities, one `path: stored -> given` each."""
    paths = dict.fromkeys([*stored, *given])
    return [
        f"{path}: {stored.get(path, 'absent')} -> {given.get(path, 'absent')}"
        for path in paths
        if stored.get(path) != given.get(path)
    ]


def refuse_other(
    stored: Mapping[str, str], given: Mapping[str, str], what: str, *, allowed: str, error: type[MatxError] = RunError
) -> None:
    """Refuse to go on with what is not the same: `what` (such as 'DIR: holds another run'), differences, allowed."""
    found = differences(stored, given)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise error(f"{what} ({'; '.join(found[:_SHOWN])}{more}); allowed: {allowed}")


def _leaves(value: object, prefix: str, *, everything: bool) -> Iterator[tuple[str, str]]:
    if is_dataclass(value) and not isinstance(value, type):
        if prefix:
            yield prefix, _name(type(value))
        options = [option.name for option in fields(value) if everything or has_effect(option)]
        if isinstance(value, Experiment) and not everything and not trained_teachers(value):
            options.remove("teacher_mode")  # nobody follows it
        items = [(f".{name}", getattr(value, name)) for name in options]
        if isinstance(value, Peer) and value.weights is not None and not everything:
            items = [item for item in items if item[0] != ".weights"]
            yield f"{prefix}.weights", _weights(value.weights, prefix.rpartition(".")[2])
    elif isinstance(value, Mapping):
        items = [(f".{key}", item) for key, item in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items = [(f"[{position}]", item) for position, item in enumerate(value)]
    else:
        yield prefix, _content(value) if isinstance(value, Path) and not everything else repr(value)
        return
    if not items and not is_dataclass(value):
        yield prefix, "none"
    for name, item in items:
        yield from _leaves(item, f"{prefix}{name}" if prefix else name.lstrip("."), everything=everything)


def _weights(spec: str, peer: str) -> str:
    try:
        file, name = weights_file(spec, peer)
    except CheckpointError:  # building the peer says what is missing
        return f"{_CONTENT}missing"
    return f"{_content(file)} of {name}"


def _name(cls: type[Any]) -> str:
    """`KIND.NAME` of a registered component, else the name of the class: never its module."""
    for kind, registry in REGISTRIES.items():
        for name, known in registry.components.items():
            if known is cls:
                return f"{kind}.{name}"
    return cls.__qualname__


def _content(path: Path) -> str:
    """A hash of a file, or of all files of a folder with their names; what is not there has none."""
    digest = hashlib.blake2b(digest_size=8)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        digest.update(file.relative_to(path).as_posix().encode())  # '.' for a file: its own name does not count
        try:
            if not file.is_file():  # one that is no regular file may never end
                return f"{_CONTENT}missing"
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "blake2b").digest())
        except OSError:
            return f"{_CONTENT}missing"
    return _CONTENT + digest.hexdigest()


def upgraded(stored: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Settings as the first version of matx stored them, as an identity that can be compared with `given`.

    They named classes with their modules and listed paths and options without effect. What a path points to is taken as
    given, and so are the options that `common_options` names.
    """
    found = common_options({path: _renamed(path, stored) for path in stored}, given)
    return found | {path: text for path, text in given.items() if text.startswith(_CONTENT)}


def as_it_was(given: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """An identity in which the content of a path that is gone is the stored one, as it was then."""
    gone = f"{_CONTENT}missing"
    return {path: stored.get(path, text) if text == gone else text for path, text in given.items()}


def common_options(stored: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The stored identity as another version of matx would have written it.

    An option that only one version knows, of a component that both have, is taken as given.
    """
    shared = {"", *(path for path, text in stored.items() if given.get(path) == text)}
    chains = {path: tuple(_options(path, {*stored, *given})) for path in {*stored, *given}}
    old, new = ({option for path in paths for _, option in chains[path]} for paths in (stored, given))

    def unknown(path: str, other: set[str]) -> bool:
        return any(owner in shared and option not in other for owner, option in chains[path])

    kept = {path: text for path, text in stored.items() if not unknown(path, new)}
    return kept | {path: text for path, text in given.items() if unknown(path, old)}


def _renamed(path: str, stored: Mapping[str, str]) -> str:
    """A stored text; a class by its registered name, or by its own without the module."""
    text = stored[path]
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text):
        return text
    *_, kind, name, cls = ("", *text.split("."))
    if f"{path}.name" in stored:  # a noun of the first version that chose by name what is a kind now
        kind, name = f"{cls.lower()}s", stored[f"{path}.name"].strip("'")
    for word, registry in REGISTRIES.items():
        for known, component in registry.components.items():
            if (word, known) == (kind, name) or text in (f"{word}.{known}", _dotted(component)):
                return f"{word}.{known}"
    return cls


def _dotted(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _options(path: str, known: Container[str]) -> Iterator[tuple[str, str]]:
    """(component, its option) for every component on the way down to a path; '' is the experiment itself."""
    cuts = [match.start() for match in re.finditer(r"[.\[]", path)]
    for owner in ("", *(path[:cut] for cut in cuts if path[:cut] in known)):
        name = re.split(r"[.\[]", path[len(owner) :].lstrip("."))[0]
        yield owner, f"{owner}.{name}"
