import pytest
import torch
from comparing import normal
from torch import nn

from branchfold.models import add_branches
from branchfold.models.channels.groups import Analysis
from branchfold.models.channels.reuse import readers_by_tensor
from branchfold.models.fitting.readers import mean_is_restored, metric

X = normal(5, 3, 7, 8)


def readers_by_path(analysis):
    """Paths of the layers that read one tensor → their calls and the tensor's layout."""
    found = {}
    for node, readers in readers_by_tensor(analysis.graph).items():
        key = tuple(dict.fromkeys(str(reader.target) for reader in readers))
        assert key not in found
        found[key] = (readers, analysis.graph.layouts[node])
    return found


def restored(network, x, *readers, branched=None):
    """Whether it is for the tensor that `readers` read; all groups that can be narrowed have a branch by default."""
    analysis = Analysis.of(network.double(), x)
    groups = {group.name for group in analysis.groups if group.prunable} if branched is None else branched
    return mean_is_restored(analysis, readers_by_path(analysis)[readers][0], groups)


def between(*layers):
    """What stands between two convolutions, the first of which is read by `layers`."""
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), *layers, nn.Conv2d(5, 2, 1))


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [
        ((nn.Conv2d(6, 5, 2), nn.BatchNorm2d(5), nn.ReLU()), True),
        ((nn.Conv2d(6, 5, 2, bias=False), nn.BatchNorm2d(5), nn.ReLU()), True),
        ((nn.Conv2d(6, 5, 2), nn.ReLU()), False),
        ((nn.Conv2d(6, 5, 2, bias=False), nn.ReLU(), nn.BatchNorm2d(5)), False),
        ((nn.Conv2d(6, 5, 2, bias=False), nn.InstanceNorm2d(5, track_running_stats=True)), False),
        ((nn.ConvTranspose2d(6, 5, 2, bias=False), nn.BatchNorm2d(5)), False),
    ],
)
def test_a_batch_norm_right_behind_restores_the_mean(layers, wanted):
    assert restored(between(*layers), X, "2") is wanted


def test_without_a_branch_nothing_does():
    net = between(nn.Conv2d(6, 5, 2), nn.BatchNorm2d(5), nn.ReLU()).append(nn.BatchNorm2d(2))
    assert restored(net, X, "2", branched={"0", "2"})
    assert not restored(net, X, "2", branched={"0"})
    assert not restored(net, X, "5")  # the output


def test_a_batch_norm_must_be_all_that_hears_a_layer(functional):
    def forward(net, x):
        y = net.second(torch.relu(net.first(x)))
        return net.last(torch.relu(net.norm(y)) + (y if net.around else 0))

    layers = {"second": nn.Conv2d(6, 5, 1, bias=False), "norm": nn.BatchNorm2d(5), "last": nn.Conv2d(5, 2, 1)}
    for around in (False, True):
        net = functional(forward, first=nn.Conv2d(3, 6, 1), **layers)
        net.around = around
        assert restored(net, X, "second") is not around


def test_all_layers_that_read_a_tensor_must_restore_its_mean(functional):
    def forward(net, x):
        y = torch.relu(net.first(x))
        return net.last(torch.relu(net.a_norm(net.a(y))) * torch.relu(net.b_norm(net.b(y))))

    for normed in (True, False):
        net = functional(
            forward,
            first=nn.Conv2d(3, 6, 1),
            a=nn.Conv2d(6, 5, 1),
            a_norm=nn.BatchNorm2d(5),
            b=nn.Conv2d(6, 5, 1),
            b_norm=nn.BatchNorm2d(5) if normed else nn.Tanh(),
            last=nn.Conv2d(5, 2, 1),
        )
        assert restored(net, X, "a", "b") is normed


def test_tensors_that_one_layer_reads_are_judged_together(functional):
    """`both` reads the two tensors, so they share E: where `plain`, which reads one, restores no mean, neither does."""

    def forward(net, x):
        y, z = torch.relu(net.first(x)), torch.tanh(net.first(x))
        return net.last(torch.relu(net.norm(net.both(y))) + net.norm(net.both(z)) + net.other_norm(net.plain(z)))

    for normed in (True, False):
        net = functional(
            forward,
            first=nn.Conv2d(3, 6, 1),
            both=nn.Conv2d(6, 5, 1),
            norm=nn.BatchNorm2d(5),
            plain=nn.Conv2d(6, 5, 1),
            other_norm=nn.BatchNorm2d(5) if normed else nn.Tanh(),
            last=nn.Conv2d(5, 2, 1),
        ).double()
        analysis = Analysis.of(net, X)
        ((tensor, calls),) = (
            (node, readers)
            for node, readers in readers_by_tensor(analysis.graph).items()
            if str(readers[0].target) == "both"
        )
        assert [str(call.target) for call in calls] == ["both", "both", "plain"]
        assert tensor in {call.all_input_nodes[0] for call in calls}
        assert restored(net, X, "both", "plain") is normed


