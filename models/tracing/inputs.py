"""What a network's forward is called with."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...errors import NetworkError

ExampleInputs = Tensor | Sequence[Any]


def as_inputs(example_inputs: ExampleInputs) -> tuple[Any, ...]:
    """Example inputs as the positional arguments of a forward call.

    Raises:
        NetworkError: if there is no tensor among them, or the first has no batch dimension.
    """
    given = (example_inputs,) if isinstance(example_inputs, Tensor) else example_inputs
    inputs = tuple(given) if isinstance(given, Sequence) else ()
    if not inputs or not isinstance(inputs[0], Tensor):
        raise NetworkError(f"example_inputs must be a tensor or a sequence of tensors, but got {example_inputs!r:.80}")
    if inputs[0].dim() < 2 or len(inputs[0]) == 0:
        shape = tuple(inputs[0].shape)
        raise NetworkError(f"example_inputs need a batch dimension with an example in it, but got the shape {shape}")
    return inputs


def copied(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """The inputs with tensors of their own, for a forward that changes its input in place."""
    return tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)
