"""The way in: a network with branches beside the groups to narrow, initialised."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import NetworkError, one_line
from .branches.folding.folding import fold
from .branches.keep import Keep, fitting_widths, kept_widths
from .branches.network import BranchedNetwork
from .channels.groups import Analysis
from .fitting.activations import input_batches
from .fitting.choice import BY_WEIGHTS, CHOICES
from .fitting.initialisations import INITIALISATIONS
from .fitting.original import Original, exactly
from .layers.copying import deep_copy
from .layers.lending import lent
from .layers.modes import modes_of
from .tracing.inputs import ExampleInputs, as_inputs
from .tracing.preserving import preserving_state
from .tracing.wrappers import require_plain


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
        model: any network whose forward decides nothing by the values of tensors; it is not changed. Dtype, device
            and training mode carry over.
        example_inputs: a tensor (N, C, H, W), a sequence of the forward's positional arguments, or a dict of them by
            name.
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
    method = _Method.of(init, channels)
    analysis = _analysed(model, example_inputs)
    widths = kept_widths(analysis.groups, keep, multiple)
    return _initialised(analysis, widths, method, model, [as_inputs(example_inputs, model)] if data is None else data)


@torch.inference_mode(False)
def branched_at(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    widths: Mapping[str, int],
    init: str = "least-squares",
    channels: str | None = None,
    data: Tensor | Iterable[Any] | None = None,
    known: Original | None = None,
) -> BranchedNetwork:
    """What `add_branches` gives, at widths told as channels: 1 is one channel.

    Args:
        model: as for `add_branches`, like all that is not told here.
        example_inputs: likewise.
        widths: group name → channels, from 1 to all that the group has; groups that are not named stay whole.
        init: likewise.
        channels: likewise.
        data: likewise.
        known: what `observed` gave for the same network, instead of data: branches of other widths begin with it, too.

    Raises:
        NetworkError: if the network cannot be traced, `widths` do not fit its groups, or nothing can be fitted.
    """
    method = _Method.of(init, channels)
    analysis = _analysed(model, example_inputs)
    fitting = fitting_widths(analysis.groups, widths)
    given = [as_inputs(example_inputs, model)] if data is None else data
    return _initialised(analysis, fitting, method, model, given, known)


@torch.inference_mode(False)
def observed(model: nn.Module, example_inputs: ExampleInputs, data: Tensor | Iterable[Any]) -> Original:
    """What branches of any widths begin with, for `branched_at`: it looks at the data once, and holds what it sees.

    That are the activations that layers read, up to `MOST_HELD` bytes (above it the network runs once for every fit),
    their Gram matrices, and the orders in which channels are chosen: a smaller width takes the first ones of a larger.
    Made under `torch.autocast`, the network runs as that says; sums, products and solutions are not rounded to it.

    Args:
        model: as for `add_branches`; whoever changes its weights observes it anew.
        example_inputs: likewise.
        data: likewise.

    Raises:
        NetworkError: if the network cannot be traced.
    """
    analysis = _analysed(model, example_inputs)
    names = [group.name for group in analysis.groups if group.prunable]
    return Original(analysis, names, input_batches(analysis, data))


@torch.inference_mode(False)
def narrow(network: nn.Module, widths: Mapping[str, int], example_inputs: ExampleInputs) -> nn.Module:
    """A network of the same class at these widths, for the state dict of one that was narrowed so.

    It holds the first channels of each group: it is to be filled.

    Args:
        network: at full width; it is not changed.
        widths: group name → channels, as a model card and a file's description have them; groups that are not named
            stay whole.
        example_inputs: as for `add_branches`.

    Raises:
        NetworkError: if the network cannot be traced, a group is unknown or cannot have that width.
    """
    analysis = _analysed(network, example_inputs)
    branched = BranchedNetwork.at(analysis, fitting_widths(analysis.groups, widths))
    branched.follow_modes(modes_of(network), network.training)
    return fold(branched)


class _Method(NamedTuple):
    """How branches begin: an initialisation, and how the channels that stay are chosen."""

    init: str
    choice: str

    @staticmethod
    def of(init: str, channels: str | None) -> "_Method":
        if init not in INITIALISATIONS:
            raise NetworkError(f"init must be one of {', '.join(INITIALISATIONS)}, but got init={init!r}")
        choice = channels or INITIALISATIONS[init].channels or "l1"
        if choice not in CHOICES:
            raise NetworkError(f"channels must be one of {', '.join(CHOICES)}, but got channels={channels!r}")
        return _Method(init, choice)


def _analysed(model: nn.Module, example_inputs: ExampleInputs) -> Analysis:
    """The analysis of a copy of `model`, whose layers a branched network may take over."""
    if isinstance(model, BranchedNetwork):
        raise NetworkError("model must be a network, but got a network that has branches already: fold it first")
    require_plain(model)
    return Analysis.of(deep_copy(model, lent(model)), example_inputs)


def _initialised(
    analysis: Analysis,
    widths: dict[str, int],
    method: _Method,
    model: nn.Module,
    data: Tensor | Iterable[Any],
    known: Original | None = None,
) -> BranchedNetwork:
    branched = BranchedNetwork.at(analysis, widths)
    initialisation = INITIALISATIONS[method.init]
    if initialisation.channels is None:
        initialisation.fit(branched, analysis, Original(analysis, (), []), method.choice)
    elif widths:
        original = known
        if original is None:
            batches = input_batches(analysis, data)
            original = Original(analysis, widths, batches, most_held=initialisation.most_held)
        try:
            with _left_as_they_are(branched.original, original.network, method), exactly(model):
                initialisation.fit(branched, analysis, original, method.choice)
        except RuntimeError as error:
            shapes = ", ".join(str(tuple(x.shape)) for x in original.batches[0] if isinstance(x, Tensor))
            raise NetworkError(f"the network does not accept data of shape {shapes}: {one_line(error):.200}") from error
    branched.follow_modes(modes_of(model), model.training)
    return branched


@contextmanager
def _left_as_they_are(branched: nn.Module, known: nn.Module, method: _Method) -> Iterator[None]:
    """Preserves what data flows through: two networks, which are one where nothing is known of it yet."""
    if method.init == "selection" and method.choice in BY_WEIGHTS:
        yield
        return
    with preserving_state(branched), nullcontext() if known is branched else preserving_state(known):
        yield
