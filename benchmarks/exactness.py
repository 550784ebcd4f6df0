"""Narrows a torchvision classifier with random weights to half, folds it, and says how exact that is."""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold

# Relative to the largest output. The largest networks run in float32, which halves the memory that they need.
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
MOST_IN_FLOAT64 = 200e6
# By the start of the name, of which the longest counts: pixels, and what the network is built with.
SMALL: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "": ((32, 48), {}),
    "alexnet": ((63, 70), {}),
    "googlenet": ((32, 48), {"init_weights": False}),
    "inception": ((75, 80), {"init_weights": False, "aux_logits": False}),
    "maxvit": ((224, 224), {}),
    "swin": ((64, 64), {}),
    "vit": ((64, 64), {"image_size": 64}),
    "vit_h": ((56, 56), {"image_size": 56}),
}


class Exactness(NamedTuple):
    """What became of one network.

    Attributes:
        groups: number of its channel groups.
        narrowed: number of those that were cut to half.
        error: the largest relative difference: of α = 1 from the original, of the fold from α = 0.
        dtype: in which it was computed.
        reason: why it does not fold exactly; empty if it does.
    """

    groups: int = 0
    narrowed: int = 0
    error: float = 0.0
    dtype: torch.dtype = torch.float64
    reason: str = ""


def exactness(name: str) -> Exactness:
    """Builds the network, narrows half of every group that can be narrowed, at random, and folds it."""
    size, arguments = SMALL[max((start for start in SMALL if name.startswith(start)), key=len)]
    parameters = models.get_model_weights(name).DEFAULT.meta["num_params"]
    dtype = torch.float64 if parameters < MOST_IN_FLOAT64 else torch.float32
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=dtype)
    try:
        return _folded(_randomised(_built(name, arguments).to(dtype).eval()), x)
    except NetworkError as error:
        return Exactness(reason=str(error))


def _built(name: str, arguments: dict[str, Any]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two networks warn of how their weights are drawn
        network: nn.Module = models.get_model(name, weights=None, num_classes=10, **arguments)
    return network


def _folded(network: nn.Module, x: Tensor) -> Exactness:
    """The originals are let go early: the largest networks fit into memory twice."""
    alike = _identity(network)
    with torch.no_grad():
        original = network(x)
        branched = add_branches(network, x, keep=0.5, init="kaiming")
        del network
        error = _difference(branched(x), original)
        _randomised(branched.narrow)
        branched.set_alpha(0)
        small = fold(branched)
        error = max(error, _difference(small(x), branched(x)))
    found = Exactness(len(branched.groups), len(branched.alpha), error, x.dtype)
    del branched
    if not error <= TOLERANCES[x.dtype]:
        return found._replace(reason=f"the fold differs by {error:.0e}")
    if _identity(small) != alike:
        return found._replace(reason="the folded network has another class or other modules")
    return found if _trains(small, x) else found._replace(reason="the folded network does not train")


def _identity(network: nn.Module) -> tuple[type, list[str], list[str]]:
    return type(network), [name for name, _ in network.named_modules()], list(network.state_dict())


def _trains(network: nn.Module, x: Tensor) -> bool:
    """Whether every parameter hears of the loss in training, auxiliary heads among them."""
    output = network.train()(x)
    loss = sum(y.square().mean() for y in (output if isinstance(output, tuple) else (output,)))
    loss.backward()
    return all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters() if p.requires_grad)


def _difference(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


@torch.no_grad()
def _randomised(network: nn.Module) -> nn.Module:
    """The network with other weights, and BatchNorm statistics that are not the defaults."""
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 4
        parameter.normal_(std=max(1, fan_in) ** -0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.weight.normal_(1, 0.4)
            module.running_mean.normal_(0.1, 0.5)
            assert module.running_var is not None
            module.running_var.uniform_(0.3, 2.3)
    return network
