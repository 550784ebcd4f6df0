"""BatchNorms multiplied into the convolutions and linear layers before them: fewer operations, for inference alone."""

from collections import Counter
from collections.abc import Iterator

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from .layers.copying import deep_copy
from .layers.kinds import CONVOLUTIONS, TRANSPOSED_CONVOLUTION
from .tracing.graph import TracedNetwork, shape_of, trace
from .tracing.inputs import ExampleInputs

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fused(network: nn.Module, example_inputs: ExampleInputs) -> nn.Module:
    """A copy of the network, in evaluation mode, without the BatchNorms that follow a layer they can be folded into.

    W'[a] = γ[a] / √(σ²[a] + ε) · W[a] and b' = γ (b − μ) / √(σ² + ε) + β, as `torch.nn.utils.fusion` has it. A pair
    stays where the layer's output goes elsewhere too, where either is called twice or has hooks, or where the code
    reads their tensors or sizes.

    Args:
        network: it is not changed.
        example_inputs: what its forward takes.

    Raises:
        NetworkError: if the network cannot be traced.
    """
    copy = deep_copy(network).eval()
    for layer, norm in _pairs(trace(copy, example_inputs), copy):
        _replace(copy, layer, _merged(copy.get_submodule(layer), copy.get_submodule(norm)))
        _replace(copy, norm, nn.Identity())
    return copy.eval()


def _pairs(traced: TracedNetwork, network: nn.Module) -> Iterator[tuple[str, str]]:
    """Paths of a layer and of the BatchNorm behind it."""
    evaluated = set(traced.evaluated())
    calls = Counter(str(node.target) for node in evaluated if node.op == "call_module")
    read = {str(node.target).rpartition(".")[0] for node in evaluated if node.op == "get_attr"} | traced.sized
    modules = dict(network.named_modules(remove_duplicate=False))
    names = Counter(map(id, modules.values()))

    def alone(path: str) -> bool:
        module = modules.get(path)
        if module is None or calls[path] != 1 or names[id(module)] != 1 or path in read:
            return False
        return not (module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)

    for node in traced.graph.nodes:
        if node in evaluated and _follows_alone(node, evaluated):
            layer, norm = str(node.all_input_nodes[0].target), str(node.target)
            if alone(layer) and alone(norm) and _can_merge(modules[layer], modules[norm], node):
                yield layer, norm


def _follows_alone(node: fx.Node, evaluated: set[fx.Node]) -> bool:
    if node.op != "call_module" or len(node.all_input_nodes) != 1:
        return False
    (source,) = node.all_input_nodes
    return source.op == "call_module" and len(source.users.keys() & evaluated) == 1


def _can_merge(layer: nn.Module, norm: nn.Module, node: fx.Node) -> bool:
    # A subclass may compute something else.
    if type(norm) not in _BATCH_NORMS or norm.running_mean is None:
        return False
    if type(layer) is not nn.Linear and type(layer) not in CONVOLUTIONS:
        return False
    # Of (N, L, F) BatchNorm takes L for the channels, a linear layer F.
    if len(shape_of(node) or ()) != layer.weight.dim():  # type: ignore[operator]
        return False
    # Of a transposed convolution in groups, torch's utility takes the wrong axis.
    return not isinstance(layer, TRANSPOSED_CONVOLUTION.classes) or int(layer.groups) == 1  # type: ignore[arg-type]


def _merged(layer: nn.Module, norm: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)  # type: ignore[arg-type]
    return fuse_conv_bn_eval(layer, norm, transpose=isinstance(layer, TRANSPOSED_CONVOLUTION.classes))  # type: ignore[arg-type, type-var]


def _replace(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
