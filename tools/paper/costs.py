"""What a training image costs in a recipe of gin/paper: passes of a real step, operations of its true networks.

The step is taken with a tiny network in the place of each true one, which counts what is asked of it; what a forward
or a backward of the true one costs is counted on the meta device, which computes nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import matx
from matx.config import Loaded, load_experiment
from matx.engine import fit, start
from matx.experiment import Experiment, Peer
from matx.run.estimate import Flops

ROOT = Path(__file__).resolve().parents[2]
COSTS = Path(__file__).with_name("costs.json")
SHAPES = {"cifar10": (3, 32, 10), "cifar100": (3, 32, 100), "image_folder": (3, 64, 100)}
"""{dataset of a recipe: channels, side, classes}."""


@dataclass(frozen=True, kw_only=True)
class ImageCost:
    """Of one training image, all peers together."""

    forward: float
    backward_input: float
    backward_weights: float
    flops: float

    @property
    def passes(self) -> float:
        """Forwards and backwards; one to the weights counts two."""
        return self.forward + self.backward_input + 2 * self.backward_weights


def count() -> None:
    """Count every recipe anew and store what was found."""
    names = [f"paper/{path.stem}" for path in sorted((ROOT / "gin" / "paper").glob("*.gin"))]
    with tempfile.TemporaryDirectory() as folder:
        costs = {name: asdict(image_cost(name, Path(folder))) for name in names}
    COSTS.write_text(json.dumps(costs, indent=1) + "\n", encoding="utf-8")


def stored() -> dict[str, ImageCost]:
    """{recipe: its cost} as last counted."""
    return {name: ImageCost(**cost) for name, cost in json.loads(COSTS.read_text(encoding="utf-8")).items()}


def image_cost(name: str, folder: Path) -> ImageCost:
    """By one step of the packaged recipe on two images of noise."""
    counts: dict[str, Counts] = defaultdict(Counts)
    true: dict[str, Any] = {}

    def probe(peer: Peer) -> Any:
        true[repr(peer.architecture)] = peer.architecture
        return Probe(counts=counts[repr(peer.architecture)])

    experiment = small(name, folder, probe, precision="fp32")
    live = start(experiment, experiment.dataset())
    for one in counts.values():
        one.forward = one.backward_input = one.backward = 0
    next(fit(live))
    each = [flops(architecture, live.data.image_shape, live.data.num_classes) for architecture in true.values()]
    asked = [(one.forward, one.backward_input, one.backward - one.backward_input) for one in counts.values()]
    total = sum(n * cost for pair in zip(asked, each, strict=True) for n, cost in zip(*pair, strict=True))
    sums = [sum(passes[place] for passes in asked) / 2 for place in range(3)]
    return ImageCost(forward=sums[0], backward_input=sums[1], backward_weights=sums[2], flops=total / 2)


def small(name: str, folder: Path, stand_in: Callable[[Peer], Any], **changes: Any) -> Experiment:
    """A recipe on noise, two images at a time; each peer has another network, and weights where it asks for some."""
    loaded = load_experiment([name])
    experiment = load_experiment([name], ["Experiment.batch_size=2", *noise(loaded, folder)]).experiment
    data = experiment.dataset()
    peers = {}
    for key, peer in experiment.peers.items():
        network = stand_in(peer)
        weights = folder / f"{key}.pt"
        torch.save(network(data.image_shape, data.num_classes).state_dict(), weights)
        peers[key] = replace(peer, architecture=network, weights=None if peer.weights is None else str(weights))
    return replace(experiment, peers=peers, **changes)


def noise(loaded: Loaded, folder: Path) -> list[str]:
    """Overrides that put noise of their shape in the place of a recipe's images; none for embedded ones."""
    dataset = matx.datasets.name_of(loaded.experiment.dataset)
    if dataset not in SHAPES:
        return []
    channels, side, classes = SHAPES[dataset]
    path = folder / f"{dataset}.npz"
    if not path.is_file():
        labels = np.concatenate([np.arange(23) % 10, [classes - 1]])
        images = np.random.default_rng(0).integers(0, 256, (24, side, side, channels), np.uint8)
        np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    names = [str(label) for label in range(classes)]
    return [
        "Experiment.dataset=@datasets.npz()", f"datasets.npz.path={str(path)!r}", f"datasets.npz.class_names={names!r}",
    ]  # fmt: skip


def flops(architecture: Any, image_shape: tuple[int, int, int], classes: int) -> tuple[int, int, int]:
    """Of a forward, of a backward to the image alone, and of one to the weights alone, by an image."""
    key = (repr(architecture), image_shape, classes)
    if key not in _KNOWN:
        _KNOWN[key] = _flops(architecture, image_shape, classes)
    return _KNOWN[key]


_KNOWN: dict[tuple[str, tuple[int, int, int], int], tuple[int, int, int]] = {}


def _flops(architecture: Any, image_shape: tuple[int, int, int], classes: int) -> tuple[int, int, int]:
    with torch.device("meta"):
        network = architecture(image_shape, classes)
        images, labels = torch.empty(2, *image_shape), torch.zeros(2, dtype=torch.int64)
    spent = []
    for image, weights in ((False, False), (True, False), (False, True)):
        network.requires_grad_(weights)
        point = images.clone().requires_grad_(image)
        with Flops() as counter:
            loss = F.cross_entropy(network(point), labels)
            if image or weights:
                torch.autograd.backward(loss)
        spent.append(counter.total // 2)
    forward, both, all_weights = spent
    return forward, both - forward, all_weights - forward


@dataclass(eq=False)
class Counts:
    """Images that went forward, back to the images, and back in all; copies of a network count in one place."""

    forward: int = 0
    backward_input: int = 0
    backward: int = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Counts:
        return self


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A tiny network that counts what is asked of it."""

    counts: Counts = field(compare=False)

    def __call__(self, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
        tiny: Any = matx.architectures["tiny"]
        return _Counted(tiny(width=2)(image_shape, classes), self.counts)


class _Counted(nn.Module):
    def __init__(self, network: nn.Module, counts: Counts) -> None:
        super().__init__()
        self.inner, self.counts = network, counts

    def forward(self, images: Tensor) -> Tensor:
        counts, asked = self.counts, images.requires_grad
        counts.forward += len(images)
        logits: Tensor = self.inner(images)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: _add(counts, len(gradient), asked))  # type: ignore[no-untyped-call]
        return logits


def _add(counts: Counts, images: int, to_images: bool) -> None:
    counts.backward += images
    counts.backward_input += images * to_images
