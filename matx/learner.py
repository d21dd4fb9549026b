"""A Learner, built of a Peer: the model with its normaliser, an optimizer, a schedule, and a moving average."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from matx.craft import forked
from matx.data import Data
from matx.digest import checked
from matx.errors import CheckpointError, ModelError, OptionError, did_you_mean
from matx.experiment import Peer
from matx.randomness import seed_for

__all__ = [
    "Learner",
    "Normalised",
    "build_learner",
    "forward",
    "precision_type",
    "read_weights",
    "resolved_precision",
    "weights_file",
]


class Normalised(nn.Module):
    """(N, C, H, W) images in [0,1] -> the network's logits of (images - mean) / std, per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


_NAME = 255
"""Characters that the name of a file may have."""


@dataclass(eq=False)
class Learner:
    """A live classifier. `module` takes images in [0,1]; a frozen one has no optimizer."""

    name: str
    peer: Peer
    module: nn.Module
    optimizer: torch.optim.Optimizer | None
    ema_module: nn.Module | None
    """The average of the weights: moving (Peer.ema) or uniform (Peer.swa_from)."""
    dtype: torch.dtype
    """fp32, or bf16 for autocast around single forwards."""
    averaged: int = 0
    """How many epochs' weights the uniform average holds."""

    def forward(self, images: Tensor) -> Tensor:
        """(N, classes) fp32 logits of the module in the mode that it is in."""
        return forward(self.module, images, self.dtype)

    def step(self, factor: float, done: int) -> float:
        """Descend once with the learning rate times `factor`, move the average, clear gradients; the rate used.

        `done`: steps before this one. The moving average's decay is at most (1 + done) / (10 + done): while it warms
        up this is the polynomial-decay averaging of Shamir and Zhang (2013, arXiv 1212.1824) with eta = 8, in which the
        first weights' share falls as done^-9, so that a short run's average is of its own last steps.
        """
        if self.optimizer is None:
            raise ModelError(f"peer {self.name!r} is frozen and cannot step")
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        clip = None if self.peer.optimizer is None else self.peer.optimizer.clip
        if clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema_module is not None and self.peer.ema is not None:
            _average(self.ema_module, self.module, min(self.peer.ema, (1 + done) / (10 + done)))
        return self.rate

    @property
    def rate(self) -> float:
        """The learning rate of the last step; 0 where there is no optimizer."""
        return 0.0 if self.optimizer is None else float(self.optimizer.param_groups[0]["lr"])

    def average_epoch(self, epoch: float, epochs: int) -> None:
        """Take the weights at the end of an epoch into the uniform average; before it begins it is the weights."""
        if self.ema_module is None or self.peer.swa_from is None:
            return
        begun = epoch > (self.peer.swa_from * epochs if self.peer.swa_from < 1 else self.peer.swa_from)
        self.averaged += begun
        _average(self.ema_module, self.module, 1.0 - 1.0 / max(1, self.averaged))

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and average, as tensors and plain values."""
        state: dict[str, Any] = {"module": self.module.state_dict(), "averaged": self.averaged}
        if self.optimizer is not None:
            state["optimizer"] = self.optimizer.state_dict()
        if self.ema_module is not None:
            state["ema"] = self.ema_module.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.module.load_state_dict(state["module"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        if self.ema_module is not None:
            self.ema_module.load_state_dict(state["ema"])
        self.averaged = state["averaged"]


def forward(module: nn.Module, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """fp32 logits of one forward; autocast is entered for this forward only, so that it never serves stale weights."""
    if dtype == torch.float32:
        logits: Tensor = module(images)
        return logits
    with torch.autocast(images.device.type, dtype=dtype):
        logits = module(images)
    return logits.float()


def resolved_precision(precision: str, device: torch.device | str) -> str:
    """'fp32' or 'bf16'; 'auto' is bf16 on hardware that multiplies in it: CUDA, or CPUs with AMX or AVX512-BF16."""
    if precision != "auto":
        return precision
    native, kind = False, torch.device(device).type
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # no public name yet
    return "bf16" if native else "fp32"


def precision_type(precision: str) -> torch.dtype:
    """The dtype of forwards in a resolved precision."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def build_learner(
    name: str,
    peer: Peer,
    data: Data,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    fresh: bool = True,
) -> Learner:
    """Build a declared peer. Its first weights depend on the seed and its name only.

    Not fresh: `Peer.weights` is not read, since the learner's whole state is to be loaded.
    """
    with forked(seed_for(seed, "init", name), device):
        network = peer.architecture(data.image_shape, data.num_classes)
    module: nn.Module = Normalised(network, data.mean, data.std)
    if fresh and peer.weights is not None:
        _fit_weights(module, read_weights(peer.weights, name), peer.weights, name)
    module = module.to(device).to(memory_format=torch.channels_last)  # a quarter faster on CPUs, too
    module.train(not peer.frozen)
    if peer.frozen:
        module.requires_grad_(False)
    averages = peer.ema is not None or peer.swa_from is not None
    ema = copy.deepcopy(module).eval().requires_grad_(False) if averages else None
    return Learner(name, peer, module, _optimizer(peer, module), ema, precision_type(precision))


