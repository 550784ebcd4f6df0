"""What networks train in: timed, chosen, kept."""

import time

import pytest
import torch
from torch import nn

from branchfold.models.layers.copying import deep_copy
from branchfold.search.tasks.classification import Classification
from branchfold.search.training import arithmetic
from branchfold.search.training.arithmetic import PLAIN, Arithmetic, candidates, choose

BATCH = (torch.zeros(40, 3, 8, 8), torch.zeros(40, dtype=torch.long))


class Paced(nn.Module):
    """A network whose passes take as long as a table says, by precision and memory format."""

    def __init__(self, seconds):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)
        self.seconds, self.passes = seconds, []

    def forward(self, images):
        mixed = torch.is_autocast_enabled("cpu")
        last = self.conv.weight.is_contiguous(memory_format=torch.channels_last)
        kind = Arithmetic("bfloat16" if mixed else "float32", "channels_last" if last else "contiguous")
        self.passes.append((kind, len(images)))
        time.sleep(self.seconds[kind])
        return self.norm(self.conv(images)).mean((2, 3))


def chosen(network, precision="auto", memory_format="auto"):
    cpu = torch.device("cpu")
    return choose(network, BATCH, Classification(5), precision=precision, memory_format=memory_format, device=cpu)


def paced(float32=0.02, bfloat16=0.02, last=1.0):
    """A network whose passes in channels_last take `last` times as long."""
    plain = {Arithmetic("float32"): float32, Arithmetic("bfloat16"): bfloat16}
    return Paced(plain | {Arithmetic(each.precision, "channels_last"): last * plain[each] for each in plain})


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (paced(bfloat16=0.01, last=0.5), Arithmetic("bfloat16", "channels_last")),
        (paced(bfloat16=0.01, last=2.0), Arithmetic("bfloat16")),
        (paced(bfloat16=0.04, last=0.5), Arithmetic("float32", "channels_last")),
        (paced(bfloat16=0.03, last=1.5), PLAIN),
        (paced(bfloat16=0.0195, last=1.0), PLAIN),  # less than a tenth
        (paced(float32=0.001, bfloat16=0.0), PLAIN),  # too short to matter
    ],
)
def test_the_fastest_is_chosen_where_it_is_worthwhile(network, expected):
    found = chosen(network)
    assert found.arithmetic == expected
    assert len(found.seconds) == 4
    assert found.examples == 32
    assert found.share == pytest.approx(found.seconds[expected] / found.seconds[PLAIN])


def test_what_is_given_is_not_chosen():
    assert chosen(paced(bfloat16=0.0), "float32").arithmetic.precision == "float32"
    fixed = chosen(paced(), "bfloat16", "contiguous")
    assert (fixed.arithmetic, fixed.seconds, fixed.share) == (Arithmetic("bfloat16"), {}, 1.0)


def test_only_weights_of_four_dimensions_have_another_format():
    assert candidates(nn.Linear(3, 2), "float32", "auto") == [PLAIN]
    assert candidates(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv3d(1, 1, 3)), "float32", "channels_last") == [PLAIN]
    assert len(candidates(nn.Conv2d(1, 1, 3), "float32", "auto")) == 2


def test_timing_changes_neither_the_network_nor_the_random_numbers():
    network = paced()
    network.dropout = nn.Dropout()
    before, expected = deep_copy(network).state_dict(), torch.manual_seed(3).get_state()
    chosen(network)
    assert torch.equal(torch.get_rng_state(), expected)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert network.conv.weight.is_contiguous()


def test_slow_steps_are_timed_less_often(monkeypatch):
    monkeypatch.setattr(arithmetic, "_PATIENCE", 0.0)
    passes = []
    network = paced(float32=0.001, bfloat16=0.001)
    network.register_forward_hook(lambda *_: passes.append(1))
    chosen(network)
    assert len(passes) == 4 * (1 + 2)


def test_a_recipe_has_the_last_word_on_the_precision():
    study = Arithmetic("bfloat16", "channels_last")
    assert study.at("auto") == study
    assert study.at("float32") == Arithmetic("float32", "channels_last")


def test_a_record_keeps_it_and_one_without_it_means_float32():
    study = Arithmetic("bfloat16", "channels_last")
    assert Arithmetic.of({"arithmetic": study.to_dict()}) == study
    assert Arithmetic.of({"metric": 0.5}) == PLAIN
