"""What gin 0.5.0 does silently wrong: shown on bare gin, and refused (or done right) by load_experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gin
import pytest

from matx.config import load_experiment
from matx.errors import ConfigError

Write = Callable[[str, str], str]


def bare_peer(attack: Any = None, rate: Any = None) -> Any:
    return attack, rate


def bare_attack(eps: Any = "default", steps: Any = 1) -> Any:
    return eps, steps


def bare_open(**options: Any) -> Any:
    return options


class Registered:
    done = False


@pytest.fixture
def bare() -> Iterator[Callable[..., Any]]:
    """Bare gin: parse a text, call a configurable."""
    if not Registered.done:
        for function in (bare_peer, bare_attack, bare_open):
            gin.register(function)
        Registered.done = True

    def call(text: str, name: str, scope: str | None = None) -> Any:
        gin.clear_config()
        gin.parse_config(text)
        with gin.config_scope(scope):
            return gin.get_configurable(name)()

    yield call
    gin.clear_config()


def refused(line: str, write: Write) -> str:
    write("top.gin", f"include 'base.gin'\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(["top.gin"])
    return str(caught.value)


def test_unknown_scopes_unused_bindings_and_unused_macros(bare: Callable[..., Any], write: Write) -> None:
    assert bare("per0/bare_attack.eps = 1\nbare_peer.rate = 2\nSPARE = 3", "bare_attack", "peer0") == ("default", 1), (
        "silent"
    )
    assert "unknown scope 'per0'" in refused("per0/attacks.probe.steps = 1", write), "an unknown scope is refused"
    assert "has no effect" in refused("schedules.cosine.warmup = 1", write), "an unused binding is refused"
    assert "never used" in refused("SPARE = 3", write), "an unused macro is refused"


def test_types(bare: Callable[..., Any], write: Write) -> None:
    assert bare("bare_attack.steps = 'zero'", "bare_attack") == ("default", "zero"), "bare gin checks no types"
    assert "allowed: an integer" in refused("attacks.probe.steps = 'zero'", write), "types are checked"


def test_the_last_of_two_wins(bare: Callable[..., Any], write: Write) -> None:
    assert bare("bare_attack.eps = 1\nbare_attack.eps = 2", "bare_attack")[0] == 2, "bare gin keeps the last"
    assert "is set twice" in refused("attacks.probe.steps = 1\nattacks.probe.steps = 1", write), "twice is refused"


def test_a_later_generic_binding_does_not_override_a_scoped_one(bare: Callable[..., Any], write: Write) -> None:
    assert bare("p/bare_attack.eps = 5\nbare_attack.eps = 1", "bare_attack", "p")[0] == 5, "scoped wins, silently"
    with pytest.raises(ConfigError, match=r"hidden by linf/ThreatModel\.eps"):
        load_experiment(["base.gin"], ["ThreatModel.eps=1"])


def test_an_unevaluated_reference_loses_its_scope(bare: Callable[..., Any], write: Write) -> None:
    attack, _ = bare("bare_peer.attack = @bare_attack\np/bare_attack.eps = 0.9", "bare_peer", "p")
    assert attack() == ("default", 1), "bare gin: called later, it runs with the default eps"
    assert "without ()" in refused("Peer.attacks = [@attacks.probe]", write), "a reference without () is refused"


def test_open_keywords_accept_anything(bare: Callable[..., Any], write: Write) -> None:
    assert bare("bare_open.epss = 1", "bare_open") == {"epss": 1}, "bare gin accepts any name where **kwargs stand"
    assert "has no parameter 'stepss'" in refused("attacks.probe.stepss = 1", write), "unknown options are refused"


def test_scoped_macros_are_not_read_by_plain_ones(bare: Callable[..., Any], write: Write) -> None:
    text = "EPS = 1\np/EPS = 2\nbare_attack.eps = %EPS"
    assert bare(text, "bare_attack", "p")[0] == 1, "bare gin: %EPS never reads p/EPS"
    assert "macro l2/EPS is never used; write %l2/EPS" in refused("l2/EPS = 3", write), "the unread one is refused"
    write("top.gin", "include 'base.gin'\nl2/STEPS = 3\nl2/attacks.probe.steps = %l2/STEPS\n")
    assert load_experiment(["top.gin"]).experiment.peers["l2"].attacks[0].steps == 3, "a scoped macro works by its name"


def test_a_macro_s_reference_is_evaluated_in_the_macro_s_scope(bare: Callable[..., Any]) -> None:
    text = "HOW = @bare_attack()\nbare_peer.attack = %HOW\np/bare_attack.eps = 2"
    assert bare(text, "bare_peer", "p")[0] == ("default", 1), "bare gin: a reference in a macro does not see the scope"


def test_nested_references_replace_the_scope(bare: Callable[..., Any], write: Write) -> None:
    text = "bare_peer.attack = @inner/bare_attack()\nouter/bare_attack.eps = 1\ninner/bare_attack.steps = 2"
    assert bare(text, "bare_peer", "outer")[0] == ("default", 2), "bare gin: exactly inner, not outer/inner"
    write("top.gin", "include 'base.gin'\nEvaluation.attacks = [@l2/attacks.probe()]\nlinf/attacks.probe.steps = 4\n")
    experiment = load_experiment(["top.gin"], ["Experiment.evaluation=@linf/Evaluation()"]).experiment
    assert experiment.evaluation.attacks[0].steps == 10, "the same here: l2 alone"


def test_overflowing_numbers(bare: Callable[..., Any], write: Write) -> None:
    assert bare("bare_attack.eps = 1e999", "bare_attack")[0] == float("inf"), "bare gin: infinity"
    assert "too large" in refused("attacks.probe.size = 1e999", write), "an overflow is refused"


def test_two_equal_keys(bare: Callable[..., Any], write: Write) -> None:
    assert bare("bare_attack.eps = {'a': 1, 'a': 2}", "bare_attack")[0] == {"a": 2}, "bare gin: a peer vanishes"
    assert "is there twice" in refused("Experiment.peers = {'a': @l2/Peer(), 'a': @l2/Peer()}", write), "refused"


def test_exceptions_are_not_gin_s_proxies(bare: Callable[..., Any]) -> None:
    def failing() -> None:
        raise ValueError("no")

    gin.register(failing)
    with pytest.raises(ValueError, match="no") as caught:
        bare("", "failing")
    assert type(caught.value) is not ValueError, "bare gin raises a proxy, which cannot be pickled"
    with pytest.raises(ConfigError) as ours:
        load_experiment(["base.gin"], ["attacks.probe.steps=-1"])
    assert type(ours.value) is ConfigError, "ours is the class itself"
    assert "In call to configurable" not in str(ours.value), "without gin's additions"


def test_a_name_of_a_stranger_in_gin_s_registry_is_no_component(bare: Callable[..., Any], write: Write) -> None:
    bare("", "bare_attack")
    assert "unknown name 'bare_attack'" in refused("Peer.attacks = [@bare_attack()]", write), "only registries count"
