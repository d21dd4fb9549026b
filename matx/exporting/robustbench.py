"""A folder that RobustBench's own `load_model` reads, without matx.

`load_model` builds the networks of its own zoo alone, found by name in its registry `model_dicts`, with the weights in
MODEL_DIR/DATASET/THREAT/NAME.pt. So the folder has the weights there, a program of torch.export as the network, and a
Python file that enters it into the registry.
"""

from __future__ import annotations

from pathlib import Path

import torch

from matx.errors import OptionError
from matx.exporting.given import Format, PeerGiven
from matx.runtime.files import write_text

__all__ = ["FORMAT"]

_NORMS = {"linf": "Linf", "l2": "L2"}
"""{norm: RobustBench's folder of models trained for it}."""
_PROGRAMS = "programs"
_ENTRIES = "exported_models.py"
_STRIPPED = ("model.", "module.")
"""Where one occurs in a key of a state dict, load_model cuts off as many characters; in reverse order."""
_TEXT = '''\
"""Makes the models of this folder known to RobustBench: after importing this file, load_model finds them by name."""

from functools import partial
from pathlib import Path

import torch
from robustbench.model_zoo import model_dicts
from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel


class Program(torch.nn.Module):
    """Images in [0,1] -> logits: an exported program, which is in eval mode whatever is asked."""

    def __init__(self, file):
        super().__init__()
        self.program = torch.export.load(file).module()

    def forward(self, images):
        return self.program(images)

    def train(self, mode=True):
        return self


for weights in Path(__file__).parent.glob("models/*/*/*.pt"):
    threat, dataset = weights.parent.name, weights.parent.parent.name
    program = Path(__file__).parent / "programs" / f"{weights.stem}.pt2"
    models = model_dicts[BenchmarkDataset(dataset)][ThreatModel(threat)]
    models[weights.stem] = {"model": partial(Program, program), "gdrive_id": "none: the weights are in this folder"}
'''


def _name(given: PeerGiven) -> str:
    return f"{given.experiment}_{given.name}"


def _folders(given: PeerGiven) -> list[str]:
    """DATASET/THREAT of each threat model that RobustBench has a folder for; OptionError where it has none."""
    if given.data.benchmark is None:
        raise OptionError(
            f"--format robustbench: got the dataset {given.data.name!r}, which RobustBench does not know; allowed: a "
            "dataset that says by which name RobustBench knows its images (Data.benchmark), or another format"
        )
    found = dict.fromkeys(_NORMS[threat.norm] for threat in given.threats if threat.norm in _NORMS)
    if not found:
        got = ", ".join(threat.key for threat in given.threats) or "none"
        raise OptionError(
            f"--format robustbench: got the threat models {got} of peer {given.name!r}, allowed: {', '.join(_NORMS)}, "
            "for which RobustBench has folders, or another format"
        )
    return [f"{given.data.benchmark}/{threat}" for threat in found]


def _file(given: PeerGiven) -> str:
    return f"models/{_folders(given)[0]}/{_name(given)}.pt"


def _write(given: PeerGiven, folder: Path) -> None:
    program = given.program()
    (folder / _PROGRAMS).mkdir(exist_ok=True)
    torch.export.save(program, folder / _PROGRAMS / f"{_name(given)}.pt2")
    weights = {_kept(f"program.{key}"): tensor for key, tensor in program.module().state_dict().items()}
    for place in _folders(given):
        (folder / "models" / place).mkdir(parents=True, exist_ok=True)
        torch.save(weights, folder / "models" / place / f"{_name(given)}.pt")
    write_text(folder / _ENTRIES, _TEXT)


def _kept(key: str) -> str:
    """The key under which load_model finds this key: what it will cut off stands before it."""
    for part in _STRIPPED:
        key = f"{part}{key}" if part in key else key
    return key


def _loading(given: PeerGiven, folder: str) -> str:
    dataset, threat = _folders(given)[0].split("/")
    others = [f"or threat_model={place.split('/')[1]!r}" for place in _folders(given)[1:]]
    others += [f"it has no folder for {threat.key}" for threat in given.threats if threat.norm not in _NORMS]
    return (
        f'import sys\n\nsys.path.append("{folder}")\nimport exported_models  # makes them known to RobustBench 1.1.1\n'
        "from robustbench.utils import load_model\n\n"
        f'model = load_model("{_name(given)}", model_dir="{folder}/models", dataset="{dataset}", '
        f'threat_model="{threat}")' + (f"  # {'; '.join(others)}" if others else "")
    )


FORMAT = Format(file=_file, write=_write, loading=_loading)
