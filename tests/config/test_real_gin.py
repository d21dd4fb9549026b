"""What matx resolves and builds, against gin itself: the same for every shipped recipe and for generated files."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from gin import config_parser

from matx.config import load_experiment, packaged_recipes
from matx.config.recipes import recipe_root
from tools.faults.real_gin import resolved_by_gin

Write = Callable[[str, str], str]


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    """The packaged recipes with absolute paths behind include: gin does not look beside the including file."""
    root, copy = recipe_root(), tmp_path / "recipes"
    for file in root.rglob("*.gin"):

        def absolute(match: re.Match[str], beside: Path = file.parent) -> str:
            found = next(folder / match[1] for folder in (beside, root) if (folder / match[1]).is_file())
            return f"include '{copy / found.resolve().relative_to(root.resolve())}'"

        target = copy / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r"(?m)^include '(.*)'", absolute, file.read_text()))
    return copy


def test_shipped_recipes_are_what_gin_makes_of_them(recipes: Path) -> None:
    names = packaged_recipes()
    assert len(names) > 100, "the recipes are packaged"
    for name in names:
        ours = load_experiment([name])
        assert dict(ours.resolved) == resolved_by_gin(str(recipes / f"{name}.gin")), f"{name} differs from real gin"


SCOPES = ("linf", "l2", "generalist", "linf/deep", "l2/deep")
VALUES: dict[str, Callable[[random.Random], str]] = {
    "attacks.probe.steps": lambda draw: str(draw.randint(0, 99)),
    "attacks.probe.size": lambda draw: draw.choice(["None", "%SIZE", "-1.5e-3", str(draw.random())]),
    "attacks.probe.mode": lambda draw: draw.choice(["'a'", "'b'"]),
    "attacks.odd.pair": lambda draw: f"({draw.randint(0, 9)}, {draw.random()})",
    "attacks.odd.table": lambda draw: f"{{'x': {draw.random()}, 'y': %SIZE}}",
    "attacks.chain.parts": lambda draw: f"[{attack(draw, ('probe', 'odd'))}, {attack(draw, ('probe', 'odd'))}]",
    "ThreatModel.eps": lambda draw: draw.choice(["'8/255'", "0.25", "%EPS"]),
    "architectures.net.widths": lambda draw: str([draw.randint(1, 9) for _ in range(draw.randint(0, 3))]),
    "Peer.attacks": lambda draw: f"[{attack(draw, ('probe', 'odd', 'chain'))}]",
    "Peer.ema": lambda draw: draw.choice(["None", "0.5"]),
    "datasets.dots.n": lambda draw: str(draw.randint(1, 9)),
    "strategies.apart.alpha": lambda draw: str(draw.random()),
    "Experiment.epochs": lambda draw: str(draw.randint(1, 9)),
    "Experiment.strategy": lambda draw: f"@{draw.choice([*SCOPES, ''])}/strategies.apart()".replace("@/", "@"),
    "Evaluation.attacks": lambda draw: f"[{attack(draw, ('probe', 'chain'))}]",
}


def attack(draw: random.Random, names: tuple[str, ...]) -> str:
    """A reference in a scope, in the one around it for none."""
    return f"@{draw.choice([*SCOPES, ''])}/attacks.{draw.choice(names)}()".replace("@/", "@")


def generated(seed: int) -> str:
    draw = random.Random(seed)
    lines = {"attacks.chain.parts": "[@attacks.probe()]", "SIZE": str(draw.random())}
    lines |= {f"attacks.{name}.threat": "@ThreatModel()" for name in ("probe", "odd")}
    lines |= {"ThreatModel.eps": "0.5", "ThreatModel.norm": "'linf'", "Experiment.evaluation": "@Evaluation()"}
    lines |= {"l2/deep/attacks.odd.names": "['deep']"}  # a scope in which nothing is set is refused
    for _ in range(draw.randint(3, 25)):
        name = draw.choice(list(VALUES))
        scope = draw.choice(["", *SCOPES])
        lines[f"{scope}/{name}" if scope else name] = VALUES[name](draw)
    return "include 'base.gin'\n" + "".join(f"{left} = {value}\n" for left, value in lines.items())


def test_generated_files_are_what_gin_makes_of_them(write: Write) -> None:
    kinds = set()
    for seed in range(300):
        write("part.gin", generated(seed))
        loaded = load_experiment([write("top.gin", "include 'part.gin'\n")])
        theirs = resolved_by_gin("top.gin")
        assert dict(loaded.resolved) == theirs, f"seed {seed} differs from real gin:\n{generated(seed)}"
        write("flat.gin", loaded.text)
        assert resolved_by_gin("flat.gin") == theirs, f"seed {seed}: the flattened text means something else to gin"
        kinds.add(str(theirs))
    assert len(kinds) > 250, "the generated experiments differ from each other"


def test_what_is_private_in_gin_and_used_here_is_still_there() -> None:
    parser = config_parser.ConfigParser("x.y = {'a': 1}\n", config_parser.ParserDelegate)
    for member in ("_parse_dict_item", "_token_generator", "_skip_whitespace_and_comments"):
        assert hasattr(parser, member), f"gin's parser lost {member}, which matx/config/parsing.py uses"
    assert parser.current_token.start[0] == 1, "gin's parser tells the line of the token it is at"
