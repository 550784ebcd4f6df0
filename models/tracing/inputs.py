"""What a network's forward is called with."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ...errors import NetworkError

ExampleInputs = Tensor | Sequence[Any] | Mapping[str, Any]


def as_inputs(example_inputs: ExampleInputs, network: nn.Module) -> tuple[Any, ...]:
    """Example inputs as the positional arguments of a network's forward call.

    Args:
        example_inputs: a tensor, a sequence of the positional arguments, or a dict of arguments by name. An argument
            may be a list, tuple or dict of tensors.
        network: whose forward is called.

    Raises:
        NetworkError: if there is no tensor among them, the first has no batch dimension, or the forward has no argument
            of such a name.
    """
    if isinstance(example_inputs, Mapping):
        inputs = _in_order(example_inputs, network)
    else:
        given = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
        inputs = tuple(given) if isinstance(given, Sequence) else ()
    first = first_tensor(inputs)
    if first is None:
        raise NetworkError(
            f"example_inputs must be a tensor, a sequence of arguments or a dict of arguments by name, with a tensor "
            f"among them, but got {example_inputs!r:.80}"
        )
    if first.dim() < 2 or len(first) == 0:
        shape = tuple(first.shape)
        raise NetworkError(f"example_inputs need a batch dimension with an example in it, but got the shape {shape}")
    return inputs


def _in_order(arguments: Mapping[str, Any], network: nn.Module) -> tuple[Any, ...]:
    """Arguments by name in the forward's order; those that are left out between them have their defaults."""
    parameters = inspect.signature(network.forward).parameters
    names = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for name in arguments:
        if name not in names:
            raise NetworkError(f"the network's forward has no argument {name!r}; it has {', '.join(names) or 'none'}")
    last = max((names.index(name) for name in arguments), default=-1)
    for name in names[: last + 1]:
        if name not in arguments and parameters[name].default is inspect.Parameter.empty:
            raise NetworkError(f"example_inputs lack the argument {name!r} of the network's forward")
    return tuple(arguments.get(name, parameters[name].default) for name in names[: last + 1])


def call(network: nn.Module, inputs: Sequence[Any]) -> Any:
    """What a network yields for arguments in its forward's order, of which some may be taken by name alone."""
    parameters = inspect.signature(network.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return network(*inputs)
    count = sum(p.kind is not p.KEYWORD_ONLY for p in parameters)
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    return network(*inputs[:count], **dict(zip(names, inputs[count:], strict=False)))


def first_tensor(value: Any) -> Tensor | None:
    """The first tensor in a value, or in the lists, tuples and dicts of it."""
    return next(tensors_of(value), None)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors in a value, and in the lists, tuples and dicts of it."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (x for item in value.values() for x in tensors_of(item))
    elif isinstance(value, list | tuple):
        yield from (x for item in value for x in tensors_of(item))


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same value with each tensor changed; lists, tuples and dicts are new ones."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return type(value)((key, with_tensors(item, change)) for key, item in value.items())
    if type(value) in (list, tuple):
        return type(value)(with_tensors(item, change) for item in value)
    if isinstance(value, tuple):  # with names
        return type(value)(*(with_tensors(item, change) for item in value))
    return value


def enlarged(inputs: Sequence[Any], factor: int) -> tuple[Any, ...]:
    """The inputs with images (N, C, H, W) `factor` times as high and wide, each place repeated; others as they are."""

    def larger(x: Tensor) -> Tensor:
        return x.repeat_interleave(factor, 2).repeat_interleave(factor, 3) if x.dim() == 4 and factor > 1 else x

    return tuple(with_tensors(x, larger) for x in inputs)


def copied(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The inputs with tensors of their own, for a forward that changes its input in place."""
    return tuple(with_tensors(x, Tensor.clone) for x in inputs)
