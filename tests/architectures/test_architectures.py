"""Architectures: published sizes, output strides, small-image stems, and what is refused. Weights cost nothing here:
networks are built on the meta device wherever only their shape matters."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import matx
from matx.errors import ModelError, OptionError

import_module("registry.architectures")
CIFAR = (3, 32, 32)


def on_meta(name: str, classes: int = 10, shape: tuple[int, int, int] = CIFAR, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return matx.architectures[name](**options)(shape, classes)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def stride(model: nn.Module, size: int = 32) -> int:
    features = model.forward_features(torch.empty(2, 3, size, size, device="meta"))
    return size // features.shape[-1]


# Counted by the layers of the papers' tables; millions as the papers and repositories print them.
PUBLISHED = {
    "preact_resnet18": ({}, 11_172_170, "11.17", 8),
    "preact_resnet18 without last norm": ({"final_norm": False}, 11_171_146, "11.17", 8),
    "wrn_28_10": ({}, 36_479_194, "36.5", 4),
    "wrn_34_10": ({}, 46_160_474, "46.2", 4),
    "small_resnet": ({"depth": 20}, 272_474, "0.27", 4),
}
OURS = {"small_preact_resnet": ({}, 308_266, "0.31", 8)}


@pytest.mark.parametrize("case", [*PUBLISHED, *OURS])
def test_sizes_and_strides_are_the_published_ones(case: str):
    options, count, millions, expected_stride = {**PUBLISHED, **OURS}[case]
    model = on_meta(case.split()[0], **options)
    assert parameters(model) == count, f"{case} must have {count} parameters"
    decimals = len(millions.split(".")[1])
    assert f"{count / 1e6:.{decimals}f}" == millions, f"{case} is published with {millions} M parameters"
    assert stride(model) == expected_stride, f"{case} must have output stride {expected_stride}"


def test_a_hundred_classes_change_only_the_last_layer():
    more = parameters(on_meta("wrn_28_10", 100)) - parameters(on_meta("wrn_28_10", 10))
    assert more == 90 * 641, "90 more classes of 640 weights and a bias each"


def test_activations_are_those_asked_for():
    def kinds(name: str) -> set[str]:
        model = on_meta("preact_resnet18", activation=name)
        return {type(module).__name__ for module in model.modules()} & {"ReLU", "Softplus", "SiLU"}

    assert kinds("relu") == {"ReLU"}, "ReLU throughout by default"
    assert kinds("softplus") == {"Softplus"}, "softplus everywhere, as E-AT has it"
    softplus = next(m for m in on_meta("wrn_28_10", activation="softplus").modules() if isinstance(m, nn.Softplus))
    assert softplus.beta == 1, "with beta 1"


def test_a_pre_activation_block_equals_the_formula():
    block = import_module("registry.architectures._networks").PreActBlock(4, 6, 2, nn.ReLU).eval()
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    active = torch.relu(x / (1 + 1e-5) ** 0.5)
    middle = torch.relu(torch.nn.functional.conv2d(active, block.conv1.weight, stride=2, padding=1) / (1 + 1e-5) ** 0.5)
    expected = torch.nn.functional.conv2d(middle, block.conv2.weight, padding=1)
    expected += torch.nn.functional.conv2d(active, block.shortcut.weight, stride=2)
    assert torch.allclose(block(x), expected, atol=1e-5), "conv(act(norm(conv(act(norm x))))) + conv1x1(act(norm x))"


@pytest.mark.parametrize("size", [5, 7, 8, 28, 32, 33])
def test_tiny_takes_any_size_from_five_pixels(size: int):
    model = matx.architectures["tiny"]()((1, size, size + 1), 3)
    assert model(torch.rand(2, 1, size, size + 1)).shape == (2, 3), f"{size}x{size + 1} must work"


def test_tiny_pools_like_adaptive_pooling():
    pooled = import_module("registry.architectures._networks")._pooled
    for size in range(2, 9):
        x = torch.rand(1, 2, size, size + 1)
        assert torch.allclose(pooled(x, 2), torch.nn.functional.adaptive_avg_pool2d(x, 2)), f"differs at {size}"


def test_tiny_refuses_smaller_images():
    with pytest.raises(ModelError, match=r"architectures\.tiny: got images of 4x9, allowed: at least 5x5"):
        matx.architectures["tiny"]()((1, 4, 9), 3)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("tiny", {"width": 0}, r"tiny\.width: got 0"),
        ("small_resnet", {"depth": 18}, r"small_resnet\.depth: got 18, allowed: 8, 14, 20"),
        ("preact_resnet18", {"activation": "rely"}, r"activation: got 'rely'.*did you mean 'relu'\?"),
        ("wrn_34_10", {"dropout": 1.0}, r"wrn_34_10\.dropout: got 1\.0"),
        ("wrn_28_10", {"widen": 0}, r"wrn_28_10\.widen: got 0"),
        ("timm", {"name": "resnet18", "stem": "tiny"}, r"timm\.stem: got 'tiny', allowed: 'auto', 'small', 'as_is'"),
        ("timm", {"name": "vit", "patch_size": 0}, r"timm\.patch_size: got 0"),
        ("timm", {"name": "resnet18", "options": {"in_chans": 1}}, r"timm\.options: got 'in_chans'"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], sentence: str):
    with pytest.raises(OptionError, match=r"^architectures\." + f".*{sentence}"):
        matx.architectures[name](**options)


# timm


def timm(name: str, **options: Any) -> Any:
    return matx.architectures["timm"](name=name, **options)


# {name: output stride at 32x32 with a small stem}; at least one network of each family that has one.
STEMS = {
    "densenet121": 8,
    "efficientnet_lite0": 16,
    "ghostnet_050": 16,
    "hardcorenas_a": 16,
    "mobilenetv3_small_050": 16,
    "regnetx_002": 16,
    "repghostnet_050": 16,
    "res2net50_14w_8s": 8,
    "resnest14d": 8,
    "resnet18": 8,
    "resnet26t": 8,
    "resnetv2_18": 8,
    "legacy_seresnet18": 8,
    "skresnet18": 8,
}


def test_every_family_with_a_small_stem_is_tested():
    family = import_module("registry.architectures.timm")._family
    listed = set(import_module("registry.architectures._small_images").SMALL_STEMS)
    assert {family(name) for name in STEMS} == listed, "the table must have a network of each listed family, no other"


@pytest.mark.parametrize("name", STEMS)
def test_small_images_get_small_stems(name: str):
    adaptation = timm(name).adaptation(CIFAR, 10)
    assert (adaptation.verdict, adaptation.stride) == ("adapted", STEMS[name]), f"{name}: {adaptation.sentence}"
    assert "stem 3x3 with stride 1, no pooling" in adaptation.sentence, "the log must say what was done"


@pytest.mark.parametrize("name", ["resnet18", "resnetv2_18", "test_efficientnet"])
def test_a_stem_can_be_left_as_it_is(name: str):
    adaptation = timm(name, stem="as_is").adaptation(CIFAR, 10)
    assert (adaptation.verdict, adaptation.stride) == ("as is", 32), f"{name} as it is: {adaptation.sentence}"


def test_resnet18_for_cifar_has_the_published_size(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="matx"):
        model = timm("resnet18")(CIFAR, 10)
    assert parameters(model) == 11_173_962, "11.17 M parameters"
    assert isinstance(model.maxpool, nn.Identity), "no max-pool"
    conv = model.conv1
    assert (conv.kernel_size, conv.stride) == ((3, 3), (1, 1)), "the stem is 3x3 with stride 1"
    assert "timm resnet18: stem 3x3 with stride 1, no pooling behind it; output stride 8" in caplog.text, "said in log"


@pytest.mark.parametrize("size", [96, 224])
def test_larger_images_keep_the_stem_unless_asked(size: int):
    assert timm("resnet18").adaptation((3, size, size), 10).stride == 32, "auto leaves larger images alone"
    assert timm("resnet18", stem="small").adaptation((3, size, size), 10).stride == 8, "'small' adapts any size"


@pytest.mark.parametrize(
    ("name", "shape", "patch", "output_stride"),
    [
        ("vit_tiny_patch16_224", (3, 32, 32), 4, 4),
        ("vit_tiny_patch16_224", (1, 28, 28), 2, 2),
        ("vit_tiny_patch16_224", (3, 64, 64), 8, 8),
        ("vit_tiny_patch16_224", (3, 84, 84), 14, 14),
        ("swin_tiny_patch4_window7_224", (3, 32, 32), 2, 16),
        ("deit_tiny_distilled_patch16_224", (3, 32, 32), 4, 4),
    ],
)
def test_networks_with_patches_get_image_and_patch_size(
    name: str, shape: tuple[int, int, int], patch: int, output_stride: int
):
    adaptation = timm(name).adaptation(shape, 10)
    assert adaptation.arguments["img_size"] == shape[1], "the image size is set"
    assert adaptation.arguments["patch_size"] == patch, f"{name} for {shape}: {adaptation.sentence}"
    assert adaptation.stride == output_stride, f"{name} for {shape}: {adaptation.sentence}"


def test_the_native_patch_stays_where_it_fits_and_a_given_one_wins():
    assert "patch_size" not in timm("vit_tiny_patch16_224").adaptation((3, 224, 224), 10).arguments, "16 divides 224"
    assert timm("vit_tiny_patch16_224", patch_size=8).adaptation(CIFAR, 10).stride == 8, "8 was asked for"
    with pytest.raises(ModelError, match=r"patch_size: got 4, but 'resnet18' has no patch size"):
        timm("resnet18", patch_size=4).check(CIFAR, 10)


def test_other_families_warn_and_name_their_output_stride(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="matx"):
        timm("test_convnext")(CIFAR, 10)
    (record,) = [record for record in caplog.records if record.name == "matx"]
    assert record.levelno == logging.WARNING, "a family without adaptation warns"
    assert "output stride 32: made for larger images" in record.getMessage(), "and says by how much it reduces"
    with pytest.raises(ModelError, match=r"'test_convnext' \(family convnext\) has no small stem; families with one: "):
        timm("test_convnext", stem="small").check(CIFAR, 10)


def test_what_cannot_run_is_refused_with_the_reason():
    with pytest.raises(
        ModelError, match=r"'inception_v3' \(family inception_v3\) does not take 32x32 images: .*(Kernel|too small)"
    ):
        timm("inception_v3").check(CIFAR, 10)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ModelError, match=r"got 'resnet_18', allowed: a name of timm.list_models\(\); did you mean 're"):
        timm("resnet_18").check(CIFAR, 10)


def test_options_reach_timm_and_pretrained_is_not_fetched_for_a_check():
    plain, wide = (timm("test_resnet", options=options)(CIFAR, 10) for options in ({}, {"drop_rate": 0.5}))
    assert (plain.drop_rate, wide.drop_rate) == (0.0, 0.5), "options are timm's arguments"
    timm("resnet18", options={"pretrained": True}).check(CIFAR, 10)
    with pytest.raises(ModelError, match="no_such_argument"):
        timm("test_resnet", options={"no_such_argument": 1}).check(CIFAR, 10)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_plan_and_network_agree_and_take_grey_images(name: str):
    architecture = timm(name)
    model = architecture((1, 16, 16), 5).eval()
    assert model(torch.rand(2, 1, 16, 16)).shape == (2, 5), "grey 16x16 images and 5 classes"
    features: Tensor = model.forward_features(torch.rand(2, 1, 16, 16))
    side = features.shape[-1] if features.ndim == 4 else int(features.shape[1] ** 0.5)
    assert 16 // side == architecture.adaptation((1, 16, 16), 5).stride, "the adaptation's stride is the network's"


def test_under_the_meta_device_no_weights_are_made_or_fetched():
    with torch.device("meta"):
        model = timm("test_resnet", options={"pretrained": True})(CIFAR, 10)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}, "weights must not exist"
    assert model(torch.empty(2, *CIFAR, device="meta")).shape == (2, 10), "the forward works without weights"


@pytest.mark.parametrize("name", ["matx_tiny", "matx_small_resnet", "preact_resnet18", "wrn_28_10", "wrn_34_10"])
def test_our_own_networks_are_registered_with_timm(name: str):
    adaptation = timm(name).adaptation(CIFAR, 10)
    assert adaptation.verdict == "as is", "made for small images: nothing to adapt, nothing to warn about"
    ours = on_meta(name.removeprefix("matx_"))
    create = import_module("timm").create_model
    with torch.device("meta"):
        theirs = create(name, num_classes=10)
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1], "timm builds the same network"
    theirs.reset_classifier(7)
    assert theirs.get_classifier().out_features == 7, "timm's own methods work"
    with pytest.raises(ModelError, match="pretrained=True"):
        create(name, pretrained=True)


def test_registering_components_imports_no_heavy_library():
    heavy = ("timm", "torchvision", "sklearn", "scipy", "PIL")
    code = f"import sys, registry; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]", f"`matx list` must stay quick, but importing the registries loads {loaded}"


def test_architectures_pickle():
    for name in matx.architectures:
        for architecture in matx.architectures[name].examples(None):
            assert pickle.loads(pickle.dumps(architecture)) == architecture, f"{architecture!r} must survive a pickle"
