"""The metric `corruptions`: each corruption against its formula, draws by sample, strengths, and figures by hand."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import matx
from matx.data import MemorySplit
from matx.errors import OptionError
from matx.interfaces import Column
from matx.measure import EvaluationSettings, Measured, measure
from matx.randomness import SampleGenerator
from registry.metrics._corrupting import CORRUPTIONS, SEVERITIES, corrupted

NAMES = list(CORRUPTIONS)


def images(count: int = 16, channels: int = 3, side: int = 16) -> Tensor:
    """Smooth images of 8 bits."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, 4, 4, generator=generator)
    smooth = nn.functional.interpolate(coarse, side, mode="bilinear")
    return (smooth * 255).round() / 255


def made(name: str, severity: int, clean: Tensor, *, scale: str = "cifar", first: int = 0) -> Tensor:
    corruption = CORRUPTIONS[name]
    draws = SampleGenerator(7, torch.arange(first, first + len(clean))).at(name, severity)
    return corrupted(clean, corruption, getattr(corruption, scale)[severity - 1], draws)


@pytest.mark.parametrize("name", NAMES)
def test_severities_are_deterministic_images_ever_farther_away(name: str) -> None:
    clean = images(side=32)
    away = []
    for severity in SEVERITIES:
        found = made(name, severity, clean)
        assert found.shape == clean.shape, "the shape changes"
        assert found.dtype == torch.float32, "the type changes"
        assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0, "pixels leave [0,1]"
        assert torch.allclose(found * 255, (found * 255).round(), atol=1e-3), "pixels are no 8-bit levels"
        assert torch.equal(found, made(name, severity, clean)), "the same draws give other images"
        assert torch.equal(found[5:9], made(name, severity, clean[5:9], first=5)), "other samples change one's draws"
        away.append(float((found - clean).square().mean()))
    if name == "saturate":
        assert away[0] < away[1], "less colour is no farther away"
        assert away[2] < away[3] < away[4], "more colour is no farther away"
    else:
        if name == "pixelate":  # of 32 pixels 30 or 28 are kept at first, which repeats a few rows and has no order
            away = away[1:]
        assert away == sorted(away), f"a higher severity is nearer to the clean images: {away}"
    assert away[0] > 0.0, "the first severity changes nothing"


@pytest.mark.parametrize("name", NAMES)
def test_imagenets_strengths_are_the_stronger_ones(name: str) -> None:
    clean = images(side=32)
    small, large = (made(name, 5, clean, scale=scale) for scale in ("cifar", "imagenet"))
    assert float((large - clean).square().mean()) > float((small - clean).square().mean()), "of ImageNet-C it is weaker"
    corruption = CORRUPTIONS[name]
    assert len(corruption.cifar) == len(corruption.imagenet) == len(SEVERITIES), "a severity is missing"


@pytest.mark.parametrize("channels", [1, 2])
def test_images_of_other_channels(channels: int) -> None:
    clean = images(channels=channels)
    for name in NAMES:
        if CORRUPTIONS[name].channels is None:
            assert made(name, 3, clean).shape == clean.shape, f"{name} does not take {channels} channels"


def test_noise_has_the_spread_that_it_is_named_after() -> None:
    grey = torch.full((64, 3, 16, 16), 0.5)
    for severity, sigma in zip(SEVERITIES, (0.04, 0.06, 0.08, 0.09, 0.10), strict=True):
        found = made("gaussian_noise", severity, grey)
        assert float(found.std()) == pytest.approx(sigma, rel=0.02), f"sigma of severity {severity}"
        assert float(found.mean()) == pytest.approx(0.5, abs=2e-3), "noise has a mean"
        shot = made("shot_noise", severity, grey)
        spread = (0.5 / (500, 250, 100, 75, 50)[severity - 1]) ** 0.5
        assert float(shot.std()) == pytest.approx(spread, rel=0.02), f"Poisson's spread of severity {severity}"
        speckle = made("speckle_noise", severity, grey)
        sigma = 0.5 * (0.06, 0.10, 0.12, 0.16, 0.20)[severity - 1]
        assert float(speckle.std()) == pytest.approx(sigma, rel=0.02), f"spread in proportion, severity {severity}"
        impulse = made("impulse_noise", severity, grey)
        share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
        for value in (0.0, 1.0):
            found_share = float((impulse == value).float().mean())
            assert found_share == pytest.approx(share / 2, rel=0.1), f"share of pixels at {value}, severity {severity}"


def _in_hsv(pixels: Tensor, change: Any) -> Tensor:
    """Each pixel through the standard library's HSV."""
    flat = pixels.permute(0, 2, 3, 1).reshape(-1, 3).double().tolist()
    changed = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel))) for pixel in flat]
    shape = (len(pixels), *pixels.shape[2:], 3)
    return torch.tensor(changed).reshape(shape).permute(0, 3, 1, 2)


