import inspect
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, channel_groups, fold
from branchfold.models.tracing.graph import shape_of, trace

X = torch.randn(2, 3, 8, 11, generator=torch.Generator().manual_seed(0))


def layers():
    torch.manual_seed(1)
    return {"first": nn.Conv2d(3, 8, 3), "second": nn.Conv2d(8, 4, 3)}


def branches_on_the_data(net, x):
    x = net.first(x)
    if x.mean() > 0:  # the line that the message must name
        x = -x
    return net.second(x)


def test_data_dependent_control_flow_names_the_users_line(functional):
    with pytest.raises(NetworkError) as caught:
        channel_groups(functional(branches_on_the_data, **layers()), X)
    lines, first = inspect.getsourcelines(branches_on_the_data)
    line = first + next(i for i, text in enumerate(lines) if "message must name" in text)
    assert f"at {__file__}:{line} (`if x.mean() > 0:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_inside_torchvision_is_named():
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=2)
    with pytest.raises(NetworkError, match=r"SSD cannot be traced at .*torchvision.*\.py:\d+"):
        channel_groups(network, X)


@pytest.mark.parametrize("shape", [(2, 4, 8, 11), (2, 3, 3, 3), (2, 3)])
def test_inputs_of_a_wrong_shape_are_told(functional, shape):
    network = functional(lambda net, x: net.second(F.relu(net.first(x))), **layers())
    with pytest.raises(NetworkError) as caught:
        channel_groups(network, torch.randn(shape))
    assert f"does not accept inputs of shape {shape}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inputs", [None, [], "image", (3, 4), torch.randn(5), [torch.tensor(1.0)]])
def test_example_inputs_must_be_tensors_with_a_batch(functional, inputs):
    network = functional(lambda net, x: net.second(net.first(x)), **layers())
    with pytest.raises(NetworkError, match="example_inputs"):
        channel_groups(network, inputs)


def in_training_longer(net, x):
    x = net.first(x)
    return net.second(x.tanh() if net.training else x)


def in_training_other(net, x):
    return net.second(net.first(x) * (2.0 if net.training else 1.0))


def in_training_auxiliary(net, x):
    y = net.first(x)
    aside = net.auxiliary(F.relu(net.middle(y)).mean((2, 3))) if net.training else None
    z = net.second(F.relu(y))
    return (z, aside) if net.training else z


def in_training_two_outputs(net, x):
    y = net.first(x)
    return (net.second(y), y) if net.training else net.second(y)


def in_training_around(net, x):
    x = net.first(x)
    x = x if net.training else x.tanh()
    return net.second(F.relu(x))


