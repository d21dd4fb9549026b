"""The three small models that the evaluation's tables are about: undefended, adversarially trained, union-trained.

Digits (8x8, built in) or any .npz of uint8 images (x_train, y_train, x_test, y_test, channels last). A model is trained
once in some minutes and kept as a plain weights file in the folder given by --folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import matx
from matx.craft import attackable
from matx.data import channel_statistics
from matx.learner import Normalised
from matx.randomness import SampleGenerator
from matx.threat import ThreatModel

NAMES = ("undefended", "adversarial", "union")
TRAINED = {"digits": ("linf:0.1", "l2:0.6", "l1:2.5"), "npz": ("linf:4/255", "l2:0.25", "l1:4")}
"""What is trained on; 'adversarial' takes the first one alone."""
RADII = {"digits": ("linf:0.15", "l2:0.8", "l1:2"), "npz": ("linf:4/255", "l2:0.25", "l1:4")}
"""What is attacked: where the trained models fall about half."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """(N, C, H, W) fp32 in [0,1] with labels: what to train on and what to attack."""

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """What is attacked."""
        return self._parsed(RADII)

    @property
    def trained(self) -> tuple[ThreatModel, ...]:
        """What is trained on."""
        return self._parsed(TRAINED)

    def _parsed(self, keys: Mapping[str, tuple[str, ...]]) -> tuple[ThreatModel, ...]:
        return tuple(ThreatModel.parse(key) for key in keys["digits" if self.name == "digits" else "npz"])


def arguments(description: str | None, *, images: int) -> argparse.ArgumentParser:
    """The options of every tool that takes these models: which, trained how, asked about how many `images`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npz", type=Path, default=None)
    parser.add_argument("--folder", type=Path, default=Path("trained_models"), help="where trained models are kept")
    parser.add_argument("--models", default=",".join(NAMES))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--train", type=int, default=8000)
    parser.add_argument("--images", type=int, default=images)
    return parser


def load(npz: Path | None, train: int, test: int) -> Images:
    """The digits, or the first images of the file."""
    if npz is None:
        data = matx.datasets["digits"]()()
        parts = [(split.read(torch.arange(len(split.labels))), split.labels) for split in (data.train, data.test)]
        name = "digits"
    else:
        with np.load(npz) as stored:
            sides = (("train", train), ("test", test))
            pairs = [(stored[f"x_{side}"][:count], stored[f"y_{side}"][:count]) for side, count in sides]
        parts = [(torch.tensor(x).permute(0, 3, 1, 2).float() / 255, torch.tensor(y).long()) for x, y in pairs]
        name = npz.stem
    (x, y), (seen, truth) = parts
    x, seen = (images.contiguous(memory_format=torch.channels_last) for images in (x[:train], seen[:test]))
    return Images(name=name, train=x, train_labels=y[:train], test=seen, test_labels=truth[:test])


def models(
    images: Images, folder: Path, epochs: int, *, names: Sequence[str] = NAMES, architecture: str = "tiny"
) -> dict[str, nn.Module]:
    """{name: trained module in eval mode}; what lies in the folder is not trained again."""
    found = {}
    kind = "" if architecture == "tiny" else f"-{architecture}"
    for name in names:
        file = folder / f"{images.name}{kind}-{name}.pt"
        module = _fresh(images, architecture)
        if file.is_file():
            module.load_state_dict(torch.load(file, weights_only=True))
        else:
            _train(module, images, name, epochs)
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(module.state_dict(), file)
        found[name] = module.eval().requires_grad_(False)
    return found


def _fresh(images: Images, architecture: str) -> nn.Module:
    torch.manual_seed(0)
    shape = (images.train.shape[1], images.train.shape[2], images.train.shape[3])
    classes = int(images.train_labels.max()) + 1
    family: Any = matx.architectures[architecture]
    network = family(width=16)(shape, classes)
    module: nn.Module = Normalised(network, *channel_statistics(images.train))
    return module.to(memory_format=torch.channels_last)


def _train(module: nn.Module, images: Images, name: str, epochs: int) -> None:
    """SGD with a falling rate on clean images, on PGD's of the first threat model, or on those of all in turn."""
    threats = {"undefended": (), "adversarial": images.trained[:1], "union": images.trained}[name]
    pgd: Any = matx.attacks["pgd"]
    attacks = [pgd(threat=t, steps=10 if t.norm == "l1" else 5, keep="last") for t in threats]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    orders = [_order(len(images.train), epoch) for epoch in range(epochs)]
    batches = [order[start : start + 128] for order in orders for start in range(0, len(order), 128)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=len(batches))
    for step, rows in enumerate(batches):
        seen, labels = images.train[rows], images.train_labels[rows]
        if attacks:
            with attackable(module) as model:
                draws = SampleGenerator(step, rows)
                given = matx.AttackInput(model=model, images=seen, labels=labels, generator=draws)
                seen = attacks[step % len(attacks)](given)
        module.train()
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(module(seen), labels))
        optimizer.step()
        schedule.step()


def _order(count: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(epoch))
