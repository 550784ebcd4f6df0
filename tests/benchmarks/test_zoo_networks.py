"""The hand-written networks run by themselves, whatever is made of them."""

import warnings

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from branchfold.benchmarks.zoo_networks import NETWORKS


def answer(network, inputs):
    if isinstance(inputs, dict):
        return network(**inputs)
    return network(*inputs) if isinstance(inputs, tuple) else network(inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_takes_its_inputs_in_both_modes_and_any_batch(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the old weight_norm is on its way out
        network = NETWORKS[name].build()
    with torch.no_grad():
        for batch, training in ((2, True), (1, False)):
            outputs = tree_leaves(answer(network.train(training), NETWORKS[name].inputs(batch, 0)))
            assert all(isinstance(y, Tensor) and y.isfinite().all() and y.shape[0] == batch for y in outputs)
