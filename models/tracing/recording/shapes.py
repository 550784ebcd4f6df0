"""What functions yield whose answer without values torch computes in Python, which takes it milliseconds.

Each gives a tensor of the size, strides and dtype that torch's own answer has, or None where that is not plain to see.
Torch's own answer is asked for then: of tensors that do not lie in memory in the order of their dimensions, mostly.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_META = torch.device("meta")
# Modes of `F.interpolate` by the dimensions of the tensors that they take.
_SMOOTH = {3: ("linear",), 4: ("bilinear", "bicubic"), 5: ("trilinear",)}


def _is_plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.is_contiguous()


def _anew(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=x.dtype, device=_META)


def _activated(input: Any, *options: Any, **named: Any) -> Tensor | None:
    """Of functions whose last argument may be `inplace`."""
    in_place = named.get("inplace", options[-1] if options else False)
    return _anew(input, input.shape) if _is_plain(input) and in_place is not True else None


def _normalised(input: Any, *options: Any, **named: Any) -> Tensor | None:
    return _anew(input, input.shape) if _is_plain(input) and named.get("out") is None else None


def _interpolated(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: Any = False,
) -> Tensor | None:
    if not _is_plain(input) or mode not in _SMOOTH.get(input.dim(), ()):
        return None
    # Of the same size, and its answer is none of Python's.
    return F.interpolate(input, size, scale_factor, "nearest", recompute_scale_factor=recompute_scale_factor)


def _pooled_to_one(input: Any, output_size: Any) -> Tensor | None:
    wanted = {output_size} if isinstance(output_size, int) else {*output_size}
    if not _is_plain(input) or wanted != {1} or input.dim() != 4:
        return None
    return _anew(input, (*input.shape[:2], 1, 1))


def _mean(input: Any, dim: Any = None, keepdim: Any = False, **named: Any) -> Tensor | None:
    dims = [dim] if isinstance(dim, int) else list(dim or ())
    if not _is_plain(input) or named or not dims or not all(-input.dim() <= d < input.dim() for d in dims):
        return None
    taken = {d % input.dim() for d in dims}
    if len(taken) < len(dims):
        return None
    kept = ((1 if i in taken else size) for i, size in enumerate(input.shape) if keepdim or i not in taken)
    return _anew(input, tuple(kept))


def _recurrent(cells: int) -> Callable[..., Any]:
    """Of an LSTM, with two states, or a GRU and its like, with one."""

    def answer(x: Any, states: Any, weights: Any, *options: Any, **named: Any) -> Any:
        states = states if cells == 2 and isinstance(states, tuple | list) else (states,)
        if len(states) != cells or len(options) != 6 or named or not all(map(_is_plain, states)):
            return None  # sequences of several lengths, for example
        *_, both_ways, batch_first = options
        if x.dtype != states[0].dtype or x.dim() != 3 or states[0].dim() != 3:
            return None
        width = states[0].shape[2] * (2 if both_ways else 1)
        first, second = x.shape[:2]
        out = _anew(x, (second, first, width)).transpose(0, 1) if batch_first else _anew(x, (first, second, width))
        return (out, *(_anew(state, state.shape) for state in states))

    return answer


KNOWN: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((F.leaky_relu, F.elu, F.selu, F.celu, F.mish, F.hardtanh), _activated),
    **dict.fromkeys((F.normalize, F.group_norm, torch.group_norm, F.softplus, F.logsigmoid), _normalised),
    **dict.fromkeys((torch.mean, Tensor.mean), _mean),
    F.interpolate: _interpolated,
    F.adaptive_avg_pool2d: _pooled_to_one,
    torch.lstm: _recurrent(2),
    **dict.fromkeys((torch.gru, torch.rnn_tanh, torch.rnn_relu), _recurrent(1)),
}
