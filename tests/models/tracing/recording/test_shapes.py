"""Answers without values that are known without torch's, against what torch computes of values."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.models.tracing.attention.steps import attention_weights
from branchfold.models.tracing.recording.shapes import KNOWN, OF_SIZES
from branchfold.models.tracing.recording.valueless import run_without_values, without_values

X = torch.randn(2, 6, 5, 7)
SIGNAL = torch.randn(2, 6, 9)
HEADS = torch.randn(2, 9, 4, 5).transpose(1, 2)

CALLS = {
    "leaky_relu": (F.leaky_relu, (X, 0.1, False), {}),
    "leaky_relu in place": (F.leaky_relu, (X, 0.1, True), {}),
    "elu in place": (F.elu, (X,), {"inplace": True}),
    "hardtanh": (F.hardtanh, (X, -1.0, 2.0, False), {}),
    "mish": (F.mish, (X,), {}),
    "normalize": (F.normalize, (X,), {"dim": 1}),
    "group_norm": (F.group_norm, (X, 3), {"weight": torch.ones(6), "bias": torch.zeros(6)}),
    "mean": (torch.Tensor.mean, (X, (2, -1)), {}),
    "mean, kept": (torch.mean, (X, 1), {"keepdim": True}),
    "mean of all": (torch.Tensor.mean, (X,), {}),
    "mean in another dtype": (torch.mean, (X, 1), {"dtype": torch.float64}),
    "mean of integers": (torch.mean, (torch.ones(2, 3, dtype=torch.int64), 1), {"dtype": torch.float32}),
    "tanh": (torch.tanh, (X,), {}),
    "a method": (torch.Tensor.sigmoid, (X,), {}),
    "log_softmax": (F.log_softmax, (X, 1), {"_stacklevel": 5}),
    "softmax in another dtype": (torch.softmax, (X, -1), {"dtype": torch.float64}),
    "softmax by method in another dtype": (torch.Tensor.softmax, (X, 1, torch.float64), {}),
    "softmax": (F.softmax, (X, 1, 3), {}),
    "cat": (torch.cat, ([X, X[:, :2].clone()], -3), {}),
    "cat of dtypes": (torch.cat, ([X, X.double()], 1), {}),
    "cat with nothing": (torch.cat, ([torch.zeros(0), X],), {}),
    "convolution": (torch.conv2d, (X, torch.randn(4, 3, 3, 2), torch.zeros(4), (2, 1), (1, 2), (1, 3), 2), {}),
    "padded by name": (torch.conv2d, (X, torch.randn(4, 6, 3, 3), None, 1, "same"), {}),
    "of a signal": (torch.conv1d, (SIGNAL, torch.randn(4, 6, 3), None, [2]), {}),
    "of one example": (torch.conv1d, (SIGNAL[0], torch.randn(4, 6, 3)), {}),
    "of a place": (torch.conv2d, (torch.randn(2, 6, 1, 1), torch.randn(4, 6, 1, 1)), {}),
    "dropout": (F.dropout, (X, 0.5, True), {}),
    "dropout in place": (F.dropout, (X.clone(), 0.5, True, True), {}),
    "attention": (attention_weights, (HEADS, HEADS[..., :3, :].transpose(0, 1).contiguous().transpose(0, 1)), {}),
    "masked attention": (attention_weights, (HEADS, HEADS, torch.ones(9, 9).tril() > 0), {"scale": 0.5}),
    "of more heads": (attention_weights, (HEADS, HEADS[:, :1]), {}),
    "added in place": (torch.Tensor.add_, (X.clone(), torch.randn(6, 1, 1)), {}),
    "counted": (torch.Tensor.add_, (torch.zeros((), dtype=torch.int64), 1), {}),
    "bilinear": (F.interpolate, (X,), {"scale_factor": 1.5, "mode": "bilinear", "align_corners": True}),
    "bicubic": (F.interpolate, (X, (4, 9), None, "bicubic", False), {}),
    "linear": (F.interpolate, (SIGNAL,), {"size": 4, "mode": "linear"}),
    "recomputed": (F.interpolate, (X,), {"scale_factor": 1.3, "mode": "bilinear", "recompute_scale_factor": True}),
    "nearest": (F.interpolate, (X,), {"scale_factor": 2}),
    "pooled to one": (F.adaptive_avg_pool2d, (X, 1), {}),
    "pooled to ones": (F.adaptive_avg_pool2d, (X, (1, 1)), {}),
    "pooled": (F.adaptive_avg_pool2d, (X, (1, 2)), {}),
    "a number less": (torch.Tensor.__rsub__, (X, 1), {}),
    "a smaller one first": (torch.Tensor.mul, (torch.randn(1, 6, 1, 1), X), {}),
    "neither is as large": (torch.Tensor.add, (torch.randn(6, 1), torch.randn(1, 7)), {}),
}


def told(value):
    parts = value if isinstance(value, tuple) else (value,)
    return [(type(x), x.shape, x.stride(), x.dtype) for x in parts]


@pytest.mark.parametrize("last", [False, True], ids=["in order", "channels last"])
@pytest.mark.parametrize("call", CALLS)
def test_they_lie_in_memory_as_those_with_values(call, last):
    function, args, kwargs = CALLS[call]
    args = tuple(x.clone() if isinstance(x, torch.Tensor) else x for x in args)
    if last and isinstance(args[0], torch.Tensor) and args[0].dim() == 4:
        args = (args[0].to(memory_format=torch.channels_last), *args[1:])
    before = run_without_values(function, args, dict(kwargs))
    assert before.is_meta
    expected = function(*args, **kwargs)
    if not last or not isinstance(args[0], torch.Tensor):
        assert told(before) == told(expected)
    else:  # as torch's own answer without values, whatever that is
        assert told(before) == told(function(*without_values(args), **without_values(kwargs)))


@pytest.mark.parametrize("function", ["elu", "leaky_relu", "hardtanh"])
def test_what_works_in_place_gives_its_input_back(function):
    x = torch.empty(2, 3, device="meta")
    assert run_without_values(getattr(F, function), (x,), {"inplace": True}) is x


def test_arithmetic_in_place_gives_its_input_back_as_another_version():
    for x, other in ((torch.empty(2, 3, device="meta"), 1.5), (torch.zeros((), dtype=torch.int64, device="meta"), 1)):
        before = x._version
        assert run_without_values(torch.Tensor.add_, (x, other), {}) is x
        assert x._version > before


def test_dropout_that_drops_nothing_gives_its_input_back():
    x = torch.empty(2, 3, device="meta")
    assert run_without_values(F.dropout, (x, 0.5, False), {}) is x
    assert F.dropout(x, 0.5, False) is x


@pytest.mark.parametrize("wrong", [(X, torch.randn(4, 5, 3, 3)), (X, torch.randn(4, 6, 9, 9)), (X[:0], X)])
def test_what_is_no_convolution_is_left_to_torch(wrong):
    assert OF_SIZES[torch.conv2d](*wrong) is None


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bidirectional": True, "num_layers": 2}])
def test_recurrent_layers_yield_what_they_do_with_values(kind, options):
    layer = kind(6, 4, **options)
    x = torch.randn(5, 2, 6).transpose(0, 1) if options.get("batch_first") else torch.randn(5, 2, 6)
    with torch.no_grad():
        out, states = layer(x)
        name = {nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn_tanh"}[kind]
        zeros = torch.zeros(states[0].shape if kind is nn.LSTM else states.shape)
        given = (zeros, zeros) if kind is nn.LSTM else zeros
        rest = (True, layer.num_layers, 0.0, False, layer.bidirectional, layer.batch_first)
        found = KNOWN[getattr(torch, name)](*without_values((x, given, layer._flat_weights)), *rest)
    assert told(found) == told((out, *states) if kind is nn.LSTM else (out, states))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_an_lstm_with_a_projection():
    layer = nn.LSTM(6, 4, proj_size=3)
    with torch.no_grad():
        out, (h, c) = layer(torch.randn(5, 2, 6))
    states = without_values((torch.zeros_like(h), torch.zeros_like(c)))
    found = KNOWN[torch.lstm](without_values(torch.randn(5, 2, 6)), states, [], True, 1, 0.0, False, False, False)
    assert told(found) == told((out, h, c))
