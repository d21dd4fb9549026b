"""`mat`, `specialists`, `self_distillation` and `independent` against plain loops over samples and classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import matx
from matx.exchange import CLEAN, PeerInfo
from matx.roles import example_peer as peer
from tests.strategies.tables import LABELS, Logits, exchange, logits, totals

Row = Sequence[float]


def softmax(row: Row, temperature: float = 1.0) -> list[float]:
    shifted = [math.exp((z - max(row)) / temperature) for z in row]
    return [e / sum(shifted) for e in shifted]


def cross_entropy(z: Tensor, smoothing: float = 0.0) -> float:
    """The mean over views and samples of -(1 - s) log p_y - (s / C) sum log p_c."""
    total, count = 0.0, 0
    for view in z.tolist():
        for row, label in zip(view, LABELS.tolist(), strict=True):
            p = softmax(row)
            total -= (1.0 - smoothing) * math.log(p[label]) + smoothing / len(p) * sum(math.log(c) for c in p)
            count += 1
    return total / count


def distillation(z: Tensor, answers: Sequence[Tensor], temperature: float) -> float:
    """The mean over views and samples of T^2 KL(mean of the answers' p^T || p^T); one clean view serves all views."""
    total, count = 0.0, 0
    for view, rows in enumerate(z.tolist()):
        for sample, row in enumerate(rows):
            given = [a.tolist()[view if len(a) > 1 else 0][sample] for a in answers]
            soft = [softmax(g, temperature) for g in given]
            q = [sum(s[c] for s in soft) / len(soft) for c in range(len(row))]
            p = softmax(row, temperature)
            total += temperature**2 * sum(a * math.log(a / b) for a, b in zip(q, p, strict=True))
            count += 1
    return total / count


PAIR = (peer("a", "linf"), peer("b", "linf"))
TRIO = (peer("a", "linf"), peer("b", "l2", "l1"), peer("c", "linf"))
WITH_TEACHER = (*PAIR, peer("t", "linf", frozen=True))
SILENT = (*PAIR, peer("t", frozen=True))


def mat_by_loops(
    peers: Sequence[PeerInfo], values: Logits, i: str, *, reading: str, a: float, b: float, t: float, ramp: float
) -> float:
    """sum_j w_ij [(1 - a) CE + a T^2 KL] as facts say it, with w_ii = 1 - b and w_ij = b / (K - 1)."""
    others = [p.name for p in peers if p.name != i]
    owners = [p.name for p in peers if p.name != i and p.views]
    total = 0.0
    for j in [i, *owners]:
        z = values.train[i, j]
        w = 1.0 - b if j == i else b / len(owners)
        if reading == "answers_only":
            w = 1.0 if j == i else 0.0
        targets: list[Tensor] = []
        if reading == "owner" and j != i:
            targets = [values.teach[j, j]]
        elif reading == "others" or (reading == "answers_only" and j == i):
            targets = [values.teach[k, j] for k in others]
        elif reading == "clean":
            targets = [values.teach[k, CLEAN] for k in (others if j == i else [j])]
        total += w * (1.0 - a if targets else 1.0) * cross_entropy(z)
        if targets:
            total += ramp * w * a * distillation(z, targets, t)
    return total


@pytest.mark.parametrize("reading", ["owner", "others", "clean", "examples_only", "answers_only"])
@pytest.mark.parametrize("peers", [PAIR, TRIO, WITH_TEACHER, SILENT], ids=["pair", "trio", "teacher", "silent"])
def test_mat_equals_its_loop(reading: str, peers: tuple[PeerInfo, ...]) -> None:
    strategy = matx.strategies["mat"](reading=reading, alpha=0.3, beta=0.4, temperature=2.0, warmup=0.5)
    if reading == "owner" and peers is SILENT:
        with pytest.raises(matx.MatxError, match="only owners of examples teach"):
            strategy.needs(peers)
        return
    values = logits(peers, seed=3)
    for progress, ramp in ((0.2, 0.4), (0.8, 1.0)):
        expected = {
            p.name: mat_by_loops(peers, values, p.name, reading=reading, a=0.3, b=0.4, t=2.0, ramp=ramp)
            for p in peers
            if not p.frozen
        }
        found = totals(strategy, peers, values, progress=progress)
        assert found == pytest.approx(expected, abs=1e-12), f"reading {reading} at progress {progress}"


@pytest.mark.parametrize("reading", ["owner", "others", "clean", "answers_only"])
def test_mat_with_answers_of_averages_equals_its_loop(reading: str) -> None:
    """Trained peers answer by their averages, frozen ones by their own weights."""
    peers = tuple(replace(p, ema=not p.frozen) for p in WITH_TEACHER)
    strategy = matx.strategies["mat"](
        reading=reading, answers_from="average", alpha=0.3, beta=0.4, temperature=2.0, warmup=0.5
    )
    needs = strategy.needs(peers)
    assert {name for name, _ in needs.ema} == {"a", "b"}, "the trained peers' averages are asked"
    assert {name for name, _ in needs.teach} == {"t"}, "of the live weights only the frozen peer's"
    values = logits(peers, seed=8)
    answers = {key: (values.teach if key[0] == "t" else values.ema)[key] for key in values.teach}
    asked = replace(values, teach=answers)
    expected = {i: mat_by_loops(peers, asked, i, reading=reading, a=0.3, b=0.4, t=2.0, ramp=0.4) for i in ("a", "b")}
    found = totals(strategy, peers, values, progress=0.2)
    assert found == pytest.approx(expected, abs=1e-12), f"reading {reading}"


def test_the_preset_of_team_wilson_has_the_gradient_of_their_loss() -> None:
    """theta CE(f_i(x'_i), y) + alpha mean_{j != i} KL(p_j(x) || p_i(x'_i)), up to a constant."""
    strategy = matx.strategies["mat"](
        reading="clean", own_label=0.5, own_distillation=0.1, peer_label=0.0, peer_distillation=0.0
    )
    values = logits(TRIO, seed=9)
    for i, others in {"a": "bc", "c": "ab"}.items():
        leaf = values.train[i, i].clone().requires_grad_()
        table = exchange(strategy, TRIO, values, leaves={**values.train, (i, i): leaf})
        (found,) = torch.autograd.grad(strategy.loss(table, i).total, leaf)
        z = values.train[i, i].clone().requires_grad_()
        log_p = z.log_softmax(-1)
        labels = LABELS.expand(z.shape[:2])
        parts = [torch.nn.functional.nll_loss(log_p.flatten(0, 1), labels.flatten())]
        for j in others:
            q = values.teach[j, CLEAN].softmax(-1)
            parts.append((q * (q.log() - log_p)).sum(-1).mean())
        (expected,) = torch.autograd.grad(0.5 * parts[0] + 0.1 * (parts[1] + parts[2]) / 2, z)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        assert {source for _, source in strategy.needs(TRIO).teach} == {CLEAN}, "answers are about clean images"
        assert strategy.needs(TRIO).train[i] == (i,), "nobody learns from another's examples"


def test_mat_takes_each_weight_by_itself() -> None:
    strategy = matx.strategies["mat"](
        reading="others", clean=0.2, own_label=0.7, own_distillation=1.5, peer_label=0.6, peer_distillation=2.5
    )
    values = logits(TRIO, seed=4)
    found = totals(strategy, TRIO, values)
    for i, others in {"a": "bc", "b": "ac", "c": "ab"}.items():
        expected = 0.2 * cross_entropy(values.train[i, CLEAN]) + 0.7 * cross_entropy(values.train[i, i])
        expected += 1.5 * distillation(values.train[i, i], [values.teach[k, i] for k in others], 1.0)
        for j in others:
            expected += 0.6 / 2 * cross_entropy(values.train[i, j])
            expected += 2.5 / 2 * distillation(values.train[i, j], [values.teach[k, j] for k in others], 1.0)
        assert found[i] == pytest.approx(expected, abs=1e-12), f"the loss of {i} with free weights"


def test_mat_asks_for_nothing_of_weight_0() -> None:
    needs = matx.strategies["mat"](alpha=0.0, beta=0.0).needs(TRIO)
    assert dict(needs.train) == {"a": ("a",), "b": ("b",), "c": ("c",)}, "own examples alone"
    assert not needs.teach, "nobody is asked"
    silent = matx.strategies["mat"](alpha=0.5, beta=0.0, reading="owner").needs(TRIO)
    assert not silent.teach, "own examples have no owner but oneself"


SPECIALISTS = (peer("linf", "linf"), peer("l2", "l2"), peer("l1", "l1"))


def specialists_by_loops(
    values: Logits, g: str, views: dict[str, list[int]], *, of: str, a: float, t: float, w: dict[str, float]
) -> float:
    total = 0.0
    for s, weight in w.items():
        parts = []
        if of in ("own", "both"):
            parts.append((values.train[g, g][views[s]], values.teach[s, g][views[s]]))
        if of in ("specialists", "both"):
            parts.append((values.train[g, s], values.teach[s, s]))
        for z, answer in parts:
            lesson = (1.0 - a) * cross_entropy(z) + a * distillation(z, [answer], t)
            total += weight / sum(w.values()) / len(parts) * lesson
    return total


@pytest.mark.parametrize("of", ["own", "specialists", "both"])
@pytest.mark.parametrize("frozen", [False, True], ids=["together", "before"])
@pytest.mark.parametrize(
    ("norms", "count", "views"),
    [
        (("l1", "linf", "l2"), 3, {"linf": [1], "l2": [2], "l1": [0]}),
        (("linf", "l2", "l1", "linf"), 4, {"linf": [0, 3], "l2": [1], "l1": [2]}),
        (("linf", "l2", "l1"), 1, {"linf": [0], "l2": [0], "l1": [0]}),
        (("linf", "l2", "l1"), 2, {"linf": [0, 1], "l2": [0, 1], "l1": [0, 1]}),
    ],
    ids=["average", "two attacks of one threat", "worst case", "fewer views"],
)
def test_specialists_equal_their_loop(
    of: str, frozen: bool, norms: tuple[str, ...], count: int, views: dict[str, list[int]]
) -> None:
    specialists = [peer(p.name, p.name, frozen=frozen) for p in SPECIALISTS]
    peers = (*specialists[:1], peer("g", *norms, views=count), *specialists[1:])
    strategy = matx.strategies["specialists"](
        examples_of=of, teachers="all", alpha=0.3, temperature=3.0, clean=0.5, feedback=0.25, weights={"l1": 2.0}
    )
    values = logits(peers, seed=5)
    found = totals(strategy, peers, values)
    weights = {"linf": 1.0, "l2": 1.0, "l1": 2.0}
    expected = 0.5 * cross_entropy(values.train["g", CLEAN])
    expected += specialists_by_loops(values, "g", views, of=of, a=0.3, t=3.0, w=weights)
    assert found.pop("g") == pytest.approx(expected, abs=1e-12), "the generalist learns from every specialist"
    for name in [] if frozen else ["linf", "l2", "l1"]:
        z = values.train[name, name]
        plain = cross_entropy(z) + 0.25 * distillation(z, [values.teach["g", name]], 3.0)
        assert found.pop(name) == pytest.approx(plain, abs=1e-12), "a specialist is plain, but for the feedback"
    assert not found, "nobody else is trained"


def by_winners(values: Logits, peers: Sequence[PeerInfo], *, wrong: bool, w: dict[str, float]) -> float:
    """The mean over images of w_s times the loss towards each specialist s, by its share in having won the image."""
    infos, won = {p.name: p for p in peers}, values.winners["g"].tolist()
    total, weight = 0.0, 0.0
    for v, rows in enumerate(won):
        for n, shares in enumerate(rows):
            z, label = values.train["g", "g"][v : v + 1, n : n + 1], int(LABELS[n])
            p = softmax(z[0, 0].tolist())
            for s in w:
                answer = values.teach[s, "g"][v : v + 1, n : n + 1]
                a = 0.3 if not wrong or int(answer.argmax()) == label else 0.0
                count = w[s] * sum(
                    share for share, t in zip(shares, infos["g"].threats, strict=True) if t in infos[s].threats
                )
                lesson = (1.0 - a) * -math.log(p[label]) + a * distillation(z, [answer], 3.0)
                total, weight = total + count * lesson, weight + count
    return total / weight


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "labels where wrong"])
@pytest.mark.parametrize("weights", [{}, {"l1": 2.0}], ids=["equal", "weighted"])
@pytest.mark.parametrize(
    ("norms", "count"), [(("l1", "linf", "l2"), 3), (("linf", "l2", "l1"), 1), (("linf", "l2", "l1", "linf"), 4)]
)
def test_the_specialist_of_the_norm_that_won_teaches(
    norms: tuple[str, ...], count: int, weights: dict[str, float], wrong: bool
) -> None:
    peers = (*SPECIALISTS, peer("g", *norms, views=count))
    strategy = matx.strategies["specialists"](
        examples_of="own", alpha=0.3, temperature=3.0, weights=weights or None, labels_where_wrong=wrong
    )
    values = logits(peers, seed=7)
    expected = by_winners(values, peers, wrong=wrong, w={"linf": 1.0, "l2": 1.0, "l1": 1.0} | weights)
    assert totals(strategy, peers, values)["g"] == pytest.approx(expected, abs=1e-12), "each row by its winner alone"


