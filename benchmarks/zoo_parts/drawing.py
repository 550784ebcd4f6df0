"""Draws networks by a seed: of timm, of segmentation_models_pytorch, and all hand-written ones."""

import random
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import segmentation_models_pytorch as smp
import timm
import torch
from timm.models._registry import _model_to_module

from branchfold.benchmarks.zoo_networks import NETWORKS
from branchfold.benchmarks.zoo_parts.building import build
from branchfold.benchmarks.zoo_parts.judging import FAMILIES

# timm's files without convolutions but for patches, positions and inside a transformer's blocks.
TRANSFORMERS = """
    beit cait convit crossvit deepseek_vit deit eva gemma4_vit hiera hieradet_sam2 mlp_mixer mvitv2 naflexvit nest pit
    pvt_v2 qwen3_vit sequencer swin_transformer swin_transformer_v2 swin_transformer_v2_cr tnt twins vision_transformer
    vision_transformer_relpos vision_transformer_sam volo xcit
""".split()  # noqa: SIM905
MOST_PARAMETERS = 90e6
# Of 126 drawn networks: convolutional and hybrid ones of timm, transformers of timm, segmentation networks.
SHARES = (99, 13, 14)
# The twenty-five of the quick form are small and the same for every seed: these, and some hand-written ones.
QUICK = """
    timm:resnet18 timm:mobilenetv3_small_050 timm:regnetx_002 timm:convnext_atto timm:res2net50_14w_8s timm:ghostnet_050
    timm:mobilevit_xxs timm:efficientvit_b0 timm:edgenext_xx_small timm:resnetv2_50 timm:vit_tiny_patch16_224
    timm:levit_128s smp:unet/resnet18 smp:fpn/mobilenet_v2
""".split()  # noqa: SIM905


class Draw(NamedTuple):
    """One network of the zoo.

    Attributes:
        key: what it is built from: "timm:NAME", "smp:ARCHITECTURE/ENCODER" or "own:NAME".
        family: one of `judging.FAMILIES`.
    """

    key: str
    family: str


def draw(seed: int, count: int) -> list[Draw]:
    """`count` drawn networks, in the proportion of `SHARES`, and all hand-written ones."""
    wanted = [round(count * share / sum(SHARES)) for share in SHARES]
    wanted[0] = count - sum(wanted[1:])
    numbers = [random.Random(f"{seed} {family}") for family in FAMILIES[:3]]
    streams = (
        _of_timm(numbers[0], transformers=False),
        _of_timm(numbers[1], transformers=True),
        _of_segmentation(numbers[2]),
    )
    drawn = [
        Draw(key, family)
        for family, stream, number in zip(FAMILIES, streams, wanted, strict=False)
        for key in islice(stream, number)
    ]
    return drawn + hand_written()


def hand_written() -> list[Draw]:
    """All hand-written networks."""
    return [Draw(f"own:{name}", FAMILIES[3]) for name in NETWORKS]


def quick() -> list[Draw]:
    """Twenty-five small networks of all families."""
    own, number = hand_written(), 25 - len(QUICK)
    return [Draw(key, family_of(key)) for key in QUICK] + [own[i * len(own) // number] for i in range(number)]


def family_of(key: str) -> str:
    """The family of a network that is given by its key."""
    source, _, name = key.partition(":")
    if source != "timm":
        return {"smp": FAMILIES[2], "own": FAMILIES[3]}[source]
    return FAMILIES[_model_to_module[name] in TRANSFORMERS]


def _of_timm(source: random.Random, *, transformers: bool) -> Iterator[str]:
    names = [n for n in sorted(timm.list_models()) if (family_of(f"timm:{n}") == FAMILIES[1]) == transformers]
    source.shuffle(names)
    yield from (key for key in (f"timm:{name}" for name in names) if _is_bearable(key))


def _of_segmentation(source: random.Random) -> Iterator[str]:
    """Each architecture in turn, with an encoder of its library that it accepts."""
    architectures = sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    while True:
        source.shuffle(architectures)
        for architecture in architectures:
            encoders = sorted(smp.encoders.encoders)
            source.shuffle(encoders)
            keys = [f"smp:{architecture}/{name}" for name in ("tu-vit_small_patch16_224", *encoders)]
            # Only DPT takes vision transformers, and takes nothing else.
            keys = keys[:1] if architecture == "dpt" else keys[1:]
            yield next(key for key in keys if _is_bearable(key))


def _is_bearable(key: str) -> bool:
    """Whether the network can be built and has at most `MOST_PARAMETERS`."""
    for device in ("meta", "cpu"):  # some compute with the values of their tensors while they are built
        try:
            with torch.device(device):
                network = build(key)
        except Exception:
            continue
        return sum(p.numel() for p in network.parameters()) <= MOST_PARAMETERS
    return False
