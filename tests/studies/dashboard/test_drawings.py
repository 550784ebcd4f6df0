"""The small figures of a trial: SVG that is well formed, and drawn where its values are."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from branchfold.studies.dashboard.drawings import course_svg, widths_svg
from branchfold.studies.metric import ACCURACY
from branchfold.studies.tables.milestones import Milestone
from branchfold.studies.tables.widths import WidthRow

EVIL = "\"'><script>alert(1)</script>\x00"
SVG = "{http://www.w3.org/2000/svg}"


def milestones(*values):
    return [Milestone(i, float(i), 1 - i / 4, (), 0.9, value, None, None) for i, value in enumerate(values)]


def row(name="conv", width=4, full=16, sensitivity=None):
    return WidthRow(name, width, full, None if full is None else width / full, sensitivity, None, ())


def lines(svg):
    found = [each.get("points") for each in ElementTree.fromstring(svg).iter(f"{SVG}polyline")]
    return [[tuple(map(float, place.split(","))) for place in points.split()] for points in found]


def test_a_course_rises_with_its_metric_and_falls_with_alpha():
    svg = course_svg(milestones(0.5, 0.7, 0.9), ACCURACY, 0.95)
    baseline, blended, folded, alpha = lines(svg)
    assert len({y for _, y in baseline}) == 1
    assert len(blended) == 3
    assert [x for x, _ in folded] == pytest.approx([64, 64 + 282, 628])
    rises = [first[1] - second[1] for first, second in pairwise(folded)]
    assert rises[0] == pytest.approx(rises[1], abs=0.11)
    assert rises[0] > 0
    assert baseline[0][1] < folded[-1][1]
    assert [y for _, y in alpha] == sorted(y for _, y in alpha)
    assert "accuracy at α = 0" in svg


def test_a_course_of_one_milestone_or_without_values_is_none():
    assert course_svg(milestones(0.5), ACCURACY, None) is None
    assert course_svg(milestones(None, None), ACCURACY, None) is None
    assert len(lines(course_svg(milestones(0.5, 0.5), ACCURACY, None))) == 3


def test_a_bar_for_each_group_as_high_as_its_share():
    svg = widths_svg([row(), row(width=8), row(width=16, sensitivity=0.5)])
    bars = [float(each.get("height")) for each in list(ElementTree.fromstring(svg).iter(f"{SVG}rect"))[1:]]
    assert bars == pytest.approx([37.5, 75, 150])
    assert "sensitivity" in svg
    assert "sensitivity" not in widths_svg([row()])


def test_widths_that_are_not_known_are_not_drawn():
    assert widths_svg([]) is None
    assert widths_svg([row(full=None)]) is None


def test_names_are_text_and_many_groups_stay_small():
    svg = widths_svg([row(EVIL)])
    assert ElementTree.fromstring(svg).find(f".//{SVG}script") is None
    assert "<script>" not in svg
    many = widths_svg([row(f"layer{i}.conv") for i in range(300)])
    assert len(many.encode()) < 100_000
    assert not re.search(r">layer\d+\.conv</text>", many)
