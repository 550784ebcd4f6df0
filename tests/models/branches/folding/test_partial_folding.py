import copy
import itertools
import pickle

import pytest
import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.branches.network import BranchedNetwork


def assert_same_state(mine, theirs):
    mine, theirs = mine.state_dict(), theirs.state_dict()
    assert list(mine) == list(theirs)
    for name, value in mine.items():
        assert_equal(value.double(), theirs[name].double())


@pytest.fixture
def fading(randomise_branches):
    """A network with random branches, each group at an α of its own between 0.2 and 0.8."""

    def make(network, inputs, keep=0.5):
        branched = randomise_branches(add_branches(network, inputs, keep=keep, init="kaiming"))
        names = list(branched.alpha)
        branched.set_alpha({name: 0.2 + 0.6 * i / len(names) for i, name in enumerate(names)})
        return branched

    return make


def expected_output(branched, folded, inputs):
    """The unfolded network with the folded groups' α at 0."""
    reference = copy.deepcopy(branched)
    reference.set_alpha(dict.fromkeys(folded, 0.0))
    return reference(inputs)


@pytest.mark.parametrize(("order", "training"), [("backward", False), ("odd", True)])
def test_stage_after_stage_gives_what_the_unfolded_network_gives(example, fading, order, training):
    branched = fading(example.network, example.inputs).train(training)
    alphas = branched.alpha
    names = {"backward": [*alphas][::-1], "odd": [*alphas][::2] + [*alphas][1::2]}[order]
    stage = branched
    for i, name in enumerate(names):
        rest = fold(stage, groups=[name])
        left = {key: alphas[key] for key in alphas if key not in names[: i + 1]}
        if left:
            assert isinstance(rest, BranchedNetwork)
            assert rest.alpha == left
        else:
            assert type(rest) is type(example.network)
        with torch.no_grad():
            assert_equal(copy.deepcopy(rest)(example.inputs), expected_output(branched, names[: i + 1], example.inputs))
        stage = rest
    assert_same_state(stage, fold(branched))
    for mine, theirs in zip(stage.modules(), fold(branched).modules(), strict=True):
        assert repr(mine) == repr(theirs)
        assert mine.training == theirs.training


def test_pairs_of_groups_fold_at_once(make_example, fading):
    for name in ("dense", "fire", "residual"):
        _, network, inputs = make_example(name)
        branched = fading(network, inputs, 0.4)
        for pair in itertools.combinations(branched.alpha, 2):
            assert_equal(fold(branched, groups=pair)(inputs), expected_output(branched, pair, inputs))


def test_training_on_after_a_partial_fold_moves_statistics_alike(make_example, fading):
    for name in ("chain", "residual", "dense", "mobile", "fire"):
        _, network, inputs = make_example(name)
        branched = fading(network, inputs).train()
        first, *others = branched.alpha
        rest = fold(branched, groups=[first])
        branched.set_alpha({first: 0.0})
        for _ in range(3):
            assert_equal(rest(inputs), branched(inputs))
        assert_equal(rest.eval()(inputs), branched.eval()(inputs))
        branched.set_alpha(0.0)
        assert_equal(fold(rest, groups=others)(inputs), branched(inputs))


def test_gradients_after_a_partial_fold_are_those_of_the_unfolded_network(make_example, fading):
    _, network, inputs = make_example("dense")
    branched = fading(network, inputs)
    rest = fold(branched, groups=["conv1"])
    branched.set_alpha({"conv1": 0.0})
    for net in (branched, rest):
        net(inputs).square().sum().backward()
    for untouched in ("compress.conv2.weight", "compress.stem.weight", "network.fc.weight", "narrow.norm1.bias"):
        assert_equal(rest.get_parameter(untouched).grad, branched.get_parameter(untouched).grad)


def test_the_remaining_branches_are_the_same(make_example, fading):
    for name in ("chain", "dense", "mobile", "decoder"):
        _, network, inputs = make_example(name)
        branched = fading(network, inputs)
        first, *_ = branched.alpha
        rest = fold(branched, groups=[first])
        mine, theirs = rest.state_dict(), branched.state_dict()
        branches = [key for key in mine if key.startswith(("compress.", "narrow.", "blend."))]
        assert branches
        assert all(torch.equal(mine[key], theirs[key]) for key in branches)
        assert {first} == branched.plan.widths.keys() - rest.plan.widths.keys()
        assert first not in set(rest.plan.writers.values())


def test_the_branched_network_is_left_alone_and_nothing_is_shared(example, fading):
    branched = fading(example.network, example.inputs)
    state = copy.deepcopy(branched.state_dict())
    first, *_ = branched.alpha
    rest = fold(branched, groups=[first])
    with torch.no_grad():
        for tensor in rest.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(value, state[name]) for name, value in branched.state_dict().items())


