import pytest
import torch

from branchfold.errors import NetworkError
from branchfold.models import add_branches, fold
from branchfold.models.branches.keep import fitting_widths, kept_widths
from branchfold.models.branching import branched_at
from branchfold.models.channels.groups import ChannelGroup, channel_groups


@pytest.fixture(scope="module")
def groups(make_example):
    """Widths: stem 8, a1 5, b1 6, b2 12, all free; fc 4, fixed."""
    _, network, inputs = make_example("residual")
    return channel_groups(network, inputs)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (0.5, {"stem": 4, "a1": 2, "b1": 3, "b2": 6}),
        (0.3, {"stem": 2, "a1": 2, "b1": 2, "b2": 4}),
        (1e-9, {"stem": 1, "a1": 1, "b1": 1, "b2": 1}),
        (0.95, {"b2": 11}),
        (1, {}),
        (1.0, {}),
        ({}, {}),
        ({"b2": 0.5}, {"b2": 6}),
        ({"b2": 5, "stem": 1.0, "a1": 4}, {"b2": 5, "a1": 4}),
        ({"b2": 12}, {}),
        ({"b2": 1}, {}),
        ({"b2": 1 / 12}, {"b2": 1}),
        ({"fc": 1}, {}),
        ({"fc": 4}, {}),
    ],
)
def test_the_share_or_the_count_that_stays(groups, keep, expected):
    assert kept_widths(groups, keep) == expected


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (0, r"keep must be in \(0, 1\] or a channel count, but got keep=0 for group 'stem'"),
        (1.4, "keep=1.4"),
        (-0.5, "keep=-0.5"),
        (float("nan"), "keep=nan"),
        (9, "group 'stem' has 8 channels, but got keep=9"),
        ("half", "keep must be a number, but got 'half'"),
        (True, "keep must be a number, but got True"),
        (None, "keep must be a number, but got None"),
        ({"b2": 13}, "group 'b2' has 12 channels, but got keep=13"),
        ({"b2": 0}, "keep=0 for group 'b2'"),
        ({"b2": "6"}, "must be a number"),
        ({"b2": 5.0}, "keep=5.0"),
        ({"steem": 0.5}, "no channel group is called 'steem'; did you mean stem"),
        ({"fc": 0.5}, "group 'fc' cannot be narrowed: it is the network's output"),
    ],
)
def test_what_is_no_width_is_refused(groups, keep, message):
    with pytest.raises(NetworkError, match=message):
        kept_widths(groups, keep)


def test_the_widths_are_those_of_the_folded_network(make_example):
    _, network, inputs = make_example("residual")
    small = fold(add_branches(network, inputs, keep={"stem": 3, "b2": 0.25}, init="kaiming"))
    found = {group.name: group.width for group in channel_groups(small, inputs)}
    assert found == {"stem": 3, "a1": 5, "b1": 6, "b2": 3, "fc": 4}


@pytest.mark.parametrize(
    ("share", "multiple", "width"),
    [(0.5, 8, 32), (0.34, 8, 24), (0.01, 8, 8), (0.99, 8, 64), (0.34, 1, 22), (1, 8, 64)],
)
def test_shares_give_the_nearest_multiple_and_never_none(share, multiple, width):
    group = ChannelGroup("conv", 64, ("conv",), ("next",), "")
    assert kept_widths([group], share, multiple).get("conv", 64) == width


def test_a_multiple_wider_than_the_group_leaves_it_whole_and_counts_are_taken_as_they_are():
    group = ChannelGroup("conv", 6, ("conv",), ("next",), "")
    assert kept_widths([group], 0.5, 8) == {}
    assert kept_widths([group], {"conv": 5}, 8) == {"conv": 5}


@pytest.mark.parametrize(
    ("share", "multiple", "width"), [(0.5, 1, 24), (0.4, 1, 16), (0.01, 1, 8), (0.5, 6, 24), (0.3, 6, 24), (1, 1, 48)]
)
def test_shares_of_channels_in_blocks_give_multiples_of_both(share, multiple, width):
    group = ChannelGroup("conv", 48, ("conv",), ("next",), "", blocks=8)
    assert kept_widths([group], share, multiple).get("conv", 48) == width


@pytest.mark.parametrize("multiple", [0, -8, 1.5, True])
def test_a_multiple_must_be_a_whole_number(multiple):
    group = ChannelGroup("conv", 6, ("conv",), ("next",), "")
    with pytest.raises(NetworkError, match=f"got multiple={multiple!r}"):
        kept_widths([group], 0.5, multiple)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [({"b2": 1, "stem": 8}, {"b2": 1}), ({"fc": 4, "a1": 4}, {"a1": 4}), ({}, {})],
)
def test_widths_are_channels(groups, widths, expected):
    assert fitting_widths(groups, widths) == expected


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ({"b2": 0}, "group 'b2' has 12 channels: its width must be from 1 to that, but got 0"),
        ({"b2": 13}, "but got 13"),
        ({"b2": 0.5}, "but got 0.5"),
        ({"b2": True}, "but got True"),
        ({"b2": "6"}, "but got '6'"),
        ({"steem": 4}, "no channel group is called 'steem'; did you mean stem"),
        ({"fc": 3}, "group 'fc' cannot be narrowed: it is the network's output"),
    ],
)
def test_widths_that_do_not_fit_are_refused(groups, widths, message):
    with pytest.raises(NetworkError, match=message):
        fitting_widths(groups, widths)


def test_branches_at_widths_are_those_at_counts_and_may_be_one_channel_wide(make_example):
    _, network, inputs = make_example("residual")
    mine = branched_at(network, inputs, widths={"b2": 5, "a1": 5})
    assert mine.plan.widths == {"b2": 5}
    theirs = add_branches(network, inputs, keep={"b2": 5})
    assert torch.equal(mine.set_alpha(0) or mine(inputs), theirs.set_alpha(0) or theirs(inputs))
    one = branched_at(network, inputs, widths={"b2": 1}, init="selection")
    assert fold(one).shortcut.weight.shape == (1, 8, 1, 1)
    with pytest.raises(NetworkError, match="init must be one of"):
        branched_at(network, inputs, widths={}, init="zeros")
