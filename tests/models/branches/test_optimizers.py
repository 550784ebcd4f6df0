import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.models import add_branches, fold
from branchfold.models.branches.optimizers import carry_optimizer_state


def step(network, optimizer, x, labels):
    optimizer.zero_grad()
    loss = F.cross_entropy(network(x), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


def optimized(optimizer):
    return [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]


LABELS = torch.tensor([0, 1, 3, 2])
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-3),
    "adam": lambda parameters: torch.optim.AdamW(parameters, lr=0.003),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.001, momentum=0.5),
}


@pytest.fixture
def trained(make_example):
    """A branched network after two steps of training, its optimizer, inputs."""

    def make(name, build, keep=0.5):
        _, network, inputs = make_example(name)
        branched = add_branches(network, inputs, keep=keep).train()
        branched.set_alpha(0.5)
        optimizer = build(branched.parameters())
        for _ in range(2):
            step(branched, optimizer, inputs, LABELS)
        return branched, optimizer, inputs

    return make


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
@pytest.mark.parametrize("groups", [None, ["a1"], ["stem", "b1"]])
def test_what_keeps_its_name_and_shape_keeps_its_state(trained, kind, groups):
    branched, optimizer, _ = trained("residual", OPTIMIZERS[kind])
    before = {name.removeprefix("network."): p for name, p in branched.named_parameters()}
    states = {name: copy.deepcopy(optimizer.state[p]) for name, p in before.items()}
    after = fold(branched) if groups is None else fold(branched, groups)
    carry_optimizer_state(optimizer, branched, after)
    carried = dropped = 0
    for name, parameter in after.named_parameters():
        own = name.removeprefix("network.")
        if own in before and before[own].shape == parameter.shape:
            state = optimizer.state[parameter]
            assert state.keys() == states[own].keys()
            assert state
            for key, value in state.items():
                torch.testing.assert_close(value, states[own][key], rtol=0, atol=0)
            carried += 1
        else:
            assert parameter not in optimizer.state
            dropped += 1
    assert carried
    assert dropped
    assert len(optimizer.state) == carried


def test_momentum_carries_on_by_hand(trained):
    """SGD with momentum: v ← 0.9 v + g, w ← w − lr v; without state v starts as g."""
    branched, optimizer, inputs = trained("residual", lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9))
    velocity = optimizer.state[branched.network.fc.bias]["momentum_buffer"].clone()
    small = fold(branched)
    carry_optimizer_state(optimizer, branched, small)
    bias, weight = small.fc.bias.detach().clone(), small.fc.weight.detach().clone()
    step(small, optimizer, inputs, LABELS)
    torch.testing.assert_close(small.fc.bias, bias - 0.01 * (0.9 * velocity + small.fc.bias.grad))
    torch.testing.assert_close(small.fc.weight, weight - 0.01 * small.fc.weight.grad)
    assert velocity.abs().sum() > 0


def test_exactly_the_folded_networks_parameters_are_optimized(trained):
    branched, optimizer, _ = trained("dense", OPTIMIZERS["sgd"])
    for groups in (["conv1"], ["stem"], None):
        after = fold(branched, groups) if groups else fold(branched)
        carry_optimizer_state(optimizer, branched, after)
        assert sorted(optimized(optimizer)) == sorted(id(p) for p in after.parameters())
        assert set(optimizer.state) <= set(after.parameters())
        branched = after


def test_parameter_groups_are_respected(make_example):
    _, network, inputs = make_example("residual")
    branched = add_branches(network, inputs, keep={"a1": 0.5, "b1": 0.5}).train()
    branched.set_alpha(0.5)
    biases = [p for name, p in branched.network.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in branched.network.named_parameters() if not name.endswith("bias")]
    branches = [p for part in (branched.compress, branched.narrow, branched.blend) for p in part.parameters()]
    groups = [{"params": branches}, {"params": weights, "lr": 0.1}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, weight_decay=1e-3)
    step(branched, optimizer, inputs, LABELS)
    rest = fold(branched, ["a1"])
    carry_optimizer_state(optimizer, branched, rest)
    small = fold(rest)
    for after in (rest, small):
        if after is small:
            carry_optimizer_state(optimizer, rest, small)
        own = after.network if after is rest else after
        biases = {id(p) for name, p in own.named_parameters() if name.endswith("bias")}
        weights = {id(p) for p in own.parameters()} - biases
        members = [{id(p) for p in group["params"]} for group in optimizer.param_groups]
        assert members[1] == weights
        assert members[2] == biases
        assert members[0] == {id(p) for p in after.parameters()} - weights - biases
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1, 0.01]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-3, 1e-3, 0.0]
    # A group that is empty now does no harm.
    assert not optimizer.param_groups[0]["params"]
    step(small, optimizer, inputs, LABELS)