def metric_of(network, x, *readers, segment=0, gram):
    analysis = Analysis.of(network, x)
    calls, layout = readers_by_path(analysis)[readers]
    return metric(analysis, calls, layout, segment, gram)


def heard(outputs, delta_outputs):
    """Mean over outputs of the energy of a change, by that of the output itself: tensors (outputs, *)."""
    return (delta_outputs.flatten(1).square().sum(1) / outputs.flatten(1).square().sum(1)).mean()


def assert_metric(M, A, yielded):
    """tr(M D Dᵀ) is what the readers make of changes D (C, n) in place of A; `yielded` gives (out, *) of each."""
    assert M.dtype == torch.float64
    torch.testing.assert_close(M, M.T)
    for seed in range(3):
        D = normal(*A.shape, seed=50 + seed)
        wanted = sum(heard(layer(A), layer(D)) for layer in yielded)
        torch.testing.assert_close((M * (D @ D.T)).sum(), wanted, rtol=1e-9, atol=0)


def without_bias(layer, A):
    """What a layer yields of examples A (C, n) without its bias: (out, n)."""
    x = A.T if isinstance(layer, nn.Linear) else A.T[:, :, None, None]
    return (layer(x) - layer(torch.zeros_like(x))).detach().flatten(1).T


def test_pointwise_layers_hear_what_they_yield(randomise):
    for make, x in ((nn.Linear, normal(4, 3)), (lambda *sizes: nn.Conv2d(*sizes, 1), X)):
        net = randomise(nn.Sequential(make(3, 6), nn.Tanh(), make(6, 5), nn.Tanh(), make(5, 2)))
        A = normal(6, 30, seed=1)
        M = metric_of(net, x, "2", gram=A @ A.T)
        assert_metric(M, A, [lambda data, layer=net[2]: without_bias(layer, data)])


def by_place(weight, data):
    """Each place of a kernel (out, C, *) by itself, applied to examples (C, n): (out, places, n)."""
    return torch.stack([w @ data for w in weight.detach().flatten(2).unbind(2)], 1)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(6, 5, (3, 2), stride=2, padding=1), nn.ConvTranspose2d(6, 5, (2, 3)), nn.Conv2d(6, 5, 3)]
)
def test_the_places_of_a_kernel_add_up(randomise, layer):
    net = randomise(between(layer, nn.Tanh()))
    weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    A = normal(6, 30, seed=1)
    assert_metric(metric_of(net, X, "2", gram=A @ A.T), A, [lambda data: by_place(weight, data)])


def test_positions_behind_a_flatten_are_places_of_their_channel(randomise):
    net = randomise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 5 * 6, 7)))
    A = normal(4, 40, seed=1)

    def yielded(data):
        """Every position alone, all others silent, through the layer itself."""
        found = []
        for position in range(30):
            x = torch.zeros(data.shape[1], 4, 30, dtype=torch.float64)
            x[:, :, position] = data.T
            found.append(without_bias(net[3], x.flatten(1).T))
        return torch.stack(found, 1)

    assert_metric(metric_of(net, X, "3", gram=A @ A.T), A, [yielded])


def test_each_segment_of_a_concat_has_its_own_weights_and_each_reader_counts_alike(functional, randomise):
    def forward(net, x):
        y = torch.cat([torch.tanh(net.first(x)), torch.relu(net.second(x))], 1)
        return net.a(y).mean() + 100 * net.b(y)

    net = randomise(
        functional(
            forward,
            first=nn.Conv2d(3, 4, 1),
            second=nn.Conv2d(3, 6, 1),
            a=nn.Conv2d(10, 9, 1),
            b=nn.Conv2d(10, 2, (1, 3)),
        )
    )
    with torch.no_grad():
        net.a.weight *= 1000
    for segment, places in ((0, slice(0, 4)), (1, slice(4, 10))):
        weights = [layer.weight[:, places] for layer in (net.a, net.b)]
        A = normal(weights[0].shape[1], 30, seed=1)
        M = metric_of(net, X, "a", "b", segment=segment, gram=A @ A.T)
        assert_metric(M, A, [lambda data, w=weight: by_place(w, data) for weight in weights])
        torch.testing.assert_close((M * (A @ A.T)).sum(), torch.tensor(2.0).double())


def test_a_layer_that_is_called_twice_counts_once(functional, randomise):
    def forward(net, x):
        y = net.first(x)
        return net.last(torch.relu(net.both(torch.tanh(y))) + net.both(torch.relu(y)))

    net = randomise(
        functional(forward, first=nn.Conv2d(3, 6, 1), both=nn.Conv2d(6, 5, (2, 1)), last=nn.Conv2d(5, 2, 1))
    )
    A = normal(6, 30, seed=1)
    M = metric_of(net, X, "both", gram=A @ A.T)
    assert_metric(M, A, [lambda data: by_place(net.both.weight, data)])


