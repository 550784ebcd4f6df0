import copy

import pytest
import torch
import torch.nn.functional as F
from comparing import normal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.channels.groups import Analysis
from branchfold.models.fitting.activations import input_batches
from branchfold.models.fitting.least_squares import initialise_from_data
from branchfold.models.fitting.original import Original
from branchfold.models.layers.narrowing import with_channels
from branchfold.models.layers.statistics import recompute_batch_norm

RIDGE = 1e-4


def error_at_zero(branched, network, x):
    """‖branched − original‖ / ‖original − its mean‖ at α = 0."""
    branched.set_alpha(0)
    with torch.no_grad():
        wanted = network(x)
        return float((branched(x) - wanted).norm() / (wanted - wanted.mean(0)).norm())


@pytest.fixture
def doubled(randomise):
    """Half of the channels of each layer are multiples of the others, and its BatchNorms hold the data's statistics."""
    network = randomise(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 6, (3, 2), stride=2),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6 * 2 * 3, 10),
            nn.ReLU(),
            nn.Linear(10, 4),
        )
    )
    x = normal(40, 3, 9, 13)
    network[1].eps = 1e-20  # with it a copy of another size would not quite be a copy
    with torch.no_grad():
        # Where the copies stand differs, and so do their factors.
        for layer, pairs in ((0, 4), (3, 3), (7, 5)):
            factors = torch.linspace(-2, 3, pairs).double() if layer == 0 else torch.linspace(0.3, 3, pairs).double()
            weight = network[layer].weight
            weight[pairs:] = weight[:pairs] * factors.view(-1, *(1,) * (weight.dim() - 1))
            if network[layer].bias is not None:
                network[layer].bias[pairs:] = network[layer].bias[:pairs] * factors
        # Behind a BatchNorm a negative factor only turns the sign of the weight.
        network[1].weight[4:] = network[1].weight[:4] * factors.new_tensor([-0.5, -2, 0.7, 1.5])
        network[1].bias[4:] = network[1].bias[:4] * factors.new_tensor([0.5, 2, 0.7, 1.5])
    return network, x


def test_copies_of_channels_are_reproduced(doubled):
    network, x = doubled
    recompute_batch_norm(network, [x])
    branched = add_branches(network, x[:2], keep=0.5, data=x)
    assert error_at_zero(branched, network, x) < 0.02
    # What is left is the ridge's.
    analysis = Analysis.of(branched.network, x[:2])
    original = Original(analysis, branched.plan.widths, input_batches(analysis, x))
    initialise_from_data(branched, analysis, original, ridge=1e-12)
    assert error_at_zero(branched, network, x) < 1e-8
    unseen = normal(5, 3, 9, 13, seed=9)
    torch.testing.assert_close(fold(branched)(unseen), network(unseen), rtol=1e-6, atol=1e-7)


