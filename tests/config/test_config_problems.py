"""Bad input: every problem at once, each in one sentence with its place. Most of this bare gin lets pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config.refused import only, problems

Write = Callable[[str, str], str]


WRONG_LINES = {
    "component": (
        "Peer.attacks = [@attacks.prob()]",
        "unknown component 'attacks.prob'; did you mean 'probe'?; attacks:",
    ),
    "plug-ins": ("Peer.attacks = [@attacks.prob()]", "plug-ins loaded: builtin, probing"),
    "bare": ("Peer.attacks = [@probe()]", "unknown name 'probe'; did you mean 'attacks.probe'?; allowed: Experiment,"),
    "kind": ("Peer.attacks = [@atacks.probe()]", "unknown name 'atacks.probe'; did you mean 'attacks.probe'?"),
    "noun": ("Experiment.evaluation = @Evalution()", "unknown name 'Evalution'; did you mean 'Evaluation'?"),
    "bound name": (
        "attacks.prob.steps = 3",
        "attacks.prob.steps: unknown component 'attacks.prob'; did you mean 'probe'?",
    ),
    "bound noun": ("Pear.attacks = []", "Pear.attacks: unknown name 'Pear'; did you mean 'Peer'?"),
    "noun of a kind": (
        "Peer.optimizer = @Optimizer()",
        "@Optimizer(): unknown name 'Optimizer'; write @optimizers.NAME(), NAME one of adam, adamw, sgd",
    ),
    "option of a kind": (
        "Optimizer.lr = 0.1",
        "Optimizer.lr: unknown name 'Optimizer'; write optimizers.NAME.lr, NAME one of adam, adamw, sgd",
    ),
    "option of one component": (
        "Schedule.milestones = [1]",
        "unknown name 'Schedule'; write schedules.NAME.milestones, NAME one of piecewise",
    ),
    "option of none": (
        "Schedule.name = 'cosine'",
        "write schedules.NAME.name, NAME one of constant, cosine, one_cycle, piecewise, triangular",
    ),
    "short for a kind": (
        "Augment.pad = 4",
        "'Augment'; write augmentations.NAME.pad, NAME one of pad_crop",
    ),
    "registry": ("attacks.probe = 3", "attacks.probe: 'attacks' is a kind; name one of its components: "),
    "noun as macro": ("Peer = 3", "Peer: got a value for the whole, allowed: Peer.PARAMETER = VALUE"),
    "parameter": (
        "attacks.probe.step = 3",
        "attacks.probe.step: attacks.probe has no parameter 'step'; did you mean 'steps'?; allowed: threat, steps, ",
    ),
    "noun's parameter": (
        "Experiment.epoch = 3",
        "Experiment has no parameter 'epoch'; did you mean 'epochs'?; allowed: ",
    ),
    "scope": (
        "Peer.attacks = [@lnif/attacks.probe()]",
        "@lnif/attacks.probe(): nothing is set in scope 'lnif'; did you mean 'linf'?; scopes: generalist, l2, linf",
    ),
    "macro": ("attacks.probe.steps = %MANY", "attacks.probe.steps: unknown macro %MANY; known: EPS"),
    "near macro": ("attacks.probe.size = %EBS", "unknown macro %EBS; did you mean 'EPS'?; known: EPS"),
    "missing ()": (
        "Peer.attacks = [@attacks.probe]",
        "Peer.attacks: got @attacks.probe without (); did you mean @attacks.probe()?",
    ),
    "int": ("attacks.probe.steps = 3.5", "attacks.probe.steps: got 3.5, allowed: an integer"),
    "bool as int": ("attacks.probe.steps = True", "attacks.probe.steps: got True, allowed: an integer"),
    "string as int": ("attacks.probe.steps = '3'", "got '3', allowed: an integer; did you mean 3, without quotes?"),
    "float": ("attacks.probe.size = 'small'", "attacks.probe.size: got 'small', allowed: a number or None"),
    "bool as float": ("attacks.probe.size = False", "attacks.probe.size: got False, allowed: a number or None"),
    "overflow": ("attacks.probe.size = 1e999", "got inf (too large for a number), allowed: a number or None"),
    "none": ("attacks.probe.steps = None", "attacks.probe.steps: got None, allowed: an integer"),
    "string": ("linf/ThreatModel.eps = [3]", "linf/ThreatModel.eps: got [3], allowed: a number or a string in quotes"),
    "literal": ("attacks.probe.mode = 'c'", "attacks.probe.mode: got 'c', allowed: 'a', 'b'"),
    "bool": ("Experiment.augment = True", "Experiment.augment: got True, allowed: a component @augmentations.NAME() ("),
    "list": (
        "Peer.attacks = @attacks.probe()",
        "Peer.attacks: got @attacks.probe(), allowed: a list [a component @attacks",
    ),
    "list hint": ("Peer.attacks = @attacks.probe()", "; did you mean [@attacks.probe()]?"),
    "list item": ("architectures.net.widths = [3, '4']", "architectures.net.widths[1]: got '4', allowed: an integer"),
    "string as list": (
        "architectures.net.widths = '34'",
        "got '34', allowed: a list [integer, ...]; did you mean ['34']?",
    ),
    "list as item": ("attacks.probe.steps = [3]", "attacks.probe.steps: got [3], allowed: an integer; did you mean 3?"),
    "dict": (
        "Experiment.peers = [@linf/Peer()]",
        "Experiment.peers: got [@linf/Peer()], allowed: a dict {'text': @Peer()}",
    ),
    "dict key": ("Experiment.peers = {1: @linf/Peer()}", "Experiment.peers: key: got 1, allowed: a string in quotes"),
    "dict item": ("Experiment.peers = {'a': 1}", "Experiment.peers['a']: got 1, allowed: @Peer()"),
    "dict key twice": ("Experiment.peers = {'a': @l2/Peer(), 'a': @linf/Peer()}", "the key 'a' is there twice"),
    "joined strings": (
        "attacks.probe.objective = 'cross_' 'entropy'",
        "a comma is missing before 'entropy'; gin would join the strings",
    ),
    "reference as key": (
        "Experiment.peers = {@l2/Peer(): 1}",
        "got @l2/Peer() as a key, allowed: a string or a number",
    ),
    "string as component": ("generalist/Peer.union = 'both'", "or None; did you mean @unions.both()?"),
    "other kind": (
        "Peer.attacks = [@unions.both()]",
        "Peer.attacks[0]: got @unions.both(), allowed: a component @attacks.",
    ),
    "component as number": ("attacks.probe.size = @attacks.probe()", "got @attacks.probe(), allowed: a number or None"),
    "other noun": ("attacks.probe.threat = @Evaluation()", "got @Evaluation(), allowed: @ThreatModel()"),
    "range": ("attacks.probe.steps = -1", "attacks.probe.steps: got -1, allowed: 0 or more"),
    "range without owner": (
        "attacks.probe.objective = 'x'",
        "attacks.probe.objective: got 'x', allowed: 'cross_entropy', 'margin'",
    ),
    "range of noun": ("Experiment.epochs = 0", "Experiment.epochs: got 0, allowed: 1 or more"),
    "macro unused": ("SPARE = 3", "macro SPARE is never used; write %SPARE where it is meant"),
    "scoped macro": ("l2/EPS = 3", "macro l2/EPS is never used; write %l2/EPS where it is meant; read are %EPS"),
    "unbuilt": ("attacks.chain.parts = []", "attacks.chain.parts has no effect: no @attacks.chain() is built"),
    "unbuilt noun": (
        "Tune.epochs = 3",
        "Tune.epochs has no effect: no @Tune() is built; write Experiment.tune = @T",
    ),
    "unknown scope": (
        "lnif/ThreatModel.eps = 0.1",
        "ThreatModel is built in 'linf', 'l2', not in 'lnif' (unknown scope 'lnif'; did you mean 'linf'?; entered: ",
    ),
    "wrong scope": (
        "generalist/attacks.probe.steps = 9",
        "attacks.probe is built in 'linf', 'l2', not in 'generalist'",
    ),
    "hidden": (
        "ThreatModel.norm = 'l1'",
        "ThreatModel.norm has no effect: hidden by linf/ThreatModel.norm (base.gin:12), l2/",
    ),
    "peer": (
        "Experiment.peers = {'clean': @linf/Peer()}",
        "Experiment.peers: got the name 'clean', allowed: an identifier",
    ),
    "word": ("attacks.probe.size = none", "broken syntax: got none; did you mean None?"),
    "quotes": ("attacks.probe.mode = a", "broken syntax: got a without quotes; did you mean 'a'?"),
    "infinite": ("attacks.probe.size = inf", "broken syntax: got inf, allowed: a finite number"),
    "arithmetic": ("attacks.probe.size = 8/255", "broken syntax: got 8/255, but gin does not calculate"),
    "open bracket": (
        "architectures.net.widths = [1,",
        "broken syntax: a bracket or string that begins here is not closed",
    ),
    "open string": ("attacks.probe.mode = 'a", "broken syntax"),
    "prose": (
        "this is not gin",
        "broken syntax: got this is not gin, allowed: NAME.PARAMETER = VALUE, import MODULE, or",
    ),
    "no value": ("attacks.probe.steps =", "broken syntax: got attacks.probe.steps ="),
    "colon": ("attacks.probe.steps: 3", "broken syntax: got attacks.probe.steps: 3"),
    "import": ("import nosuchplugin", "plug-in 'nosuchplugin' does not import: no such module on Python's path or in "),
    "near import": ("import prob1ng", "did you mean 'probing'?"),
    "gin's own": (
        "import gin.tf.external_configurables",
        "import gin.tf.external_configurables: not needed; allowed: a plug",
    ),
    "dynamic": ("from __gin__ import dynamic_registration", "not needed; allowed: a plug-in's module"),
    "singleton": ("attacks.probe.threat = @key/gin.singleton()", "unknown name 'gin.singleton'"),
    "include": (
        "include 'bass.gin'",
        "include 'bass.gin': no such file; did you mean 'base.gin'?; looked beside the including",
    ),
    "include itself": ("include 'top.gin'", "include loop: top.gin -> top.gin"),
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_wrong_line_is_reported_at_its_place_in_one_line(case: str, write: Write) -> None:
    line, sentence = WRONG_LINES[case]
    write("top.gin", f"# head\ninclude 'base.gin'\n{line}\n")
    found = only(["top.gin"])
    assert found.startswith("top.gin:3: "), f"the place comes first: {found}"
    assert sentence in found, f"expected {sentence!r} in: {found}"
    assert "\n" not in found, f"one line a problem: {found}"


@pytest.mark.parametrize(
    "case", [case for case in WRONG_LINES if not case.startswith(("import", "near im", "gin's", "dyn"))]
)
def test_a_wrong_override_is_reported_with_its_text(case: str) -> None:
    line, sentence = WRONG_LINES[case]
    if line.startswith(("include", "import")):
        sentence = "an override sets values; write include and import into a file"
    found = problems(["base.gin"], [line])
    assert all(text.startswith("-s ") for text in found), f"the override is the place: {found}"
    assert repr(line) in found[0], f"its text is shown: {found}"
    reaches_some = "reaches only some" in found[0]
    assert reaches_some or sentence in found[0], f"expected {sentence!r} in: {found}"


def test_all_problems_of_all_files_come_at_once_in_order(write: Write) -> None:
    write("part.gin", "attacks.probe.steps = 'x'\nattacks.probe.sizes = 3\n")
    text = "include 'base.gin'\ninclude 'part.gin'\nEPS2 = 1\nPeer.attacks = [@attacks.prob(), @attacks.chain]\n"
    write("top.gin", text + "l2/Peer.ema = [\nEvaluation.nam = 'x'\nl2/ThreatModel.norm = 'l3'\n")
    found = problems(["top.gin"], ["Experiment.epochs=0.5"])
    places = [line.split(": ")[0] for line in found]
    expected = ["top.gin:4", "top.gin:4", "top.gin:5", "top.gin:6", "top.gin:7", "part.gin:1", "part.gin:2"]
    assert places == [*expected, "-s 'Experiment.epochs=0.5'"], "every problem, by file and line:\n" + "\n".join(found)


def test_missing_binary_and_folder(write: Write, tmp_path: Path) -> None:
    assert only(["bas.gin"]).startswith("bas.gin:1: no such file; did you mean 'base.gin'?; packaged recipes: "), "near"
    (tmp_path / "weights.gin").write_bytes(b"\x80\x02\x00\xff" * 10)
    assert only(["weights.gin"]) == "weights.gin:1: not a text file in UTF-8; allowed: gin statements"
    write("mine.py", "import matx\n\nclass Mine:\n    pass\n")
    python = "mine.py:1: got Python, allowed: a gin file; `matx check KIND.NAME --plugin mine.py` checks it"
    assert only(["mine.py"]) == python, "one sentence, not one a line"
    (tmp_path / "zero.gin").write_bytes(b"Experiment.seed = 1\0\n")
    assert "not a text file" in only(["zero.gin"]), "a NUL is binary"
    (tmp_path / "folder.gin").mkdir()
    assert only(["folder.gin"]).startswith("folder.gin:1: is a folder; "), "a folder is called one"
    write("top.gin", "include 'base.gin'\ninclude 'weights.gin'\n")
    assert only(["top.gin"]).startswith("weights.gin:1: not a text file"), "an included binary file is named"


def test_include_loop_over_two_files_and_given_twice(write: Write) -> None:
    write("a.gin", "include 'base.gin'\ninclude 'b.gin'\n")
    write("b.gin", "\ninclude 'a.gin'\n")
    assert only(["a.gin"]) == "b.gin:2: include loop: a.gin -> b.gin -> a.gin"
    assert "given twice" in only(["base.gin", "base.gin"]), "the same file twice is a slip"


def test_twice_in_one_file_or_on_the_command_line(write: Write) -> None:
    write("top.gin", "include 'base.gin'\nattacks.probe.steps = 3\nattacks.probe.steps = 4\n")
    assert (
        only(["top.gin"]) == "top.gin:3: attacks.probe.steps is set twice, first at top.gin:2; gin would keep the last"
    )
    found = only(["base.gin"], ["Experiment.seed=1", "Experiment.seed=2"])
    assert "Experiment.seed is set twice, first at -s 'Experiment.seed=1'" in found, found


def test_macros_in_a_circle_and_references_in_a_circle(write: Write) -> None:
    write("top.gin", "include 'base.gin'\nA = %B\nB = [%A]\nattacks.probe.size = %A\n")
    assert only(["top.gin"]).startswith(
        "top.gin:4: attacks.probe.size: the macros stand for each other: %A -> %B -> %A"
    )
    write(
        "top.gin", "include 'base.gin'\nPeer.attacks = [@attacks.chain()]\nattacks.chain.parts = [@attacks.chain()]\n"
    )
    found = problems(["top.gin"])
    assert found == [
        "top.gin:3: attacks.chain cannot be built: the references run in a circle: "
        "@linf/attacks.chain() -> @linf/attacks.chain()"
    ], found


def test_a_value_from_a_macro_names_the_macro(write: Write) -> None:
    found = only([write("top.gin", "include 'base.gin'\nN = 'x'\nattacks.probe.steps = %N\n")])
    assert found == "top.gin:3: attacks.probe.steps: got 'x', allowed: an integer (%N is set at top.gin:2)", found


def test_an_import_that_fails_names_the_cause(write: Write) -> None:
    write("broken_one.py", "import matx\n\nraise RuntimeError('no luck')\n")
    write("top.gin", "include 'base.gin'\nimport broken_one\n")
    found = only(["top.gin"])
    assert found.startswith("top.gin:2: plug-in broken_one does not import: RuntimeError: no luck ("), found
    assert "broken_one.py:3)" in found, f"the plug-in's own line: {found}"


def test_what_follows_from_a_plug_in_that_is_not_loaded_is_not_said(write: Write) -> None:
    top = write(
        "top.gin", "import nosuchplugin\nPeer.attacks = [@attacks.its_attack()]\nattacks.its_attack.steps = 3\n"
    )
    found = only([top])
    assert found.startswith("top.gin:1: plug-in 'nosuchplugin' does not import"), f"its names are blamed, too: {found}"