def test_outputs_that_hear_nothing_do_not_count(randomise):
    net = randomise(between(nn.Conv2d(6, 5, (1, 2)), nn.Tanh()))
    with torch.no_grad():
        net[2].weight[1] = 0
        net[2].weight[3, :5] = 0  # it hears the last channel only, which is silent
    A = normal(6, 30, seed=1)
    A[5] = 0
    M = metric_of(net, X, "2", gram=A @ A.T)
    assert_metric(M, A, [lambda data: by_place(net[2].weight[[0, 2, 4]], data)])
    silent = metric_of(net, X, "2", gram=torch.zeros(6, 6, dtype=torch.float64))
    assert torch.equal(silent, torch.zeros(6, 6, dtype=torch.float64))


def test_half_precision_is_weighed_in_float32(randomise):
    net = randomise(between(nn.Conv2d(6, 5, (3, 2)), nn.Tanh()), dtype=torch.bfloat16)
    A = normal(6, 30, seed=1)
    M = metric_of(net, X.bfloat16(), "2", gram=A @ A.T)
    torch.testing.assert_close(M, metric_of(net.double(), X, "2", gram=A @ A.T), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("width", [2, 3])
def test_channels_that_no_reader_weighs_are_not_chosen(randomise, width):
    net = randomise(nn.Sequential(nn.Linear(6, 6), nn.Identity(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)))
    with torch.no_grad():
        net[0].weight.copy_(torch.diag(torch.tensor([1.0, 50, 2, 40, 30, 3])))
        net[2].weight[:, [1, 3, 4]] = 0
    x = normal(2000, 6)
    chosen = add_branches(net, x, keep={"0": width, "2": 2}).compress["0"].weight.argmax(1).tolist()
    assert set(chosen) <= {0, 2, 5}
    assert len(set(chosen)) == width


@pytest.mark.parametrize("normed", [True, False])
def test_constants_change_no_fit_where_the_mean_is_restored(randomise, normed):
    """A BatchNorm adds them to the channels, the next takes them off; without it and a bias, E has to explain them."""
    x, fits = normal(50, 3, 4, 5), []
    for shift in (0 * normal(6), 5 * normal(6, seed=2)):
        layers = nn.Conv2d(3, 6, 1), nn.ELU(), nn.BatchNorm2d(6), nn.Conv2d(6, 5, (2, 3), bias=normed)
        net = randomise(nn.Sequential(*layers, nn.BatchNorm2d(5) if normed else nn.Tanh(), nn.Conv2d(5, 2, 1)))
        with torch.no_grad():
            net[2].bias += shift
            if normed:
                net[4].running_mean += net[3].weight.sum((2, 3)) @ shift
        fits.append(add_branches(net, x, keep=0.5))
    plain, shifted = fits
    assert list(plain.plan.widths) == ["0", "3"]
    for fit in fits:
        fit.set_alpha(0)
    E, other = (fit.blend["_2"].expand["0"] for fit in fits)
    assert torch.allclose(E, other, rtol=1e-8, atol=1e-10) is normed
    assert torch.allclose(plain(x), shifted(x), rtol=1e-8, atol=1e-10) is normed


def test_a_reader_in_groups_counts_like_the_dense_one_that_it_is():
    grouped, dense = nn.Conv2d(6, 4, (2, 3), groups=2), nn.Conv2d(6, 4, (2, 3))
    with torch.no_grad():
        dense.weight.zero_()
        for o in range(4):
            dense.weight[o, 3 * (o // 2) : 3 * (o // 2) + 3] = grouped.weight[o]
    A = normal(6, 40, seed=5)
    found = [
        metric_of(
            nn.Sequential(nn.Conv2d(3, 6, 1), nn.Tanh(), reader, nn.Conv2d(4, 2, 1)).double(), X, "2", gram=A @ A.T
        )
        for reader in (grouped, dense)
    ]
    torch.testing.assert_close(*found)


def test_a_reader_in_groups_of_two_parts_counts_each_by_its_own():
    grouped, dense = nn.Conv2d(8, 4, 1, groups=4), nn.Conv2d(8, 4, 1)
    with torch.no_grad():
        dense.weight.zero_()
        for o in range(4):
            dense.weight[o, 2 * o : 2 * o + 2] = grouped.weight[o]

    class Joined(nn.Module):
        def __init__(self, reader):
            super().__init__()
            self.a, self.reader, self.last = nn.Conv2d(3, 4, 1), reader, nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return self.last(self.reader(torch.cat([self.a(x), self.a(x).tanh()], 1)))

    A = normal(4, 40, seed=5)
    for segment in (0, 1):
        found = [
            metric_of(Joined(reader).double(), X, "reader", segment=segment, gram=A @ A.T)
            for reader in (grouped, dense)
        ]
        torch.testing.assert_close(*found)
