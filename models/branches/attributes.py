"""Numbers that a network's modules hold and that follow from widths: rewritten in the folded network, and tried."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...errors import NetworkError
from ..tracing.inputs import call, copied, tensors_of, with_tensors
from ..tracing.preserving import preserving_state
from ..tracing.recording.attributes import write
from .network import BranchedNetwork
from .plan import Plan
from .planning import Planning, narrow_numbers

# Of the largest value; both are computed in float64.
_TOLERANCE = 1e-7


def rewrite_attributes(branched: BranchedNetwork, network: nn.Module, chosen: set[str]) -> None:
    """Gives the numbers that the folded network's modules hold their values at the widths of the groups `chosen`."""
    narrow = {name: width for name, width in branched.plan.widths.items() if name in chosen}
    widths = {**{group.name: group.width for group in branched.groups}, **narrow}
    for attribute, form in branched.plan.attributes.items():
        if not attribute.of_layer:  # else the layer tells
            write(attribute, network, form.at(widths))


def require_alike(plan: Plan, expected: Sequence[Tensor], result: Callable[[], Sequence[Tensor]]) -> None:
    """Compares what branches give at α = 0 with what they are folded to.

    Code may use such a number in ways that a graph does not show.

    Args:
        plan: whose attributes were rewritten.
        expected: of the branches, in float64.
        result: computes what the folded network gives.

    Raises:
        NetworkError: if that is something else.
    """
    names = ", ".join(str(attribute) for attribute in plan.attributes)
    try:
        found = result()
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise NetworkError(f"the folded network fails where the code uses {names}: {error!s:.200}") from error
    if len(expected) != len(found) or not all(map(_alike, expected, found)):
        raise NetworkError(
            f"the folded network computes something else than its branches: the code uses {names}, which hold widths, "
            f"in a way that the graph does not show; compute them from `x.shape` where they are used"
        )


def results(network: nn.Module, example: Sequence[Any]) -> list[Tensor]:
    """What a network, which is left in evaluation mode, yields for the example's arguments in float64."""
    return _results(network, lambda inputs: call(network, inputs), example)


def graph_results(planning: Planning, narrow: nn.Module, example: Sequence[Any]) -> list[Tensor]:
    """What the original's graph yields of narrow layers: its operations, with the numbers that their widths make.

    Args:
        planning: of the branches, all of which are folded.
        narrow: the folded network with the layers that the graph calls, in float64; it is left in evaluation mode.
        example: the forward's arguments.
    """
    traced, graph = planning.channels.traced, fx.Graph()
    widths = {**{group.name: group.width for group in planning.analysis.groups}, **planning.widths}
    evaluated, env = {*traced.evaluated()}, dict[fx.Node, fx.Node]()
    for node in traced.graph.nodes:
        if node.op == "placeholder" or (node in evaluated and node.op != "output"):
            env[node] = graph.node_copy(node, env.__getitem__)
            narrow_numbers(env[node], planning.plan, widths)
    whole = next(reversed(traced.graph.nodes)).args[0]
    graph.output(fx.map_arg(whole if traced.evaluation is None else traced.evaluation.result, env.__getitem__))
    interpreter = fx.Interpreter(narrow, graph=graph)
    return _results(narrow, lambda inputs: interpreter.run(*inputs, enable_io_processing=False), example)


def _results(network: nn.Module, run: Callable[[Sequence[Any]], Any], example: Sequence[Any]) -> list[Tensor]:
    network.eval()
    with torch.no_grad(), preserving_state(network):
        torch.manual_seed(0)  # of what draws in evaluation, too
        inputs = tuple(with_tensors(x, lambda t: t.double() if t.is_floating_point() else t) for x in example)
        return list(tensors_of(run(copied(inputs))))


def _alike(expected: Tensor, found: Tensor) -> bool:
    if expected.shape != found.shape or not expected.is_floating_point():
        return expected.shape == found.shape
    limit = _TOLERANCE * float(expected.abs().max()) if expected.numel() else 0.0
    return torch.allclose(expected, found, rtol=_TOLERANCE, atol=limit, equal_nan=True)
