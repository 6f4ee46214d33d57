from bpr.evaluation.table import percents


def test_a_change_that_rounds_to_nothing_has_no_minus():
    assert percents(0.5004, 0.5) == ["50.0", "50.0", "+0.0"]
    assert percents(0.5, 0.499) == ["50.0", "49.9", "-0.1"]
    assert percents(None, 0.5)[2] == "\N{EN DASH}"