def test_no_group_folds_nothing_and_all_groups_fold_to_a_plain_network(make_example, fading):
    _, network, inputs = make_example("residual")
    branched = fading(network, inputs)
    nothing = fold(branched, groups=[])
    assert nothing.alpha == branched.alpha
    assert_equal(nothing(inputs), branched(inputs))
    whole = fold(branched, groups=list(branched.alpha))
    assert type(whole) is type(network)
    assert_same_state(whole, fold(branched))


def test_what_folding_gave_without_branches_folds_to_itself(make_example, fading):
    """So that a loop over stages may end with `fold(network)`."""
    _, network, inputs = make_example("residual")
    branched = fading(network, inputs)
    stage = branched
    for name in branched.alpha:
        stage = fold(stage, groups=[name])
    assert not isinstance(stage, BranchedNetwork)
    assert fold(stage) is stage
    assert fold(stage, groups=[]) is stage
    whole = fold(branched)
    assert fold(whole) is whole
    with pytest.raises(NetworkError, match="group '0' has no branch; there are none"):
        fold(stage, groups=["0"])


def test_any_other_network_without_branches_is_refused(make_example, fading):
    _, network, inputs = make_example("residual")
    for plain in (network, copy.deepcopy(fold(fading(network, inputs))), None):
        with pytest.raises(NetworkError, match="fold takes what add_branches gave, but got a"):
            fold(plain)


def test_an_unknown_group_is_refused(make_example, fading):
    _, network, inputs = make_example("linear")
    branched = fading(network, inputs, {"0": 0.5})
    with pytest.raises(NetworkError, match="group '3' has no branch; there are 0"):
        fold(branched, groups=["3"])
    with pytest.raises(NetworkError, match="group 'nowhere' has no branch"):
        fold(branched, groups=["0", "nowhere"])


# Concatenations of which one part is folded


class Joined(nn.Module):
    """Three parts, the middle one never narrowed, joined in front of layers with values of each channel."""

    def __init__(self, *layers, readers):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 5, 1), nn.Conv2d(3, 6, 3, padding=1)
        self.layers = nn.Sequential(*layers)
        self.last = readers

    def forward(self, x):
        return self.last(self.layers(torch.cat([self.a(x), self.b(x), F.relu(self.c(x))], 1)))


PER_CHANNEL = {
    "batch norm": lambda: nn.BatchNorm2d(15),
    "batch norm without parameters": lambda: nn.BatchNorm2d(15, affine=False),
    "batch norm without statistics": lambda: nn.BatchNorm2d(15, track_running_stats=False),
    "instance norm": lambda: nn.InstanceNorm2d(15, affine=True, track_running_stats=True),
    "prelu": lambda: nn.PReLU(15),
    "depthwise": lambda: nn.Conv2d(15, 15, (3, 2), stride=2, groups=15),
    "depthwise transposed": lambda: nn.ConvTranspose2d(15, 15, (3, 2), stride=(2, 1), groups=15, bias=False),
}


@pytest.mark.parametrize("kind", sorted(PER_CHANNEL))
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kept", [{"a": 1e-9, "c": 4}, {"a": 2, "c": 1e-9}])
def test_parts_of_a_concatenation_fold_one_after_the_other(randomise, fading, kind, flat, kept):
    layers = [PER_CHANNEL[kind](), nn.Tanh(), nn.BatchNorm2d(15), nn.LeakyReLU(0.3, inplace=True)]
    x = normal(4, 3, 6, 7)
    readers: nn.Module = nn.Conv2d(15, 2, 2)
    if flat:
        places = nn.Sequential(*copy.deepcopy(layers))(torch.zeros(2, 15, 6, 7))[0].numel()
        readers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(places), nn.Linear(places, 2))
    network = randomise(Joined(*layers, readers=readers))
    branched = fading(network, x, kept)
    with torch.no_grad():
        for first, second in (("a", "c"), ("c", "a")):
            for training in (False, True):
                rest = fold(branched.train(training), groups=[first])
                assert_equal(copy.deepcopy(rest)(x), expected_output(branched, [first], x))
                carrier = rest.network.layers[0]
                width = 15 - {"a": 4, "c": 6}[first] + branched.plan.widths[first]
                assert getattr(carrier, "num_features", width) == width
                if "depthwise" in kind:
                    assert carrier.groups == carrier.in_channels == carrier.out_channels == width
                small = fold(rest, groups=[second])
                assert_same_state(small, fold(branched))
                assert repr(small) == repr(fold(branched))
                assert_equal(small(x), expected_output(branched, ["a", "c"], x))


# What is kept


