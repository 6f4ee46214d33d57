"""What every format promises, whatever the names of its files are."""

import pickle

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.format_detection import FORMATS
from bpr.formats.predictions import read_predictions
from samples import MAKE, PALETTE, SIZE, make_masks, rectangle

NAMES = ["plain", "Bär ä漢", "two  spaces", "quo'te\"s", "a..b", "-dash", "100%", "a#b&c"]
SIZES = dict.fromkeys(NAMES, SIZE)


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", MAKE)
class TestFormat:
    @pytest.fixture
    def source(self, tmp_path, name):
        (tmp_path / "source").mkdir()
        return MAKE[name](tmp_path / "source", NAMES)

    def read(self, path):
        return read_predictions(path, image_sizes=lambda: SIZES)

    def write(self, predictions, folder, entries=None):
        """Write the predictions to a file or folder of the same name in ``folder``."""
        predictions.write(folder / predictions.path.name, iter(predictions.entries if entries is None else entries))
        return folder / predictions.path.name

    def test_its_content_is_enough_to_know_it(self, source, name):
        assert self.read(source).format.name == name.split(",")[0]

    def test_what_was_written_is_what_was_read(self, source, tmp_path):
        before = self.read(source)
        after = self.read(self.write(before, tmp_path / "out"))
        assert len(before.entries) >= len(NAMES)
        assert list(after.entries) == list(before.entries)
        assert [list(entry) for entry in after.entries] == [list(entry) for entry in before.entries]

    def test_writing_again_gives_the_same_files(self, source, tmp_path):
        once = self.write(self.read(source), tmp_path / "once")
        self.write(self.read(once), tmp_path / "twice")
        first, second = contents(tmp_path / "once"), contents(tmp_path / "twice")
        assert first.keys() == second.keys() == contents(source.parent).keys()
        if once.suffix != ".gz":  # which holds the time
            assert first == second

    def test_other_masks_are_written_and_all_else_is_kept(self, source, tmp_path):
        before = self.read(source)
        moved = rle.encode(np.roll(rectangle(0), 1, axis=0))
        changed = [{**entry, "segmentation": moved} if n == 2 else entry for n, entry in enumerate(before.entries)]
        after = self.read(self.write(before, tmp_path / "out", changed))
        assert after.entries[2]["segmentation"] == moved
        assert [{**entry, "segmentation": 0} for entry in after.entries] == [
            {**entry, "segmentation": 0} for entry in before.entries
        ]

    def test_the_source_stays_as_it_is_and_nothing_else_is_written(self, source, tmp_path):
        before = contents(tmp_path / "source")
        self.write(self.read(source), tmp_path / "out")
        assert contents(tmp_path / "source") == before
        assert {path.name for path in tmp_path.iterdir()} == {"source", "out"}

    def test_its_files_are_all_that_belong_to_it(self, source, tmp_path):
        (tmp_path / "source" / "other.txt").write_text("not of it")
        expected = {path for path in source.parent.rglob("*") if path.is_file()} - {tmp_path / "source" / "other.txt"}
        files = self.read(source).files()
        assert set(files) == expected
        assert files == sorted(files)

    def test_each_entry_is_in_one_of_its_files(self, source):
        predictions = self.read(source)
        places = [predictions.place(number) for number in range(len(predictions.entries))]
        assert {path for path, _ in places} <= set(predictions.files())
        assert len({predictions.named_place(number) for number in range(len(places))}) == len(places)
        assert len({predictions.place_within(number) for number in range(len(places))}) == len(places)

    def test_its_masks_are_those_of_the_image(self, source):
        predictions = self.read(source)
        for number, entry in enumerate(predictions.entries):
            assert rle.decode(predictions.rle(number, entry, SIZE)).any()
            with pytest.raises(FormatError, match=r"\(20, 30\)"):
                predictions.rle(number, entry, (30, 20))

    def test_processes_may_be_given_it(self, source):
        predictions = self.read(source)
        assert list(pickle.loads(pickle.dumps(predictions)).entries) == list(predictions.entries)

    def test_a_missing_file_is_named(self, source, name, tmp_path):
        with pytest.raises(FormatError, match="nowhere"):
            read_predictions(tmp_path / "nowhere.json", name.split(",")[0], lambda: SIZES)


def test_every_format_is_tried():
    assert {name.split(",")[0] for name in MAKE} == {*FORMATS}


def test_palettes_are_kept(tmp_path):
    predictions = read_predictions(make_masks(tmp_path, NAMES), image_sizes=lambda: SIZES)
    predictions.write(tmp_path / "out", predictions.entries)
    for name in NAMES:
        with Image.open(tmp_path / "out" / "labels" / f"{name}.png") as image:
            assert image.getpalette() == PALETTE
