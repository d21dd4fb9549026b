from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

import gin
import pytest

import matx
from matx.config import Loaded, describe, load_experiment
from matx.config.names import NOUNS
from matx.errors import ConfigError
from matx.threat import ThreatModel

Write = Callable[[str, str], str]


def same(loaded: Loaded, write: Write) -> None:
    again = load_experiment([write("flat.gin", loaded.text)])
    assert again.experiment == loaded.experiment, f"the flattened text must give an equal experiment:\n{loaded.text}"
    assert repr(again.experiment) == repr(loaded.experiment), f"and print alike:\n{loaded.text}"
    assert again.text.splitlines()[1:] == loaded.text.splitlines()[1:], "flattening twice must change nothing"
    assert again.warnings == (), "the flattened text holds nothing without effect"


def test_the_example_of_the_design_is_built_with_scopes_as_peers() -> None:
    experiment = load_experiment(["base.gin"]).experiment
    threats = {name: [attack.threat for attack in peer.attacks] for name, peer in experiment.peers.items()}
    linf, l2 = ThreatModel(norm="linf", eps="8/255"), ThreatModel(norm="l2", eps=0.5)
    assert threats == {"linf": [linf], "l2": [l2], "generalist": [linf, l2]}, "each scope must reach its own peer"
    assert tuple(experiment.peers) == ("linf", "l2", "generalist"), "peers keep the order in which they are declared"
    assert experiment.peers["l2"].architecture.widths == (3, 4), "lists become tuples, so that nothing frozen changes"


def test_loaded_says_what_it_is() -> None:
    loaded = load_experiment(["base.gin"], ["Experiment.seed=3"])
    assert loaded.name == "base", "the name is the first file's stem"
    assert loaded.files == ("base.gin",), "the files are shown relative to the working directory"
    resolved = json.loads(json.dumps(dict(loaded.resolved)))
    assert resolved["seed"] == 3, "resolved values hold what was given"
    assert resolved["epochs"] == 10, "resolved values hold the defaults too"
    assert resolved["peers"]["linf"]["attacks"][0]["@"] == "attacks.probe", "components are named as in gin"
    assert resolved["peers"]["linf"]["attacks"][0]["threat"]["eps"] == "8/255", "eps is kept as written"


def test_a_single_path_is_one_file(tmp_path: Path) -> None:
    assert load_experiment(tmp_path / "base.gin").name == "base", "a lone path must not be read letter by letter"
    with pytest.raises(ConfigError, match="no gin file given"):
        load_experiment([])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["attacks.probe.steps=7", "linf/ThreatModel.eps='4/255'"],
        ["EPS='2/255'", "Experiment.validation=0.25", "l2/attacks.probe.size=1e-3"],
        ["Experiment.strategy=@strategies.led()", "strategies.led.leader='it\\'s'", "*/attacks.probe.steps=3"],
        [
            "Experiment.augment=[@augmentations.pad_crop(), @augmentations.flip()]",
            "augmentations.pad_crop.pad=2",
            "Peer.schedule=@schedules.piecewise()",
            "schedules.piecewise.milestones=(3,)",
        ],
    ],
)
def test_the_flattened_text_gives_the_same_experiment(overrides: list[str], write: Write) -> None:
    if any("led" in text for text in overrides):
        overrides[1] = "strategies.led.leader='l2'"
    loaded = load_experiment(["base.gin"], overrides)
    same(loaded, write)


def test_the_flattened_text_of_includes_leaves_out_what_has_no_effect(write: Write, tmp_path: Path) -> None:
    write("parts/more.gin", "attacks.chain.parts = []\nSPARE = 1\nattacks.probe.steps = 4\noptimizers.adam.lr = 0.5\n")
    name = write("top.gin", "include 'base.gin'\ninclude 'parts/more.gin'\nattacks.probe.size = 0.5\n")
    loaded = load_experiment([name])
    for word in ("SPARE", "chain", "adam"):
        assert word not in loaded.text, f"{word} has no effect and must be left out of\n{loaded.text}"
        assert any(word in line for line in loaded.warnings), f"{word} must be warned about in {loaded.warnings}"
    assert str(tmp_path) not in loaded.text, "the flattened text names no path of the machine"
    assert loaded.text.startswith("# One file, made of top.gin, base.gin, parts/more.gin;"), loaded.text.splitlines()[0]
    same(loaded, write)


def test_the_flattened_text_breaks_long_values_and_imports_plugins_given_by_file(write: Write, tmp_path: Path) -> None:
    from matx.plugins import load_plugin

    load_plugin(tmp_path / "probing.py")
    names = ", ".join(f"'peer_with_a_long_name_{i}': @linf/Peer()" for i in range(6))
    text = (tmp_path / "base.gin").read_text().replace("import probing\n", "")
    start, end = text.index("Experiment.peers"), text.index("Peer.architecture")
    text = text[:start] + f"Experiment.peers = {{{names}}}\n" + text[end : text.index("l2/Thr")]
    text += "Peer.optimizer = @optimizers.sgd()\n"
    loaded = load_experiment([write("long.gin", text)])
    assert "import probing\n" in loaded.text, f"a plug-in by file becomes an import line:\n{loaded.text}"
    assert max(map(len, loaded.text.splitlines())) <= 110, f"long values are broken into lines:\n{loaded.text}"
    same(loaded, write)


