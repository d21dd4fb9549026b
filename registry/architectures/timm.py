"""Any network of timm, fitted to small images."""

from __future__ import annotations

import logging
import math
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import nn

import matx
from matx.data import Data
from matx.errors import ModelError, OptionError, did_you_mean
from matx.interfaces import Library, LibraryForm
from matx.options import Range
from registry.architectures import _small_images as small
from registry.architectures._library import NAMES, TIMM, library_form

_LOG = logging.getLogger("matx")
_SMALL = 64
_META = torch.device("meta")
_SET = ("num_classes", "in_chans")
_PLACES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Arguments by which timm loads, or keeps, weights elsewhere than where its authors published them."""
_TENSORS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""The variable that keeps torch from running what a file of weights holds, whichever way timm loads it."""
_STEMS = ", ".join(small.SMALL_STEMS)


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """How a network is built for some images, found out on the meta device."""

    name: str
    arguments: Mapping[str, Any]
    """For `timm.create_model`."""
    family: str
    """timm's module, such as `resnet`."""
    small_stem: bool
    verdict: str
    """'adapted' (small stem, or a patch size), 'as is', or 'warned' (small images, and no adaptation is known)."""

    stride: int | None = None
    """Output stride; None where unknown."""

    @property
    def sentence(self) -> str:
        """What was done, for the log."""
        done = ["stem 3x3 with stride 1, no pooling behind it"] if self.small_stem else []
        done += [f"{key} {self.arguments[key]}" for key in ("img_size", "patch_size") if key in self.arguments]
        stride = "an unknown output stride" if self.stride is None else f"output stride {self.stride}"
        end = ": made for larger images, and no adaptation to small ones is known" if self.verdict == "warned" else ""
        return f"timm {self.name}: {', '.join(done) or 'nothing adapted'}; {stride}{end}"


