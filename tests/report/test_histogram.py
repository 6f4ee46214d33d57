from bpr.report.histogram import gain_histogram, similarity_histogram


def counts(histogram, meaning):
    return [bar.count for bar in histogram.bars if bar.meaning == meaning]


def test_every_gain_is_in_one_bar():
    histogram = gain_histogram([-0.9, -0.011, -0.0005, 0, 0.02, 0.5])
    assert counts(histogram, "worse") == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert counts(histogram, "same") == [2]
    assert counts(histogram, "better") == [1, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert histogram.ticks[9:11] == ["−0.1", "+0.1"]
    assert histogram.ticks[-1] == "+90"


def test_a_gain_of_a_thousandth_is_none():
    histogram = gain_histogram([0.001, -0.001, 0.00101, -0.00101])
    assert (counts(histogram, "worse")[-1], counts(histogram, "same"), counts(histogram, "better")[0]) == (1, [2], 1)


def test_bars_are_narrow_where_changes_are_small_and_wide_where_they_are_large():
    assert gain_histogram([0.01, -0.01]).ticks[-1] == "+1.8"
    assert gain_histogram([0.3, -0.3]).ticks[-1] == "+45"


def test_every_similarity_is_in_one_bar():
    histogram = similarity_histogram([1, 1, 0.99, 0])
    assert [bar.count for bar in histogram.bars] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]
    assert histogram.ticks[-1] == "100"


def test_nothing_has_empty_bars():
    for histogram in (gain_histogram([]), similarity_histogram([])):
        assert sum(bar.count for bar in histogram.bars) == 0
        assert len(histogram.ticks) == len(histogram.bars) - 1
