"""Builds a network of the zoo with random weights and statistics, and the inputs that it is given."""

import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from branchfold.benchmarks.zoo_networks import NETWORKS
from branchfold.benchmarks.zoo_networks.examples import Inputs, fixed, images

CLASSES = 37  # no network has this many channels elsewhere, so that its head is found by it
SMALL_IMAGE = (64, 96)
SEGMENTED_IMAGE = (64, 96)
# Added to height and width to see whether a folded network answers other sizes as its original does.
ENLARGED = 32


# Both tools keep this share of the channels, and are given this many examples.
KEEP = 0.5
BATCH = 2

# Called with what is known, by name, as soon as it is.
Tell = Callable[..., None]


class Subject(NamedTuple):
    """A network to be narrowed.

    Attributes:
        network: in float32 and evaluation mode.
        inputs: (batch, pixels by which images are enlarged) → what the network is called with: a tensor, a tuple of
            positional or a dict of keyword arguments.
    """

    network: nn.Module
    inputs: Inputs


def build(key: str) -> nn.Module:
    """The network as its library makes it, without trained weights.

    Args:
        key: "timm:NAME", "smp:ARCHITECTURE/ENCODER" or "own:NAME".
    """
    source, _, name = key.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some warn of how they are built
        if source == "timm":
            network: nn.Module = timm.create_model(name, pretrained=False, num_classes=CLASSES)
            return network
        if source == "smp":
            architecture, _, encoder = name.partition("/")
            return smp.create_model(architecture, encoder, encoder_weights=None, classes=CLASSES)
        return NETWORKS[name].build()


def subject(key: str) -> Subject:
    """The network with randomness that the defaults would hide, and inputs as small as it takes.

    Raises:
        RuntimeError: if it takes no inputs that are known here.
    """
    torch.manual_seed(zlib.crc32(key.encode()))
    network = _without_chance(build(key)).eval()
    failures = []
    for inputs in _candidates(key, network):
        try:
            with torch.no_grad():
                for mode in (True, False):
                    run(network.train(mode), inputs(2, 0))
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}")
        else:
            return Subject(randomised(network.eval()), inputs)
    raise RuntimeError(f"{key} takes none of the inputs tried: {failures[-1]:.200}")


def run(network: nn.Module, inputs: Any, seed: int = 0, *, copy: bool = True) -> Any:
    """The network's answer to (a copy of) the inputs, with random numbers drawn from the seed."""
    torch.manual_seed(seed)
    given = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, inputs) if copy else inputs
    if isinstance(given, Mapping):
        return network(**given)
    return network(*given) if isinstance(given, tuple) else network(given)


def as_dtype(inputs: Any, dtype: torch.dtype) -> Any:
    """The inputs with their floating-point tensors in another precision."""
    return tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x, inputs)


def tensors(output: Any) -> list[Tensor]:
    """The tensors in a network's answer."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


def _candidates(key: str, network: nn.Module) -> list[Inputs]:
    source, _, name = key.partition(":")
    if source == "own":
        return [NETWORKS[name].inputs]
    if source == "smp":
        return [images(3, *SEGMENTED_IMAGE), images(3, 128, 128), fixed(3, 224, 224)]
    settings: Mapping[str, Any] = network.pretrained_cfg  # type: ignore[assignment]
    shape = settings["input_size"]
    return [fixed(*shape)] if settings.get("fixed_input_size") else [images(shape[0], *SMALL_IMAGE), fixed(*shape)]


def _without_chance(network: nn.Module) -> nn.Module:
    """The network without dropout of any kind, so that training gives the same twice."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        if isinstance(getattr(module, "drop_prob", None), float):
            module.__dict__["drop_prob"] = 0.0
    return network


@torch.no_grad()
def randomised(network: nn.Module) -> nn.Module:
    """The network with other weights, scales and statistics: zeros and ones would hide mistakes."""
    for parameter in network.parameters():
        if parameter.numel() == 1:
            parameter.fill_(0.7) if parameter.abs() < 1e-3 else None
        elif parameter.dim() > 1:
            parameter.normal_(std=max(1, parameter[0].numel()) ** -0.5)
        else:
            parameter.normal_(mean=float(parameter.mean() > 0.5), std=0.4)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0.1, 0.5)
        elif name.endswith("running_var"):
            buffer.uniform_(0.3, 2.3)
    return network
