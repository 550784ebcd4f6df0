"""A network as a `torch.fx` graph whose nodes know the shapes that flow through them."""

import operator
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...errors import InputsError, NetworkError, one_line
from ..layers.copying import deep_copy
from ..layers.equivalences import equivalence_of
from ..layers.modes import preserving_modes
from ..layers.reparametrised import with_plain_weights
from .inputs import ExampleInputs, as_inputs, call, copied, enlarged
from .mode_graphs import ModeGraph, merge_modes
from .plain.classes import make_plain
from .plain.equivalents import stand_in
from .plain.finding import call_plain_layers
from .preserving import preserving_state
from .propagation import alike, run_both
from .recording.attributes import Use
from .recording.flow import held_tensors
from .recording.places import LIBRARIES
from .recording.session import Recording, record
from .recording.sizes import TRACING
from .recording.values import UntraceableError
from .wrappers import require_plain

# Functions that change their first argument, with the twin that does not.
IN_PLACE_FUNCTIONS = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


# Times as high and wide.
_LARGER = (1, 2, 4)


@dataclass(frozen=True)
class TracedNetwork:
    """A network's graph.

    For the example inputs, `meta["shape"]` of a node is the shape of the tensor it yields, and `meta["shares"]` holds
    the inputs in whose memory that tensor lies: it is a view of them, or they were changed in place.

    Where training computes something else than evaluation, the graph holds what either does, and yields what training
    does; `evaluation` and `training` say what each runs and yields, None where both run the whole graph. `uses` tells
    what the code does by numbers that its modules hold, beside what the graph shows; of `sized` modules it reads how
    large they are; hooks of `hooked` layers change what these are given or yield.
    """

    network: nn.Module
    graph: fx.Graph
    modules: Mapping[str, nn.Module]
    inputs: tuple[Any, ...]
    evaluation: ModeGraph | None = None
    training: ModeGraph | None = None
    uses: tuple[Use, ...] = ()
    sized: frozenset[str] = frozenset()
    hooked: frozenset[str] = frozenset()

    def evaluated(self) -> Collection[fx.Node]:
        """The nodes that evaluation runs."""
        return list(self.graph.nodes) if self.evaluation is None else self.evaluation.nodes

    def module(self, node: fx.Node) -> nn.Module:
        """The leaf module that a `call_module` node calls."""
        return self.modules[str(node.target)]


def shape_of(node: object) -> tuple[int, ...] | None:
    """The shape of the tensor that a node yields, None if it yields something else."""
    return node.meta.get("shape") if isinstance(node, fx.Node) else None


def trace(network: nn.Module, example_inputs: ExampleInputs) -> TracedNetwork:
    """Records what `network` does with the example inputs; the network itself is left as it was.

    Both modes are recorded where the forward asks for its mode: where it hands `self.training` to a function such as
    `F.dropout`, the graph reads the mode when it runs.

    Raises:
        NetworkError: if the network cannot be traced (the message names the line that stopped it), or does not accept
            the example inputs.
    """
    require_plain(network)
    with TRACING, torch.compiler.set_stance("force_eager"):
        return _trace(network, as_inputs(example_inputs, network))


def _trace(network: nn.Module, inputs: tuple[Any, ...]) -> TracedNetwork:
    holding = with_plain_weights(network)
    with preserving_state(holding) as put_back:
        recordings = [_recorded(holding, inputs, put_back, training=False)]
        if recordings[0].asks_for_the_mode() or _changes_with_the_mode(network):
            recordings.append(_recorded_in_training(holding, inputs, put_back))
        known, treated = _with_plain_layers(holding, recordings)
        for recording in recordings:
            known.__dict__.update(recording.constants)
        graph = recordings[0].graph
        with nullcontext() if holding is network else preserving_state(network):
            traced, given = _run(network, known, graph, inputs, treated)
    if not alike(traced, given):
        raise NetworkError(
            f"{type(network).__name__} cannot be traced: its graph gives other outputs than the network itself for the "
            f"example inputs (Python state that changes from call to call?)"
        )
    evaluation, training = None, None
    if len(recordings) == 2:
        graph, evaluation, training = merge_modes(recordings[1].graph, graph)
    modules = dict(known.named_modules(remove_duplicate=False))
    uses = tuple(use for recording in recordings for use in recording.uses)
    sized = frozenset().union(*(recording.sized for recording in recordings))
    hooked = frozenset().union(*(recording.hooked for recording in recordings))
    return TracedNetwork(known, graph, modules, inputs, evaluation, training, uses, sized, hooked)