@pytest.mark.parametrize("forward", [in_training_longer, in_training_other, in_training_around])
def test_another_forward_in_training_is_followed_beside_that_of_evaluation(functional, forward):
    network, x = functional(forward, **layers()).double().eval(), X.double()
    assert channel_groups(network, x)[0].prunable
    assert not any(module.training for module in network.modules())
    branched = add_branches(network, x, keep=0.5)
    for training in (True, False):
        torch.testing.assert_close(branched.train(training)(x), network.train(training)(x), rtol=1e-9, atol=1e-12)
    branched.set_alpha(0.0)
    folded = fold(branched)
    answers = []
    for training in (True, False):
        answers.append(folded.train(training)(x))
        torch.testing.assert_close(branched.train(training)(x), answers[-1], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(*answers)


def test_what_training_alone_computes_is_left_out_of_evaluation(functional):
    network = functional(in_training_two_outputs, **layers()).double().eval()
    x = X.double()
    assert not next(group for group in channel_groups(network, x) if group.name == "first").prunable
    inner = functional(in_training_auxiliary, auxiliary=nn.Linear(6, 2), middle=nn.Conv2d(8, 6, 3), **layers())
    inner = inner.double()
    branched = add_branches(inner, x, keep=0.5, init="kaiming")
    assert set(branched.plan.widths) >= {"first", "middle"}
    branched.set_alpha(0.0)
    folded = fold(branched)
    for training in (True, False):
        branched.train(training)
        folded.train(training)
        torch.testing.assert_close(branched(x), folded(x), rtol=1e-9, atol=1e-12)
    assert isinstance(branched.train()(x), tuple)


def test_a_graph_that_computes_something_else_is_refused(functional):
    calls = []

    def forward(net, x):
        calls.append(x)
        return net.second(net.first(x) * float(len(calls)))

    with pytest.raises(NetworkError, match=r"gives other outputs than the network itself|computes in evaluation"):
        channel_groups(functional(forward, **layers()), X)


class DropoutBlock(nn.Module):
    def __init__(self, positional):
        super().__init__()
        self.positional = positional

    def forward(self, x):
        return F.dropout(x, 0.4, self.training) if self.positional else F.dropout(x, p=0.4, training=self.training)


@pytest.mark.parametrize("positional", [True, False])
def test_dropout_follows_the_mode_of_its_module_when_it_runs(functional, positional):
    network = functional(
        # The block is called twice, at different places.
        lambda net, x: net.second(net.drop(F.relu(net.drop(net.first(x))))),
        **layers(),
        drop=DropoutBlock(positional),
    ).double()
    inputs = X.double()
    branched = add_branches(network.eval(), inputs, keep=0.5)
    assert torch.equal(branched(inputs), network(inputs))
    assert torch.equal(branched(inputs), branched(inputs))
    branched.train()
    assert not torch.equal(branched(inputs), branched(inputs))
    # The mode is the block's own, not the whole network's.
    branched.network.drop.eval()
    assert torch.equal(branched(inputs), network(inputs))
    small = fold(branched.train())
    assert not torch.equal(small(inputs), small(inputs))
    branched.eval().set_alpha(0)
    torch.testing.assert_close(small.eval()(inputs), branched(inputs), rtol=1e-9, atol=1e-12)


def test_shapes_are_those_that_flow(functional):
    network = functional(lambda net, x: net.second(F.max_pool2d(net.first(x), 2)).flatten(1), **layers())
    shapes = [shape_of(node) for node in trace(network, X).graph.nodes if node.op != "output"]
    assert shapes == [(2, 3, 8, 11), (2, 8, 6, 9), (2, 8, 3, 4), (2, 4, 1, 2), (2, 8)]


def test_constants_in_the_forward_do_not_settle_on_the_users_network(functional):
    network = functional(
        lambda net, x: net.second(F.relu(net.first((x - torch.tensor(0.5)) / torch.tensor([0.2])))), **layers()
    )
    before = set(network.__dict__)
    (first, _) = channel_groups(network, X)
    assert first.prunable
    assert set(network.__dict__) == before
    branched = add_branches(network, X, keep=0.5)
    assert torch.equal(branched(X), network(X))
    assert set(network.__dict__) == before


def test_a_forward_that_changes_its_input_leaves_the_example_inputs_alone(functional):
    network = functional(lambda net, x: net.second(F.relu(net.first(x.sub_(0.5)))), **layers())
    inputs = X.clone()
    channel_groups(network, inputs)
    assert torch.equal(inputs, X)


def test_optional_arguments_of_the_forward_keep_their_defaults():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

        def forward(self, x, scale=2.0):
            return self.second(F.relu(self.first(x * scale)))

    network = Scaled().double()
    inputs = X.double()
    labelled = [(inputs, torch.arange(2))]
    branched = add_branches(network, inputs, keep=0.5, data=labelled)
    alone = add_branches(network, inputs, keep=0.5, data=[inputs])
    assert torch.equal(branched(inputs), network(inputs))
    assert torch.equal(branched(inputs, 0.3), network(inputs, 0.3))
    for branch, other in zip(branched.parameters(), alone.parameters(), strict=True):
        assert torch.equal(branch, other)


def test_optional_arguments_decide_the_way_through_the_forward():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)

        def forward(self, x, mask=None, *, deep=False, pooling="mean"):
            y = self.first(x) if mask is None else self.first(x) * mask
            z = self.second(y)
            z = z.mean((2, 3)) if pooling == "mean" else z.amax((2, 3))
            return (z, y) if deep else z

    network, x = Masked().double(), X.double()
    mask = torch.rand(len(x), 1, x.shape[2] - 2, x.shape[3] - 2).double()
    for inputs in ((x,), (x, mask)):
        branched = add_branches(network, inputs, keep=0.5)
        assert torch.equal(branched(*inputs), network(*inputs))
        branched.set_alpha(0)
        torch.testing.assert_close(fold(branched)(*inputs), branched(*inputs))
    with pytest.raises(NetworkError, match=r"traced with mask=None, but got a tensor of shape \(2, 1, 6, 9\)"):
        add_branches(network, x, keep=0.5)(x, mask)


def test_several_inputs_are_given_as_a_sequence():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(2, 8, 3), nn.Conv2d(8, 4, 1)

        def forward(self, a, b):
            return self.last(F.relu(self.left(a) + self.right(b)))

    torch.manual_seed(0)
    network = Two().double()
    inputs = (X.double(), torch.randn(2, 2, 8, 11).double())
    (group, _) = channel_groups(network, inputs)
    assert group.writers == ("left", "right")
    branched = add_branches(network, inputs, keep=0.5, data=[(*inputs, torch.arange(2))])
    assert torch.equal(branched(*inputs), network(*inputs))
    branched.set_alpha(0)
    torch.testing.assert_close(fold(branched)(*inputs), branched(*inputs), rtol=1e-9, atol=1e-12)