def test_frozen_parameters_stay_out_and_those_that_thawed_join(make_example):
    _, network, inputs = make_example("chain")
    network.requires_grad_(False)
    network.head[3].requires_grad_(True)
    branched = add_branches(network, inputs, keep={"features.0": 0.5}).train()
    optimizer = torch.optim.SGD([p for p in branched.parameters() if p.requires_grad], lr=0.01)
    small = fold(branched)
    small.features[4].weight.requires_grad_(True)
    carry_optimizer_state(optimizer, branched, small)
    assert sorted(optimized(optimizer)) == sorted(id(p) for p in small.parameters() if p.requires_grad)
    assert id(small.head[0].weight) not in optimized(optimizer)


def test_a_schedule_goes_on(trained):
    branched, optimizer, inputs = trained("chain", OPTIMIZERS["sgd"])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    network, rates = branched, []
    for groups in (["features.0"], ["features.4"], None):
        after = fold(network, groups) if groups else fold(network)
        carry_optimizer_state(optimizer, network, after)
        network = after
        step(network, optimizer, inputs, LABELS)
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.005, 0.0025, 0.00125])
    # What was saved can be loaded again.
    twin = OPTIMIZERS["sgd"](copy.deepcopy(network).parameters())
    twin.load_state_dict(optimizer.state_dict())
    assert twin.param_groups[0]["lr"] == rates[-1]


@pytest.mark.parametrize("kind", sorted(OPTIMIZERS))
def test_training_goes_on_through_partial_and_full_folds(trained, kind):
    network, optimizer, inputs = trained("residual", OPTIMIZERS[kind])
    losses = [F.cross_entropy(network.eval()(inputs), LABELS).item()]
    for groups in (["a1"], ["stem"], None):
        after = (fold(network, groups) if groups else fold(network)).train()
        carry_optimizer_state(optimizer, network, after)
        for _ in range(5):
            start = [p.detach().clone() for p in after.parameters()]
            losses.append(step(after, optimizer, inputs, LABELS))
            moved = [not torch.equal(a, b) for a, b in zip(start, after.parameters(), strict=True)]
            heard = [p.grad is not None and bool(p.grad.any()) for p in after.parameters()]
            assert sum(heard) > 5
            assert all(m for m, h in zip(moved, heard, strict=True) if h)
        network = after
    assert losses[-1] < losses[1]


def test_a_users_own_module_called_network_or_compress_is_not_mistaken(randomise):
    """Names that the branched network uses itself."""

    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3))
            self.compress = nn.Sequential(nn.Conv2d(5, 5, 1), nn.ReLU(), nn.Conv2d(5, 4, 1))

        def forward(self, x):
            return self.compress(self.network(x)).mean((2, 3))

    inputs = torch.randn(4, 3, 7, 8, dtype=torch.float64)
    branched = add_branches(randomise(Wrapper()), inputs, keep={"network.0": 0.5, "compress.0": 0.4})
    optimizer = torch.optim.SGD(
        [{"params": list(branched.compress.parameters())}, {"params": list(branched.network.parameters()), "lr": 0.1}],
        lr=0.01,
        momentum=0.9,
    )
    branched.set_alpha(0.5)
    step(branched, optimizer, inputs, LABELS)
    velocity = optimizer.state[branched.network.compress[2].bias]["momentum_buffer"].clone()
    kept = optimizer.state[branched.compress["compress/0"].bias]["momentum_buffer"].clone()
    rest = fold(branched, ["network.0"])
    carry_optimizer_state(optimizer, branched, rest)
    assert torch.equal(optimizer.state[rest.compress["compress/0"].bias]["momentum_buffer"], kept)
    small = fold(rest)
    carry_optimizer_state(optimizer, rest, small)
    assert torch.equal(optimizer.state[small.compress[2].bias]["momentum_buffer"], velocity)
    assert {id(p) for p in optimizer.param_groups[1]["params"]} == {id(p) for p in small.parameters()}
