import copy

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold, narrow
from branchfold.models.networks.resnet import resnet20


def batch_norms(network):
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@pytest.fixture
def branches_of(randomise_branches):
    """A network with random branches at half width, at α = 1."""

    def make(network, inputs, keep=0.5):
        return randomise_branches(add_branches(network, inputs, keep=keep, init="kaiming"))

    return make


def test_at_alpha_one_it_is_the_original(example, branches_of):
    branched = branches_of(example.network, example.inputs)
    assert branched.plan.widths
    assert torch.equal(branched(example.inputs), example.network(example.inputs))


def test_at_alpha_one_it_is_the_original_in_training_too(example, branches_of):
    # A part of a concat that has no branch passes its BatchNorm on the narrow side: equal up to the order of sums.
    branched = branches_of(example.network.train(), example.inputs)
    assert branched.training
    assert all(module.training for module in branched.modules())
    for _ in range(3):
        torch.testing.assert_close(branched(example.inputs), example.network(example.inputs), rtol=1e-9, atol=1e-12)
    for mine, theirs in zip(batch_norms(branched.network), batch_norms(example.network), strict=True):
        assert mine.num_batches_tracked == theirs.num_batches_tracked
        torch.testing.assert_close(mine.running_mean, theirs.running_mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(mine.running_var, theirs.running_var, rtol=1e-9, atol=1e-12)


def test_layers_may_have_the_names_of_a_dicts_methods(functional, assert_folds):
    layers = {"keys": nn.Conv2d(3, 6, 3), "at": nn.BatchNorm2d(6), "put": nn.Conv2d(6, 5, 3), "update": nn.PReLU(5)}
    network = functional(
        lambda net, x: net.copy(net.update(net.put(net.at(net.keys(x)) * net.setdefault))),
        **layers,
        copy=nn.Conv2d(5, 2, 1),
    )
    network.setdefault = nn.Parameter(torch.randn(6, 1, 1))
    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert assert_folds(network, x) == {"keys", "put"}


def view_of_channels(net, x):
    half = (x := net.first(x))[:, :3]
    return net.second(F.relu(x, inplace=True)) + half.mean()


def twice_in_place(net, x):
    x = net.first(x)
    y = F.relu(x, inplace=True)
    F.silu(x, inplace=True)
    return net.second(y)


def view_kept(net, x):
    x = net.first(x)
    rows = x.transpose(2, 3)
    return net.second(torch.tanh(x.mul_(0.3))) + rows.mean()


def identity_kept(net, x):
    x = net.first(x)
    same = F.dropout(x, 0.0, training=net.training)
    x += 1
    return net.second(F.relu(x)) * same.mean()


def added_in_place(net, x):
    x = identity = net.first(x)
    x += torch.tanh(x)
    x *= 0.5
    return net.second(x - 3 * F.relu(identity))


@pytest.mark.parametrize("forward", [view_of_channels, twice_in_place, view_kept, identity_kept, added_in_place])
def test_tensors_in_the_same_memory_change_together(functional, randomise, forward):
    network = randomise(functional(forward, first=nn.Conv2d(3, 6, 3), second=nn.Conv2d(6, 4, 3)))
    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    branched = add_branches(network, x, keep=0.5)
    torch.testing.assert_close(branched(x), network(x), rtol=1e-9, atol=1e-12)
    branched.set_alpha(0)
    torch.testing.assert_close(fold(branched)(x), branched(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("init", ["least-squares", "kaiming"])
def test_the_given_network_and_the_inputs_are_not_changed(example, init):
    network = example.network
    modes = {}
    for i, (name, module) in enumerate(network.named_modules()):
        module.training = modes[name] = i % 2 == 0
    state, inputs = copy.deepcopy(network.state_dict()), example.inputs.clone()
    flags = {name: getattr(module, "inplace", None) for name, module in network.named_modules()}
    branched = add_branches(network, inputs, keep=0.5, init=init)
    branched.set_alpha(0.5)
    branched(inputs).sum().backward()
    fold(branched)
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert {name: module.training for name, module in branched.network.named_modules()} == modes
    assert {name: getattr(module, "inplace", None) for name, module in network.named_modules()} == flags
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(inputs, example.inputs)


def test_the_blend_of_a_tiny_network_by_hand(branches_of):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(5, 3).double()
    branched = branches_of(network, x, keep={"0": 2})
    P, p, E = branched.compress["0"].weight, branched.compress["0"].bias, branched.blend["_1"].expand["0"]
    e = branched.blend["_1"].shift["0"]
    assert (P.shape, p.shape, E.shape, e.shape) == ((2, 4), (2,), (4, 2), (4,))
    y = x @ network[0].weight.T + network[0].bias
    for alpha in (1.0, 0.7, 0.25, 0.0):
        branched.set_alpha(alpha)
        seen = alpha * torch.tanh(y) + (1 - alpha) * (torch.tanh(y @ P.T + p) @ E.T + e)
        expected = seen @ network[2].weight.T + network[2].bias
        torch.testing.assert_close(branched(x), expected, rtol=1e-9, atol=1e-12)


def test_the_blend_of_a_convolution_with_batch_norm_and_flatten_by_hand(branches_of, randomise):
    network = randomise(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 2),
        )
    )
    x = torch.randn(3, 2, 6, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    branched = branches_of(network, x, keep={"0": 3})
    P, E, norm = branched.compress["0"].weight, branched.blend["_4"].expand["0"], branched.narrow["1"]
    assert branched.compress["0"].bias is None
    y = F.conv2d(x, network[0].weight)
    z = torch.einsum("kc,nchw->nkhw", P, y)
    column = (1, 3, 1, 1)
    z = (z - norm.running_mean.view(column)) / (norm.running_var.view(column) + norm.eps).sqrt()
    z = F.max_pool2d((z * norm.weight.view(column) + norm.bias.view(column)).clamp(min=0), 2)
    a = network[3](network[2](network[1](y)))
    branched.set_alpha(0.3)
    e = branched.blend["_4"].shift["0"]
    seen = 0.3 * a + 0.7 * (torch.einsum("ck,nkhw->nchw", E, z) + e.view(1, 4, 1, 1))
    expected = seen.reshape(3, 24) @ network[5].weight.T + network[5].bias
    torch.testing.assert_close(branched(x), expected, rtol=1e-9, atol=1e-12)


def test_alpha_can_differ_between_groups(make_example, branches_of):
    _, network, inputs = make_example("fire")
    branched = branches_of(network, inputs)
    names = list(branched.plan.widths)
    assert branched.alpha == dict.fromkeys(names, 1.0)
    outputs = []
    for name in names:
        branched.set_alpha(1)
        branched.set_alpha({name: 0.25})
        assert branched.alpha == {**dict.fromkeys(names, 1.0), name: 0.25}
        outputs.append(branched(inputs))
        # Only this group's branch is heard.
        for other in names:
            if other != name:
                with torch.no_grad():
                    twin = copy.deepcopy(branched)
                    for writer, group in twin.plan.writers.items():
                        if group == other:
                            twin.compress[writer].weight.mul_(-3)
                    torch.testing.assert_close(twin(inputs), outputs[-1], rtol=1e-12, atol=1e-12)
    assert len({tuple(output.flatten().tolist()) for output in outputs}) == len(names)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), float("inf")])