def test_winner_and_all_are_the_same_under_average_and_not_under_worst_case() -> None:
    for count, same in ((3, True), (1, False)):
        peers = (*SPECIALISTS, peer("g", "linf", "l2", "l1", views=count))
        values = logits(peers, seed=8)
        both = [
            totals(matx.strategies["specialists"](examples_of="own", teachers=by), peers, values)["g"]
            for by in ("winner", "all")
        ]
        assert math.isclose(*both, abs_tol=1e-12) is same, f"{count} views: by the winner and by all {both}"


def test_a_specialist_of_weight_0_is_left_out() -> None:
    peers = (*SPECIALISTS, peer("g", "linf", "l2", "l1"))
    needs = matx.strategies["specialists"](weights={"l2": 0.0}, examples_of="specialists").needs(peers)
    assert needs.train["g"] == ("linf", "l1"), "its examples are not used"
    assert needs.teach == {("linf", "linf"), ("l1", "l1")}, "it is not asked"
    assert needs.train["l2"] == ("l2",), "it is trained all the same"


@pytest.mark.parametrize(
    ("name", "options", "formula"),
    [
        ("independent", {"smoothing": 0.2, "clean": 0.5}, lambda v: _smoothed(v)),
        ("self_distillation", {"alpha": 0.4, "temperature": 2.0, "clean": 0.1}, lambda v: _self(v, "e", 1.0)),
        ("self_distillation", {"alpha": 0.4, "temperature": 2.0, "clean": 0.1, "target": "clean", "warmup": 0.5},
         lambda v: _self(v, CLEAN, 0.5)),
    ],
)  # fmt: skip
def test_a_single_peer_equals_its_loop(name: str, options: dict[str, Any], formula: Callable[[Logits], float]) -> None:
    peers = (peer("e", "linf", "l2", ema=True),)
    values = logits(peers, seed=6)
    found = totals(matx.strategies[name](**options), peers, values, progress=0.25)
    assert found == pytest.approx({"e": formula(values)}, abs=1e-12), f"the formula of {name}"


def _smoothed(values: Logits) -> float:
    return cross_entropy(values.train["e", "e"], 0.2) + 0.5 * cross_entropy(values.train["e", CLEAN], 0.2)


def _self(values: Logits, asked: str, ramp: float) -> float:
    z = values.train["e", "e"]
    distilled = 0.4 * ramp * distillation(z, [values.ema["e", asked]], 2.0)
    return 0.6 * cross_entropy(z) + distilled + 0.1 * cross_entropy(values.train["e", CLEAN])
