"""Wrong labels in a training split, to study what training does with them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from matx.data import Split
from matx.randomness import SampleGenerator, hashed

__all__ = ["Relabelled", "mislabelled"]


@dataclass(frozen=True, eq=False)
class Relabelled:
    """A split with other labels."""

    split: Split
    labels: Tensor
    """(N,) int64."""

    @property
    def indices(self) -> Tensor:
        """(N,) int64, as in the split."""
        return self.split.indices

    def read(self, rows: Tensor) -> Tensor:
        """(n, C, H, W) of those rows."""
        return self.split.read(rows)

    def fingerprint(self) -> str:
        """The split's: runs that differ in the seed alone, which draws the wrong labels, are one method's."""
        return self.split.fingerprint()


def mislabelled(split: Split, share: float, num_classes: int, *, seed: int) -> Split:
    """The split with this share of its labels wrong (to the nearest image): each is another class, uniformly drawn.

    Draws are hashed from the seed and the samples' indices: a larger share makes more of the same labels wrong.
    """
    count = round(share * len(split.labels))
    if not count:
        return split
    which = SampleGenerator(hashed(seed, "mislabelled"), split.indices).uniform(())
    rows = which.argsort(stable=True)[:count]
    steps = SampleGenerator(hashed(seed, "wrong label"), split.indices[rows]).integers(1, num_classes - 1)
    labels = split.labels.clone()
    labels[rows] = (labels[rows] + steps) % num_classes
    return Relabelled(split, labels)
