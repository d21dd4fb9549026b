"""What strategies refuse: options out of range, and peers that they cannot train, each in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

import matx
from matx.errors import OptionError
from matx.exchange import PeerInfo
from matx.roles import example_peer as peer

BAD_OPTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("independent", {"clean": -1.0}, "independent.clean: got -1.0, allowed: 0 or more"),
    ("independent", {"smoothing": 1.0}, "independent.smoothing: got 1.0"),
    ("independent", {"adversarial": 0.0}, "got adversarial = clean = 0"),
    ("mat", {"alpha": 1.5}, "mat.alpha: got 1.5, allowed: 0 to 1"),
    ("mat", {"beta": float("nan")}, "mat.beta: got nan"),
    ("mat", {"temperature": 0.0}, "mat.temperature: got 0.0, allowed: over 0"),
    ("mat", {"reading": "other"}, "mat.reading: got 'other'.*did you mean 'others'"),
    ("mat", {"peer_label": float("inf")}, "mat.peer_label: got inf"),
    ("mat", {"own_distillation": 0.5}, "own_distillation: got 0.5 with reading 'owner'"),
    ("mat", {"reading": "answers_only", "peer_label": 0.5}, "peer_label: got 0.5 with reading 'answers_only'"),
    ("specialists", {"examples_of": "specialist"}, "examples_of: got 'specialist'.*did you mean 'specialists'"),
    ("specialists", {"weights": {"linf": -1.0}}, r"weights\['linf'\]: got -1.0"),
    ("specialists", {"feedback": -0.1}, "feedback: got -0.1"),
    ("trades", {"crafting": "publish"}, "crafting: got 'publish'.*did you mean 'published'"),
    ("mart", {"margin": -1.0}, "margin: got -1.0"),
    ("self_distillation", {"alpha": 1.0}, "alpha: got 1 without a clean term"),
    ("self_distillation", {"target": "x"}, "target: got 'x'"),
    ("dml", {"inputs": "adversarial"}, "inputs: got 'adversarial'"),
    ("cat", {"exchange": 2.0}, "cat.exchange: got 2.0"),
    ("act", {"alpha": -0.5}, "act.alpha: got -0.5"),
    ("ard", {"temperature": -1.0}, "ard.temperature: got -1.0"),
    ("rslad", {"adversarial": 0.0}, "rslad.adversarial: got 0"),
    ("iad", {"standard": "s", "alpha": 0.9}, "alpha: got 0.9 beside alpha_standard 0.25"),
    ("mtard", {"milestones": (215.0,)}, r"milestones\[0\]: got 215.0, allowed: 0 to 1"),
    ("ramp", {"key": "linfty"}, "key: got 'linfty'.*did you mean 'linf'"),
]

A, B, N, T = peer("a", "linf"), peer("b", "linf"), peer("n"), peer("t", frozen=True)
S = (peer("linf", "linf"), peer("l2", "l2"), peer("g", "linf", "l2"))
BAD_PEERS: list[tuple[str, dict[str, Any], tuple[PeerInfo, ...], str]] = [
    ("mat", {}, (A,), "got 1 peer, allowed: 2 or more"),
    ("mat", {}, (A, N), "got peer 'n' without attacks"),
    ("mat", {"alpha": 1.0, "reading": "others"}, (A, B), "collapse"),
    ("mat", {"reading": "others", "own_label": 0.0, "peer_label": 0.0}, (A, B), "collapse"),
    ("mat", {"reading": "others"}, (A, T), "no other peer with attacks for 'a'"),
    ("mat", {"reading": "owner"}, (A, B, T), "only owners of examples teach"),
    ("mat", {"answers_from": "average"}, (A, B), "peer 'a' without a moving average, allowed: one on every"),
    ("mat", {"alpha": 0.0, "own_label": 0.0, "peer_label": 0.0, "reading": "others"}, (A, B, T), "weights of 0"),
    ("specialists", {}, (A, B), "got none as peers with several threat models"),
    ("specialists", {}, (*S, peer("h", "linf", "l1")), "got g, h as peers with several"),
    ("specialists", {"generalist": "generalist"}, S, "generalist: got 'generalist', allowed: linf, l2, g"),
    ("specialists", {"weights": {"linff": 1.0}}, S, "weights: got 'linff'.*did you mean 'linf'"),
    ("specialists", {"weights": {"linf": 0.0, "l2": 0.0}}, S, "weights: got only 0"),
    ("specialists", {}, S[2:], "got no specialist"),
    ("specialists", {}, (S[0], S[1], peer("g", "linf", "l1")), "specialist 'l2' with threat models l2:0.5"),
    ("specialists", {}, (S[0], peer("g", "linf", "l1")), "no specialist for l1:12"),
    ("specialists", {"examples_of": "specialists"}, (*S, T), "got peer 't' without attacks"),
    ("trades", {}, (N,), "got peer 'n' without attacks"),
    ("self_distillation", {}, (A,), "got peer 'a' without a moving average.*Peer.ema"),
    ("dml", {}, (A,), "got 1 trained peer"),
    ("cat", {}, (A, B), "cat.trades: got 'trades', allowed: a, b"),
    ("cat", {"trades": "a", "pairing": "a"}, (A, B), "a different peer for each role"),
    ("cat", {"trades": "a", "pairing": "b"}, (A, B, peer("c", "linf")), "got a trained peer 'c' without a role"),
    ("peeraid", {"student": "n", "peer": "a"}, (A, N), "got peer 'n' without attacks"),
    ("lbgat", {"natural": "n", "robust": "t"}, (A, N, T), "lbgat.robust: got 't', allowed: a, n"),
    ("d2r", {"natural": "a", "robust": "n"}, (A, N), "got peer 'n' without attacks"),
    ("act", {}, (A, N), "act.natural: got 'natural'"),
    ("ard", {}, (A,), "got no frozen peer, allowed: a teacher"),
    ("rslad", {}, (A, T, peer("u", frozen=True)), "got None and the frozen peers t, u"),
    ("adaad", {"teacher": "tt"}, (A, T), "adaad.teacher: got 'tt', allowed: t; did you mean 't'"),
    ("akd2", {}, (A, T), "akd2.standard: got 'standard', allowed: t"),
    ("iad", {"teacher": "t", "standard": "t"}, (A, T), "a different peer for each role"),
    ("mtard", {"robust": "t"}, (A, T), "mtard.natural: got 'natural', allowed: t"),
    ("ramp", {}, (A,), "got peer 'a' with attacks in linf and 1 views"),
    ("ramp", {}, (peer("u", "l2", "l1"),), "attacks in l2, l1 and 2 views"),
    ("agree", {}, (A,), "got 1 trained peer"),
    ("agree", {}, (A, peer("u", "linf", "l2")), "different numbers of views"),
]


@pytest.mark.parametrize(("name", "options", "sentence"), BAD_OPTIONS, ids=lambda v: v if isinstance(v, str) else "")
def test_options_out_of_range_are_refused_in_one_sentence(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence) as refused:
        matx.strategies[name](**options)
    assert "\n" not in str(refused.value), "one sentence on one line"


@pytest.mark.parametrize(
    ("name", "options", "peers", "sentence"), BAD_PEERS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_peers_that_do_not_fit_are_refused_in_one_sentence(
    name: str, options: dict[str, Any], peers: tuple[PeerInfo, ...], sentence: str
) -> None:
    strategy = matx.strategies[name](**options)
    with pytest.raises(OptionError, match=sentence) as refused:
        strategy.needs(peers)
    assert "allowed" in str(refused.value), "the sentence says what is allowed"
    assert str(refused.value).startswith(f"strategies.{name}"), "the sentence says where"


def test_a_frozen_teacher_allows_learning_without_labels() -> None:
    teacher = peer("t", "linf", frozen=True)
    needs = matx.strategies["mat"](alpha=1.0, reading="others").needs((A, B, teacher))
    assert set(needs.train) == {"a", "b"}, "with a teacher that does not move, answers alone cannot collapse"