def _optimizer(peer: Peer, module: nn.Module) -> torch.optim.Optimizer | None:
    """The peer's optimizer over all weights; each group keeps its full learning rate, which a schedule multiplies."""
    if peer.frozen or peer.optimizer is None:
        return None
    optimizer = peer.optimizer({name: p for name, p in module.named_parameters() if p.requires_grad})
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


@torch.no_grad()
def _average(average: nn.Module, live: nn.Module, decay: float) -> None:
    """a <- decay a + (1 - decay) w for floating weights and statistics; counters are copied."""
    for (_, a), (_, w) in zip(average.state_dict().items(), live.state_dict().items(), strict=True):
        if a.is_floating_point():
            a.lerp_(w, 1.0 - decay)
        else:
            a.copy_(w)


def read_weights(spec: str, name: str) -> Mapping[str, Tensor]:
    """The weights that `FOLDER[:PEER]` (checkpoint `best` of a run) or a file names; tensors only, never code."""
    file, peer = weights_file(spec, name)
    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        stored = checked(stored)[0] if isinstance(stored, dict) else stored
    except Exception as error:  # torch raises many kinds for a file that it did not write; to a user they are one
        raise CheckpointError(f"Peer.weights: {file} does not hold plain weights ({type(error).__name__})") from error
    learners = stored.get("training", stored).get("learners") if isinstance(stored, dict) else None
    if learners is None:
        return _bare_weights(stored, file)
    if peer not in learners:
        raise CheckpointError(
            f"Peer.weights: {file} holds no peer {peer!r}{did_you_mean(peer, learners)}; it holds {', '.join(learners)}"
        )
    weights: Mapping[str, Tensor] = learners[peer]["module"]
    return weights


def weights_file(spec: str, name: str) -> tuple[Path, str]:
    """The file that holds the weights of `FOLDER[:PEER]` or a file, and under which peer's name; it is there."""
    if any(len(part) > _NAME for part in Path(spec).parts):
        raise CheckpointError(f"Peer.weights: got a name of {len(spec)} characters; allowed: a run folder or a file")
    text, colon, other = spec.rpartition(":")
    path, peer = (Path(text), other) if colon and not Path(spec).exists() else (Path(spec), name)
    file = path / "checkpoints" / "best.pt" if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"Peer.weights: got {spec!r}, but {file} is not there; allowed: a run folder or a file")
    return file, peer


def _bare_weights(stored: Any, file: Path) -> Mapping[str, Tensor]:
    """The state dict of a plain weights file: the file itself, or what it holds under a usual name."""
    for name in ("state_dict", "model_state_dict"):
        if isinstance(stored, dict) and isinstance(stored.get(name), dict):
            stored = stored[name]
    if not isinstance(stored, dict) or not stored or not all(isinstance(value, Tensor) for value in stored.values()):
        raise CheckpointError(
            f"Peer.weights: {file} holds no state dict; allowed: {{name: tensor}}, or a run's checkpoint"
        )
    return stored


def _fit_weights(module: nn.Module, weights: Mapping[str, Tensor], spec: str, name: str) -> None:
    """Load weights of the module, or of its bare network (a plain weights file, perhaps saved from DataParallel)."""
    plain = {key.removeprefix("module."): value for key, value in weights.items()}
    target = module if any(key.startswith("network.") for key in plain) else module.get_submodule("network")
    try:
        target.load_state_dict(plain)
    except (RuntimeError, OptionError) as error:
        sentence = " ".join(str(error).split())[:300]
        what = f"peer {name!r}: the weights in {spec!r} do not fit its architecture"
        raise CheckpointError(f"{what}: {sentence}") from error
