"""What behaves as one of torch's: a table that users extend."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ...errors import NetworkError


class Equivalence(NamedTuple):
    """What a user's class is.

    Attributes:
        kind: torch's class.
        names: what the user's class calls a tensor or a number → what torch's calls it, where they differ.
    """

    kind: type[nn.Module]
    names: Mapping[str, str]


class Applied:
    """A `torch.autograd.Function` as something to call: what its `apply` is, but with a name that programs can have."""

    def __init__(self, kind: type[torch.autograd.Function]) -> None:
        self.kind = kind
        self.__name__, self.__module__ = kind.__name__, __name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.kind.apply(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Applied) and other.kind is self.kind

    def __hash__(self) -> int:
        return hash(self.kind)


_CLASSES: dict[type[nn.Module], Equivalence] = {}
_FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def treat_as(mine: Any, torchs: Any, *, names: Mapping[str, str] | None = None) -> None:
    """Has branchfold treat a class or function of yours as one of torch's that computes the same.

    Modules of this very class are narrowed as torch's layer is; the folded network holds your class. Calls of the
    function are followed as those of torch's. Each is tried on the example inputs when a network is traced, and a
    network for which it is not so is refused with the difference.

        treat_as(MyNorm, nn.LayerNorm, names={"gamma": "weight", "beta": "bias", "dim": "normalized_shape"})
        treat_as(fused_relu, torch.relu)

    Args:
        mine: a class of modules, a function of a Python file that takes and yields tensors, a
            `torch.autograd.Function`, or an operator of `torch.ops`.
        torchs: the class in `torch.nn`, or the function of torch's with the same arguments; None takes it back.
        names: tensors and numbers that a class of yours calls otherwise than torch's → torch's names.

    Raises:
        NetworkError: if the two are not of one sort, or `torchs` is none of torch's.
    """
    is_class = isinstance(mine, type) and issubclass(mine, nn.Module)
    table: dict[Any, Any] = _CLASSES if is_class else _FUNCTIONS
    if torchs is None:
        table.pop(mine, None)
        return
    if not callable(mine):
        raise NetworkError(f"treat_as takes a class of modules or a function, but got {mine!r:.80}")
    if is_class != (isinstance(torchs, type) and issubclass(torchs, nn.Module)):
        raise NetworkError(f"treat_as takes two classes of modules or two functions, but got {mine!r} and {torchs!r}")
    if not _is_torchs(torchs):
        raise NetworkError(f"treat_as takes one of torch's as the second, but got {torchs!r:.80}")
    table[mine] = Equivalence(torchs, dict(names or {})) if is_class else torchs


def _is_torchs(torchs: Any) -> bool:
    return str(getattr(torchs, "__module__", None) or "torch").split(".")[0] in ("torch", "_operator", "math")


def equivalence_of(module: nn.Module) -> Equivalence | None:
    """What a module's class is treated as, if it is."""
    return _CLASSES.get(type(module))


def treated_functions() -> Mapping[Any, Callable[..., Any]]:
    """All functions of users' → torch's."""
    return _FUNCTIONS


def function_of(target: Any) -> Any:
    """The function of torch's that a call's target is treated as; the target itself where it is not."""
    if not _FUNCTIONS:
        return target
    try:
        return _FUNCTIONS.get(target.kind if isinstance(target, Applied) else target, target)
    except TypeError:  # it has no hash
        return target
