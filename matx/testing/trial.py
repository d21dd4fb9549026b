"""What contracts are tried on: small models, images near their boundaries, and calls as the engine makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from matx.craft import attackable, craft, forked
from matx.errors import MatxError
from matx.exchange import Crafted, State
from matx.interfaces import Attack, AttackInput, Model, Objective, PerturbationUnion, sources_of, value_and_gradient
from matx.losses import margin
from matx.randomness import SampleGenerator, hashed
from matx.threat import ThreatModel

__all__ = ["SHAPE", "Busy", "Flat", "Smooth", "Trial", "device", "require", "standard_trial", "tried_on"]

SHAPE = (2, 6, 5)
"""(C, H, W): neither square nor of 1 or 3 channels."""

_DEVICE: ContextVar[torch.device] = ContextVar("device")
_CPU = torch.device("cpu")


@contextmanager
def tried_on(where: torch.device | str) -> Iterator[None]:
    """Contracts that run inside try attacks, unions, strategies, architectures and augmentations on this device."""
    token = _DEVICE.set(torch.device(where))
    try:
        yield
    finally:
        _DEVICE.reset(token)


def device() -> torch.device:
    """Where contracts try components; the CPU unless `tried_on` says otherwise."""
    return _DEVICE.get(_CPU)


def require(holds: bool, sentence: str) -> None:
    """AssertionError with the sentence, unless it holds; also under `python -O`."""
    if not holds:
        raise AssertionError(sentence)


class Smooth(nn.Module):
    """A two-layer network whose logits of an image have the same bits whatever else is in the batch."""

    def __init__(self, classes: int = 5, shape: tuple[int, int, int] = SHAPE) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(20)
        size = shape[0] * shape[1] * shape[2]
        self.first = nn.Parameter(torch.randn(8, size, generator=generator) * 3.0 / size**0.5)
        self.second = nn.Parameter(torch.randn(classes, 8, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) logits."""
        hidden = torch.tanh(((images.flatten(1) - 0.5)[:, None, :] * self.first).sum(-1))
        return (hidden[:, None, :] * self.second).sum(-1)


class Flat(nn.Module):
    """A network that gives every image the same logits, with gradients that are exactly zero."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes))
        self.bias = nn.Parameter(torch.arange(float(classes)))

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) logits."""
        return images.flatten(1).sum(1, keepdim=True) * self.weight + self.bias


class Busy(nn.Module):
    """A network with everything that an attack may disturb: statistics, dropout, a part kept in another mode."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        with forked(21):
            self.conv = nn.Conv2d(SHAPE[0], 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.drop = nn.Dropout(0.2)
            self.head = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) logits."""
        features = torch.relu(self.norm(self.conv(images)))
        logits: Tensor = self.head(self.drop(features.mean((2, 3))))
        return logits


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One batch on one model, and how it is called; `replace` makes the variations."""

    module: nn.Module
    images: Tensor
    labels: Tensor
    indices: Tensor
    seed: int = 0
    call: Model | None = None
    objective: Objective | None = None
    mode: str = "eval"
    noise: int = 0
    """Seeds the global generators, on which nothing may depend."""
    forwards: list[int] = field(default_factory=list)
    """How many images each forward had."""

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    def rows(self, rows: Tensor) -> Trial:
        """The same for some of the samples."""
        objective = None if self.objective is None else self.objective.select(rows)
        return replace(
            self, images=self.images[rows], labels=self.labels[rows], indices=self.indices[rows], objective=objective
        )

    @contextmanager
    def given(self, *attacks: Attack) -> Iterator[AttackInput]:
        """An input on the attackable model, with examples for the sources that the attacks name."""
        # The examples of sources are made of this batch only, sample by sample, by one step on the same model.
        with forked(self.noise, self.device), attackable(self.module, mode=self.mode, call=self._counted) as model:
            given = AttackInput(
                model=model,
                images=self.images,
                labels=self.labels,
                generator=SampleGenerator(hashed("contract", self.seed), self.indices),
                objective=self.objective,
            )
            yield replace(given, sources=_sources(given, attacks))

    def _counted(self, images: Tensor) -> Tensor:
        self.forwards.append(len(images))
        logits: Tensor = (self.call or self.module)(images)
        return logits

    def crafted(
        self, attacks: Sequence[Attack], union: PerturbationUnion | None = None, state: State | None = None
    ) -> Crafted:
        """What craft makes of them; AssertionError where craft refuses."""
        with self.given(*attacks) as given:
            self.forwards.clear()
            try:
                return craft(given, attacks, union, state=state)
            except MatxError as error:
                raise AssertionError(f"{union or attacks[0]!r} was refused by craft: {error}") from error

    def examples(self, attack: Attack) -> Tensor:
        """(N, C, H, W): one attack's checked result."""
        return self.crafted([attack]).views[0]

    @torch.no_grad()
    def margins(self, images: Tensor) -> Tensor:
        """(N,) max_{j != y} z_j - z_y: positive where the model is fooled."""
        return margin(self.module.eval()(images), self.labels)


def _sources(given: AttackInput, attacks: Sequence[Attack]) -> dict[str, Tensor]:
    """Two views for each source that an attack names: steps of the whole and of half of its radius."""
    made = {}
    for attack in attacks:
        for name in sources_of(attack):
            _, gradient = value_and_gradient(replace(given, objective=None).objective_for("margin"), given.images)
            views = [
                attack.threat.project(
                    given.images + share * attack.threat.radius * attack.threat.steepest(gradient), given.images
                )
                for share in (1.0, 0.5)
            ]
            made[name] = torch.stack(views)
    return made


def standard_trial(classes: int = 5, count: int = 6, module: nn.Module | None = None) -> Trial:
    """Images of which the last lie close to the model's boundary, labelled as the model sees them."""
    shape = SHAPE
    module = (module or Smooth(classes, shape)).to(device())
    generator = torch.Generator().manual_seed(22)
    images = torch.rand(count, *shape, generator=generator).to(device())
    with torch.no_grad():
        module.eval()
        images[count // 2 :] = _near_boundary(module, images[count // 2 :])
        labels = module(images).argmax(1)
    return Trial(module=module, images=images, labels=labels, indices=torch.arange(100, 100 + count).to(device()))


def _near_boundary(module: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Each image moved towards one that the model sees otherwise, to just before the boundary (where there is one)."""
    generator = torch.Generator().manual_seed(23)
    predicted = module(images).argmax(1)
    others = torch.rand(256, *images.shape[1:], generator=generator).to(images.device)
    seen = module(others).argmax(1)
    moved = images.clone()
    for row, label in enumerate(predicted):
        away = others[seen != label]
        if len(away) == 0:
            continue
        low, high = 0.0, 1.0
        for _ in range(20):
            middle = 0.5 * (low + high)
            point = images[row] + middle * (away[0] - images[row])
            same = bool(module(point[None]).argmax(1) == label)
            low, high = (middle, high) if same else (low, middle)
        moved[row] = images[row] + max(0.0, low - 0.01) * (away[0] - images[row])
    return moved


def inside(threat: ThreatModel, images: Tensor, clean: Tensor) -> bool:
    """Do all images lie in threat model and box?"""
    return bool(threat.contains(images, clean).all())