def test_alpha_must_be_between_0_and_1(make_example, branches_of, alpha):
    _, network, inputs = make_example("linear")
    branched = branches_of(network, inputs)
    with pytest.raises(NetworkError, match=f"alpha must be between 0 and 1, but got alpha={alpha}"):
        branched.set_alpha(alpha)
    with pytest.raises(NetworkError, match="for group '3'"):
        branched.set_alpha({"3": alpha})


def test_alpha_of_a_group_without_a_branch_is_refused(make_example, branches_of):
    _, network, inputs = make_example("linear")
    branched = branches_of(network, inputs, keep={"3": 0.5})
    with pytest.raises(NetworkError, match="group '0' has no branch; there are branches for 3"):
        branched.set_alpha({"0": 0.5})


def test_a_network_without_branches_is_the_original(make_example):
    _, network, inputs = make_example("linear")
    branched = add_branches(network, inputs, keep=1)
    branched.set_alpha(0)
    assert branched.alpha == {}
    assert torch.equal(branched(inputs), network(inputs))
    assert torch.equal(fold(branched)(inputs), network(inputs))


def test_the_state_dict_carries_branches_and_alpha(example, branches_of):
    branched = branches_of(example.network, example.inputs)
    branched.set_alpha(0.4)
    other = add_branches(example.network, example.inputs, keep=0.5, init="kaiming")
    assert not torch.allclose(other(example.inputs), branched(example.inputs))
    other.load_state_dict(branched.state_dict())
    assert other.alpha == branched.alpha
    assert torch.equal(other(example.inputs), branched(example.inputs))


