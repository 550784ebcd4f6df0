"""Numbers that a network's modules hold and that follow from widths: rewritten in the folded network, and tried."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from ....errors import NetworkError
from ...layers.modes import preserving_modes
from ...tracing.inputs import call, copied, tensors_of, with_tensors
from ...tracing.preserving import preserving_state
from ...tracing.propagation import run_both
from ...tracing.recording.attributes import write
from ..network import BranchedNetwork
from ..plan import Plan
from ..planning import Planning, narrow_numbers

# Of the largest value, for the precisions in which both are computed.
_TOLERANCES = {torch.float64: 1e-7, torch.float32: 1e-5}


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
    with _telling_failures(branched.plan):
        _require_equal(branched.plan, _result(branched, branched.example), _result(folded, branched.example))


def require_followed(planning: Planning, plain: nn.Module, folded: nn.Module, example: Sequence[Any]) -> None:
    """Runs the network with narrow layers beside the original's graph, with the numbers that its widths make.

    Args:
        planning: of the branches, all of which were folded.
        plain: the network with the narrow layers that the graph calls, in float32 or float64.
        folded: the same as the user's code has it; it is left in evaluation mode.
        example: the forward's arguments.

    Raises:
        NetworkError: if they give different results.
    """
    like = next((p for p in plain.parameters() if p.is_floating_point()), torch.zeros(()))
    inputs = _in_dtype(example, like.dtype)
    folded.eval()
    with _telling_failures(planning.plan), torch.no_grad(), preserving_state(folded), preserving_modes(plain):
        plain.eval()
        expected, found = run_both(folded, plain, _narrow_graph(planning), inputs, {})
        _require_equal(planning.plan, expected, found)


@contextmanager
def _telling_failures(plan: Plan) -> Iterator[None]:
    try:
        yield
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise NetworkError(f"the folded network fails where the code uses {_names(plan)}: {error!s:.200}") from error


def _require_equal(plan: Plan, expected: Any, found: Any) -> None:
    ours, theirs = list(tensors_of(expected)), list(tensors_of(found))
    if len(ours) != len(theirs) or not all(map(_alike, ours, theirs)):
        raise NetworkError(
            f"the folded network computes something else than its branches: the code uses {_names(plan)}, which hold "
            f"widths, in a way that the graph does not show; compute them from `x.shape` where they are used"
        )


def _names(plan: Plan) -> str:
    return ", ".join(str(attribute) for attribute in plan.attributes)


def _narrow_graph(planning: Planning) -> fx.Graph:
    """What evaluation runs of the original's graph, with the numbers that the narrow widths make."""
    traced, graph = planning.channels.traced, fx.Graph()
    widths = {**{group.name: group.width for group in planning.analysis.groups}, **planning.widths}
    evaluated, env = {*traced.evaluated()}, dict[fx.Node, fx.Node]()
    for node in traced.graph.nodes:
        if node.op == "placeholder" or (node in evaluated and node.op != "output"):
            env[node] = graph.node_copy(node, env.__getitem__)
            narrow_numbers(env[node], planning.plan, widths)
    whole = next(reversed(traced.graph.nodes)).args[0]
    graph.output(fx.map_arg(whole if traced.evaluation is None else traced.evaluation.result, env.__getitem__))
    return graph


def _result(network: nn.Module, example: Sequence[Any]) -> Any:
    network.eval()
    with torch.no_grad(), preserving_state(network):
        torch.manual_seed(0)  # of what draws in evaluation, too
        return call(network, copied(_in_dtype(example, torch.float64)))


def _in_dtype(example: Sequence[Any], dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(with_tensors(x, lambda t: t.to(dtype) if t.is_floating_point() else t) for x in example)


def _alike(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape or not expected.is_floating_point():
        return expected.shape == found.shape
    tolerance = _TOLERANCES.get(expected.dtype, 0.0)
    limit = tolerance * float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(expected, found, rtol=tolerance, atol=limit, equal_nan=True)
