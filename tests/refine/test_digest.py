from bpr.refine.digest import digest


def test_each_setting_has_a_digest_of_its_own():
    one, other = (digest({"threshold": 0.5, "rounds": rounds}).split() for rounds in (["boundary"], ["object"]))
    assert [part.partition("=")[0] for part in one] == ["threshold", "rounds"]
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_a_digest_is_the_same_in_every_process():
    assert digest({"a": 1}) == digest({"a": 1})
    assert digest({}) == ""
