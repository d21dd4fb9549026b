"""Illustrations: what they show is what the models answer, and a damaged file is one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch

import matx
from matx.errors import FormError, RunError
from matx.evaluation import Asked, find_exported, illustrate, settings_of, target_of_exported
from matx.report import html
from matx.results import ILLUSTRATIONS, Illustrations, read_illustrations, write_illustrations
from matx.runtime.files import read_npz, write_npz
from matx.runtime.progress import Bar, Display

_COUNT = 12
_PEERS = ("l1", "generalist")


@dataclass(frozen=True)
class _Told(Display):
    """Keeps what bars are told, as a terminal would draw it."""

    said: list[tuple[str, float, float, str]] = field(default_factory=list)

    @contextmanager
    def bar(self, title: str, total: float, done: float = 0.0) -> Iterator[Bar]:
        def draw(done: float, note: str = "", *, line: bool = False) -> None:
            self.said.append((title, total, done, note))

        yield draw


_BARS = _Told()


@pytest.fixture(scope="module")
def found() -> Illustrations:
    folder = find_exported("zoo:mat_union")
    assert folder is not None
    target = target_of_exported(folder, _PEERS, "cpu")
    target = replace(target, ensemble=False, scored=_PEERS)
    made = illustrate(target, settings_of(target, Asked(images=_COUNT)), _BARS)
    assert made is not None
    return made


def test_the_bar_names_its_phase_and_every_search(found: Illustrations) -> None:
    assert {(title, total) for title, total, _, _ in _BARS.said} == {("illustrations, searches", 12)}, (
        "3 threats, twice"
    )
    assert [done for _, _, done, _ in _BARS.said] == list(range(12)), "for each of two models, each search is counted"
    notes = [note for _, _, _, note in _BARS.said]
    assert (notes[0], notes[-1]) == ("l1 linf:0.15", "generalist l1, radii"), "what is searched is said before it"


def test_answers_are_those_of_the_models(found: Illustrations) -> None:
    zoo = matx.load("zoo:mat_union")
    test = zoo.experiment.dataset().test
    images, labels = test.read(torch.arange(_COUNT)), test.labels[:_COUNT]
    assert found.labels.tolist() == labels.tolist(), "the first test images"
    shown = torch.from_numpy(found.images) / 255
    assert (shown - images[: len(shown)]).abs().max() <= 0.5 / 255 + 1e-6, "pictures are the images, rounded"
    for place, name in enumerate(_PEERS):
        with torch.no_grad():
            logits = zoo.peer(name)(images)
        assert found.clean[place].tolist() == logits.argmax(1).tolist(), f"{name}: the clean answers"
        wanted = logits.softmax(1).max(1).values[: len(shown)].numpy()
        assert np.allclose(found.clean_confidence[place], wanted, atol=1e-4), f"{name}: their confidence"


def test_examples_lie_inside_and_fool(found: Illustrations) -> None:
    assert list(found.threats) == ["linf:0.15", "l2:0.6", "l1:1.5"], "the reported threat models"
    change = found.examples[:, 0].astype(int) - found.images.astype(int)
    assert abs(change).max() <= round(0.15 * 255) + 1, "inside the first threat model, up to rounding"
    own = [(found.answers[place, place] == found.labels).mean() for place in range(2)]
    clean = [(found.clean[place] == found.labels).mean() for place in range(2)]
    assert all(robust < right for robust, right in zip(own, clean, strict=True)), f"{own} of {clean}: none fooled"
    assert list(found.rated) == ["l1", "generalist"], "the scored models are rated"
    right = np.concatenate([(found.clean == found.labels).sum(1)[:, None, None].repeat(3, 1), found.right], axis=2)
    assert (np.diff(right, axis=2) <= 0).all(), "accuracy rises with the radius"
    at_own = list(found.factors).index(1.0)
    for place in range(2):
        for at in range(3):
            most = (found.answers[place, place, at] == found.labels).sum()
            assert found.right[place, at, at_own] <= most, "at its own radius, no more than are right on its examples"


def test_slices_pass_through_the_image_and_the_example(found: Illustrations) -> None:
    side = found.slices.shape[-1]
    middle = side // 2
    example = middle + round(middle / found.extent)
    for place in range(2):
        for row in range(found.slices.shape[1]):
            plane = found.slices[place, row]
            assert plane[middle, middle] == found.clean[place, row], "the middle is the image"
            assert plane[middle, example] == found.answers[place, place, 0, row], "to the right is its own example"


def test_a_file_comes_back(found: Illustrations, tmp_path: Path) -> None:
    assert read_illustrations(tmp_path) is None, "a folder without the file has none"
    write_illustrations(tmp_path, found)
    again = read_illustrations(tmp_path)
    for entry in fields(found):
        ours, theirs = getattr(found, entry.name), getattr(again, entry.name)
        assert np.array_equal(ours, theirs), f"{entry.name} is not what was written"
    file = tmp_path / ILLUSTRATIONS
    arrays, _ = read_npz(file)
    arrays.pop("digest", None)
    about = json.loads(str(arrays["about"]))
    cases = [
        ({**arrays, "about": np.array(json.dumps({**about, "schema": 9}))}, FormError, "schema 9, allowed: 1"),
        ({**arrays, "clean": arrays["clean"][:, :3]}, RunError, r"damaged \(clean of shape \(2, 3\)"),
        ({name: array for name, array in arrays.items() if name != "about"}, RunError, "cannot be read"),
    ]  # fmt: skip
    for content, error, sentence in cases:
        write_npz(file, content)
        with pytest.raises(error, match=sentence):
            read_illustrations(tmp_path)
    file.write_bytes(b"no archive")
    with pytest.raises(RunError, match="cannot be read"):
        read_illustrations(tmp_path)


def test_the_page_shows_them(found: Illustrations) -> None:
    results = matx.load("zoo:mat_union").results
    text = unescape(html(results, illustrations=found))
    for heading in (
        "Accuracy by radius",
        "Who is fooled by whose examples",
        "Examples",
        "Slices through the decisions",
    ):
        assert f"<h2>{heading}</h2>" in text, f"the page has no part {heading!r}"
    place, shown = _PEERS.index("generalist"), len(found.images)
    for row in range(shown):
        share = 100 * found.confidence[place, place, 0, row]
        said = f"generalist: {found.classes[found.answers[place, place, 0, row]]} ({share:.0f} %)"
        assert said in text, f"image {row}: the page does not say {said!r}"
    pictures = text.count('<img src="data:image/png;base64,')
    assert pictures == 2 * shown * 7 + 2 * found.slices.shape[1], "pictures of each peer, and slices"
    assert "Every model was attacked on 256 images of digits" in text, "what was attacked is said in words"
    assert len(text) < 1_500_000, f"the page weighs {len(text):,} characters"