def test_brightness_and_saturation_are_those_of_hsv() -> None:
    clean = images(4, side=8)
    clean[0, :, :4] = clean[0, :1, :4]  # grey pixels
    clean[1, :, :2] = 0.0
    brighter = _in_hsv(clean, lambda h, s, v: (h, s, min(v + 0.15, 1.0)))
    assert (made("brightness", 3, clean) - brighter).abs().max() < 0.51 / 255, "not the value of HSV plus 0.15"
    stronger = _in_hsv(clean, lambda h, s, v: (h, min(2.5 * s + 0.2, 1.0), v))
    assert (made("saturate", 5, clean) - stronger).abs().max() < 0.51 / 255, "not 2.5 times the saturation plus 0.2"


def test_contrast_and_blur_keep_the_mean() -> None:
    clean = images()
    found = made("contrast", 2, clean)
    mean = clean.mean((2, 3), keepdim=True)
    assert (found - (mean + 0.5 * (clean - mean))).abs().max() < 0.51 / 255, "not half the distance to the mean"
    point = torch.zeros(1, 3, 15, 15)
    point[:, :, 7, 7] = 1.0
    blurred = made("gaussian_blur", 5, point)[0, 0].double().numpy()
    x = np.arange(-4, 5)
    kernel = np.exp(-0.5 * x**2) / np.exp(-0.5 * x**2).sum()
    assert np.abs(blurred[3:12, 3:12] - np.outer(kernel, kernel)).max() < 0.51 / 255, "not a Gaussian of sigma 1"


class Brightest(nn.Module):
    """Class 1 where the mean pixel is over one half."""

    def forward(self, inputs: Tensor) -> Tensor:
        score = inputs.flatten(1).mean(1) - 0.5
        return torch.stack([-score, score], 1)


def found_on(metric: Any, batch_size: int = 256, side: int = 16) -> Measured:
    clean = images(20, side=side)
    labels = Brightest()(clean).argmax(1)
    settings = EvaluationSettings(metrics=[metric], batch_size=batch_size)
    return measure({"a": Brightest()}, MemorySplit.of(clean, labels), settings)


def metric(**options: Any) -> Any:
    return matx.metrics["corruptions"](**options)


def test_figures_are_counts_over_images_and_severities() -> None:
    found = found_on(metric(names=("brightness", "contrast")))
    columns, figures = found.columns["corruptions"], found.figures["corruptions"]
    known = {figure.column.name: figure for figure in figures}
    assert list(known) == ["brightness", "contrast", "all corruptions"], "a figure is missing"
    right = {
        name: sum(int(columns[Column("a", f"{name} {severity}")].sum()) for severity in SEVERITIES)
        for name in ("brightness", "contrast")
    }
    counts = {name: (figure.correct, figure.n) for name, figure in known.items()}
    expected = {name: (count, 100) for name, count in right.items()} | {"all corruptions": (sum(right.values()), 200)}
    assert counts == expected, "not the counts of the columns"
    assert right["brightness"] < right["contrast"] == 100, "the case separates nothing: contrast keeps the mean"
    for name, figure in known.items():
        mean = float(columns[Column("a", name)].mean())
        assert mean == pytest.approx(figure.value), f"the column of {name} is not its figure per image"
    assert known["contrast"].low == pytest.approx(20 / (20 + 1.959964**2)), "the interval counts severities as images"


def test_batches_change_nothing() -> None:
    whole, parts = found_on(metric()), found_on(metric(), batch_size=3)
    assert whole.figures == parts.figures, "the batch size changes draws"


@pytest.mark.parametrize(("side", "scale"), [(32, "cifar"), (100, "imagenet")])
def test_strengths_follow_the_size_of_the_images(side: int, scale: str) -> None:
    found = {
        name: found_on(metric(names=("brightness",), strengths=name), side=side).columns["corruptions"]
        for name in ("auto", "cifar", "imagenet")
    }
    column = Column("a", "brightness 1")
    assert torch.equal(found["auto"][column], found[scale][column]), f"images of {side} pixels are not {scale}'s"
    assert not torch.equal(found["cifar"][column], found["imagenet"][column]), "the case separates nothing"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"names": ("fog",)}, r"metrics\.corruptions\.names\[0\]: got 'fog', allowed: 'gaussian_noise'"),
        ({"names": ("shot_nois",)}, "did you mean 'shot_noise'"),
        ({"names": ("contrast", "contrast")}, "names: got 'contrast' twice, allowed: one or more, each once"),
        ({"names": ()}, "names: got none, allowed: one or more, each once"),
        ({"strengths": "cifr"}, "strengths: got 'cifr', allowed: 'auto', 'cifar', 'imagenet'; did you mean 'cifar'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(OptionError, match=sentence):
        metric(**options)
