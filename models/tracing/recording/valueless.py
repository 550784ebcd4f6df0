"""Torch's functions on tensors without values, of the "meta" device: they give shapes, dtypes and memory layouts."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import increment_version

from .numbers import is_traced
from .shapes import KNOWN, OF_SIZES

_META = torch.device("meta")
# What refuses a single value a channel while it trains, as there is in an example of batch 1.
_SHAPE_KEEPING: set[Any] = {F.batch_norm, torch.batch_norm, F.instance_norm, torch.instance_norm}
# Quicker than torch's own answer, which is Python for these and for what follows.
_LAST_IN_PLACE = {F.relu, F.relu6, F.silu, F.hardswish, F.hardsigmoid}
_SHAPE_KEEPING |= _LAST_IN_PLACE | {F.gelu}
_NORMS: set[Any] = {F.layer_norm, torch.layer_norm}
_ARITHMETIC = {"add", "sub", "mul", "div", "true_divide"}
_ARITHMETIC |= {"__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__truediv__", "__rtruediv__"}
_IN_PLACE = {"add_", "sub_", "mul_", "__iadd__", "__isub__", "__imul__"}
_MOVES = {"cpu", "cuda"}


def without_values(value: Any) -> Any:
    """A value with its tensors on the "meta" device, of the same shapes, strides and dtypes, and with plain numbers."""
    if isinstance(value, Tensor):
        return _empty(value)
    if is_traced(value):
        return value.value
    if isinstance(value, torch.device):
        return _META
    if isinstance(value, slice):
        return slice(*map(without_values, (value.start, value.stop, value.step)))
    if isinstance(value, torch.Size):
        return torch.Size(map(without_values, value))
    if isinstance(value, dict):
        return {key: without_values(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(map(without_values, value))
    return value


def _empty(tensor: Tensor) -> Tensor:
    if tensor.is_meta or tensor.layout is not torch.strided:
        return tensor
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=_META)


def run_without_values(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a function yields for arguments without values."""
    name = getattr(function, "__name__", "")
    if (known := OF_SIZES.get(function)) is not None and (quick := known(*args, **kwargs)) is not None:
        return quick
    if function in _SHAPE_KEEPING and function not in _LAST_IN_PLACE:
        args = args[:1]  # nothing else says what it yields
    args, kwargs = without_values(args), without_values(kwargs)
    if name in _IN_PLACE and not kwargs and len(args) == 2 and _takes_in_place(*args):
        increment_version(args[0])
        return args[0]
    if name == "to" and isinstance(args[1] if len(args) > 1 else None, str):
        args = (args[0], _META, *args[2:])
    if isinstance(kwargs.get("device"), str | int):
        kwargs["device"] = _META
    if function in _SHAPE_KEEPING:
        x = args[0] if args else kwargs["input"]
        in_place = kwargs.get("inplace", function in _LAST_IN_PLACE and args[-1] is True)
        if in_place:
            increment_version(x)
        return x if in_place else _like(x)
    if function in _NORMS:
        return torch.empty_like(args[0] if args else kwargs["input"], memory_format=torch.contiguous_format)
    if function is F.linear and not kwargs and (shape := _linear_shape(*args)) is not None:
        return torch.empty(shape, dtype=args[0].dtype, device=_META)
    if name in _ARITHMETIC and not kwargs and len(args) == 2:
        for x, other in (args, args[::-1]):
            if _is_like_the_first(x, other):
                return _like(x)
    if (known := KNOWN.get(function)) is not None and (quick := known(*args, **kwargs)) is not None:
        return quick
    if name in _MOVES:
        return args[0].detach()
    if name == "pin_memory":
        return args[0].clone()
    if _makes_anew(name, args, kwargs):
        kwargs["device"] = _META
    return function(*args, **kwargs)


def _like(x: Tensor) -> Tensor:
    if x.is_contiguous():
        return torch.empty_strided(x.size(), x.stride(), dtype=x.dtype, device=_META)
    return torch.empty_like(x)


def _linear_shape(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[int, ...] | None:
    """The shape that a linear layer gives, None where that is not plain to see."""
    if x.dim() < 2 or weight.dim() != 2 or x.shape[-1] != weight.shape[1] or x.dtype != weight.dtype:
        return None
    return (*x.shape[:-1], weight.shape[0])


def _is_like_the_first(x: Any, *others: Any) -> bool:
    """Whether arithmetic of `x` and another tensor or number gives a tensor of the shape, strides and dtype of `x`."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or not x.is_contiguous() or len(others) != 1:
        return False
    other = others[0]
    if not isinstance(other, Tensor):
        return type(other) in (int, float)
    if other.dtype != x.dtype or not other.is_contiguous() or other.dim() > x.dim():
        return False
    return all(mine in (1, size) for mine, size in zip(reversed(other.shape), reversed(x.shape), strict=False))


def _takes_in_place(x: Any, other: Any) -> bool:
    """Whether arithmetic may change `x` in place by another tensor or number."""
    whole = isinstance(x, Tensor) and not x.is_floating_point() and x.dtype != torch.bool and x.is_contiguous()
    return (whole and type(other) is int and not x.is_complex()) or _is_like_the_first(x, other)


def _makes_anew(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return name in _FACTORIES and not any(isinstance(x, Tensor) for x in args)


_FACTORIES = frozenset(
    """
    arange linspace logspace zeros ones empty full rand randn randint randperm eye tensor as_tensor
    tril_indices triu_indices scalar_tensor bartlett_window blackman_window hamming_window hann_window
    kaiser_window fftfreq rfftfreq empty_strided normal
    """.split()  # noqa: SIM905
)
