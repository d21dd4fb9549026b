"""Two experiments are the same where their figures are: names, options and contents count, places do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import matx
from matx.config import load_experiment
from matx.effect import NO_EFFECT
from matx.errors import RunError
from matx.experiment import Experiment
from matx.runtime.identity import common_options, differences, identity_of, refuse_other, settings, upgraded

RECIPES = ("mat_union", "at_union", "mat")


@dataclass(frozen=True, kw_only=True)
class Reader:
    file: Path
    workers: int = field(default=4, metadata=NO_EFFECT)
    size: float = 1.0


def test_every_setting_is_found_by_its_path() -> None:
    found = settings({"two": Reader(file=Path("a"), size=2.0), "names": ("a", "b"), "none": ()}, "x")
    assert found == {
        "x.two": "Reader",
        "x.two.file": repr(Path("a")),
        "x.two.workers": "4",
        "x.two.size": "2.0",
        "x.names[0]": "'a'",
        "x.names[1]": "'b'",
        "x.none": "none",
    }, "a setting is missing, or has another path"


def test_a_component_is_its_registered_name_and_a_module_is_nothing() -> None:
    found = identity_of(load_experiment(["mat_union"]).experiment)
    assert found["strategy"] == "strategies.specialists", "a component is known by its registered name"
    assert found["peers.linf.attacks[0]"] == "attacks.pgd", "a component in a list is known by its registered name"
    assert found["peers.linf"] == "Peer", "a noun is known by its own name"
    assert not any("registry" in text or "matx" in text for text in found.values()), "a module takes part"
    assert identity_of(Reader(file=Path("none")), "x")["x"] == "Reader", "an unregistered class is known by its name"


def test_places_count_by_their_content(tmp_path: Path) -> None:
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
        (tmp_path / f"folder_{name}" / "deep").mkdir(parents=True)
        (tmp_path / f"folder_{name}" / "deep" / "file").write_text(text)
    for one, two, three in (("a", "b", "c"), ("folder_a", "folder_b", "folder_c")):
        first, moved, other = (identity_of(Reader(file=tmp_path / name)) for name in (one, two, three))
        assert first == moved, f"{two} holds what {one} holds, and is the same"
        assert first != other, f"{three} holds something else, and is not the same"
    assert identity_of(Reader(file=tmp_path / "a", workers=9)) == identity_of(Reader(file=tmp_path / "a")), (
        "an option without effect counts"
    )
    assert identity_of(Reader(file=tmp_path / "d"))["file"] == "content missing", "what is not there has no content"


def test_the_first_weights_of_a_peer_count_by_their_content(tmp_path: Path) -> None:
    experiment = load_experiment(["mat_union"]).experiment
    for name in ("a.pt", "b.pt"):
        torch.save({"w": torch.ones(2)}, tmp_path / name)
    torch.save({"w": torch.zeros(2)}, tmp_path / "c.pt")

    def starting(name: str) -> dict[str, str]:
        peers = {**experiment.peers, "linf": replace(experiment.peers["linf"], weights=str(tmp_path / name))}
        return identity_of(replace(experiment, peers=peers))

    assert starting("a.pt") == starting("a.pt"), "the same file is the same"
    assert [line.split(":")[0] for line in differences(starting("a.pt"), starting("c.pt"))] == ["peers.linf.weights"], (
        "other weights are not named"
    )
    assert str(tmp_path) not in str(starting("a.pt")), "a path takes part"
    assert starting("d.pt")["peers.linf.weights"] == "content missing", "weights that are not there have no content"


def test_what_differs_is_named_in_one_sentence() -> None:
    stored, given = {f"x{n}": "1" for n in range(9)}, {f"x{n}": "2" for n in range(8)}
    refuse_other(stored, stored, "DIR: holds another", allowed="this")
    with pytest.raises(RunError) as caught:
        refuse_other(stored, given, "DIR: holds another", allowed="this")
    assert str(caught.value).startswith("DIR: holds another (x0: 1 -> 2; x1: 1 -> 2"), "the difference is not shown"
    assert str(caught.value).endswith("; and 3 more); allowed: this"), "what is not shown is not counted"
    assert differences(stored, given)[-1] == "x8: 1 -> absent", "what is missing is not named"


def first_version(value: object, prefix: str = "") -> dict[str, str]:
    """The settings as the first version of matx wrote them into checkpoints and studies."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {prefix: f"{type(value).__module__}.{type(value).__qualname__}"} if prefix else {}
        for part in fields(value):
            found |= first_version(getattr(value, part.name), f"{prefix}.{part.name}" if prefix else part.name)
        return found
    items: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        items = [(f"{prefix}.{key}", item) for key, item in value.items()]
    elif isinstance(value, Sequence) and not isinstance(value, str):
        items = [(f"{prefix}[{position}]", item) for position, item in enumerate(value)]
    else:
        return {prefix: repr(value)}
    return {path: text for name, item in items for path, text in first_version(item, name).items()} or {prefix: "none"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_the_first_version_stored_is_understood(recipe: str) -> None:
    experiment = load_experiment([recipe]).experiment
    given, old = identity_of(experiment), first_version(experiment)
    assert differences(upgraded(old, given), given) == [], "the same experiment is taken for another"
    moved = {path: text.replace("registry.", "old_registry.") for path, text in old.items()}
    assert differences(upgraded(moved, given), given) == [], "a component's old module counts"
    later = given | {"evaluation.later": "1", "evaluation.rows[0]": "metrics.clean", "strategy.later": "2"}
    assert differences(upgraded(old, later), later) == [], "an option that came later counts"
    gone = old | {"seldom": "1", "strategy.gone": "3", "strategy.list[0]": "some.Thing", "strategy.list[0].x": "1"}
    assert differences(upgraded(gone, given), given) == [], "an option that is gone counts"


def test_runs_of_before_go_on_where_nothing_that_they_do_has_changed() -> None:
    """Schema 2 without the options that came later, and with the teachers' mode that was everybody's default."""
    new = ("label_noise", "select", "teacher_mode", "answers_from")
    for recipe, said in (("at", []), ("mat", ["teacher_mode: 'eval' -> None"])):
        default = replace(load_experiment([recipe]).experiment, teacher_mode=None)
        given = identity_of(default)
        old = {path: text for path, text in given.items() if not path.endswith(new)} | {"teacher_mode": "'eval'"}
        assert len(given) > len(old) or recipe == "at", "the new options are in the identity"
        assert differences(common_options(old, given), given) == said, f"{recipe}: what differs is not {said}"
    same = identity_of(replace(default, teacher_mode="eval"))
    assert differences(common_options(old, same), same) == [], "a run with teachers in eval mode can go on so"
    changed = same | {"strategy.alpha": "0.25"}
    assert differences(common_options(old, changed), changed), "another value of a known option is taken as given"
    lost = {path: text for path, text in same.items() if not path.startswith("peers.b")}
    assert differences(common_options(old, lost), lost), "a peer that is gone is taken as given"


def _changed(experiment: Experiment) -> dict[str, Experiment]:
    peers, first = experiment.peers, next(iter(experiment.peers))
    evaluation = experiment.evaluation
    return {
        "epochs": replace(experiment, epochs=experiment.epochs + 1),
        "peers.extra": replace(experiment, peers={**peers, "extra": peers[first]}),
        f"peers.{first}.attack_mode": replace(
            experiment, peers={**peers, first: replace(peers[first], attack_mode="train")}
        ),
        "evaluation.attacks[": replace(
            experiment, evaluation=replace(evaluation, attacks=(*evaluation.attacks, evaluation.attacks[0]))
        ),
        "strategy": replace(experiment, strategy=matx.strategies["independent"](clean=0.25), teacher_mode=None),
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_another_experiment_is_never_taken_for_what_the_first_version_stored(recipe: str) -> None:
    experiment = load_experiment([recipe]).experiment
    old = first_version(experiment)
    for path, other in _changed(experiment).items():
        given = identity_of(other)
        found = differences(upgraded(old, given), given)
        assert found, f"another {path} is taken for the same"
        assert found[0].startswith(path), f"{path} is not named: {found[0]}"


def test_a_noun_that_became_a_kind_is_known_by_the_name_that_it_chose() -> None:
    """An optimizer was a noun with a name; its options that the component lacks are gone."""
    old = {"optimizer": "matx.experiment.Optimizer", "optimizer.name": "'adamw'", "optimizer.momentum": "0.9"}
    same = {"optimizer.lr": "0.1", "optimizer.weight_decay": "0.0005"}
    given = identity_of({"optimizer": matx.optimizers["adamw"](lr=0.1, weight_decay=5e-4)})
    assert differences(upgraded(old | same, given), given) == [], "the chosen component is not found"
    found = differences(upgraded(old | same | {"optimizer.name": "'sgd'"}, given), given)
    assert found[0] == "optimizer: optimizers.sgd -> optimizers.adamw", "another choice is taken for the same"
    found = differences(upgraded(old | same | {"optimizer.lr": "0.2"}, given), given)
    assert found == ["optimizer.lr: 0.2 -> 0.1"], "another learning rate is taken for the same"
