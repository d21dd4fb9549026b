"""The formats of exported peers: those that hold any network, and one for each library that builds networks by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from matx.errors import MatxError, OptionError, did_you_mean
from matx.evaluation import WEIGHTS_SUFFIX
from matx.exporting import robustbench
from matx.exporting.given import Format, PeerGiven
from matx.interfaces import FromLibrary, LibraryForm
from matx.registration import architectures, libraries
from matx.runtime.files import write_json

__all__ = ["FORMATS", "find_format", "known_formats"]


def known_formats() -> list[str]:
    """Every format: those of this file, then the libraries of registered architectures."""
    return [*FORMATS, *libraries()]


def find_format(name: str) -> Format:
    """The format of a name; OptionError for one that is none."""
    known = known_formats()
    if name not in known:
        raise OptionError(f"--format: got {name!r}, allowed: {', '.join(known)}{did_you_mean(name, known)}")
    return FORMATS[name] if name in FORMATS else _of_library(name)


def _safetensors(given: PeerGiven, folder: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in given.module.state_dict().items()}
    save_file(tensors, folder / f"{given.name}{WEIGHTS_SUFFIX}")


def _torch(given: PeerGiven, folder: Path) -> None:
    torch.export.save(given.program(), folder / f"{given.name}.pt2")


def _onnx(given: PeerGiven, folder: Path) -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MatxError(
            "--format onnx: needs onnx and onnxscript, which are not installed; allowed: pip install 'matx[export]', "
            "or another format"
        ) from error
    torch.onnx.export(
        given.module,
        (given.images(),),
        str(folder / f"{given.name}.onnx"),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _named(suffix: str, write: Callable[[PeerGiven, Path], None], loading: str) -> Format:
    """A file a peer; `{folder}`, `{file}` and `{peer}` are filled into the Python that loads it."""

    def file(given: PeerGiven) -> str:
        return f"{given.name}{suffix}"

    def text(given: PeerGiven, folder: str) -> str:
        return loading.format(folder=folder, file=file(given), peer=given.name)

    return Format(file=file, write=write, loading=text)


def _of_library(library: str) -> Format:
    """A folder a peer: the bare network's weights, and what the library reads beside them."""

    def form(given: PeerGiven) -> LibraryForm:
        built = given.architecture
        if not isinstance(built, FromLibrary) or built.library.name != library:
            raise OptionError(
                f"--format {library}: peer {given.name!r} is an architectures.{architectures.label(built)}, which "
                f"{library} does not build; allowed: {', '.join(FORMATS)}"
            )
        return built.library_form(given.data)

    def write(given: PeerGiven, folder: Path) -> None:
        from safetensors.torch import save_file

        home = folder / given.name
        home.mkdir()
        tensors = {name: tensor.contiguous() for name, tensor in given.module.network.state_dict().items()}
        save_file(tensors, home / _MODEL)
        for name, content in form(given).documents.items():
            write_json(home / name, content)

    def loading(given: PeerGiven, folder: str) -> str:
        return form(given).loading.format(folder=f"{folder}/{given.name}", file=_MODEL)

    return Format(file=lambda given: f"{given.name}/{_MODEL}", write=write, loading=loading)


_MODEL = f"model{WEIGHTS_SUFFIX}"

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "safetensors": _named(
            WEIGHTS_SUFFIX, _safetensors, 'import matx\n\nmodel = matx.load("{folder}").peer("{peer}")'
        ),
        "torch": _named(".pt2", _torch, 'import torch\n\nmodel = torch.export.load("{folder}/{file}").module()'),
        "onnx": _named(
            ".onnx",
            _onnx,
            "import onnxruntime\n\n"
            'session = onnxruntime.InferenceSession("{folder}/{file}")\n'
            'model = lambda images: session.run(["logits"], {{"images": images}})[0]  # float32 numpy arrays',
        ),
        "robustbench": robustbench.FORMAT,
    }
)
"""By name. All hold the normaliser: images in [0,1] -> logits."""
