"""What a format is given of a peer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from matx.data import Data
from matx.interfaces import Architecture
from matx.learner import Normalised
from matx.threat import ThreatModel

__all__ = ["Format", "PeerGiven"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PeerGiven:
    """A trained peer of a run."""

    name: str
    experiment: str
    module: Normalised
    """In eval mode."""
    architecture: Architecture
    data: Data
    threats: Sequence[ThreatModel]
    """Those under which it was scored."""

    def images(self) -> Tensor:
        """Two images of the shape that it takes."""
        return torch.rand(2, *self.data.image_shape, generator=torch.Generator().manual_seed(0))

    def program(self) -> ExportedProgram:
        """Its forward for any number of images."""
        shapes = ({0: torch.export.Dim("batch")},)
        return torch.export.export(self.module, (self.images(),), dynamic_shapes=shapes)


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one peer is written into a folder, and how it is read elsewhere.

    Each function raises OptionError for a peer that the format cannot express.
    """

    file: Callable[[PeerGiven], str]
    """Where its weights are, in the folder."""
    write: Callable[[PeerGiven, Path], None]
    loading: Callable[[PeerGiven, str], str]
    """(peer, folder) -> Python that gives the model."""