def test_modes_are_restored_after_a_failure_too(functional):
    network = functional(branches_on_the_data, **layers())
    network.second.eval()
    with pytest.raises(NetworkError):
        channel_groups(network, X)
    assert network.training
    assert network.first.training
    assert not network.second.training


def in_training_later(net, x):
    """In evaluation an inner tensor is the output."""
    y = net.first(x)
    return net.second(F.relu(y)) if net.training else y


def in_training_narrower(net, x):
    y = net.first(x)
    z = net.second(F.relu(y))
    return z if net.training else {"z": z, "y": y}


@pytest.mark.parametrize("forward", [in_training_later, in_training_narrower])
def test_the_outputs_of_evaluation_are_never_narrowed(functional, forward):
    network = functional(forward, **layers()).double()
    (first, *_) = channel_groups(network, X.double())
    assert first.reason == "it is the network's output"
    branched = add_branches(network, X.double(), keep=0.5)
    assert not branched.plan.widths


class Outputs(NamedTuple):
    logits: torch.Tensor
    features: torch.Tensor


def test_a_named_tuple_of_outputs_is_told_as_the_outputs(functional):
    def forward(net, x):
        y = F.relu(net.first(x))
        return Outputs(net.second(y), net.third(y).tanh())

    network = functional(forward, third=nn.Conv2d(8, 3, 1), **layers())
    first, second, third = channel_groups(network, X)
    assert first.prunable
    assert second.reason == third.reason == "it is the network's output"
    branched = add_branches(network, X, keep=0.5)
    assert isinstance(branched(X), Outputs)
    torch.testing.assert_close(branched(X).features, network(X).features)
    branched.set_alpha(0.0)
    torch.testing.assert_close(fold(branched)(X).logits, branched(X).logits)


def test_costly_layers_run_once_for_the_network_and_its_graph(functional, monkeypatch):
    def forward(net, x):
        x = F.relu(net.first(x), inplace=True)
        x += 1.0  # changes in place what the graph borrowed
        return net.last(net.second(x).mean((2, 3)))

    runs = []
    for kind in (nn.Conv2d, nn.Linear):
        inner = kind.forward
        monkeypatch.setattr(kind, "forward", lambda self, x, inner=inner: runs.append((self, x)) or inner(self, x))
    network = functional(forward, last=nn.Linear(4, 3), **layers())
    channel_groups(network, X)
    # What is recorded is recorded without values.
    assert [layer for layer, x in runs if not x.is_meta] == [network.first, network.second, network.last]


def is_traced(x):
    """Whether a tensor flows through a trace."""
    return bool(vars(x))


def real_only(x, factor, in_place=False):
    """What no trace sees."""
    if is_traced(x):
        return x
    return x.mul_(factor) if in_place else x * factor


@pytest.mark.parametrize(
    "forward",
    [
        lambda net, x: net.second(F.relu(net.first(real_only(x, 2.0)))),
        lambda net, x: net.second(real_only(F.relu(net.first(x)), 2.0)),
        lambda net, x: real_only(net.second(F.relu(net.first(x))), 2.0),
        lambda net, x: net.second(real_only(net.first(x), 2.0, in_place=True)),
        lambda net, x: net.second(F.relu((net.first if is_traced(x) else net.other)(x))),
        lambda net, x: net.second(F.relu(net.first(input=real_only(x, 2.0)))),
        lambda net, x: (net.second(net.first(x)), net.second(net.first(real_only(x, 2.0)))),
    ],
)
def test_a_graph_that_differs_before_between_or_after_the_layers_is_refused(functional, forward):
    network = functional(forward, other=nn.Conv2d(3, 8, 3), **layers())
    with pytest.raises(NetworkError, match="gives other outputs than the network itself"):
        channel_groups(network, X)
    assert not any(module._forward_hooks for module in network.modules())


def test_hooks_of_the_users_stay_and_are_heard(functional):
    network = functional(lambda net, x: net.second(F.relu(net.first(x))), **layers())
    handle = network.first.register_forward_hook(lambda module, args, result: result + 1)
    hooks = dict(network.first._forward_hooks)
    (first, _) = channel_groups(network, X)
    assert first.reason.startswith("first has a forward hook that changes")
    assert dict(network.first._forward_hooks) == hooks
    assert handle.id in hooks
    assert not network.second._forward_hooks
