"""Our own networks in timm's registry, so that `timm.create_model` and everything built on it knows them.

Imported by the `timm` architecture and by `matx.networks` only, since importing timm takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import timm
from timm.models import is_model_in_modules, list_modules, register_model
from timm.models import resolve_pretrained_cfg as resolved
from torch import nn

from matx.errors import ModelError
from registry.architectures import _networks, _small_images

_ABOUT_WEIGHTS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "pretrained_model_args")
"""What timm passes about published weights, of which there are none."""


def _built(name: str, build: Callable[..., nn.Module], pretrained: bool, arguments: Mapping[str, Any]) -> nn.Module:
    """The network, with the `pretrained_cfg` that was given, which says how its images are normalised."""
    if pretrained:
        raise ModelError("timm: got pretrained=True for one of matx's own networks, allowed: False")
    model: Any = build(**{key: value for key, value in arguments.items() if key not in _ABOUT_WEIGHTS})
    about = arguments.get("pretrained_cfg")
    if about:
        model.pretrained_cfg = asdict(resolved(name, about, arguments.get("pretrained_cfg_overlay")))
    network: nn.Module = model
    return network


@register_model
def matx_small_stem(pretrained: bool = False, *, network: str, **arguments: Any) -> nn.Module:
    """A network of timm with a stem for small images, as architectures.timm builds it (`_small_images`)."""

    def build(**own: Any) -> nn.Module:
        model: nn.Module = timm.create_model(network, **own)
        families = [name for name in list_modules() if is_model_in_modules(network, [name])]
        _small_images.use_small_stem(model, families[0])
        return model

    return _built("matx_small_stem", build, pretrained, arguments)


@register_model
def matx_tiny(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.tiny."""
    return _built("matx_tiny", _networks.tiny_net, pretrained, arguments)


@register_model
def matx_small_resnet(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.small_resnet."""
    return _built("matx_small_resnet", _networks.small_resnet, pretrained, arguments)


@register_model
def matx_small_preact_resnet(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.small_preact_resnet."""
    return _built("matx_small_preact_resnet", _networks.small_preact_resnet, pretrained, arguments)


@register_model
def preact_resnet18(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.preact_resnet18."""
    return _built("preact_resnet18", _networks.preact_resnet, pretrained, arguments)


@register_model
def wrn_28_10(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.wrn_28_10."""
    return _built("wrn_28_10", _networks.wide_resnet, pretrained, {"depth": 28, "widen": 10, **arguments})


@register_model
def wrn_34_10(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.wrn_34_10."""
    return _built("wrn_34_10", _networks.wide_resnet, pretrained, {"depth": 34, "widen": 10, **arguments})
