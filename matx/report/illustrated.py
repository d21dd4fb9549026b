"""The parts of a report that show images: who is fooled, pictures of examples, slices through decisions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from matx.measure import Rate
from matx.pages import PALETTE, Figure, Gallery, Part, Picture, coloured, lines, matrix, picture
from matx.results import Illustrations, threat_of

__all__ = ["illustrated"]

_CLASSES = 20
"""Up to so many, a confusion can be read."""


def illustrated(found: Illustrations, scored: Sequence[str]) -> list[Part]:
    """The parts, those of scored models first; what is asked of few images says of how many."""
    first = [name for name in found.models if name in scored] or list(found.models)
    ordered = [*first, *(name for name in found.models if name not in first)]
    asked = (
        f"The first {len(found.labels)} test images, attacked once more at checkpoint {found.checkpoint} by the first "
        "attack of each threat model, which here goes on where it would stop at the first wrong answer. So few images "
        "show what happens; the figures above say how often."
    )
    parts = [
        Part(heading="Accuracy by radius", says=[asked], figures=list(_by_radius(found))),
        Part(heading="Who is fooled by whose examples", figures=list(_transfers(found))),
    ]
    if len(found.classes) <= _CLASSES:
        figures = [figure for name in first for figure in _confusions(found, name)]
        parts.append(Part(heading="What is answered under attack", figures=figures))
    galleries = [_gallery(found, name, folded=name != ordered[0]) for name in ordered]
    parts.append(Part(heading="Examples", says=[_GALLERY], galleries=galleries))
    parts.append(Part(heading="Slices through the decisions", says=[_slice_words(found)], galleries=[_slices(found)]))
    return parts


_GALLERY = (
    "Each image, what the attack adds to it (grey: nothing; stretched so that the largest change is black or white), "
    "and the sum, with every peer's answer and its confidence. Red: wrong."
)


def _by_radius(found: Illustrations) -> Iterator[Figure]:
    """Lines with bands for each threat model, from the clean accuracy on; the judged radius is marked."""
    count = len(found.labels)
    for at, key in enumerate(found.threats):
        threat = threat_of(key)
        if threat is None:
            continue
        rows = []
        for rated, name in enumerate(found.rated):
            clean = found.clean[list(found.models).index(name)]
            right = [int((clean == found.labels).sum()), *map(int, found.right[rated, at])]
            for factor, correct in zip((0.0, *found.factors), right, strict=True):
                rate = Rate(correct=correct, n=count)
                rows.append(
                    {"series": name, "x": round(threat.radius * factor, 6), "y": 100 * rate.accuracy}
                    | {"low": 100 * rate.low, "high": 100 * rate.high}
                )
        yield lines(
            f"Right under {threat.norm}, %",
            f"Lines of accuracy by radius in {threat.norm} with 95 % bands: {', '.join(found.rated)}.",
            rows,
            across="radius",
            up="per cent",
            marks={"judged": threat.radius},
        )


def _transfers(found: Illustrations) -> Iterator[Figure]:
    for at, key in enumerate(found.threats):
        right = found.transfer[:, :, at]
        rows = [
            {"column": asked, "row": source, "value": round(100 * float(right[column, row]), 2)}
            for row, source in enumerate(found.models)
            for column, asked in enumerate(found.models)
        ]
        says = f"A matrix of accuracy under {key}: a row for whose examples, a column for who is asked."
        yield matrix(f"Right under {key}, %", says, rows, across="asked", up="examples of")


def _confusions(found: Illustrations, name: str) -> Iterator[Figure]:
    place = list(found.models).index(name)
    columns = [*enumerate(found.classes), *([(-1, "not finite")] if (found.answers < 0).any() else [])]
    for at, key in enumerate(found.threats):
        answers, rows = found.answers[place, place, at], []
        for label, said in enumerate(found.classes):
            own = answers[found.labels == label]
            for number, column in columns:
                hits = int((own == number).sum())
                rows.append({"column": column, "row": said, "value": round(100 * hits / max(1, len(own)), 1)})
        says = f"A matrix of what {name} answers under {key}: a row for each true class, a column for each answer."
        yield matrix(f"{name} under {key}, % of the true class", says, rows, across="answered", up="true")


def _gallery(found: Illustrations, name: str, *, folded: bool) -> Gallery:
    """Images crafted on a model, and what every model answers."""
    source = list(found.models).index(name)
    heads = [head for key in found.threats for head in (f"{key}: added", key)]
    rows = []
    for row in range(len(found.images)):
        image = found.images[row]
        true = found.classes[int(found.labels[row])]
        cells = [picture(image, f"a {true}", _said(found, row, None))]
        for at, key in enumerate(found.threats):
            example = found.examples[source, at, row]
            cells.append(picture(_stretched(example, image), f"what {key} adds"))
            cells.append(picture(example, f"the {true} under {key}", _said(found, row, (source, at))))
        rows.append((true, cells))
    return Gallery(caption=f"Examples crafted on {name}", head=["true", "clean", *heads], rows=rows, folded=folded)


def _said(found: Illustrations, row: int, crafted: tuple[int, int] | None) -> list[tuple[str, bool]]:
    """Every model's answer and confidence."""
    lines = []
    for place, name in enumerate(found.models):
        if crafted is None:
            answer, share = found.clean[place, row], found.clean_confidence[place, row]
        else:
            answer, share = found.answers[place, *crafted, row], found.confidence[place, *crafted, row]
        said = found.classes[int(answer)] if 0 <= answer < len(found.classes) else "nothing finite"
        lines.append((f"{name}: {said} ({100 * float(share):.0f} %)", bool(answer == found.labels[row])))
    return lines


def _stretched(example: Any, image: Any) -> Any:
    change = example.astype(np.float64) - image
    return (128 + 127 * change / max(1.0, float(np.abs(change).max()))).round().clip(0, 255).astype(np.uint8)


def _slice_words(found: Illustrations) -> str:
    return (
        "The class that each peer answers on a plane through an image, which is the white point in the middle. To the "
        f"right is the peer's own example under {found.threats[0]}, the black point; upwards a direction drawn at "
        f"random, as long and at right angles. The plane reaches {found.extent:g} perturbations in each direction; "
        "what leaves [0, 1] is clipped."
    )


def _slices(found: Illustrations) -> Gallery:
    rows = []
    for row in range(found.slices.shape[1]):
        true = found.classes[int(found.labels[row])]
        cells = [_slice(found, place, row, true) for place in range(len(found.models))]
        rows.append((true, cells))
    seen = sorted({int(answer) for answer in np.unique(found.slices) if 0 <= answer < len(found.classes)})
    key = [(PALETTE[answer % len(PALETTE)], found.classes[answer]) for answer in seen]
    return Gallery(caption="Slices, a column a peer", head=["true", *found.models], rows=rows, key=key)


def _slice(found: Illustrations, place: int, row: int, true: str) -> Picture:
    plane = found.slices[place, row]
    side = len(plane)
    pixels, middle = coloured(plane), side // 2
    pixels[:, middle, middle] = 255
    pixels[:, middle, min(side - 1, middle + round(middle / found.extent))] = 0
    share = float((plane == found.labels[row]).mean())
    says = f"{found.models[place]} answers {true} on {100 * share:.0f} % of the plane"
    return picture(pixels, says, [(f"{true} on {100 * share:.0f} %", True)])
