"""The heads of gin/paper/*.gin.

A head's own are its published figures, and what it is, unless it is a method's part on a dataset. What an image costs
is in costs.json; the rest follows from the parts that the recipe includes, or is their first line.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from .costs import ROOT, stored

DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mini_imagenet": "mini-ImageNet"}
NETWORK = {"resnet18": "ResNet-18", "wrn_34_10": "WRN-34-10"}
EPOCHS = {"sgd_200": 200, "sgd_80": 80, "sgd_50": 50, "sgd_3": 3}
IMAGES = 45_000
"""Of all three datasets, without the tenth that validates."""
RATE = 1.75e13
"""FLOP a second of an A100: epochs of ResNet-18 on CIFAR-10 by MAX, E-AT and RAMP take 219, 78 and 157 s on one (RAMP,
Jiang and Singh 2024), which by our count of operations is 1.75e13, 1.78e13 and 1.70e13."""
BESIDE = {
    "cifar10 linf_8_255": "the CIFAR-10 tables of Liu et al. at l_inf 8/255, whose networks are not known to us; "
    "here {}",
    "cifar100 linf_8_255": "the CIFAR-100 tables of Liu et al.; {}, l_inf 8/255",
    "mini_imagenet linf_8_255": "the mini-ImageNet tables of Liu et al. (IEEE TIFS 17, 2022), whose networks are not "
    "known to us; here {}",
    "sgd_80 union_standard": "the comparison from scratch at (8/255, 0.5, 12), PreAct-ResNet-18 (RAMP, Table 3)",
    "sgd_3 union_standard": "fine-tuning ResNet-18 for 3 epochs at (8/255, 0.5, 12) (E-AT, Table 1)",
    "sgd_50 union_maini": "the CIFAR-10 table of Maini, Wong and Kolter 2020 at (0.03, 0.5, 12), PreAct-ResNet-18",
}
"""{two parts: the published table that a recipe of these parts stands beside}."""
_MUTUAL = (
    "the abstract of arXiv 2112.05005 claims about 8 points over plain training under PGD-100. Its tables, weights, "
    "temperature, number of peers and which examples the teachers see are not known to us: the ones here are ours."
)
_MUTUAL_OF_THE_JOURNAL = (
    "the figures of the paper on mini-ImageNet (IEEE TIFS 17, 2022) are not known to us, nor are its weights, "
    "temperature, number of peers and which examples the teachers see: the ones here are ours."
)
"""The claim of the arXiv version is of CIFAR alone."""
EXPECT = {
    "mat_2": _MUTUAL,
    "mat_2_answers": _MUTUAL,
    "mat_3": _MUTUAL,
    "union_mat": "the abstracts claim up to 13.1 (arXiv 2112.05005) or 13.4 points (IEEE TIFS 17) over adversarial "
    "training on this kind of union. Radii, tables, weights, temperature and which examples the teachers see are "
    "not known to us.",
}
"""{method: what to expect where a recipe has no published figures of its own}."""
_APART = (
    "the public code forwards each source by itself and updates BatchNorm's statistics in each{}; here a peer's "
    "sources are forwarded jointly unless Experiment.batch_norm is 'sequential', and answers update none."
)
DIFFERS = {"cat": _APART.format(", answers included"), "peeraid": _APART.format(""), "lbgat": _APART.format("")}
"""{method: where the forwards of its public code differ}; in all of them trained teachers answer in train mode."""
UNKNOWN = "no published figure for this setting is known to us."


def recipes() -> dict[Path, str]:
    """{file: what it should hold}."""
    return {path: recipe(path) for path in sorted((ROOT / "gin" / "paper").glob("*.gin"))}


def recipe(path: Path) -> str:
    """A recipe with its head written anew."""
    old, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    own = " ".join(line.removeprefix("#").strip() for line in old.splitlines())
    parts = re.findall(r"^include '\.\./base/(\w+)/(\w+)\.gin'$", body, re.MULTILINE)
    names = [name for _, name in parts]
    method = next((name for folder, name in parts if folder == "method"), "")
    network = next((NETWORK[name] for name in names if name in NETWORK), "")
    (beside,) = [text for key, text in BESIDE.items() if {*key.split()} <= {*names}]
    what = own.partition(" Beside: ")[0]
    if "linf_8_255" in names:
        (data,) = [DATA[name] for name in names if name in DATA]
        what = f"{title(method)} on {data}."
    expected = own.partition(" Expect: ")[2]
    if not expected.startswith(("published", "that table")):
        expected = EXPECT.get(method, UNKNOWN)
    if expected == _MUTUAL and "mini_imagenet" in names:
        expected = _MUTUAL_OF_THE_JOURNAL
    (epochs,) = [EPOCHS[name] for name in names if name in EPOCHS]
    command = f"#\n#   matx run paper/{path.stem}\n#"
    differs = [shown(f"Differs: {DIFFERS[method]}")] if method in DIFFERS else []
    lines = [
        shown(what),
        shown(f"Beside: {beside.format(network)}."),
        *differs,
        command,
        shown(time(f"paper/{path.stem}", epochs)),
    ]
    return "\n".join([*lines, shown(f"Expect: {expected}"), "", body])


def title(method: str) -> str:
    """The first line of the method's part."""
    first, _, _ = (ROOT / "gin" / "base" / "method" / f"{method}.gin").read_text(encoding="utf-8").partition("\n")
    return first.removeprefix("# ").removesuffix(".")


def time(name: str, epochs: int) -> str:
    """Hardware and time, estimated from the passes and operations of a training image."""
    cost = stored()[name]
    hours = cost.flops * IMAGES * epochs / RATE / 3600
    shown_hours = f"{hours:.1f}" if hours < 9.95 else f"{float(f'{hours:.2g}'):.0f}"
    return (
        f"Hardware and time: one A100, about {shown_hours} h of training: {cost.passes:g} passes and "
        f"{cost.flops / 1e9:.3g} GFLOP an image, at {RATE:.3g} FLOP a second (what the epoch times that RAMP reports "
        "come to); estimated, not run."
    )


def shown(text: str) -> str:
    """As comment lines."""
    return textwrap.fill(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
