"""Every network of torchvision folds exactly; whole detectors are refused with a reason.

One network of each quick family runs by default; `-m slow` adds all other classifiers, in up to 12 GB of memory.
"""

import copy
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.channels.groups import ChannelGroup
from branchfold.models.cost import CostModel, count_macs

# Larger networks are folded in float32, which halves the memory that they need.
MOST_IN_FLOAT64 = 200e6


class Case(NamedTuple):
    """A small input that a network takes, and what it is built with."""

    size: tuple[int, int] = (32, 48)
    arguments: Mapping[str, Any] = MappingProxyType({})


# By the start of the name; the longest that fits counts.
SPECIAL = {
    "alexnet": Case((63, 70)),
    "densenet": Case((64, 80)),
    "googlenet": Case((32, 48), {"init_weights": False}),
    "inception": Case((75, 80), {"init_weights": False, "aux_logits": False}),
    "maxvit": Case((224, 224)),
    "swin": Case((64, 64)),
    "vit": Case((64, 64), {"image_size": 64}),
    "vit_h": Case((56, 56), {"image_size": 56}),
}

# Name → groups that can be narrowed, of all.
QUICK = {
    "densenet121": (120, 121),
    "googlenet": (61, 64),
    "mnasnet0_5": (25, 26),
    "mobilenet_v2": (25, 26),
    "mobilenet_v3_small": (27, 28),
    "regnet_x_400mf": (49, 50),
    "regnet_y_400mf": (53, 54),
    "resnet18": (12, 13),
    "shufflenet_v2_x0_5": (20, 23),
    "squeezenet1_1": (25, 26),
}
FAMILIES = {
    **QUICK,
    "alexnet": (7, 8),
    "convnext_tiny": (22, 23),
    "efficientnet_b0": (40, 41),
    "efficientnet_v2_s": (75, 76),
    "inception_v3": (94, 95),
    "maxvit_t": (51, 52),
    "resnext50_32x4d": (37, 38),
    "swin_t": (16, 17),
    "swin_v2_t": (24, 53),
    "vgg11": (10, 11),
    "vit_b_16": (13, 14),
    "wide_resnet50_2": (37, 38),
}
NAMES = sorted({*torchvision.models.list_models(module=torchvision.models), *FAMILIES})


# What torch computes at once is written out: attention, and a product with a bias that code computes, to which torch
# adds the bias first and the branched network last (see tests/models/tracing/plain/test_finding.py).
_ROUNDED_OTHERWISE = (nn.MultiheadAttention, torchvision.models.swin_transformer.ShiftedWindowAttentionV2)


def case_of(name):
    fitting = [start for start in SPECIAL if name.startswith(start)]
    return SPECIAL[max(fitting, key=len)] if fitting else Case()


