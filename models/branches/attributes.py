"""Numbers that a network's modules hold and that follow from widths: rewritten in the folded network, and tried."""

import torch
from torch import Tensor, nn

from ...errors import NetworkError
from ..tracing.inputs import call, copied, tensors_of
from ..tracing.preserving import preserving_state
from ..tracing.recording.attributes import write
from .network import BranchedNetwork

# Of the largest value; both are computed in float64.
_TOLERANCE = 1e-7


def rewrite_attributes(branched: BranchedNetwork, network: nn.Module, chosen: set[str]) -> None:
    """Gives the numbers that the folded network's modules hold their values at the widths of the groups `chosen`."""
    narrow = {name: width for name, width in branched.plan.widths.items() if name in chosen}
    widths = {**{group.name: group.width for group in branched.groups}, **narrow}
    for attribute, form in branched.plan.attributes.items():
        if not attribute.of_layer:  # else the layer tells
            write(attribute, network, form.at(widths))


def require_alike(branched: BranchedNetwork, folded: nn.Module) -> None:
    """Runs both on the two examples, because code may use such a number in ways that a graph does not show.

    Args:
        branched: the network with branches, in float64; it is set to α = 0 and to evaluation mode.
        folded: what it was folded to.

    Raises:
        NetworkError: if they give different results.
    """
    branched.set_alpha(0)
    names = ", ".join(str(attribute) for attribute in branched.plan.attributes)
    try:
        expected, found = _results(branched, branched), _results(folded, branched)
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise NetworkError(f"the folded network fails where the code uses {names}: {error!s:.200}") from error
    if len(expected) != len(found) or not all(map(_alike, expected, found)):
        raise NetworkError(
            f"the folded network computes something else than its branches: the code uses {names}, which hold widths, "
            f"in a way that the graph does not show; compute them from `x.shape` where they are used"
        )


def _results(network: nn.Module, branched: BranchedNetwork) -> list[Tensor]:
    network.eval()
    with torch.no_grad(), preserving_state(network):
        torch.manual_seed(0)  # of what draws in evaluation, too
        return list(tensors_of(call(network, copied(branched.example))))


def _alike(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape or not expected.is_floating_point():
        return expected.shape == found.shape
    limit = _TOLERANCE * float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(expected, found, rtol=_TOLERANCE, atol=limit, equal_nan=True)
