"""What a network's forward is called with: moved to where it is, told in a file's header, and made again from that."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import NetworkError
from .tracing.inputs import as_inputs, with_tensors


def arguments(inputs: Any, network: nn.Module | None = None) -> tuple[Any, ...]:
    """Inputs as the positional arguments of a forward.

    Args:
        inputs: one tensor, the arguments in order, or a dict of them by name.
        network: whose forward has the names; needed for a dict alone.

    Raises:
        NetworkError: if the forward has no argument of such a name.
    """
    if isinstance(inputs, Mapping):
        assert network is not None
        return as_inputs(inputs, network)
    return tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)


def placed(inputs: Any, network: nn.Module) -> tuple[Any, ...]:
    """Inputs as arguments on the network's device; those of floating point in its dtype."""
    like = next(network.parameters(), torch.zeros(()))

    def moved(x: Tensor) -> Tensor:
        return x.to(like.device, like.dtype if x.is_floating_point() and like.is_floating_point() else x.dtype)

    found: tuple[Any, ...] = with_tensors(arguments(inputs), moved)
    return found


def first_of(inputs: Any, count: int) -> tuple[Any, ...]:
    """The arguments of the first examples."""
    found: tuple[Any, ...] = with_tensors(arguments(inputs), lambda x: x[:count])
    return found


def described(inputs: tuple[Any, ...]) -> list[Any]:
    """Arguments in JSON types: (C, H, W) of one tensor of floating point, else a description of each argument."""
    if len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point():
        return list(inputs[0].shape[1:])
    return [_told(value) for value in inputs]


def zeros_like(description: Sequence[Any], count: int) -> tuple[Any, ...]:
    """Arguments of so many examples, all 0, of what `described` returned.

    Raises:
        NetworkError: if it is no such description.
    """
    if all(isinstance(size, int) for size in description):
        if any(size < 0 for size in description):
            raise NetworkError(f"no input has the shape {list(description)}")
        return (torch.zeros(count, *description),)
    try:
        return tuple(_made(told, count) for told in description)
    except (AttributeError, KeyError, TypeError, RuntimeError) as error:
        raise NetworkError(f"no inputs are described by {description!r:.80}") from error


def shape_text(description: Sequence[Any]) -> str:
    """A description for people: "3×32×32", or those of several arguments."""
    if all(isinstance(size, int) for size in description):
        return "×".join(map(str, description))
    return ", ".join(shape_text(told["shape"]) if "shape" in told else "…" for told in description)


def _told(value: Any) -> dict[str, Any]:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape[1:]), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, Mapping):
        return {"keys": {key: _told(item) for key, item in value.items()}}
    if isinstance(value, tuple | list):
        return {"items": [_told(item) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise NetworkError(f"an argument of the network is of a type that no file can tell: {type(value).__name__}")


def _made(told: Mapping[str, Any], count: int) -> Any:
    if "shape" in told:
        return torch.zeros(count, *told["shape"], dtype=getattr(torch, told["dtype"]))
    if "keys" in told:
        return {key: _made(item, count) for key, item in told["keys"].items()}
    return [_made(item, count) for item in told["items"]] if "items" in told else told["value"]