def test_narrow_batch_norms_hold_the_statistics_of_what_arrives(make_example):
    for name in ("chain", "residual", "fire", "dense", "mobile", "conv1d", "conv3d", "linear"):
        _, network, inputs = make_example(name)
        data = normal(30, *inputs.shape[1:], seed=3)
        batches = data.split([11, 12, 7])
        branched = add_branches(network, inputs, keep=0.5, data=batches)
        branched.set_alpha(0)
        arrived = {}
        for path, layer in branched.narrow.named_children():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                arrived[path] = []
                layer.register_forward_pre_hook(lambda _, args, seen=arrived[path]: seen.append(args[0]))
        with torch.no_grad():
            for batch in batches:
                branched(batch)
        assert arrived
        for path, seen in arrived.items():
            columns, layer = torch.cat(seen).movedim(1, 0).flatten(1), branched.narrow.get_submodule(path)
            torch.testing.assert_close(layer.running_mean, columns.mean(1), rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(layer.running_var, columns.var(1), rtol=1e-9, atol=1e-12)


def test_narrow_layers_hold_the_chosen_channels(make_example):
    _, network, inputs = make_example("mobile")
    branched = add_branches(network, inputs, keep={"expand": 4})
    P = branched.compress["expand"].weight
    assert torch.equal(P.sum(1), torch.ones(4).double())
    assert torch.equal(P.sum(0).sort().values, torch.tensor([0.0] * 5 + [1.0] * 4).double())
    chosen = P.argmax(1)
    assert torch.equal(branched.compress["up"].weight, P)
    assert torch.equal(branched.narrow["expand_bn"].weight, network.expand_bn.weight[chosen])
    assert torch.equal(branched.narrow["expand_bn"].bias, network.expand_bn.bias[chosen])
    assert torch.equal(branched.narrow["depthwise"].weight, network.depthwise.weight[chosen])
    assert torch.equal(branched.narrow["depthwise"].bias, network.depthwise.bias[chosen])
    assert branched.narrow["depthwise"].groups == 4


def test_narrow_layers_hold_the_chosen_channels_positions_behind_a_flatten(make_example):
    _, network, inputs = make_example("fire")
    branched = add_branches(network, inputs, keep={"conv": 2, "expand1": 3})
    channels = {path: branched.compress[path].weight.argmax(1).tolist() for path in ("conv", "expand1")}
    places = [24 * c + s for c in channels["conv"] for s in range(24)] + [144 + c for c in channels["expand1"]]
    assert torch.equal(branched.narrow["norm"].weight, network.norm.weight[places])
    assert torch.equal(branched.narrow["norm"].bias, network.norm.bias[places])


def test_a_copy_with_some_channels_has_their_values(randomise):
    chosen = torch.tensor([4, 0, 3])
    for layer in (nn.BatchNorm2d(6), nn.PReLU(6), nn.Conv2d(6, 6, 3, groups=6)):
        layer = randomise(layer)
        narrow = with_channels(layer, chosen)
        x = normal(2, 6, 5, 7)
        assert torch.equal(narrow(x[:, chosen]), layer(x)[:, chosen])


def centred(A):
    return A - A.mean(1, keepdim=True)


def hearing(weight, A):
    """The rows of a linear reader's weight, each scaled to yield energy 1 of activations (channels, examples)."""
    weight = weight.detach()
    return weight / (weight @ A).norm(dim=1, keepdim=True)


def selected(A, W, k):
    """Reference for the selection: torch's least squares on the activations (channels, examples), W of what is left."""
    chosen = []
    for _ in range(k):
        left = {}
        for j in set(range(len(A))) - set(chosen):
            Z = A[[*chosen, j]].T
            left[j] = float((W @ (A.T - Z @ torch.linalg.lstsq(Z, A.T).solution).T).square().sum())
        chosen.append(min(left, key=left.get))
    return chosen


def ridge_fit(A, Z):
    """E of min ‖A − E Z‖² + λ‖E‖², λ = 1e-4 × mean energy of Z's rows; activations are (channels, examples)."""
    k = len(Z)
    damping = (RIDGE * Z.square().sum() / k).sqrt() * torch.eye(k, dtype=Z.dtype)
    targets = torch.cat([A, A.new_zeros(len(A), k)], 1)
    return torch.linalg.lstsq(torch.cat([Z, damping], 1).T, targets.T).solution.T


def test_two_layers_by_hand_each_on_what_the_one_before_delivers(randomise):
    layers = nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Sigmoid(), nn.Linear(4, 2)
    network = randomise(nn.Sequential(*layers))
    x = 1.5 * normal(80, 6)
    branched = add_branches(network, x, keep={"0": 3, "2": 2}, data=[x[:50], x[50:]])
    y1 = network[0](x).T.detach()
    a1 = torch.tanh(y1)
    # What reads a1, and what reads a2, has a bias for what E leaves of their means.
    c1 = centred(a1)
    first = selected(c1, hearing(network[2].weight, c1), 3)
    E1 = ridge_fit(c1, c1[first])
    y2 = network[2](a1.T).T.detach()
    e1 = a1.mean(1) - E1 @ a1[first].mean(1)
    arriving = network[2]((E1 @ a1[first]).T + e1).T.detach()
    norm = network[3]
    a2 = torch.sigmoid(norm(y2.T).T.detach())
    c2 = centred(a2)
    second = selected(c2, hearing(network[5].weight, c2), 2)
    p2 = (y2.mean(1) - arriving.mean(1))[second]
    u = arriving[second] + p2[:, None]
    u = centred(u) / (u.var(1, keepdim=True) + norm.eps).sqrt()
    z2 = torch.sigmoid(norm.weight[second, None] * u + norm.bias[second, None]).detach()
    E2 = ridge_fit(c2, centred(z2))
    e2 = a2.mean(1) - E2 @ z2.mean(1)
    assert branched.compress["0"].weight.argmax(1).tolist() == first
    assert branched.compress["2"].weight.argmax(1).tolist() == second
    close = {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close(branched.compress["0"].bias.detach(), torch.zeros(3).double(), **close)
    torch.testing.assert_close(branched.blend["_1"].expand["0"].detach(), E1, **close)
    torch.testing.assert_close(branched.compress["2"].bias.detach(), p2, **close)
    torch.testing.assert_close(branched.blend["_4"].expand["0"].detach(), E2, **close)
    # Fitted to the original's own activations it would be another E.
    assert not torch.allclose(E2, ridge_fit(c2, c2[second]), rtol=1e-3)
    assert not torch.allclose(E1, ridge_fit(a1, a1[first]), rtol=1e-3)
    branched.set_alpha(0)
    torch.testing.assert_close(branched.blend["_1"].shift["0"].detach(), e1, **close)
    torch.testing.assert_close(branched.blend["_4"].shift["0"].detach(), e2, **close)
    torch.testing.assert_close(branched(x), network[5]((E2 @ z2).T + e2), **close)


def test_the_mean_that_is_left_out_is_that_of_all_batches(make_example):
    for name in ("chain", "conv1d", "linear", "residual"):
        _, network, inputs = make_example(name)
        drift = torch.linspace(0, 1.5, 31, dtype=torch.float64).view(-1, *(1,) * (inputs.dim() - 1))
        data = normal(31, *inputs.shape[1:], seed=3) + drift
        states = [add_branches(network, inputs, keep=0.5, data=d).state_dict() for d in (data, data.split([20, 4, 7]))]
        torch.testing.assert_close(*states, rtol=1e-6, atol=1e-9)


def test_a_group_read_at_two_places_is_chosen_for_both(functional, randomise):
    """Each place's energy counts the same: G = Σ G_place / tr G_place, about the means."""
    network = randomise(
        functional(
            lambda net, x: net.a(torch.tanh(y := net.first(x))) + net.b(100 * torch.relu(y)),
            first=nn.Linear(6, 7),
            a=nn.Linear(7, 2),
            b=nn.Linear(7, 2),
        )
    )
    x = normal(50, 6)
    branched = add_branches(network, x, keep={"first": 3})
    y = network.first(x).detach().T
    places = [torch.tanh(y), 100 * torch.relu(y)]
    scaled = [centred(z) / centred(z).norm() for z in places]
    heard = [hearing(layer.weight, z) for layer, z in zip((network.a, network.b), scaled, strict=True)]
    expected = selected(torch.cat(scaled, 1), torch.cat(heard), 3)
    assert branched.compress["first"].weight.argmax(1).tolist() == expected
    assert len(branched.blend) == 2
    for blend, z in zip(branched.blend.children(), places, strict=True):
        E = ridge_fit(centred(z), centred(z)[expected])
        torch.testing.assert_close(blend.expand["0"].detach(), E, rtol=1e-8, atol=1e-10)
        e = z.mean(1) - E @ z[expected].mean(1)
        torch.testing.assert_close(blend.shift["0"].detach(), e, rtol=1e-8, atol=1e-10)


def test_data_may_come_as_a_generator_of_labelled_batches(make_example):
    _, network, inputs = make_example("residual")
    data = normal(24, *inputs.shape[1:], seed=4)
    forms = [
        data,
        data.split([5, 12, 7]),
        ((x, torch.zeros(len(x), dtype=torch.long)) for x in data.split(10)),
        [[x, torch.zeros(len(x))] for x in data.split(24)],
        (x.float() for x in data.float().split(24)),
    ]
    networks = [add_branches(network, inputs, keep=0.5, data=form) for form in forms]
    expected = networks[0].state_dict()
    for branched, tolerance in zip(networks[1:], (1e-7, 1e-7, 1e-7, 1e-2), strict=True):
        for name, value in branched.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)


def test_a_tensor_of_data_is_run_in_chunks(make_example):
    _, network, inputs = make_example("linear")
    data = normal(600, 5, seed=4)
    sizes = []
    network[0].register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    whole = add_branches(network, inputs, keep={"3": 0.5}, data=data)
    assert max(sizes) <= 256
    parts = add_branches(network, inputs, keep={"3": 0.5}, data=[data])
    torch.testing.assert_close(whole.state_dict(), parts.state_dict(), rtol=1e-8, atol=1e-10)


def test_the_example_inputs_are_the_data_by_default(example):
    branched = add_branches(example.network, example.inputs, keep=0.5)
    given = add_branches(example.network, example.inputs, keep=0.5, data=[(example.inputs,)])
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in branched.state_dict().items())


