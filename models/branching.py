"""The way in: a network with branches beside the groups to narrow, initialised."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import NetworkError
from .branches.keep import Keep, kept_widths
from .branches.network import BranchedNetwork
from .branches.plan import key_of
from .channels.groups import Analysis
from .fitting.activations import input_batches
from .fitting.choice import CHOICES, choose_channels
from .fitting.least_squares import initialise_from_data
from .fitting.unfitted import initialise_at_random, initialise_by_selection
from .layers.copying import deep_copy
from .tracing.inputs import ExampleInputs, as_inputs

INITIALISATIONS = ("least-squares", "selection", "kaiming")


@torch.inference_mode(False)  # branches are to be trained
def add_branches(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    keep: Keep,
    init: str = "least-squares",
    channels: str | None = None,
    multiple: int = 1,
    data: Tensor | Iterable[Any] | None = None,
) -> BranchedNetwork:
    """A copy of `model` with a branch beside every group that is to be narrowed, at α = 1.

    Args:
        model: any network that `torch.fx` can trace; it is not changed. Dtype, device and training mode carry over.
        example_inputs: a tensor (N, C, H, W), or a sequence of the forward's positional arguments.
        keep: the share of the channels that stays, in (0, 1], of every group; or {group name: share, or a channel count
            above 1 as an int}, where groups that are not named stay whole.
        init: "least-squares" fits the branches to `data`; "selection" keeps channels as they are and gives the others
            nothing; "kaiming" draws the branches at random.
        channels: how the channels that stay are chosen: "greedy", those that explain the others best on the data;
            "bn-scale" and "l1", by the weights; "random". By default "greedy" for "least-squares", "l1" for
            "selection".
        multiple: shares give the nearest multiple of this many channels (8 suits many CPUs).
        data: a few hundred examples for "least-squares" and "greedy": a tensor of inputs, or an iterable of batches
            (tensors, or tuples that start with the inputs). The example inputs by default.

    Raises:
        NetworkError: if the network cannot be traced, `keep` does not fit its groups, or nothing can be fitted.
    """
    if isinstance(model, BranchedNetwork) or not isinstance(model, nn.Module):
        what = (
            "a network that has branches already: fold it first" if isinstance(model, BranchedNetwork) else repr(model)
        )
        raise NetworkError(f"model must be a network, but got {what:.80}")
    if init not in INITIALISATIONS:
        raise NetworkError(f"init must be one of {', '.join(INITIALISATIONS)}, but got init={init!r}")
    choice = channels or ("greedy" if init == "least-squares" else "l1")
    if choice not in CHOICES:
        raise NetworkError(f"channels must be one of {', '.join(CHOICES)}, but got channels={channels!r}")
    analysis = Analysis.of(deep_copy(model), example_inputs)
    branched = BranchedNetwork(analysis, kept_widths(analysis.groups, keep, multiple))
    examples = [as_inputs(example_inputs)] if data is None else data
    if init == "kaiming":
        initialise_at_random(branched)
    elif branched.plan.widths:
        batches = input_batches(analysis, examples)
        try:
            if init == "selection":
                initialise_by_selection(branched, choose_channels(analysis, branched.plan.widths, batches, choice))
            else:
                initialise_from_data(branched, analysis, batches, choice=choice)
        except RuntimeError as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in batches[0] if isinstance(x, Tensor))
            reason = str(error).strip().splitlines()[0]
            raise NetworkError(f"the network does not accept data of shape {shapes}: {reason:.200}") from error
    _follow_modes(branched, model)
    return branched


def _follow_modes(branched: BranchedNetwork, model: nn.Module) -> None:
    """A narrow layer has its original's mode, so that a frozen BatchNorm stays frozen; the rest has the model's."""
    for mine, given in zip(branched.network.modules(), model.modules(), strict=True):
        mine.training = given.training
    branched.training = model.training
    for container in (branched.mixing, branched.compress, branched.narrow, branched.values, branched.blend):
        for module in container.modules():
            module.training = model.training
    for path in branched.plan.carriers:
        narrow, original = branched.narrow.get_submodule(key_of(path)), branched.network.get_submodule(path)
        narrow.train(original.training)
