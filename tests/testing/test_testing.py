"""The contracts bite: for each there is a component that breaks it, and one that keeps it; `check` reports both."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bad import (
    architectures,
    attacks,
    augmentations,
    datasets,
    metrics,
    optimizers,
    schedules,
    strategies,
    trackers,
    unions,
)
from bad import components as bad_components

import registry
from matx.errors import RegistrationError
from matx.registration import KINDS, REGISTRIES
from matx.registration import attacks as known
from matx.testing import CONTRACTS, check, check_component, components, examples_of
from matx.testing import architectures as architecture_contracts
from matx.testing import attacks as attack_contracts
from matx.testing import augmentations as augmentation_contracts
from matx.testing import datasets as dataset_contracts
from matx.testing import metrics as metric_contracts
from matx.testing import optimizers as optimizer_contracts
from matx.testing import schedules as schedule_contracts
from matx.testing import strategies as strategy_contracts
from matx.testing import trackers as tracker_contracts
from matx.testing import unions as union_contracts
from matx.testing.checking import _outcome
from matx.testing.missing import lacking
from matx.testing.unions import Ascent

PAIRS: list[tuple[ModuleType, ModuleType]] = [
    (components, bad_components),
    (attack_contracts, attacks),
    (union_contracts, unions),
    (strategy_contracts, strategies),
    (architecture_contracts, architectures),
    (dataset_contracts, datasets),
    (metric_contracts, metrics),
    (augmentation_contracts, augmentations),
    (optimizer_contracts, optimizers),
    (schedule_contracts, schedules),
    (tracker_contracts, trackers),
]
"""(contracts of a kind, components of that kind that break them)."""
CASES = [
    pytest.param(getattr(module, contract), make, words, id=f"{bad.__name__.rpartition('.')[2]}-{contract}-{place}")
    for module, bad in PAIRS
    for place, (contract, make, words) in enumerate(bad.CASES)
]


@pytest.mark.parametrize(("contract", "make", "words"), CASES)
def test_contract_bites(contract: Callable[[Any], None], make: Callable[[], Any], words: str) -> None:
    failure = _outcome(contract, make()).failure
    assert failure is not None, f"{contract.__name__} lets {make()!r} pass"
    assert words in failure, f"{contract.__name__} refuses {make()!r} for another reason: {failure}"


@pytest.mark.parametrize(("module", "bad"), PAIRS)
def test_every_contract_has_a_component_that_breaks_it(module: ModuleType, bad: ModuleType) -> None:
    broken = {contract for contract, _, _ in bad.CASES}
    missing = {contract.__name__ for contract in module.CONTRACTS} - broken
    assert not missing, f"nothing proves that these contracts bite: {missing}"


def test_good_components_keep_every_promise(tmp_path: Path) -> None:
    good = {
        "attacks": Ascent.examples(tmp_path)[0],
        "unions": unions.Bad(),
        "strategies": strategies.Bad(),
        "architectures": architectures.Bad(fault=""),
        "datasets": datasets.Bad(fault=""),
        "metrics": metrics.Bad(),
        "augmentations": augmentations.Bad(),
        "optimizers": optimizers.Bad(),
        "schedules": schedules.Bad(),
        "trackers": trackers.Bad(),
    }
    for kind, component in good.items():
        failures = [outcome for outcome in check_component(kind, component) if not outcome.passed]
        assert not failures, f"a good component of {kind} is refused: {failures}"


def test_check_reports_each_contract_of_each_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known.components, "descending", attacks.Descending)
    outcomes = check("attacks", "descending")
    examples = len(attacks.Descending.examples(Path()))
    assert len(outcomes) == examples * len(CONTRACTS["attacks"]), "an example or a contract was left out"
    failed = {outcome.contract for outcome in outcomes if not outcome.passed}
    assert "finds_better_examples" in failed, "check does not report what a contract finds"
    assert "repeats_itself" not in failed, "check reports a promise that is kept as broken"


def test_check_says_where_there_is_nothing_to_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(known.components, "ascent", Ascent)
    monkeypatch.setattr(Ascent, "examples", classmethod(lambda cls, tmp_path: []))
    (outcome,) = check("attacks", "ascent")
    assert outcome.failure == "attacks.ascent.examples gives no instance, so nothing can be tested", (
        "the reason is lost"
    )
    monkeypatch.setattr(Ascent, "examples", classmethod(lambda cls, tmp_path: [1]))
    (outcome,) = check("attacks", "ascent")
    assert "not of its own class" in str(outcome.failure), "an example of another class passes"


def test_what_a_component_lacks_is_said_with_the_lines_to_add(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ascent, "examples", None)
    monkeypatch.delattr(Ascent, "examples")
    monkeypatch.delattr(Ascent, "kind")
    monkeypatch.setitem(known.components, "ascent", Ascent)
    (outcome,) = check("attacks", "ascent")
    assert outcome.failure == (
        "attacks.ascent lacks what its kind needs; add to the class: "
        "kind: ClassVar[Literal['maximise', 'minimum_norm']] = 'maximise'; "
        "@classmethod / def examples(cls, tmp_path: Path) -> Sequence[Self]: return [cls()]"
    ), "the lines cannot be copied"
    for kind in KINDS:
        built_in = [
            component for component in REGISTRIES[kind.name].components.values() if "registry" in str(component)
        ]
        assert all(not lacking(component, kind.protocol) for component in built_in), f"{kind.name}: lines too many"


def test_a_failure_says_where_the_component_was_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Path(str(schedules.__file__)).read_text().splitlines()
    raises = next(number for number, line in enumerate(lines, 1) if '"raises"' in line)
    failed = [one for one in check_component("schedules", schedules.Bad(fault="raises")) if not one.passed]
    assert {one.where for one in failed} == {f"{schedules.__file__}:{raises}"}, "the line that raised is not named"
    monkeypatch.setitem(known.components, "descending", attacks.Descending)
    failed = [outcome for outcome in check("attacks", "descending") if not outcome.passed]
    begins = inspect.getsourcelines(attacks.Descending)[1]
    assert {outcome.where for outcome in failed} == {f"{attacks.__file__}:{begins}"}, (
        "no exception, so the class's line"
    )


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    assert registry.attacks, "the built-in plug-in registers its components when it is imported"
    with pytest.raises(RegistrationError, match=r"got 'attack', allowed: .*did you mean 'attacks'"):
        examples_of("attack", "pgd", tmp_path)
    with pytest.raises(RegistrationError, match=r"attacks\.pdg is not registered; did you mean 'pgd'"):
        check("attacks", "pdg")
