import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.tracing.recording.attributes import AttributeNumber
from branchfold.models.tracing.recording.recorder import Recorder
from branchfold.models.tracing.recording.sizes import recorded_sizes

EXAMPLE = torch.randn(4, 3, 9, 7, dtype=torch.float64)


class Net(nn.Module):
    """A chain whose forward multiplies by what `number` reads of it."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.second, self.last = nn.Conv2d(8, 6, 3), nn.Linear(6, 3)
        self.width = 8

    def forward(self, x):
        x = self.norm(self.first(x)) * self.number(self)
        return self.last(self.second(x).mean((2, 3)))


def reasons(network):
    return {group.name: group.reason for group in channel_groups(network, EXAMPLE)}


COMPUTED = {
    "power": (lambda net: net.second.in_channels**-0.5, {"first": "computes with second.in_channels"}),
    "norm": (lambda net: net.norm.num_features, {"first": "mul uses norm.num_features, its number of channels"}),
    "layer": (lambda net: net.first.out_channels, {"first": "mul uses first.out_channels, its number of channels"}),
    "weight": (lambda net: net.first.weight.shape[0] / 2, {"first": "computes with first.weight.shape[0]"}),
    "last": (lambda net: net.last.in_features**-0.5, {"second": "computes with last.in_features"}),
    "decides": (lambda net: 2.0 if net.first.out_channels > 7 else 3.0, {"first": "decides by first.out_channels"}),
    "tensors": (lambda net: sum(p.numel() for p in net.first.parameters()), {"first": "reads first's tensors"}),
    "width": (lambda net: net.width, {}),
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_a_layer_whose_size_the_code_computes_with_keeps_it(kind):
    number, fixed = COMPUTED[kind]
    torch.manual_seed(0)
    network = Net(number).double().eval()
    found = reasons(network)
    for name in ("first", "second"):
        assert fixed[name] in found[name] if name in fixed else not found[name]
    branched = add_branches(network, EXAMPLE, keep=0.5)
    branched.set_alpha(0.0)
    assert torch.allclose(branched(EXAMPLE), fold(branched)(EXAMPLE), rtol=1e-9, atol=1e-9)


class Sized(nn.Module):
    """Views and slices by what the layers say of themselves."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.second, self.last = nn.Conv2d(8, 6, 3), nn.Linear(6, 3)
        self.gain = nn.Parameter(torch.ones(6))

    def forward(self, x):
        assert self.norm.num_features == self.first.out_channels
        rows = self.first.weight.shape[2] // 2
        x = self.norm(self.first(x)).view(len(x), self.norm.num_features, *x.shape[2:])[:, :, rows:]
        x = self.depthwise(x.reshape(x.size(0), self.depthwise.groups, -1, x.shape[3]))
        x = self.second(x)[:, : self.second.weight.shape[0]] * self.gain.view(1, self.gain.shape[0], 1, 1)
        return self.last(x.mean((2, 3)).view(-1, self.last.in_features))


def test_sizes_of_layers_follow_from_the_widths(assert_folds):
    network = Sized()
    assert assert_folds(network, EXAMPLE) == {"first", "second"}
    assert not any(group.attributes for group in channel_groups(network, EXAMPLE))


def test_torch_s_layers_are_as_they_were_after_tracing():
    reasons(Net(lambda net: 1.0).double())
    assert "__getattribute__" not in vars(nn.Module)


class TestMistakes:
    """One clear line for what a caller got wrong."""

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (EXAMPLE[:0], "data has a batch without examples"),
            ([], "there is no data to fit to"),
            (3, "data must be a tensor or an iterable of batches, but got 3"),
            ("abc", "data must be tensors, or tuples that start with one, but got 'a'"),
            ([{"y": EXAMPLE}], "the network's forward has no argument 'y'"),
            (EXAMPLE[:, :1], r"the network does not accept data of shape \(4, 1, 9, 7\)"),
        ],
    )
    def test_in_the_data(self, data, message):
        with pytest.raises(NetworkError, match=message) as caught:
            add_branches(Net(lambda net: 1.0).double(), EXAMPLE, keep=0.5, data=data)
        assert "\n" not in str(caught.value)

    def test_in_the_network(self):
        network = Net(lambda net: 1.0).double()
        branched = add_branches(network, EXAMPLE, keep=0.5, init="selection")
        with pytest.raises(NetworkError, match="has branches already"):
            add_branches(branched, EXAMPLE, keep=0.5)
        with pytest.raises(NetworkError, match="model must be a network, but got None"):
            add_branches(None, EXAMPLE, keep=0.5)
        with pytest.raises(NetworkError, match="example_inputs need a batch dimension with an example"):
            add_branches(network, EXAMPLE[:0], keep=0.5)
        with pytest.raises(NetworkError, match="fold takes what add_branches gave, but got a Net"):
            fold(network)
        with pytest.raises(NetworkError, match=r"write \['first'\]"):
            fold(branched, groups="first")
        with pytest.raises(NetworkError, match="alpha must be between 0 and 1, but got alpha='x'"):
            branched.set_alpha("x")

    def test_numbers_of_numpy_are_numbers(self):
        import numpy as np

        network = Net(lambda net: 1.0).double()
        keep = {"first": np.int64(3), "second": np.float32(0.5)}
        assert add_branches(network, EXAMPLE, keep=keep, init="kaiming").plan.widths == {"first": 3, "second": 3}


def test_threads_record_what_their_own_code_reads():
    network, entered, looked = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), threading.Event(), threading.Event()

    def look():
        entered.wait(10)
        assert not {type(network[0].in_features), type(network[1].out_features)} - {int}
        looked.set()
        recorder = Recorder(network)
        with recorded_sizes(network, recorder):  # waits for the other thread
            order.append("second")
            assert isinstance(network[1].in_features, AttributeNumber)

    order = []
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(look)
        with recorded_sizes(network, Recorder(network)):
            entered.set()
            assert looked.wait(10)
            assert isinstance(network[0].out_features, AttributeNumber)
            order.append("first")
        waiting.result(10)
    assert order == ["first", "second"]
    assert "__getattribute__" not in vars(nn.Module)


def test_networks_are_analysed_in_threads_as_alone():
    call, networks = nn.Module.__call__, [Net(lambda net: net.norm.num_features).double() for _ in range(24)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(reasons, networks))
    assert found == [reasons(networks[0])] * 24
    assert nn.Module.__call__ is call


def test_another_thread_runs_networks_while_one_traces():
    x, done = EXAMPLE, threading.Event()
    running, traced = Net(lambda net: 2.0).double().eval(), Net(lambda net: net.norm.num_features).double()
    expected = running(x)

    def run():
        runs = []
        while not done.is_set() or not runs:
            runs.append(torch.equal(running(x), expected))
        return runs

    with ThreadPoolExecutor(1) as other:
        results = other.submit(run)
        try:
            found = [reasons(traced) for _ in range(20)]
        finally:
            done.set()
        assert all(results.result(60))
    assert found == [reasons(traced)] * 20


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=2, padding=1)
        self.last = nn.Linear(12, 3)

    def forward(self, x):
        x = self.first(x)
        half = self.second.weight.shape[1]
        x = torch.cat([x[:, :half] * 2, x[:, half:]], 1)
        return self.last(self.second(x).mean((2, 3)))


def test_a_weight_in_groups_tells_the_channels_of_one(assert_folds):
    assert "second" in assert_folds(Grouped(), EXAMPLE)
