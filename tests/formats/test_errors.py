import pickle
from pathlib import Path

from bpr.formats.errors import FormatError


def test_the_message_names_file_entry_and_problem():
    assert str(FormatError(Path("a.json"), "entry 3", "is wrong")) == "a.json, entry 3: is wrong"
    assert str(FormatError(Path("a.json"), None, "is wrong")) == "a.json: is wrong"


def test_an_error_survives_being_pickled():
    error = pickle.loads(pickle.dumps(FormatError(Path("a.json"), "entry 3", "is wrong")))
    assert isinstance(error, FormatError)
    assert str(error) == "a.json, entry 3: is wrong"
