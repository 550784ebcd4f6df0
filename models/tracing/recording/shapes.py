"""What functions yield whose answer without values torch computes in Python, which takes it milliseconds.

Each gives a tensor of the size, strides and dtype that torch's own answer has, or None where that is not plain to see.
Torch's own answer is asked for then: of tensors that do not lie in memory in the order of their dimensions, mostly.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention.steps import attention_weights

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
    if dim is None and keepdim is False and not named and _is_plain(input):
        return _anew(input, ())
    dims = [dim] if isinstance(dim, int) else list(dim or ())
    if not _is_plain(input) or named or not dims or not all(-input.dim() <= d < input.dim() for d in dims):
        return None
    taken = {d % input.dim() for d in dims}
    if len(taken) < len(dims):
        return None
    kept = ((1 if i in taken else size) for i, size in enumerate(input.shape) if keepdim or i not in taken)
    return _anew(input, tuple(kept))


def _pointwise(input: Any, *others: Any, **named: Any) -> Tensor | None:
    """Of functions of one tensor alone."""
    return _anew(input, input.shape) if not others and not named and _is_plain(input) else None


def _softmax(input: Any, dim: Any = None, _stacklevel: Any = 3, dtype: Any = None, **named: Any) -> Tensor | None:
    """Of functions, which are given the stack's level, and of methods, which may have a dtype there."""
    if type(dim) is not int or not -input.dim() <= dim < input.dim() or type(_stacklevel) is not int:
        return None
    return _anew(input, input.shape) if dtype is None and not named and _is_plain(input) else None


def _dropped(input: Any, p: Any = 0.5, training: Any = True, inplace: Any = False) -> Tensor | None:
    if not _is_plain(input) or type(p) is not float or inplace is not False:
        return None
    drops = training and p > 0 and input.numel() > 0
    return _anew(input, input.shape) if drops else input  # which torch hands back as it is


def _weighed(
    query: Any, key: Any, attn_mask: Any = None, dropout_p: Any = 0.0, is_causal: Any = False, scale: Any = None
) -> Tensor | None:
    if not query.is_floating_point() or query.dtype != key.dtype or query.shape[:-2] != key.shape[:-2]:
        return None
    shape = (*query.shape[:-1], key.shape[-2])
    if attn_mask is not None:
        known = attn_mask.dtype in (torch.bool, query.dtype) and attn_mask.dim() <= len(shape)
        sizes = zip(reversed(attn_mask.shape), reversed(shape), strict=False)
        if not known or not all(mine in (1, size) for mine, size in sizes):
            return None
    return _anew(query, shape) if query.shape[-1] == key.shape[-1] else None


def _joined(tensors: Any, dim: Any = 0, **named: Any) -> Tensor | None:
    parts = tensors if type(tensors) in (tuple, list) else ()
    if named or not parts or not all(map(_is_plain, parts)) or type(dim) is not int:
        return None
    first = parts[0]
    if not -first.dim() <= dim < first.dim() or any(x.dim() != first.dim() or x.dtype != first.dtype for x in parts):
        return None
    dim %= first.dim()
    sizes = [(*x.shape[:dim], *x.shape[dim + 1 :]) for x in parts]
    if any(size != sizes[0] for size in sizes) or 0 in first.shape:
        return None
    return _anew(first, (*first.shape[:dim], sum(x.shape[dim] for x in parts), *first.shape[dim + 1 :]))


def _convolved(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    **named: Any,
) -> Tensor | None:
    if named or not _is_plain(input) or not _is_plain(weight) or input.dtype != weight.dtype:
        return None
    kernel, sizes = weight.shape[2:], input.shape[2:]
    each = [(option,) * len(kernel) if type(option) is int else option for option in (stride, padding, dilation)]
    if len(kernel) != len(sizes) or not all(_is_whole(option, len(kernel)) for option in each):
        return None  # padding by name, or an example without a batch
    if type(groups) is not int or input.shape[1] != weight.shape[1] * groups or len(weight) % groups:
        return None
    if bias is not None and (bias.dtype != weight.dtype or bias.shape != weight.shape[:1]):
        return None
    out = [
        (size + 2 * pad - apart * (k - 1) - 1) // step + 1
        for size, k, step, pad, apart in zip(sizes, kernel, *each, strict=True)
    ]
    return _anew(input, (len(input), len(weight), *out)) if min(out) > 0 and len(input) else None


def _is_whole(option: Any, count: int) -> bool:
    whole = type(option) in (tuple, list) and len(option) == count
    return whole and all(type(number) is int and number >= 0 for number in option)


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


_POINTWISE = "tanh sigmoid exp sqrt rsqrt abs sin cos erf log neg".split()  # noqa: SIM905
_SOFTMAX = (F.softmax, F.log_softmax, torch.softmax, torch.log_softmax, Tensor.softmax, Tensor.log_softmax)

# These look at sizes and dtypes alone: they take tensors with values as well, such as weights.
OF_SIZES: dict[Any, Callable[..., Any]] = dict.fromkeys((torch.conv1d, torch.conv2d, torch.conv3d), _convolved)

KNOWN: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys((F.leaky_relu, F.elu, F.selu, F.celu, F.mish, F.hardtanh), _activated),
    **dict.fromkeys((F.normalize, F.group_norm, torch.group_norm, F.softplus, F.logsigmoid), _normalised),
    **dict.fromkeys((torch.mean, Tensor.mean), _mean),
    **dict.fromkeys((getattr(kind, name) for kind in (torch, Tensor) for name in _POINTWISE), _pointwise),
    **dict.fromkeys(_SOFTMAX, _softmax),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _joined),
    F.dropout: _dropped,
    attention_weights: _weighed,
    F.interpolate: _interpolated,
    F.adaptive_avg_pool2d: _pooled_to_one,
    torch.lstm: _recurrent(2),
    **dict.fromkeys((torch.gru, torch.rnn_tanh, torch.rnn_relu), _recurrent(1)),
}
