"""The fit against a reference written out: greedy selection and ridge regression by torch's least squares."""

import torch
from comparing import normal
from torch import nn

from branchfold.models import add_branches

RIDGE = 1e-4


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
