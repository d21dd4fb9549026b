"""Options that declare themselves: declarations are checked once, values wherever a component is made."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import pytest
from isolation import isolated_plugins

import matx
from matx.errors import OptionError, RegistrationError
from matx.experiment import Evaluation, Peer
from matx.options import Range, declare, parameters


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    with isolated_plugins():
        yield


@declare
@dataclass(frozen=True, kw_only=True)
class Probe:
    alpha: Annotated[float, Range(0, 1)] = 0.5
    steps: Annotated[int, Range(1)] | None = None
    share: Annotated[float, Range(0, 1, open="both")] = 0.5
    reading: Literal["owner", "reader"] = "owner"
    weights: Mapping[str, Annotated[float, Range(0)]] = field(default_factory=dict)
    times: Sequence[Annotated[float, Range(0, 1)]] = ()
    plain: int = 1
    later: NotThere = None  # type: ignore[name-defined]  # noqa: F821

    def __post_init__(self) -> None:
        if self.alpha > 0.5 and self.reading == "reader":
            raise OptionError("alpha", got=str(self.alpha), allowed="at most 0.5 for the reader")


REFUSED = {
    "a range": ({"alpha": 1.5}, "Probe.alpha: got 1.5, allowed: 0 to 1"),
    "not a number": ({"alpha": math.nan}, "Probe.alpha: got nan, allowed: 0 to 1"),
    "the type": ({"alpha": "x"}, "Probe.alpha: got 'x', allowed: a number (0 to 1)"),
    "a bool": ({"steps": True}, "Probe.steps: got True, allowed: an integer (1 or more) or None"),
    "a fraction": ({"steps": 1.5}, "Probe.steps: got 1.5, allowed: an integer (1 or more) or None"),
    "or None": ({"steps": 0}, "Probe.steps: got 0, allowed: 1 or more, or None"),
    "an open end": ({"share": 1}, "Probe.share: got 1, allowed: over 0, below 1"),
    "a choice": ({"reading": "ownr"}, "got 'ownr', allowed: 'owner', 'reader'; did you mean 'owner'?"),
    "inside a dict": ({"weights": {"a": -1}}, "Probe.weights['a']: got -1, allowed: 0 or more"),
    "inside a list": ({"times": (0, 2)}, "Probe.times[1]: got 2, allowed: 0 to 1"),
    "its own rule": ({"alpha": 0.7, "reading": "reader"}, "Probe.alpha: got 0.7, allowed: at most 0.5 for the reader"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_are_refused_in_python_as_in_gin(case: str) -> None:
    options, sentence = REFUSED[case]
    with pytest.raises(OptionError) as caught:
        Probe(**options)
    assert sentence in str(caught.value), f"{case}: {caught.value}"
    again = pickle.loads(pickle.dumps(caught.value.with_traceback(None)))
    assert str(again) == str(caught.value), "an error crosses processes whole"


def test_what_declares_nothing_is_left_unchanged() -> None:
    odd: Any = "three"
    assert Probe(plain=odd, later=odd).plain == "three", "plain annotations are not checked in Python"
    with pytest.raises(OptionError, match=r"Probe\.alpha: got 2, allowed: 0 to 1"):
        replace(Probe(), alpha=2)
    assert parameters(Probe)["later"].hint is Any, "an annotation that names what does not exist admits everything"


def test_the_error_says_which_option_of_which_component() -> None:
    with pytest.raises(OptionError) as caught:
        Evaluation(every=0)
    error = caught.value
    assert (error.owner, error.parameter, error.got, error.allowed) == ("Evaluation", "every", "0", "1 or more"), error
    assert isinstance(error.component, Evaluation), "the component itself is known too"
    ema: Any = 1.0
    with pytest.raises(OptionError, match=r"Peer\.ema: got 1\.0, allowed: over 0, below 1, or None"):
        Peer(architecture=ema, ema=ema)


UNUSABLE: dict[str, tuple[Any, Any, str]] = {
    "ends": ("Annotated[float, Range(1, 0)]", 0.5, "Range: got 1 to 0, allowed: a low end under the high end"),
    "empty": ("Annotated[float, Range(1, 1, open='low')]", 1, "got 1 to 1, allowed: a low end under the high end"),
    "words": ("Annotated[float, Range('a', 'b')]", 0.5, "got 'a' to 'b', allowed: a low end under the high end"),
    "open": ("Annotated[float, Range(0, 1, open='up')]", 0.5, "Range.open: got 'up', allowed: 'neither', 'low',"),
    "text": ("Annotated[str, Range(0, 1)]", "a", "got 0 to 1 on <class 'str'>, allowed: a range on int or float"),
    "no whole number": ("Annotated[int, Range(0.2, 0.8)]", 0, "0.2 to 0.8 on int, allowed: a range that holds a whole"),
    "default": ("Annotated[float, Range(0, 1)]", 3.0, "the default: got 3.0, allowed: 0 to 1"),
    "default choice": ("Literal['a', 'b']", "c", "the default: got 'c', allowed: 'a', 'b'"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_declaration_is_refused_when_it_is_registered(case: str) -> None:
    annotation, default, sentence = UNUSABLE[case]

    class Mine:
        alpha = default

    Mine.__annotations__ = {"alpha": annotation}
    with pytest.raises(RegistrationError) as caught:
        matx.strategies.register("mine")(dataclass(frozen=True, kw_only=True)(Mine))
    said = str(caught.value)
    assert said.startswith("strategies.mine.alpha: "), said
    assert sentence in said, said
    assert "\n" not in said, "one sentence"
    assert "mine" not in matx.strategies, "what is refused is not registered"


def test_ranges_in_words() -> None:
    words = [str(one) for one in (Range(0), Range(0, open="low"), Range(high=3), Range(0, 1, open="high"), Range())]
    assert words == ["0 or more", "over 0", "at most 3", "0 or more, below 1", "any"], words
    assert math.inf not in Range(0), "infinity is no finite number"
