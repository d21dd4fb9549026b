"""Exports for other libraries: timm builds the network again by name, RobustBench's load_model finds the model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from isolation import isolated_plugins
from torch import Tensor, nn

import matx
from matx.errors import MatxError
from matx.exporting import export, known_formats
from matx.exporting.formats import find_format
from matx.exporting.given import PeerGiven
from matx.interfaces import Architecture, FromLibrary
from matx.plugins import load_plugin
from matx.results import write_results
from matx.testing.architectures import build

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = os.environ.get("MATX_ROBUSTBENCH")
"""A Python that has RobustBench 1.1.1."""


def code_of(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), flags=re.S)


def logits_elsewhere(folder: Path, images: Tensor, python: str = sys.executable) -> list[Tensor]:
    """What the models of a card give in a process of its own, loaded by the card's code alone."""
    torch.save(images, folder.parent / "images.pt")
    lines = ["import torch", "images = torch.load('images.pt')", "found = []"]
    for code in code_of(folder):
        lines += [code, "found.append(model(images).detach())"]
    lines.append("torch.save(found, 'found.pt')")
    command = [python, "-c", "\n".join(lines)]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the card's own code must run:\n{done.stderr}"
    found: list[Tensor] = torch.load(folder.parent / "found.pt")
    return found


def test_timm_loads_a_peer_as_its_card_says(tmp_path: Path) -> None:
    zoo = matx.load("zoo:mat_union")
    folder = export(zoo, ["generalist", "l1"], form="timm", out=tmp_path / "out")
    config = json.loads((folder / "generalist" / "config.json").read_text(encoding="utf-8"))
    data = zoo.experiment.dataset()
    assert config["architecture"] == "matx_tiny", "the name under which timm knows the network"
    told = (tuple(config["pretrained_cfg"]["mean"]), tuple(config["pretrained_cfg"]["std"]))
    assert told == (data.mean, data.std), "the normaliser is in pretrained_cfg"
    images = torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for peer, found in zip(("generalist", "l1"), logits_elsewhere(folder, images), strict=True):
        with torch.no_grad():
            gap = (found - zoo.peer(peer).to(memory_format=torch.contiguous_format)(images)).abs().max()
        assert gap <= 1e-6, f"logits of {peer} differ by {gap:.1e}"


def registered() -> list[tuple[str, Architecture]]:
    return [(name, one) for name in matx.architectures for one in matx.architectures[name].examples(Path())]


@pytest.mark.parametrize(("name", "architecture"), registered(), ids=lambda value: str(value)[:40])
def test_timm_builds_every_registered_network_again(name: str, architecture: Architecture, tmp_path: Path) -> None:
    """Each with the arguments of its form, from a folder that holds its weights."""
    import_module("matx.networks")  # tells timm the names
    timm = import_module("timm")
    assert isinstance(architecture, FromLibrary), f"{name}: all built-in networks are known to timm"
    network, images = build(architecture)
    network.eval()
    split = matx.MemorySplit.of(images, torch.arange(4))
    data = matx.Data(
        name="mine",
        train=split,
        open_test=lambda: split,
        image_shape=tuple(images.shape[1:]),
        num_classes=4,
        class_names=("a", "b", "c", "d"),
        mean=(0.5,) * images.shape[1],
        std=(0.25,) * images.shape[1],
    )
    for file, content in architecture.library_form(data).documents.items():
        (tmp_path / file).write_text(json.dumps(content), encoding="utf-8")
    torch.save(network.state_dict(), tmp_path / "model.pt")
    again: nn.Module = timm.create_model(f"local-dir:{tmp_path}", checkpoint_path=str(tmp_path / "model.pt")).eval()
    with torch.no_grad():
        assert torch.equal(again(images), network(images)), f"{architecture!r}: timm's network gives other logits"
    assert again.pretrained_cfg["std"][0] == 0.25, "and says how images are normalised"


@pytest.fixture(scope="module")
def on_cifar(tmp_path_factory: pytest.TempPathFactory) -> matx.LoadedRun:
    """A run on noise in CIFAR-10's format: its figures mean nothing, its folder is as any."""
    home = tmp_path_factory.mktemp("cifar")

    def pgd(norm: str, eps: float) -> matx.interfaces.Attack:
        return matx.attacks["pgd"](threat=matx.ThreatModel(norm=norm, eps=eps), steps=10)

    attacks = [pgd("linf", 0.1), pgd("l1", 12)]
    peers = {
        name: matx.Peer(architecture=architecture, attacks=attacks[:1], optimizer=matx.optimizers["sgd"](lr=0.1))
        for name, architecture in (
            ("a", matx.architectures["tiny"](width=4)),
            ("b", matx.architectures["timm"](name="test_resnet")),
        )
    }
    evaluation = matx.Evaluation(attacks=attacks, validation_attacks=attacks[:1], images=20, validation_images=20)
    experiment = matx.Experiment(
        dataset=matx.datasets["cifar10"].examples(home)[0],
        peers=peers,
        strategy=matx.strategies["independent"](),
        evaluation=evaluation,
        epochs=1,
        batch_size=40,
        validation=0.2,
    )
    return matx.run_experiment(experiment, out=home / "run", device="cpu", progress=False)


