import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from bpr.formats.decoding import opened_image
from bpr.formats.errors import FormatError


def width(path):
    with opened_image(path) as image:
        return image.width


def test_threads_read_beyond_the_limit_of_pillow_and_leave_it_as_it_was(tmp_path, monkeypatch):
    Image.new("1", (200, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings(), ThreadPoolExecutor(8) as threads:
        warnings.simplefilter("error")
        assert set(threads.map(width, [tmp_path / "a.png"] * 400)) == {200}
    assert Image.MAX_IMAGE_PIXELS == 10


@pytest.mark.parametrize("problem", [OSError, SyntaxError, ValueError, EOFError])
def test_damage_that_is_met_while_decoding_names_the_file(tmp_path, problem):
    Image.new("1", (2, 1)).save(tmp_path / "a.png")
    with (
        pytest.raises(FormatError, match=r"a\.png: cannot be decoded \(broken\); replace the file"),
        opened_image(tmp_path / "a.png"),
    ):
        raise problem("broken")


def test_an_error_with_a_message_of_its_own_is_kept(tmp_path):
    Image.new("1", (2, 1)).save(tmp_path / "a.png")
    with pytest.raises(FormatError, match=r"^b: is wrong$"), opened_image(tmp_path / "a.png"):
        raise FormatError("b", None, "is wrong")
