"""Our own networks in timm's registry, so that `timm.create_model` and everything built on it knows them.

Imported by the `timm` architecture only, since importing timm takes seconds.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from torch import nn

from matx.errors import ModelError
from registry.architectures import _networks


def _options(pretrained: bool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments without what timm passes about published weights, of which there are none."""
    if pretrained:
        raise ModelError("timm: got pretrained=True for one of matx's own networks, allowed: False")
    about_weights = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
    return {name: value for name, value in arguments.items() if name not in about_weights}


@register_model
def matx_tiny(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.tiny."""
    return _networks.tiny_net(**_options(pretrained, arguments))


@register_model
def matx_small_resnet(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.small_resnet."""
    return _networks.small_resnet(**_options(pretrained, arguments))


@register_model
def preact_resnet18(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.preact_resnet18."""
    return _networks.preact_resnet(**_options(pretrained, arguments))


@register_model
def wrn_28_10(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.wrn_28_10."""
    return _networks.wide_resnet(depth=28, widen=10, **_options(pretrained, arguments))


@register_model
def wrn_34_10(pretrained: bool = False, **arguments: Any) -> nn.Module:
    """The network of architectures.wrn_34_10."""
    return _networks.wide_resnet(depth=34, widen=10, **_options(pretrained, arguments))