def cut(key: str) -> str:
    """A key of a state dict as RobustBench 1.1.1 reads it: `rm_substr_from_state_dict` of its utils.py, twice."""
    for part in ("module.", "model."):
        key = key[len(part) :] if part in key else key
    return key


@pytest.fixture(scope="module")
def for_robustbench(on_cifar: matx.LoadedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(on_cifar, form="robustbench", out=tmp_path_factory.mktemp("robustbench") / "out")


def test_robustbench_s_folder_has_each_model_where_it_looks(on_cifar: matx.LoadedRun, for_robustbench: Path) -> None:
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = sorted(str(path.relative_to(for_robustbench)) for path in for_robustbench.glob("models/*/*/*"))
    assert found == ["models/cifar10/Linf/run_a.pt", "models/cifar10/Linf/run_b.pt"], "DATASET/THREAT/NAME.pt"
    for peer in "ab":
        program = torch.export.load(for_robustbench / "programs" / f"run_{peer}.pt2").module()
        weights = torch.load(for_robustbench / "models" / "cifar10" / "Linf" / f"run_{peer}.pt")
        wanted = {f"program.{key}": tensor for key, tensor in program.state_dict().items()}
        assert {cut(key) for key in weights} == set(wanted), "as RobustBench reads the keys, they are the program's"
        assert all(torch.equal(tensor, wanted[cut(key)]) for key, tensor in weights.items()), "with its weights"
        with torch.no_grad():
            gap = (program(images) - on_cifar.peer(peer)(images)).abs().max()
        assert gap <= 1e-6, f"logits of {peer} differ by {gap:.1e}"
    card = (for_robustbench / "README.md").read_text(encoding="utf-8")
    assert "it has no folder for l1:12" in card, "the card says which threat model is left out"


@pytest.mark.skipif(
    "MATX_ROBUSTBENCH" not in os.environ, reason="needs a Python that has RobustBench: see CONTRIBUTING"
)
def test_robustbench_loads_the_folder_itself(on_cifar: matx.LoadedRun, for_robustbench: Path) -> None:
    """In an environment of its own, since RobustBench 1.1.1 asks for timm 1.0.9, which is older than matx's."""
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for peer, found in zip(
        "ab", logits_elsewhere(for_robustbench, images, os.environ["MATX_ROBUSTBENCH"]), strict=True
    ):
        with torch.no_grad():
            gap = (found - on_cifar.peer(peer)(images)).abs().max()
        assert gap <= 1e-6, f"logits of {peer} differ by {gap:.1e}"


def test_keys_survive_what_robustbench_cuts_off() -> None:
    kept = import_module("matx.exporting.robustbench")._kept
    for key in ("program.fc.weight", "program.model.fc.weight", "program.module.a", "program.module.model.a"):
        assert cut(kept(key)) == key, f"{key} must arrive as it is"


def test_what_a_format_cannot_express_is_one_sentence(on_cifar: matx.LoadedRun, tmp_path: Path) -> None:
    zoo = matx.load("zoo:mat_union")
    with pytest.raises(MatxError, match=r"^--format robustbench: got the dataset 'digits', which RobustBench does not"):
        export(zoo, ["l1"], form="robustbench", out=tmp_path / "a")
    only_l1, found = tmp_path / "l1.json", on_cifar.results
    write_results(only_l1, replace(found, scores=[s for s in found.scores if s.column in ("clean", "l1:12")]))
    with pytest.raises(MatxError, match=r"^--format robustbench: got the threat models l1:12 of peer 'a', allowed"):
        export(on_cifar, ["a"], form="robustbench", results=only_l1, out=tmp_path / "b")
    assert not list(tmp_path.glob("[ab]")), "a refused export leaves no folder"


def test_a_library_that_does_not_build_a_network_is_said(on_cifar: matx.LoadedRun) -> None:
    with isolated_plugins():
        load_plugin(ROOT / "examples" / "my_architecture.py")
        own = next(name for name in matx.architectures if not isinstance(matx.architectures[name], FromLibrary))
        given = PeerGiven(
            name="a",
            experiment="run",
            module=on_cifar.peer("a"),
            architecture=matx.architectures[own].examples(Path())[0],
            data=on_cifar.experiment.dataset(),
            threats=(),
        )
        sentence = rf"^--format timm: peer 'a' is an architectures\.{own}, which timm does not build; allowed: safet"
        with pytest.raises(MatxError, match=sentence):
            find_format("timm").loading(given, "out")


def test_formats_of_libraries_are_listed() -> None:
    assert known_formats()[-1] == "timm", "an architecture's library is a format"