def test_modes_and_data_stay_as_they_were(functional, randomise):
    network = functional(
        # x is read again, so that it has to change in place.
        lambda net, x: net.second(F.relu(net.norm(net.first(x.sub_(0.5))))) * x.mean(),
        first=nn.Conv2d(3, 8, 3),
        norm=nn.BatchNorm2d(8),
        second=nn.Conv2d(8, 4, 3),
    )
    network = randomise(network).train()
    network.norm.eval()
    x = normal(6, 3, 7, 8)
    data, inputs = x.clone(), x.clone()
    state = copy.deepcopy(network.state_dict())
    branched = add_branches(network, inputs, keep=0.5, data=data)
    assert torch.equal(data, x)
    assert torch.equal(inputs, x)
    assert branched.training
    assert not branched.network.norm.training
    assert all(torch.equal(value, state[name]) for name, value in branched.network.state_dict().items())
    # The first operation is applied once to the original's side and once to the delivered one, not twice to either.
    outside = randomise(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)))
    outside.load_state_dict(dict(zip(outside.state_dict(), state.values(), strict=True)))
    expected = add_branches(outside, x - 0.5, keep=0.5)
    for mine, theirs in zip(branched.state_dict().values(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_fitting_is_far_better_than_chance():
    torch.manual_seed(0)
    grid = torch.linspace(-1, 1, 16)
    # Smooth images: few independent directions.
    waves = torch.stack([torch.sin(k * grid[:, None] + m * grid[None, :]) for k in (1, 2) for m in (-1, 0, 1)])
    images = torch.einsum("ncw,whv->nchv", torch.randn(96, 3, 6), waves)
    network = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1, bias=False),
        nn.BatchNorm2d(24),
        nn.Tanh(),
        nn.Conv2d(24, 32, 3, stride=2),
        nn.SiLU(),
        nn.AvgPool2d(3),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    recompute_batch_norm(network, [images])
    network.eval()
    errors = {
        init: error_at_zero(
            add_branches(network, images[:2], keep=0.5, init=init, data=images[:64]), network, images[64:]
        )
        for init in ("least-squares", "kaiming")
    }
    assert errors["least-squares"] < 0.25
    assert errors["kaiming"] > 1


def test_more_channels_explain_more(make_example):
    _, network, inputs = make_example("tokens")
    data = normal(200, *inputs.shape[1:], seed=6)
    errors = [error_at_zero(add_branches(network, inputs, keep=k, data=data), network, data) for k in (0.25, 0.5, 0.9)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_half_precision_is_fitted_as_well():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).append(nn.Linear(32, 10))
    images = torch.randn(100, 3, 12, 14)
    branched = add_branches(copy.deepcopy(network).bfloat16(), images[:2].bfloat16(), keep=0.75, data=images)
    branched.set_alpha(0)
    wanted = network(images)
    rounding = (copy.deepcopy(network).bfloat16()(images.bfloat16()).float() - wanted).norm()
    exact = add_branches(network, images[:2], keep=0.75, data=images)
    exact.set_alpha(0)
    fitted = (exact(images) - wanted).norm()
    assert (branched(images.bfloat16()).float() - wanted).norm() < 2 * (rounding + fitted)


def test_a_reader_whose_output_is_thrown_away_is_no_obstacle(functional, randomise):
    network = functional(
        lambda net, x: (net.unused(F.relu(net.first(x))), net.last(F.relu(net.other(x))))[1],
        first=nn.Conv2d(3, 6, 3),
        unused=nn.Conv2d(6, 5, 3),
        other=nn.Conv2d(3, 6, 3),
        last=nn.Conv2d(6, 2, 3),
    )
    x = normal(3, 3, 8, 9)
    branched = add_branches(randomise(network), x, keep=0.5)
    assert torch.equal(branched(x), network(x))
    branched.set_alpha(0)
    small = fold(branched)
    assert (small.first.out_channels, small.unused.in_channels, small.other.out_channels) == (3, 3, 3)
    torch.testing.assert_close(small(x), branched(x), rtol=1e-9, atol=1e-12)


def test_the_random_initialisation_is_random_and_needs_no_data(make_example):
    _, network, inputs = make_example("chain")
    torch.manual_seed(0)
    branched = add_branches(network, inputs, keep=0.5, init="kaiming", data=iter(()))
    other = add_branches(network, inputs, keep=0.5, init="kaiming")
    assert not torch.equal(branched.compress["features/0"].weight, other.compress["features/0"].weight)
    assert torch.equal(branched.compress["features/0"].bias, torch.zeros(4).double())
    norm = branched.narrow["features/1"]
    assert torch.equal(norm.weight, torch.ones(4).double())
    assert torch.equal(norm.running_mean, torch.zeros(4).double())
    # Kaiming's standard deviation for a linear step: 1/√fan_in.
    wide = add_branches(
        nn.Sequential(nn.Linear(2, 900), nn.Linear(900, 2)), torch.zeros(1, 2), keep=0.5, init="kaiming"
    )
    assert wide.compress["0"].weight.std().item() == pytest.approx(900**-0.5, rel=0.02)
    assert wide.blend["_0"].expand["0"].std().item() == pytest.approx(450**-0.5, rel=0.02)


def test_no_data_and_data_that_are_not_finite_are_refused(make_example):
    _, network, inputs = make_example("chain")
    with pytest.raises(NetworkError, match="there is no data"):
        add_branches(network, inputs, keep=0.5, data=[])
    bad = inputs.clone()
    bad[1, 0, 2, 3] = float("nan")
    with pytest.raises(NetworkError, match="not finite"):
        add_branches(network, inputs, keep=0.5, data=bad)


def test_a_silent_group_does_not_break_the_fit(randomise):
    network = randomise(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Conv2d(5, 2, 1)))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].bias.fill_(-1)
    x = normal(4, 3, 8, 9)
    branched = add_branches(network, x, keep=0.6)
    branched.set_alpha(0)
    torch.testing.assert_close(branched(x), network(x), rtol=1e-3, atol=1e-4)


class DroppedPaths(nn.Module):
    """Training hears some examples' paths only, at random; by a branch in Python, as in timm."""

    def __init__(self, rate):
        super().__init__()
        self.rate, self.first, self.path = rate, nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        y = self.path(x := self.first(x))
        if self.training and self.rate:
            y = y * y.new_empty((len(y), 1, 1, 1)).bernoulli_(1 - self.rate)
        return self.last(self.norm(torch.relu(x + y)))


def test_what_training_drops_at_random_has_no_part_in_the_fit():
    x = torch.randn(4, 3, 9, 9, dtype=torch.float64)
    torch.manual_seed(0)
    network = DroppedPaths(0.0).double().eval()
    expected = add_branches(network, x, keep=0.5)
    network.rate = 0.9
    found = add_branches(network, x, keep=0.5)
    for branched in (expected, found):
        branched.set_alpha(0)
    torch.testing.assert_close(found(x), expected(x))
