"""What our networks are in timm: registered names, arguments, and the files that timm reads beside the weights.

Nothing here imports timm, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from matx.data import Data
from matx.interfaces import Library, LibraryForm

__all__ = ["NAMES", "TIMM", "library_form"]

NAMES = "_zoo"
"""The module that tells timm the names of our networks."""
_LOADING = """\
import matx.networks  # timm knows the names of matx's networks from here on
import timm
import torch

network = timm.create_model("local-dir:{folder}", checkpoint_path="{folder}/{file}").eval()
mean, std = (torch.tensor(network.pretrained_cfg[name]).reshape(-1, 1, 1) for name in ("mean", "std"))
model = lambda images: network((images - mean) / std)"""


def _make_known() -> None:
    import_module(f"{__package__}.{NAMES}")


TIMM = Library(name="timm", make_known=_make_known)


def library_form(name: str, arguments: Mapping[str, Any], data: Data) -> LibraryForm:
    """The network that `timm.create_model` builds by this name with these arguments, for such images.

    config.json is as timm writes it for a folder of its own hub: the normaliser's mean and std are in `pretrained_cfg`.
    """
    config = {
        "architecture": name,
        "num_classes": data.num_classes,
        "pretrained_cfg": {
            "input_size": data.image_shape,
            "fixed_input_size": True,
            "crop_pct": 1.0,
            "mean": data.mean,
            "std": data.std,
            "label_names": data.class_names,
        },
        "model_args": {"num_classes": data.num_classes, "in_chans": data.image_shape[0], **arguments},
    }
    return LibraryForm(documents={"config.json": config}, loading=_LOADING)
