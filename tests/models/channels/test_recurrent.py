"""Recurrent layers: what they read is narrowed, their state keeps its width."""

import pytest
import torch
from comparing import assert_equal, normal
from torch import nn

from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.checkpoints import NetworkDescription, load_network, save_network
from branchfold.models.cost import count_macs


class Steps(nn.Module):
    """Convolutions over time, read by a recurrent layer, whose state begins with what the code makes."""

    def __init__(self, recurrent, out, batch_first=True, state=False):
        super().__init__()
        self.first, self.norm, self.recurrent, self.last = (
            nn.Conv1d(3, 8, 3),
            nn.BatchNorm1d(8),
            recurrent,
            nn.Linear(out, 4),
        )
        self.batch_first, self.state = batch_first, state

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = x.permute(0, 2, 1) if self.batch_first else x.permute(2, 0, 1)
        y, _ = self.recurrent(x, x.new_ones(1, len(x), 6)) if self.state else self.recurrent(x)
        return self.last(y[:, -1] if self.batch_first else y[-1])


class Loop(nn.Module):
    """One step after the other, by a cell."""

    def __init__(self, cell):
        super().__init__()
        self.first, self.cell, self.last = nn.Linear(3, 8), cell, nn.Linear(5, 4)

    def forward(self, x):
        state = x.new_zeros(len(x), 5)
        state = (state, state) if isinstance(self.cell, nn.LSTMCell) else state
        for step in torch.relu(self.first(x)).unbind(1):
            state = self.cell(step, state)
        return self.last(state[0] if isinstance(state, tuple) else state)


RECURRENT = {
    "LSTM": lambda: Steps(nn.LSTM(8, 6, batch_first=True), 6),
    "both ways": lambda: Steps(nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True), 12),
    "steps first": lambda: Steps(nn.GRU(8, 6, bidirectional=True), 12, batch_first=False),
    "projected": lambda: Steps(nn.LSTM(8, 6, proj_size=5, batch_first=True), 5),
    "with a state": lambda: Steps(nn.RNN(8, 6, bias=False, batch_first=True), 6, state=True),
    "LSTM cell": lambda: Loop(nn.LSTMCell(8, 5)),
    "GRU cell": lambda: Loop(nn.GRUCell(8, 5)),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_what_recurrent_layers_read_is_narrowed(assert_folds, kind):
    network, x = RECURRENT[kind](), normal(2, 5, 3) if "cell" in kind else normal(2, 3, 9)
    assert assert_folds(network, x) == {"first"}
    small = fold(add_branches(network, x, keep=3 / 8))
    layer = next(module for module in small.modules() if hasattr(module, "hidden_size"))
    assert (layer.input_size, layer.hidden_size) == (3, 5 if "cell" in kind else 6)


def test_it_trains_and_counts_in_single_precision_as_in_double():
    network, x = RECURRENT["both ways"]().float(), normal(2, 3, 9).float()
    small = fold(add_branches(network, x, keep=0.5))
    small(x).sum().backward()
    assert all(parameter.grad is not None for parameter in small.parameters())
    assert count_macs(small, (x,)) == count_macs(small.double(), (x.double(),))


def build_steps():
    return RECURRENT["both ways"]()


def test_a_checkpoint_holds_the_narrow_layer(tmp_path):
    network, x = build_steps().eval(), torch.randn(2, 3, 9)
    branched = add_branches(network, x, keep=0.5)
    small = fold(branched).eval()
    description = NetworkDescription("mine.py:build_steps", {}, [3, 9], branched.plan.widths)
    save_network(small, tmp_path / "small.safetensors", description)
    assert_equal(load_network(tmp_path / "small.safetensors", build_steps)(x), small(x))


def test_what_recurrent_layers_begin_with_keeps_its_width():
    class Begun(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.gru = nn.Linear(3, 8), nn.Linear(3, 6), nn.GRU(8, 6, batch_first=True)

        def forward(self, x):
            return self.gru(self.first(x), self.second(x[:, 0])[None])[0]

    found = {group.name: group.reason for group in channel_groups(Begun(), torch.randn(2, 5, 3))}
    assert found == {"first": "", "second": "gru begins with it, and its state's width stays"}
    unbatched = nn.Sequential(nn.Linear(3, 8), nn.GRU(8, 6))
    assert "without a batch dimension" in channel_groups(unbatched, torch.randn(5, 3))[0].reason