def build(name, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some constructors warn that they are slow
        return torchvision.models.get_model(name, weights=None, num_classes=7, **arguments)


def without_chance(network):
    for module in network.modules():
        if isinstance(module, nn.Dropout | StochasticDepth):
            module.p = 0.0
    return network


def tensors(output):
    if isinstance(output, torch.Tensor):
        return [output]
    return [x for x in (output.values() if isinstance(output, dict) else output) if x is not None]


def assert_equal(actual, expected, tolerance=1e-9):
    """Relative to the largest value."""
    assert type(actual) is type(expected)
    if isinstance(expected, dict):
        assert list(actual) == list(expected)
    for mine, theirs in zip(tensors(actual), tensors(expected), strict=True):
        assert torch.isfinite(theirs).all()
        assert theirs.abs().max() > 1e-3
        assert (mine - theirs).abs().max() <= tolerance * theirs.abs().max()


class Folded(NamedTuple):
    """What a network was branched into."""

    groups: tuple[ChannelGroup, ...]
    alpha: dict[str, float]


def assert_folds_exactly(network, x, randomise_branches, keep=0.5):
    """At α = 1 the original, at α = 0 the fold; in training too, from the same statistics.

    Networks are let go as soon as they are not needed: the largest fit into memory twice.
    """
    tolerance = 1e-9 if x.dtype == torch.float64 else 1e-4
    kind, names, keys = type(network), [name for name, _ in network.named_modules()], list(network.state_dict())
    at_once = 0.0 if not any(isinstance(m, _ROUNDED_OTHERWISE) for m in network.modules()) else tolerance / 1e3
    with torch.no_grad():
        original, model = network(x), CostModel(network, x)
        branched = add_branches(network, x, keep=keep, init="kaiming")
        del network
        assert_equal(branched(x), original, at_once)
        randomise_branches(branched)
        branched.set_alpha(0.0)
        small = fold(branched)
        delivered = small(x)
        assert_equal(delivered, branched(x), tolerance)
        different = zip(tensors(delivered), tensors(original), strict=True)
        assert all((a - b).abs().max() > 1e-3 * b.abs().max() for a, b in different)
        # Batch statistics of few values magnify rounding errors.
        assert_equal(small.train()(x), branched.train()(x), 100 * tolerance)
        assert_equal(small.eval()(x), branched.eval()(x), 100 * tolerance)
    result, widths = Folded(branched.groups, branched.alpha), branched.plan.widths
    del branched
    assert type(small) is kind
    assert [name for name, _ in small.named_modules()] == names
    assert list(small.state_dict()) == keys
    cost = model.cost(widths)
    assert cost.macs == count_macs(small, (x,))
    assert cost.parameters == sum(p.numel() for p in small.parameters())
    sum(y.square().sum() for y in tensors(small.train()(x))).backward()
    heard = [p.grad is not None for p in small.parameters() if p.requires_grad]
    assert all(heard)
    return result


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in NAMES])
def test_a_classifier_folds_exactly(name, randomise, randomise_branches):
    case = case_of(name)
    parameters = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
    dtype = torch.float64 if parameters < MOST_IN_FLOAT64 else torch.float32
    x = torch.randn(2, 3, *case.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    folded = assert_folds_exactly(
        randomise(without_chance(build(name, **case.arguments)), dtype=dtype), x, randomise_branches
    )
    prunable = {group.name for group in folded.groups if group.prunable}
    assert prunable
    assert FAMILIES.get(name, (len(prunable), len(folded.groups))) == (len(prunable), len(folded.groups))
    assert set(folded.alpha) == prunable


SEGMENTATION = {
    "lraspp_mobilenet_v3_large": (30, 31),
    "deeplabv3_mobilenet_v3_large": (36, 37),
    "fcn_resnet50": (38, 39),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "lraspp_mobilenet_v3_large" else pytest.mark.slow) for n in SEGMENTATION]
)
def test_a_segmentation_network_folds_exactly(name, randomise, randomise_branches):
    network = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4)
    network = randomise(without_chance(network))
    x = torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    groups = assert_folds_exactly(network, x, randomise_branches).groups
    assert (sum(group.prunable for group in groups), len(groups)) == SEGMENTATION[name]


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("resnet18", torchvision.ops.FrozenBatchNorm2d),
        pytest.param("resnet50", nn.BatchNorm2d, marks=pytest.mark.slow),
    ],
)
def test_a_detection_backbone_folds_exactly(name, norm, randomise, randomise_branches):
    build_backbone = torchvision.models.detection.backbone_utils.resnet_fpn_backbone
    network = build_backbone(backbone_name=name, weights=None, norm_layer=norm, trainable_layers=5)
    for module in network.modules():
        if isinstance(module, torchvision.ops.FrozenBatchNorm2d):
            for key, value in module.named_buffers():
                value.copy_(torch.rand_like(value) + (0.5 if key in ("weight", "running_var") else -0.5))
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    folded = assert_folds_exactly(randomise(network), x, randomise_branches)
    assert len(network(x)) == 5
    # The pyramid's outputs keep their 256 channels; the sums inside it are one group.
    pyramid = [name for name in folded.alpha if not name.startswith("body.")]
    assert len(pyramid) == 1
    assert pyramid[0].startswith("fpn.inner_blocks.")


def test_a_whole_detector_is_refused_with_the_line_that_stops_it():
    network = torchvision.models.get_model("fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None)
    with pytest.raises(NetworkError, match=r"FasterRCNN cannot be traced at .*torchvision.*\.py:\d+"):
        channel_groups(copy.deepcopy(network).eval(), torch.randn(1, 3, 64, 64))
