"""The formats of exported weights: each writes one peer into a folder and says how it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from matx.errors import MatxError
from matx.evaluation import WEIGHTS_SUFFIX

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one peer is written, and how it is read elsewhere."""

    suffix: str
    write: Callable[[nn.Module, torch.Tensor, Path], None]
    """(module in eval mode, example images, file)."""
    loading: str
    """Python that gives the model; `{folder}`, `{file}` and `{peer}` are filled in."""


def _safetensors(module: nn.Module, images: torch.Tensor, file: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, file)


def _torch(module: nn.Module, images: torch.Tensor, file: Path) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (images,), dynamic_shapes=({0: batch},))
    torch.export.save(program, file)


def _onnx(module: nn.Module, images: torch.Tensor, file: Path) -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MatxError(
            "--format onnx: needs onnx and onnxscript, which are not installed; allowed: pip install 'matx[export]', "
            "or another format"
        ) from error
    torch.onnx.export(
        module,
        (images,),
        str(file),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "safetensors": Format(
            suffix=WEIGHTS_SUFFIX,
            write=_safetensors,
            loading='import matx\n\nmodel = matx.load("{folder}").peer("{peer}")',
        ),
        "torch": Format(
            suffix=".pt2",
            write=_torch,
            loading='import torch\n\nmodel = torch.export.load("{folder}/{file}").module()',
        ),
        "onnx": Format(
            suffix=".onnx",
            write=_onnx,
            loading=(
                "import onnxruntime\n\n"
                'session = onnxruntime.InferenceSession("{folder}/{file}")\n'
                'model = lambda images: session.run(["logits"], {{"images": images}})[0]  # float32 numpy arrays'
            ),
        ),
    }
)
"""By name. All hold the normaliser: images in [0,1] -> logits."""
