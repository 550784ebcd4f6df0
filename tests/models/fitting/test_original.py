"""What branches of several widths share, beside what each has when it is fitted alone."""

import pytest
import torch
from comparing import normal
from torch import nn

from branchfold.models import add_branches
from branchfold.models.branching import branched_at, observed
from branchfold.models.channels.groups import Analysis
from branchfold.models.fitting.activations import input_batches
from branchfold.models.fitting.estimates import Rows, joint_gram, joint_mean
from branchfold.models.fitting.original import Original


def widths_at(network, inputs, share):
    """Channels of every group that can be narrowed, as many of each block."""
    groups = [group for group in Analysis.of(network, inputs).groups if group.prunable]
    return {g.name: g.blocks * max(1, int(share * g.width / g.blocks)) for g in groups}


@pytest.mark.parametrize(
    ("name", "held"),
    [*((n, True) for n in ("chain", "fire", "dense", "mobile", "decoder", "tokens")), ("residual", False)],
)
def test_what_is_shared_gives_the_branches_that_are_fitted_alone(make_example, name, held, monkeypatch):
    _, network, inputs = make_example(name)
    data = [inputs, 0.7 * inputs.flip(0)]
    if not held:
        monkeypatch.setattr(Original.__init__, "__kwdefaults__", {"most_held": 1})
    known = observed(network, inputs, data)
    # The widest last, and one group left whole in between, whose readers' means are then nobody's to restore.
    for share, whole in ((0.4, None), (0.3, 0), (0.8, None)):
        widths = widths_at(network, inputs, share)
        if whole is not None and len(widths) > 1:
            widths.pop(list(widths)[whole])
        alone = branched_at(network, inputs, widths=widths, data=data)
        shared = branched_at(network, inputs, widths=widths, known=known)
        assert known.holds == held
        torch.testing.assert_close(shared.state_dict(), alone.state_dict(), rtol=1e-7, atol=1e-9)
        assert shared.network is not known.network


def test_the_network_runs_once_for_all_widths(make_example):
    _, network, inputs = make_example("residual")
    known = observed(network, inputs, inputs)
    calls = []
    known.network.stem.register_forward_hook(lambda *_: calls.append(1))
    for share in (0.3, 0.6, 0.5):
        branched_at(network, inputs, widths=widths_at(network, inputs, share), known=known)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["residual", "fire", "mobile"])
def test_the_channels_of_a_smaller_width_are_the_first_of_a_larger(make_example, name):
    _, network, inputs = make_example(name)
    analysis = Analysis.of(network, inputs)
    blocks = {group.name: group.blocks for group in analysis.groups if group.prunable}
    batches = input_batches(analysis, [inputs])
    whole = {group.name: group.width for group in analysis.groups if group.prunable}
    longest = Original(analysis, whole, batches).best(whole, blocks)
    for share in (0.3, 0.6):
        widths = widths_at(network, inputs, share)
        for name, order in Original(analysis, whole, batches).best(widths, blocks).items():
            assert order.tolist() == longest[name][: widths[name]].tolist()


def test_the_network_that_shares_may_change_meanwhile(make_example):
    _, network, inputs = make_example("chain")
    widths = widths_at(network, inputs, 0.5)
    expected = branched_at(network, inputs, widths=widths, data=inputs).state_dict()
    known = observed(network, inputs, inputs)
    first = branched_at(network, inputs, widths=widths, known=known)
    with torch.no_grad():
        for parameter in first.network.parameters():  # as a trial's training does
            parameter.add_(1)
    again = branched_at(network, inputs, widths=widths, known=known)
    torch.testing.assert_close(again.state_dict(), expected, rtol=1e-7, atol=1e-9)


def test_under_autocast_sums_and_solutions_keep_their_precision():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 12, 3), nn.ReLU(), nn.Conv2d(12, 2, 1)
    network, images = nn.Sequential(*layers).eval(), 3 + torch.randn(200, 3, 9, 8)
    exact = add_branches(network, images[:2], keep=0.5, data=images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = add_branches(network, images[:2], keep=0.5, data=images)
        assert torch.is_autocast_enabled("cpu")
    for name, value in exact.state_dict().items():
        assert rough.state_dict()[name].dtype == value.dtype
    branched = [exact, rough]
    for each in branched:
        each.set_alpha(0)
    with torch.no_grad():
        wanted = network(images)
        errors = [float((each(images) - wanted).norm() / (wanted - wanted.mean(0)).norm()) for each in branched]
    # Products summed up in bfloat16 would make it several times worse.
    assert errors[1] < 1.1 * errors[0]


def test_rows_of_several_tensors_are_one_about_their_mean_or_about_zero():
    tensors = [5 + normal(4, 30, seed=1), 3 * normal(4, 20, seed=2) - 7]
    rows = []
    for tensor in tensors:
        rows.append(Rows(products=True, held=True))
        for batch in tensor.split(7, 1):
            rows[-1].add(batch)
    A = torch.cat(tensors, 1)
    C = A - A.mean(1, keepdim=True)
    torch.testing.assert_close(joint_gram(rows, centred=True), C @ C.T, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(joint_gram(rows, centred=False), A @ A.T, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(joint_mean(rows), A.mean(1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cat(rows[0].batches, 1) + rows[0].shift[:, None], tensors[0])
    assert rows[0].size == 4 * 30 * 8
    rows[0].release()
    assert rows[0].size == 0