def test_a_deep_copy_is_independent(example, branches_of):
    branched = branches_of(example.network, example.inputs)
    branched.set_alpha(0.4)
    before = branched(example.inputs)
    twin = copy.deepcopy(branched)
    assert torch.equal(twin(example.inputs), before)
    mine = {id(parameter) for parameter in branched.parameters()}
    assert not mine & {id(parameter) for parameter in twin.parameters()}
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.5)
    twin.set_alpha(0.9)
    assert torch.equal(branched(example.inputs), before)
    assert set(branched.alpha.values()) == {0.4}
    assert not torch.allclose(twin(example.inputs), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_carry_over_and_can_be_changed(example, dtype, randomise_branches):
    network, inputs = example.network.to(dtype), example.inputs.to(dtype)
    branched = randomise_branches(add_branches(network, inputs, keep=0.5))
    assert {tensor.dtype for tensor in branched.state_dict().values() if tensor.is_floating_point()} == {dtype}
    assert branched(inputs).dtype == dtype
    assert torch.equal(branched(inputs), network(inputs))
    branched.set_alpha(0)
    small = fold(branched)
    assert small(inputs).dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    assert (small(inputs) - branched(inputs)).norm() < tolerance * branched(inputs).norm()
    double = branched.to(torch.float64)
    assert double(example.inputs).dtype == torch.float64
    torch.testing.assert_close(fold(double)(example.inputs), double(example.inputs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_training_mode_carries_over(make_example, training):
    _, network, inputs = make_example("residual")
    network.train(training)
    network.stem_bn.train(not training)
    branched = add_branches(network, inputs, keep=0.5)
    assert branched.training is training
    assert branched.network.stem_bn.training is not training
    assert branched.network.a1_bn.training is training
    assert all(part.training is training for part in (branched.compress, branched.blend, branched.narrow))
    assert fold(branched).training is training


def test_gradients_reach_everything(example, branches_of):
    # 0.75: with two or three channels a random branch's ReLUs are easily all silent.
    branched = branches_of(example.network.train(), example.inputs, keep=0.75)
    branched.set_alpha(0.5)
    branched(example.inputs).square().sum().backward()
    for name, parameter in branched.named_parameters():
        assert parameter.grad is not None, name
        # A bias in front of a BatchNorm that trains has a gradient of zero.
        if not name.endswith("bias"):
            assert parameter.grad.abs().max() > 0, name


def test_gradients_at_alpha_zero_are_those_of_the_folded_network(make_example, branches_of):
    """Chain rule by hand for the first layer: the folded weight is P W, so its gradient pulled back is Pᵀ dL/dW'."""
    _, network, inputs = make_example("linear")
    branched = branches_of(network, inputs)
    branched.set_alpha(0)
    small = fold(branched)
    branched(inputs).square().sum().backward()
    small(inputs).square().sum().backward()
    P, W = branched.compress["0"].weight, network[0].weight
    torch.testing.assert_close(branched.network[0].weight.grad, P.T @ small[0].weight.grad, rtol=1e-9, atol=1e-12)
    wanted = small[0].weight.grad @ W.T + small[0].bias.grad[:, None] * network[0].bias
    torch.testing.assert_close(P.grad, wanted, rtol=1e-9, atol=1e-12)


def test_a_frozen_original_stays_frozen(make_example):
    _, network, inputs = make_example("chain")
    network.requires_grad_(False)
    branched = add_branches(network, inputs, keep=0.5)
    assert not any(parameter.requires_grad for parameter in branched.network.parameters())
    assert all(parameter.requires_grad for parameter in (*branched.compress.parameters(), *branched.blend.parameters()))
    assert not any(parameter.requires_grad for parameter in fold(branched).parameters())


def test_two_optimiser_steps_of_a_residual_network_lower_the_loss():
    torch.manual_seed(0)
    network = resnet20(width=0.25)
    images, labels = torch.randn(16, 3, 16, 20), torch.randint(10, (16,))
    branched = add_branches(network.train(), images, keep=0.5)
    branched.set_alpha(0.3)
    optimizer = torch.optim.SGD(branched.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(branched(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_an_unknown_initialisation_is_refused(make_example):
    _, network, inputs = make_example("linear")
    with pytest.raises(
        NetworkError, match="init must be one of least-squares, selection, kaiming, but got init='lucky'"
    ):
        add_branches(network, inputs, keep=0.5, init="lucky")


def test_a_folded_network_can_be_branched_and_folded_again(make_example, branches_of):
    _, network, inputs = make_example("residual")
    first = branches_of(network, inputs, keep={"stem": 0.5})
    first.set_alpha(0)
    once = fold(first)
    second = branches_of(once, inputs, keep={"stem": 3, "b2": 0.25})
    second.set_alpha(0)
    twice = fold(second)
    assert (twice.stem.out_channels, twice.late.in_channels, twice.late.out_channels) == (3, 3, 3)
    torch.testing.assert_close(twice(inputs), second(inputs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("init", ["least-squares", "kaiming"])
def test_parts_of_a_concatenation_without_a_branch_stay_the_originals(example, init):
    """Behind a concatenation the narrow BatchNorm speaks for them too."""
    x = example.inputs
    for group in channel_groups(example.network, x):
        if group.prunable:
            branched = add_branches(example.network, x, keep={group.name: 0.5}, init=init)
            torch.testing.assert_close(branched(x), example.network(x), rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(
                branched.train()(x), copy.deepcopy(example.network).train()(x), atol=1e-9, rtol=0
            )


def test_a_shared_slope_behind_a_concatenation_stays_the_originals(functional, randomise):
    network = functional(
        lambda net, x: net.last(net.act(torch.cat([net.a(x), net.b(x)], 1))),
        a=nn.Conv2d(3, 4, 3),
        b=nn.Conv2d(3, 6, 3),
        act=nn.PReLU(),
        last=nn.Conv2d(10, 2, 1),
    )
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    for keep in ({"a": 0.5}, {"b": 0.5}, 0.5):
        branched = add_branches(randomise(network), x, keep=keep, init="kaiming")
        torch.testing.assert_close(branched(x), network(x), rtol=1e-9, atol=1e-12)


def test_the_memory_format_of_the_weights_stays(make_example):
    for name in ("residual", "conv3d"):
        _, network, inputs = make_example(name)
        last = {4: torch.channels_last, 5: torch.channels_last_3d}[inputs.dim()]
        small = fold(add_branches(network.to(memory_format=last), inputs, keep=0.5))
        spatial = [p for p in small.parameters() if p.dim() > 3 and p.shape[1] > 1 and p[0, 0].numel() > 1]
        assert all(p.is_contiguous(memory_format=last) for p in spatial)
        plain = fold(add_branches(network.to(memory_format=torch.contiguous_format), inputs, keep=0.5))
        assert all(p.is_contiguous() for p in plain.parameters())


class TestNarrow:
    def test_takes_the_state_dict_of_a_network_that_was_narrowed_so(self, example):
        branched = add_branches(example.network, example.inputs, keep=0.5, init="kaiming")
        branched.set_alpha(0)
        small, before = fold(branched), example.network.state_dict()
        found = narrow(example.network.train(), branched.plan.widths, example.inputs)
        assert found.training
        found.load_state_dict(small.state_dict())
        assert_equal(found.eval()(example.inputs), small(example.inputs))
        assert all(torch.equal(tensor, before[name]) for name, tensor in example.network.state_dict().items())

    def test_of_what_cannot_be(self):
        network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        with pytest.raises(NetworkError, match="no channel group is called 'nosuch'"):
            narrow(network, {"nosuch": 1}, torch.zeros(1, 3))
        with pytest.raises(NetworkError, match="its width must be from 1 to that, but got 5"):
            narrow(network, {"0": 5}, torch.zeros(1, 3))