@matx.architectures.register("timm")
@dataclass(frozen=True, kw_only=True)
class Timm:
    """A network of timm by name (`timm.list_models()`; our own are `matx_tiny`, `preact_resnet18`, `wrn_28_10`, ...).

    Images up to 64x64 count as small. For them ResNet-like and `conv_stem` families (`_small_images.SMALL_STEMS`) get
    a 3x3 stem with stride 1 and no max-pool, and ViT-like ones `img_size` and a `patch_size` with 8 or more patches a
    side. Any other family runs as it is, with a warning that names its output stride. Larger images get a smaller
    patch where the native one does not divide them. ModelError where the name is unknown or a forward on the meta
    device fails. What was done is said in the log.
    """

    library: ClassVar[Library] = TIMM

    name: str
    stem: Literal["auto", "small", "as_is"] = "auto"
    """'auto': adapted for small images; 'small': adapted for any; 'as_is': unchanged (`img_size` is still set)."""
    patch_size: Annotated[int, Range(1)] | None = None
    """For ViT-like families: this patch size instead of the chosen one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `timm.create_model`, such as {'drop_path_rate': 0.1} or {'pretrained': True}; not those that
    name a file or a place to load weights from, which `Peer.weights` does without running code."""

    def __post_init__(self) -> None:
        for given in (*_SET, *_PLACES):
            if given in self.options:
                also = "; Peer.weights starts from a file" if given in _PLACES else ""
                raise OptionError("options", got=repr(given), allowed=f"all but {', '.join((*_SET, *_PLACES))}{also}")

    def __call__(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        adaptation = self.adaptation(image_shape, num_classes)
        _LOG.log(logging.WARNING if adaptation.verdict == "warned" else logging.INFO, adaptation.sentence)
        # Weights go where torch's default device is, so that under `torch.device("meta")` they cost nothing.
        device = torch.empty(0).device  # torch 2.6 does not count the context in get_default_device()
        options = self.options if device.type != "meta" else self._unfetched()
        try:
            return _fitted(_create(self.name, device, {**adaptation.arguments, **options}), adaptation, device)
        except Exception as error:
            raise ModelError(f"architectures.timm: {self.name!r} cannot be built: {_reason(error)}") from error

    def _unfetched(self) -> dict[str, Any]:
        """The options without what would download weights."""
        return {key: value for key, value in self.options.items() if key != "pretrained"}

    def check(self, image_shape: tuple[int, int, int], num_classes: int) -> None:
        """ModelError where it cannot be built for such images; costs no memory for weights, and no download."""
        self.adaptation(image_shape, num_classes)

    def library_form(self, data: Data) -> LibraryForm:
        """Networks with a small stem are timm's `matx_small_stem` of the network's name."""
        adaptation, name = self.adaptation(data.image_shape, data.num_classes), self.name.split(".")[0]
        arguments = {**adaptation.arguments, **self._unfetched()}
        if adaptation.small_stem:
            return library_form("matx_small_stem", {"network": name, **arguments}, data)
        return library_form(name, arguments, data)

    def adaptation(self, image_shape: tuple[int, int, int], num_classes: int) -> Adaptation:
        """The first way of building it whose meta-device forward works; ModelError where none does."""
        where = f"architectures.timm.name: {self.name!r}"
        family = _family(self.name)
        _, height, width = image_shape
        is_small = self.stem == "small" or (self.stem == "auto" and max(height, width) <= _SMALL)
        small_stem = is_small and family in small.SMALL_STEMS
        failure: Exception | None = None
        for arguments, model in self._ways(image_shape, num_classes, is_small):
            fitted = small_stem or "patch_size" in arguments
            verdict = "adapted" if fitted else "warned" if is_small and family != NAMES else "as is"
            adaptation = Adaptation(
                name=self.name, arguments=arguments, family=family, small_stem=small_stem, verdict=verdict
            )
            try:
                stride = small.output_stride(_fitted(model(), adaptation, _META), image_shape, num_classes)
            except Exception as error:
                failure = failure or error
                continue
            if self.stem == "small" and verdict == "warned":
                raise ModelError(f"{where} (family {family}) has no small stem; families with one: {_STEMS}")
            return replace(adaptation, stride=stride)
        reason = _reason(failure) if failure else "unknown"
        raise ModelError(f"{where} (family {family}) does not take {height}x{width} images: {reason}") from failure

    def _ways(
        self, image_shape: tuple[int, int, int], num_classes: int, is_small: bool
    ) -> Iterator[tuple[dict[str, Any], Callable[[], nn.Module]]]:
        """(arguments, how to build on meta) to try in turn: image and patch size first where there are patches."""
        channels, height, width = image_shape
        plain: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
        sized = plain | {"img_size": height if height == width else (height, width)}
        options = self._unfetched()
        try:
            native = _create(self.name, _META, plain | options)
        except Exception as error:
            raise ModelError(f"architectures.timm: {self.name!r} cannot be built: {_reason(error)}") from error

        def build(arguments: dict[str, Any]) -> tuple[dict[str, Any], Callable[[], nn.Module]]:
            return arguments, lambda: _create(self.name, _META, arguments | options)

        patch = self._patch(native, height, width, is_small)
        if patch is not None:
            yield build(sized | {"patch_size": patch})
            if self.patch_size is not None:
                return
        as_it_is = (plain, lambda: native)
        fixed = hasattr(native, "patch_embed") or getattr(native, "pretrained_cfg", {}).get("fixed_input_size", False)
        yield from (build(sized), as_it_is) if fixed else (as_it_is, build(sized))

    def _patch(self, native: nn.Module, height: int, width: int, is_small: bool) -> int | None:
        """The patch size to build with; None where the network has none, or its own will do."""
        own = _patch_of(native)
        if self.patch_size is not None:
            if own is None:
                raise ModelError(
                    f"architectures.timm.patch_size: got {self.patch_size}, but {self.name!r} has no patch size"
                )
            return self.patch_size
        if own is None or self.stem == "as_is":
            return None
        if is_small:
            return small.patch_size(height, width, own, max(1, _reduction(native, own) // own))
        divides = math.gcd(height, width) % own == 0
        return None if divides else next(p for p in range(own, 0, -1) if math.gcd(height, width) % p == 0)

    @classmethod
    def options_for(cls, name: str) -> Mapping[str, str] | None:
        """Any name is taken for one of timm's; building it says whether timm knows it."""
        return {"name": name}

    @classmethod
    def examples(cls, tmp_path: Path) -> Sequence[Self]:
        """A ResNet-like one, a `conv_stem` one, a ViT-like one, and one of our own, all small."""
        names = ("test_resnet", "test_efficientnet", "test_vit", "matx_tiny")
        return [cls(name=name) for name in names]


def _family(name: str) -> str:
    """timm's module of a name; ModelError with the nearest name where timm does not know it."""
    import timm
    from timm.models import is_model, is_model_in_modules, list_modules

    TIMM.make_known()
    base = name.split(".")[0]
    if not is_model(base):
        hint = did_you_mean(name, timm.list_models())
        raise ModelError(f"architectures.timm.name: got {name!r}, allowed: a name of timm.list_models(){hint}")
    return next(module for module in list_modules() if is_model_in_modules(base, [module]))


def _fitted(model: nn.Module, adaptation: Adaptation, device: torch.device) -> nn.Module:
    """The network with its small stem where planned."""
    if adaptation.small_stem:
        with device:
            small.use_small_stem(model, adaptation.family)
    return model


def _create(name: str, device: torch.device, arguments: Mapping[str, Any]) -> nn.Module:
    import timm

    before = os.environ.get(_TENSORS_ONLY)
    os.environ[_TENSORS_ONLY] = "1"
    try:
        try:
            with device:
                model: nn.Module = timm.create_model(name, **arguments)
        except NotImplementedError:  # an operation of the constructor that older torch does not have on meta
            if device.type != "meta":
                raise
            model = timm.create_model(name, **arguments).to(device)
    finally:
        os.environ.pop(_TENSORS_ONLY)
        os.environ |= {} if before is None else {_TENSORS_ONLY: before}
    return model


def _patch_of(model: nn.Module) -> int | None:
    """The patch size of a network that cuts images into patches; None for any other."""
    for embedding in ("patch_embed", "stem", "pixel_embed"):
        size = getattr(getattr(model, embedding, None), "patch_size", None)
        first = size[0] if isinstance(size, Sequence) and size else size
        if isinstance(first, int):
            return first
    return None


def _reduction(model: nn.Module, patch: int) -> int:
    """How much the network reduces an image by timm's own account; the patch size where it gives none."""
    stages = getattr(model, "feature_info", None)
    last = stages[-1] if isinstance(stages, list) and stages else {}
    return int(last.get("reduction", patch))


def _reason(error: Exception) -> str:
    """The first line of an error's text; the statement that raised it where it has none (a bare assert)."""
    text = str(error).strip().split("\n")[0]
    frames = traceback.extract_tb(error.__traceback__)
    return text or f"{type(error).__name__} at `{frames[-1].line if frames else ''}`"
