import pytest

from bpr.formats.errors import FormatError, Reason
from bpr.formats.faults import Fault, Faults
from bpr.structures import OnError


def bad(reason=None):
    raise FormatError("r.json", "entry 3", "is bad; mend it", reason)


def test_what_works_is_given_back_and_nothing_is_kept():
    faults = Faults(OnError.keep)
    assert faults.attempt(lambda: 7, Reason.mask) == 7
    assert faults.found == []


def test_bad_entries_are_kept_with_their_reason():
    faults = Faults(OnError.keep)
    assert faults.attempt(bad, Reason.mask, position=3) is None
    assert faults.attempt(lambda: bad(Reason.mask_size), Reason.mask, masks=4) is None
    first, second = faults.found
    assert first == Fault("the mask cannot be read", "r.json, entry 3", "is bad; mend it", 1, 3)
    assert (second.reason, second.masks, second.position) == (Reason.mask_size, 4, None)
    assert faults.positions == {3}


def test_stopping_names_keep_as_a_remedy():
    with pytest.raises(FormatError, match=r"^r\.json, entry 3: is bad; mend it; or give on_error=keep"):
        Faults(OnError.stop).attempt(bad, Reason.mask)


def test_commands_without_the_setting_do_not_name_it():
    with pytest.raises(FormatError, match=r"mend it$"):
        Faults().attempt(bad, Reason.mask)


def test_other_errors_are_bugs_and_never_kept():
    with pytest.raises(ZeroDivisionError):
        Faults(OnError.keep).attempt(lambda: 1 / 0, Reason.mask)
