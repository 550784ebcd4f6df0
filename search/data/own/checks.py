"""What a batch of the user's own must be like: finite, with targets that the task takes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ....errors import DataError
from ....models.tracing.inputs import tensors_of

# Of the targets of a batch and the split's name; raises DataError.
Check = Callable[[Any, str], None]


def check_finite(batch: Any, what: str, part: str) -> None:
    """Checks that no floating-point tensor holds NaN or an infinity.

    Args:
        batch: Inputs or targets.
        what: Which of them.
        part: The split's name.

    Raises:
        DataError: If one does.
    """
    for tensor in tensors_of(batch):
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            bad = (~tensor.isfinite()).flatten(1).any(1) if tensor.dim() > 1 else ~tensor.isfinite()
            raise DataError(
                f"{what} of the {part} split are not finite: {int(bad.sum())} of {len(tensor)} examples of a batch "
                f"hold NaN or an infinity"
            )


def class_numbers(count: int) -> Check:
    """A check that targets are numbers of so many classes."""

    def check(targets: Any, part: str) -> None:
        if not isinstance(targets, Tensor) or targets.dim() != 1 or targets.is_floating_point():
            shown = f"{targets.dtype} of shape {tuple(targets.shape)}" if isinstance(targets, Tensor) else type(targets)
            raise DataError(f"targets of the {part} split must be one class number an example, but are {shown}")
        wrong = targets[(targets < 0) | (targets >= count)]
        if len(wrong):
            raise DataError(
                f"targets of the {part} split must be class numbers from 0 to {count - 1}, as many as the network has "
                f"outputs, but one is {int(wrong[0])}"
            )

    return check


def any_targets(targets: Any, part: str) -> None:
    """No check."""


def signature(item: Any) -> Any:
    """Structure, shapes and types of an item, to be compared with another's."""
    if isinstance(item, Tensor):
        return ("tensor", tuple(item.shape), item.dtype)
    if isinstance(item, dict):
        return {key: signature(value) for key, value in item.items()}
    if isinstance(item, tuple | list):
        return tuple(signature(value) for value in item)
    if hasattr(item, "__array__") and hasattr(item, "shape"):
        return ("array", tuple(item.shape), str(item.dtype))
    return type(item)


def described(item: Any) -> str:
    """An item's structure for people."""
    if isinstance(item, Tensor):
        return f"{str(item.dtype).removeprefix('torch.')} {tuple(item.shape)}"
    if isinstance(item, dict):
        return f"{{{', '.join(f'{key}: {described(value)}' for key, value in item.items())}}}"
    if isinstance(item, tuple | list):
        return f"({', '.join(map(described, item))})"
    return f"{type(item).__name__} {tuple(item.shape)}" if hasattr(item, "shape") else type(item).__name__