def test_gin_is_empty_afterwards_also_after_an_error(write: Write) -> None:
    load_experiment(["base.gin"])
    assert gin.config_str().strip() == "", "gin keeps nothing after a load"
    with pytest.raises(ConfigError):
        load_experiment(["base.gin"], ["attacks.probe.steps=-1"])
    assert gin.config_str().strip() == "", "gin keeps nothing after a refused load"
    write("bug.gin", "include 'base.gin'\nPeer.attacks = [@attacks.odd()]\nattacks.odd.threat = @ThreatModel()\n")
    with pytest.raises(KeyError) as caught:
        load_experiment(["bug.gin"], ["attacks.odd.names=['bug']"])
    assert type(caught.value) is KeyError, "a bug in a component comes out as it is, not as gin's proxy"
    assert gin.config_str().strip() == "", "gin keeps nothing after a bug in a component"
    assert not gin.config_is_locked(), "gin is left unlocked"


def test_a_scope_or_configuration_of_the_caller_does_not_leak_in() -> None:
    with gin.config_scope("linf"):
        experiment = load_experiment(["base.gin"]).experiment
    assert experiment.peers["l2"].attacks[0].threat.norm == "l2", "a surrounding gin scope must not reach the peers"


def test_threads_load_their_own_files(write: Write) -> None:
    found: dict[int, int] = {}

    def load(seed: int) -> None:
        for _ in range(3):
            found[seed] = load_experiment(["base.gin"], [f"Experiment.seed={seed}"], own=True).experiment.seed

    threads = [threading.Thread(target=load, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {seed: seed for seed in range(4)}, "gin is global: four threads must still get their own values"


def test_every_load_reads_the_registry_again() -> None:
    load_experiment(["base.gin"])
    old = matx.datasets["dots"]

    @dataclass(frozen=True, kw_only=True)
    class Dots:
        n: int = 99

    Dots.__module__, Dots.__qualname__ = old.__module__, old.__qualname__
    matx.datasets.register("dots")(Dots)
    dataset = load_experiment(["base.gin"]).experiment.dataset
    assert type(dataset) is Dots, "a class that was registered again, as a notebook does, must be the one that is built"


def test_values_settle_as_annotated(write: Write) -> None:
    lines = ["Peer.attacks = [@attacks.odd()]", "attacks.odd.threat = @ThreatModel()", "attacks.odd.pair = [1, 2]"]
    lines += ["attacks.odd.names = ('a',)", "attacks.odd.where = 'here'", "attacks.odd.table = {'a': 1}"]
    loaded = load_experiment([write("odd.gin", "\n".join(["include 'base.gin'", *lines]))])
    odd: Any = loaded.experiment.peers["linf"].attacks[0]
    assert odd.pair == (1, 2), "a list becomes a tuple"
    assert odd.names == ["a"], "an annotated list stays a list"
    assert odd.where == Path("here"), "an annotated path becomes one"
    assert odd.table == {"a": 1}, "a dict stays a dict"
    same(loaded, write)


def test_macros_stand_for_references_in_the_scope_of_use(write: Write) -> None:
    lines = ["include 'base.gin'", "HOW = [@attacks.probe()]", "DEEP = %HOW", "Peer.attacks = %DEEP"]
    experiment = load_experiment([write("macro.gin", "\n".join(lines))]).experiment
    norms = [experiment.peers[name].attacks[0].threat.norm for name in ("linf", "l2")]
    assert norms == ["linf", "l2"], "bare gin evaluates a macro's references in the macro's own scope, we in the peer's"


def test_blocks_and_comments_and_byte_order_marks(tmp_path: Path) -> None:
    text = (tmp_path / "base.gin").read_text() + "# end\nattacks.probe:\n    steps = 3  # few\n    size = -0.5\n"
    (tmp_path / "block.gin").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    attack: Any = load_experiment(["block.gin"]).experiment.peers["l2"].attacks[0]
    assert (attack.steps, attack.size) == (3, -0.5), "gin's block syntax is read"


def test_only_the_core_of_gin_is_imported() -> None:
    assert not [name for name in sys.modules if name.startswith(("gin.tf", "gin.torch", "tensorflow"))], "no adapters"


def test_every_noun_is_a_frozen_dataclass_that_can_be_described() -> None:
    for name, noun in NOUNS.items():
        assert is_dataclass(noun), f"{name} must be a dataclass"
        assert describe(noun), f"{name} must have options to describe"


def test_describe_gives_rows_of_text() -> None:
    load_experiment(["base.gin"])
    rows = {row.parameter: row for row in describe(matx.attacks["probe"])}
    assert list(rows) == ["threat", "steps", "size", "mode", "objective"], "rows stand in declared order, no ClassVar"
    assert (rows["threat"].type, rows["threat"].default) == ("ThreatModel", "required"), rows["threat"]
    assert (rows["size"].type, rows["size"].default) == ("float | None", "None"), rows["size"]
    assert rows["steps"].doc == "How many steps.", "the string below a field is its description"