def test_modes_and_frozen_parameters_carry_over(make_example, fading):
    _, network, inputs = make_example("residual")
    network.train()
    network.stem_bn.eval()
    network.fc.weight.requires_grad_(False)
    branched = fading(network, inputs)
    branched.narrow["stem_bn"].eval()
    for parameter in (*branched.compress.parameters(), *branched.blend.parameters()):
        parameter.requires_grad_(False)
    rest = fold(branched, groups=["a1"])
    modes = {name: module.training for name, module in branched.named_modules()}
    grads = {name: parameter.requires_grad for name, parameter in branched.named_parameters()}
    for name, module in rest.named_modules():
        assert module.training == modes[name], name
    for name, parameter in rest.named_parameters():
        assert parameter.requires_grad == grads[name], name
        assert parameter.is_leaf
    small = fold(rest)
    assert not small.stem_bn.training
    assert small.a2_bn.training
    assert not small.fc.weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_partial_fold_follows_a_change_of_dtype(make_example, fading, dtype):
    _, network, inputs = make_example("fire")
    branched = fading(network, inputs).to(dtype)
    rest = fold(branched, groups=["expand1"])
    floats = [value for value in rest.state_dict().values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {dtype}
    out, wanted = rest(inputs.to(dtype)), expected_output(branched, ["expand1"], inputs.to(dtype))
    assert (out - wanted).norm() < (0.1 if dtype == torch.bfloat16 else 1e-4) * wanted.norm()


@pytest.mark.gpu
def test_a_partial_fold_follows_a_change_of_device(make_example, fading):
    _, network, inputs = make_example("dense")
    branched = fading(network, inputs).cuda()
    rest = fold(branched, groups=["conv1"])
    assert {value.device.type for value in rest.state_dict().values()} == {"cuda"}
    assert_equal(rest(inputs.cuda()), expected_output(branched, ["conv1"], inputs.cuda()))


def test_inputs_that_have_no_batch_dimension_survive():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x, mask):
            return self.last(F.relu(self.second(F.relu(self.first(x * mask)))))

    network, inputs = Masked().double(), (normal(4, 3, 6, 7), normal(6, 7, seed=1))
    branched = add_branches(network, inputs, keep=0.5)
    branched.set_alpha(0.3)
    rest = fold(branched, groups=["first"])
    branched.set_alpha({"first": 0.0})
    assert_equal(rest(*inputs), branched(*inputs))


def test_in_place_flags_come_back_with_the_last_branch(make_example, fading):
    _, network, inputs = make_example("chain")
    flags = {name: module.inplace for name, module in network.named_modules() if hasattr(module, "inplace")}
    assert set(flags.values()) == {True, False}
    stage = fading(network, inputs)
    for name in list(stage.alpha):
        stage = fold(stage, groups=[name])
    assert {n: module.inplace for n, module in stage.named_modules() if hasattr(module, "inplace")} == flags


def test_a_copy_of_a_partly_folded_network_is_independent(example, fading):
    branched = fading(example.network, example.inputs)
    first, *others = branched.alpha
    if not others:
        pytest.skip("one group")
    rest = fold(branched, groups=[first])
    before, twin = rest(example.inputs), copy.deepcopy(rest)
    with torch.no_grad():
        for parameter in rest.parameters():
            parameter.zero_()
        rest.set_alpha(1.0)
        assert_equal(twin(example.inputs), before)
    assert_equal(fold(twin)(example.inputs), expected_output(branched, branched.alpha, example.inputs))


def test_a_depthwise_group_one_channel_wide_leaves_the_others_alone(make_example, fading):
    _, network, inputs = make_example("mobile")
    branched = fading(network, inputs, {"expand": 1e-9, "project": 2, "down": 2})
    rest = fold(branched, groups=["expand"])
    assert rest.network.depthwise.groups == 1
    assert_equal(rest(inputs), expected_output(branched, ["expand"], inputs))
    assert_same_state(fold(rest), fold(branched))


def test_a_partly_folded_network_can_be_branched_at_other_groups(make_example, fading):
    """Its α = 0 is an ordinary network: staged pruning may narrow further."""
    _, network, inputs = make_example("chain")
    once = fold(fading(network, inputs, {"features.0": 4, "features.4": 6}), groups=["features.0", "features.4"])
    branched = fading(once, inputs, {"features.0": 2, "features.7": 3})
    rest = fold(branched, groups=["features.0"])
    assert (rest.network.features[0].out_channels, rest.network.features[4].in_channels) == (2, 2)
    assert_equal(rest(inputs), expected_output(branched, ["features.0"], inputs))


def test_a_branched_network_can_be_pickled(make_example, randomise_branches):
    for name in ("chain", "mobile"):
        example = make_example(name)
        branched = randomise_branches(add_branches(example.network, example.inputs, keep=0.5, init="kaiming"))
        branched.train().set_alpha(0.3)
        branched.network.requires_grad_(False)
        twin = pickle.loads(pickle.dumps(branched))
        assert twin.alpha == branched.alpha
        assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in branched.parameters()]
        assert {n: m.training for n, m in twin.named_modules()} == {n: m.training for n, m in branched.named_modules()}
        assert torch.equal(twin(example.inputs), branched(example.inputs))
        for parameter in branched.parameters():
            parameter.data.zero_()
        assert torch.equal(twin.eval()(example.inputs), twin(example.inputs))
        assert twin(example.inputs).abs().max() > 1e-3
        restored, small = {}, fold(twin)
        for path, module in example.network.named_modules():
            restored[path] = getattr(module, "inplace", None)
        assert {path: getattr(module, "inplace", None) for path, module in small.named_modules()} == restored