def _run(
    network: nn.Module, known: nn.Module, graph: fx.Graph, inputs: tuple[Any, ...], treated: Mapping[str, nn.Module]
) -> tuple[Any, Any]:
    """What the graph and the network yield in evaluation."""
    with torch.inference_mode(False), preserving_modes(known), torch.no_grad():
        network.eval()
        known.eval()
        try:
            return run_both(network, known, graph, inputs, treated)
        except Exception as error:
            raise _not_accepted(inputs, error) from error


def _recorded(network: nn.Module, inputs: Sequence[Any], put_back: Callable[[], None], *, training: bool) -> Recording:
    """What one mode does; the network is put back when it is told."""
    try:
        network.train(training)
        return record(network, inputs)
    except Exception as error:
        reason, place = error, _user_line(error)
    finally:
        put_back()
    _call(network, inputs, training=training)
    told = f"the code {reason}" if isinstance(reason, UntraceableError) else one_line(reason)
    if "TorchScript" in told:
        told = "the code calls a function of TorchScript, which cannot be followed; leave out @torch.jit.script"
    mode = " in training mode" if training else ""
    raise NetworkError(f"{type(network).__name__} cannot be traced{mode}{place}: {told}") from reason


def _recorded_in_training(network: nn.Module, inputs: Sequence[Any], put_back: Callable[[], None]) -> Recording:
    """What training does; with larger images where those given are too small for it alone, as for auxiliary heads."""
    for factor in _LARGER:
        try:
            return _recorded(network, enlarged(inputs, factor), put_back, training=True)
        except InputsError:
            continue
    return _recorded(network, inputs, put_back, training=True)


def _with_plain_layers(
    network: nn.Module, recordings: Sequence[Recording]
) -> tuple[nn.Module, Mapping[str, nn.Module]]:
    """A copy of the network that shares its tensors, with torch's layers for what the code writes out or treats as one.

    Returns:
        The copy; path → torch's layer, of those layers that are treated as torch's.
    """
    last = recordings[-1].plain
    agreed = [p for p in last if all(p in r.plain and r.plain[p].is_like(last[p]) for r in recordings)]
    called = [str(node.target) for r in recordings for node in r.graph.nodes if node.op == "call_module"]
    treats = any(equivalence_of(network.get_submodule(path)) for path in dict.fromkeys(called))
    if not agreed and not treats:
        return _shallow_copy(network), {}  # constants that the forward makes are hung on it, not on the user's
    for recording in recordings:
        call_plain_layers(recording.graph, [recording.plain[path] for path in agreed])
    known = deep_copy(network, {tensor: tensor for tensor in held_tensors(network)})
    make_plain(known, [last[path] for path in agreed])
    return known, stand_in(known, called) if treats else {}


def _call(network: nn.Module, inputs: Sequence[Any], *, training: bool) -> None:
    """Calls the network: where it fails on the inputs itself, tracing it is not what went wrong.

    Raises:
        NetworkError: if it does not accept them.
    """
    with preserving_state(network), torch.inference_mode(False), torch.no_grad():
        network.train(training)
        try:
            call(network, copied(inputs))
        except Exception as error:
            raise _not_accepted(inputs, error) from error


def _not_accepted(inputs: Sequence[Any], error: Exception) -> NetworkError:
    if isinstance(error, NetworkError):
        return error
    shapes = ", ".join(str(tuple(x.shape)) for x in inputs if isinstance(x, Tensor))
    return InputsError(f"the network does not accept inputs of shape {shapes}: {one_line(error)}")


def _changes_with_the_mode(network: nn.Module) -> bool:
    """Whether a module of the user's does something of its own when its mode is set."""
    return any(type(module).train is not nn.Module.train for module in network.modules())


def _shallow_copy(network: nn.Module) -> nn.Module:
    """What `copy.copy` gives, of a module with parametrized tensors of its own too."""
    twin = object.__new__(type(network))
    twin.__dict__ = {**network.__dict__}
    return twin


def _user_line(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(LIBRARIES)]
    if not frames:
        return ""
    frame = frames[-1]
    return f" at {frame.filename}:{frame.lineno} (`{frame.line}`)"
