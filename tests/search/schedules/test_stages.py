import itertools

import pytest

from branchfold.search.schedules import Window, ordered, windows_for
from branchfold.studies.definition.spaces import ORDERS

GROUPS = ["a", "b", "c", "d", "e", "f", "g"]


def spans(windows):
    return {name: (window.start, window.end) for name, window in windows.items()}


def test_one_stage_is_one_window_for_all():
    assert spans(windows_for(GROUPS, count=1, fade=0.6)) == dict.fromkeys(GROUPS, (0.0, 0.6))


def test_disjoint_stages_follow_each_other_without_a_gap():
    windows = spans(windows_for(GROUPS[:4], count=4, fade=0.8))
    assert list(windows) == GROUPS[:4]
    assert [edge for span in windows.values() for edge in span] == pytest.approx(
        [0.0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8]
    )
    assert windows["d"][1] == 0.8  # exactly


def test_overlapping_stages_share_that_part_of_their_windows():
    # Three windows of length L that begin L/2 apart fill 0.8: L + 2 · L/2 = 0.8.
    windows = spans(windows_for(GROUPS[:3], count=3, fade=0.8, overlap=0.5))
    assert [edge for span in windows.values() for edge in span] == pytest.approx([0.0, 0.4, 0.2, 0.6, 0.4, 0.8])


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_every_pair_of_neighbours_shares_the_overlap(count, overlap):
    windows = sorted({*spans(windows_for(GROUPS, count=count, fade=0.7, overlap=overlap)).values()})
    assert len(windows) == count
    lengths = [end - start for start, end in windows]
    assert lengths == pytest.approx([lengths[0]] * count)
    for (_, end), (start, _) in itertools.pairwise(windows):
        assert end - start == pytest.approx(overlap * lengths[0], abs=1e-12)
    assert (windows[0][0], windows[-1][1]) == (0.0, 0.7)


def test_at_full_overlap_all_begin_together():
    assert {*windows_for(GROUPS, count=3, fade=0.5, overlap=1.0).values()} == {Window(0.0, 0.5)}


@pytest.mark.parametrize("count", range(1, 12))
def test_stages_differ_by_one_group_at_most_and_never_outnumber_the_groups(count):
    windows = windows_for(GROUPS, count=count, fade=1.0)
    assert list(windows) == GROUPS
    sizes = [len(list(stage)) for _, stage in itertools.groupby(windows.values())]
    assert len(sizes) == min(count, len(GROUPS))
    assert sum(sizes) == len(GROUPS)
    assert max(sizes) - min(sizes) <= 1


def test_own_windows_split_their_stages_window():
    windows = spans(windows_for(GROUPS[:4], count=2, fade=0.8, windows="own"))
    assert [edge for span in windows.values() for edge in span] == pytest.approx(
        [0.0, 0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8]
    )
    overlapping = spans(windows_for(GROUPS[:4], count=2, fade=0.9, overlap=0.5, windows="own"))
    # Two stages of 0.6 that begin 0.3 apart, each in halves.
    assert [edge for span in overlapping.values() for edge in span] == pytest.approx(
        [0.0, 0.3, 0.3, 0.6, 0.3, 0.6, 0.6, 0.9]
    )


def test_progress_through_a_window_is_clipped_to_its_ends():
    window = Window(0.2, 0.6)
    assert [window.progress(t) for t in (0.0, 0.2, 0.3, 0.6, 1.0)] == pytest.approx([0.0, 0.0, 0.25, 1.0, 1.0])
    assert window.progress(0.6) == 1.0
    assert Window(0.0, 0.0).progress(0.0) == 1.0


class TestOrder:
    def test_forward_and_backward_need_no_scores(self):
        assert ordered(GROUPS, "forward", {}) == GROUPS
        assert ordered(GROUPS, "backward", {}) == GROUPS[::-1]

    @pytest.mark.parametrize("order", sorted({*ORDERS} - {"forward", "backward"}))
    def test_others_are_of_falling_scores_equal_ones_forward(self, order):
        scores = dict(zip(GROUPS, [1.0, 3.0, 2.0, 3.0, 0.0, 2.0, 1.0], strict=True))
        assert ordered(GROUPS, order, scores) == ["b", "d", "c", "f", "a", "g", "e"]
