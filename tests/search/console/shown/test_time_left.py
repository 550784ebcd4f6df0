import pytest

from branchfold.search.console.shown.time_left import Range, quartiles, range_text, rest_of, time_left


def test_quartiles_of_enough():
    assert quartiles([60, 80]) is None
    assert quartiles([60, 100, 120, 200]) == (90, 140)


def test_the_rest_of_one_by_others_and_by_its_own_pace():
    assert rest_of(30, Range(90, 140)) == (60, 110)
    assert rest_of(30, Range(90, 140), pace=200) == (60, 200)
    assert rest_of(30, None, pace=20) == (20, 20)
    assert rest_of(100, Range(90, 140)) == (0, 40)
    assert rest_of(300, Range(90, 140)) == (0, 0)
    assert rest_of(30, None) is None


def test_what_waits_is_shared_among_the_workers():
    typical = Range(90, 140)
    assert time_left([Range(10, 20)], 3, typical) == (280, 440)
    assert time_left([Range(10, 20), Range(30, 40)], 3, typical, workers=2) == (155, 240)
    assert time_left([Range(10, 20), Range(300, 400)], 0, typical, workers=2) == (300, 400)
    assert time_left([], 0, None) == (0, 0)
    assert time_left([], 1, None) is None
    assert time_left([None], 0, typical) is None


@pytest.mark.parametrize(
    ("left", "text"),
    [
        ((720, 1140), "12 to 19 min"),
        ((0, 12), "0 to 12 s"),
        ((50, 89), "50 to 89 s"),
        ((55, 91), "1 to 2 min"),
        ((118, 122), "about 2 min"),
        ((5000, 9000), "1.4 to 2.5 h"),
        ((0.2, 0.3), "about 0 s"),
    ],
)
def test_in_words(left, text):
    assert range_text(Range(*left)) == text
