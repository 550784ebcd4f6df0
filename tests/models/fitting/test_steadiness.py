"""What is fitted to data that tell too little."""

import pytest
import torch
from comparing import normal
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.fitting.estimates import moments, variance_of_few
from branchfold.models.fitting.steadiness import require_steady


def deep(randomise, layers=12, width=16):
    blocks = [nn.Sequential(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width)) for _ in range(layers)]
    return randomise(nn.Sequential(*blocks, nn.Linear(width, 3)))


def test_branches_fitted_to_two_examples_are_as_steady_as_the_original(randomise):
    """The variance of two values is often next to nothing; each BatchNorm would multiply rounding by its inverse."""
    network, x = deep(randomise), normal(2, 16)
    branched = add_branches(network, x, keep=0.5)
    branched.set_alpha(0)
    noise = 1e-9 * normal(2, 16, seed=1)
    with torch.no_grad():
        change = [(net(x + noise) - net(x)).norm() / noise.norm() for net in (network, branched)]
        assert change[1] < 100 * change[0]
        torch.testing.assert_close(fold(branched)(x), branched(x), rtol=1e-12, atol=1e-12)


def test_what_is_known_of_a_variance_counts_as_one_value_of_few():
    values = [torch.tensor([[1.0, 4.0]]), torch.tensor([[3.0, 4.0]])]
    _, variance = moments(values)
    assert variance.tolist() == [2, 0]
    assert variance_of_few(values, variance, torch.tensor([5.0, 6.0])).tolist() == [(2 + 5) / 2, 6 / 2]
    single = [torch.tensor([[7.0, 7.0]])]
    assert variance_of_few(single, moments(single)[1], torch.tensor([5.0, 6.0])).tolist() == [5, 6]
    enough = [torch.tensor([[1.0, 4.0], [3.0, 4.0]]).repeat(8, 1)]
    variance = moments(enough)[1]
    assert torch.equal(variance_of_few(enough, variance, torch.tensor([5.0, 6.0])), variance)


def held(branched, x):
    """BatchNorms that have seen nothing but `x`: what they yield of it is as large as ever, all else is multiplied."""

    def see(layer, args):
        layer.running_mean.copy_(args[0].mean(0))
        layer.running_var.zero_()

    alpha, norms = branched.alpha, [m for m in branched.narrow.modules() if isinstance(m, nn.BatchNorm1d)]
    handles = [norm.register_forward_pre_hook(see) for norm in norms]
    branched.set_alpha(0)
    with torch.no_grad():
        branched(x)
    branched.set_alpha(alpha)
    for handle in handles:
        handle.remove()
    return branched


def test_branches_that_amplify_rounding_are_refused_with_what_would_help(randomise):
    branched, x = add_branches(deep(randomise), normal(40, 16), keep=0.5), normal(1, 16)
    require_steady(branched, [x])
    branched.set_alpha(0.3)
    with pytest.raises(NetworkError, match=r"change \de\+\d+ times as much as their input.*init=\"selection\""):
        require_steady(held(branched, x), [x])
    assert {*branched.alpha.values()} == {0.3}


def test_branches_whose_answer_is_not_finite_are_refused(randomise):
    x = normal(1, 16).float()
    branched = add_branches(deep(randomise, layers=30).float(), normal(40, 16).float(), keep=0.5)
    with pytest.raises(NetworkError, match="change nan times as much"):
        require_steady(held(branched, x), [x])


def test_an_answer_of_nothing_but_zeros_is_steady(randomise):
    network = randomise(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)))
    nn.init.zeros_(network[2].weight)
    nn.init.zeros_(network[2].bias)
    branched = add_branches(network, normal(5, 4), keep=0.5)
    assert not branched(normal(5, 4)).any()
