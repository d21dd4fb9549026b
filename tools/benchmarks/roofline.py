"""The share of a per-layer roofline that crafting reaches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.measuring import Call, Row, Settings, rounds
from benchmarks.worlds import first_batch, training
from matx.engine import Training
from matx.engine.crafting import craft_all

SWEEP = [(c, side) for c in (64, 128, 256, 512) for side in (8, 16, 32)]
"""(channels, side) of square convolutions of 3x3, for batches of 16 and 64 images."""


def roofline(settings: Settings) -> list[Row]:
    """Sum over layers of the larger of FLOPs / rate and bytes / bandwidth, over what crafting took."""
    network, size = ("tiny", 4) if settings.brief else ("preact_resnet18", 16)
    bandwidth = _bandwidth(settings)
    rows = []
    for precision in ("fp32",) if settings.brief else ("fp32", "auto"):
        live = training(network, precision=precision, peers=1, batch_size=size, device=settings.device)
        dtype = torch.bfloat16 if live.precision == "bf16" else torch.float32
        given, rate = first_batch(live), _rate(settings, dtype)
        record = _Layers()
        with record:
            _pass(live, given.images, given.labels)
        ideal = sum(max(flops / rate, moved / bandwidth) for flops, moved in record.layers)
        calls: dict[str, Call] = {
            "pass": partial(_pass, live, given.images, given.labels),
            "crafting": partial(craft_all, live, given),
        }
        spent = rounds(settings, calls)
        rows.append(
            {
                "network": network, "batch": size, "precision": live.precision,
                "GFLOP/s, best of the sweep": rate / 1e9, "GB/s": bandwidth / 1e9,
                "% in a pass": 100 * ideal / median(spent["pass"]),
                "% in crafting": 100 * 10 * ideal / median(spent["crafting"]),
            }
        )  # fmt: skip
    return rows


def _pass(live: Training, images: Tensor, labels: Tensor) -> None:
    (name,) = live.learners
    model: Any = live.copies.get(name, live.learners[name].forward)
    point = images.clone().requires_grad_()
    torch.autograd.grad(F.cross_entropy(model(point), labels, reduction="sum"), point)


class _Layers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """(FLOPs, bytes read and written) of every operation that does not merely look at a tensor in another way."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[tuple[int, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        given, made = list(_tensors((args, kwargs))), list(_tensors(found))
        known = {tensor.untyped_storage().data_ptr() for tensor in given}
        if func._schema.is_mutable or any(t.untyped_storage().data_ptr() not in known for t in made):
            formula = flop_registry.get(func._overloadpacket)
            flops = 0 if formula is None else formula(*args, **(kwargs or {}), out_val=found)
            self.layers.append((flops, sum(tensor.nbytes for tensor in (*given, *made))))
        return found


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(_tensors, value.values()))
    elif isinstance(value, (tuple, list)):
        yield from itertools.chain.from_iterable(map(_tensors, value))


def _rate(settings: Settings, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest convolution of the sweep, forward and backward to its input."""
    best = 0.0
    for (channels, side), batch in itertools.product(SWEEP[:1] if settings.brief else SWEEP, (16, 64)):
        shape = (batch, channels, side, side)
        images = (
            torch.randn(shape, dtype=dtype, device=settings.device)
            .to(memory_format=torch.channels_last)
            .requires_grad_()
        )
        weight = torch.randn(channels, channels, 3, 3, dtype=dtype, device=settings.device).to(
            memory_format=torch.channels_last
        )
        ones = torch.ones(shape, dtype=dtype, device=settings.device).to(memory_format=torch.channels_last)

        def run(images: Tensor = images, weight: Tensor = weight, ones: Tensor = ones) -> None:
            torch.autograd.grad(F.conv2d(images, weight, padding=1), images, ones)

        run()
        fastest = min(settings.seconds(run) for _ in range(3))
        best = max(best, 2 * 2 * 9 * channels**2 * side**2 * batch / fastest)
    return best


def _bandwidth(settings: Settings) -> float:
    """Bytes a second of a copy of a tensor that no cache holds, reads and writes counted."""
    source = torch.ones((2**20 if settings.brief else 2**26,), dtype=torch.float32, device=settings.device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 2 * source.nbytes / min(settings.seconds(lambda: target.copy_(source)) for _ in range(5))
