import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.cityscapes import image_file, read_ground_truth, read_predictions, write_predictions
from bpr.formats.errors import FormatError
from bpr.formats.prediction_format import Reading

NAME = "aachen_000000_000019"
SIZE = (40, 60)


def read_entries(folder):
    return read_predictions(folder, Reading()).entries


def save_mask(path, x, value=255):
    mask = np.zeros(SIZE, np.uint8)
    mask[5:20, x : x + 15] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return mask > 0


@pytest.fixture
def folder(tmp_path):
    """Two images: one with two instances, one without."""
    predictions = tmp_path / "maskrcnn_val"
    save_mask(predictions / "masks" / "0.png", 3)
    save_mask(predictions / "masks" / "1.png", 30, value=1)
    (predictions / f"{NAME}_leftImg8bit_pred.txt").write_text("masks/0.png 26 0.75\nmasks/1.png 24 0.5000\n")
    (predictions / "aachen_000001_000019_pred.txt").write_text("")
    return predictions


def test_entries_are_read_in_order(folder):
    entries = read_entries(folder)
    assert [(e["image_id"], e["category_id"], e["score"]) for e in entries] == [(NAME, 26, 0.75), (NAME, 24, 0.5)]
    assert entries[0]["file_name"] == f"aachen/{NAME}_leftImg8bit.png"
    masks = [rle.decode(entry["segmentation"]) for entry in entries]
    assert np.array_equal(masks[0], save_mask(folder / "x.png", 3))
    assert np.array_equal(masks[1], save_mask(folder / "x.png", 30))


def test_what_was_read_is_written_under_the_same_names(folder, tmp_path):
    entries = read_entries(folder)
    grown = rle.encode(np.ones(SIZE, bool))
    write_predictions(tmp_path / "out", [{**entries[0], "segmentation": grown}, entries[1]], folder)
    text = (tmp_path / "out" / f"{NAME}_leftImg8bit_pred.txt").read_text()
    assert text == (folder / f"{NAME}_leftImg8bit_pred.txt").read_text()
    assert (tmp_path / "out" / "aachen_000001_000019_pred.txt").read_text() == ""
    again = read_entries(tmp_path / "out")
    assert again[0]["segmentation"] == grown
    assert again[1] == entries[1]
    assert np.asarray(Image.open(tmp_path / "out" / "masks" / "0.png")).max() == 255


@pytest.mark.parametrize("changed", [0, 1])
def test_of_two_lines_with_one_mask_file_the_one_that_changed_it_decides(folder, tmp_path, changed):
    (folder / f"{NAME}_leftImg8bit_pred.txt").write_text("masks/0.png 26 0.75\nmasks/0.png 24 0.5\n")
    entries, grown = read_entries(folder), rle.encode(np.ones(SIZE, bool))
    entries[changed] = {**entries[changed], "segmentation": grown}
    write_predictions(tmp_path / "out", entries, folder)
    assert [entry["segmentation"] for entry in read_entries(tmp_path / "out")] == [grown, grown]


def test_a_byte_order_mark_is_no_part_of_the_first_line(folder):
    expected = read_entries(folder)
    path = folder / f"{NAME}_leftImg8bit_pred.txt"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_entries(folder) == expected


def test_masks_may_be_links_to_files_elsewhere(folder, tmp_path):
    expected = read_entries(folder)
    for name in ("0.png", "1.png"):
        (folder / "masks" / name).rename(tmp_path / name)
        (folder / "masks" / name).symlink_to(tmp_path / name)
    assert read_entries(folder) == expected
    write_predictions(tmp_path / "out", expected, folder)
    assert not (tmp_path / "out" / "masks" / "0.png").is_symlink()


def test_a_mask_may_be_in_a_sibling_of_the_folder_of_its_text_file(folder):
    expected = read_entries(folder)
    path, name = folder / f"{NAME}_leftImg8bit_pred.txt", f"texts/{NAME}_pred.txt"
    (folder / "texts").mkdir()
    (folder / name).write_text(path.read_text().replace("masks/", "../masks/"))
    path.unlink()
    assert [e["mask_file"] for e in read_entries(folder)] == [e["mask_file"] for e in expected]


def test_index_files_are_named_after_their_folder(folder):
    sub = folder / "aachen_000002_000019"
    save_mask(sub / "0.png", 3)
    (sub / "index.txt").write_text("0.png 24 1\n")
    assert read_entries(folder)[-1]["image_id"] == "aachen_000002_000019"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("masks/0.png 26", "line 1: expected 'MASK.png LABEL_ID CONFIDENCE'"),
        ("/etc/passwd 26 0.5", "line 1: /etc/passwd is an absolute path"),
        ("../0.png 26 0.5", "line 1: ../0.png leads out of"),
        ("masks/7.png 26 0.5", r"line 1: .*7\.png is missing"),
        ("masks/0.png 7 0.5", "line 1: label id 7 has no instances"),
        ("masks/0.png 26 1\nmasks/0.png 26.7 1", r"_pred\.txt, line 2: label id 26\.7 has no instances"),
        ("masks/0.png inf 0.5", "line 1: label id inf has no instances"),
        ("masks/0.png car 0.5", "line 1: label id and confidence must be numbers"),
        ("masks/0.png 26 nan", "line 1: the confidence must be finite"),
        (
            "masks/small.png 26 1\n\nmasks/0.png 26 1",
            r"_pred\.txt, lines 1 and 3: .*masks/small\.png is \(3, 3\) and .*masks/0\.png is \(40, 60\) \(h, w\)",
        ),
        ("masks/broken.png 26 1", r"_pred\.txt, line 1: .*broken\.png: cannot be decoded"),
        ("masks/cut.png 26 1", r"_pred\.txt, line 1: .*cut\.png: cannot be decoded"),
        ("masks/colour.png 26 1", r"_pred\.txt, line 1: .*colour\.png: must have one channel"),
    ],
)
def test_a_bad_line_is_named(folder, line, message):
    Image.fromarray(np.ones((3, 3), np.uint8)).save(folder / "masks" / "small.png")
    Image.fromarray(np.ones((3, 3, 3), np.uint8)).save(folder / "masks" / "colour.png")
    (folder / "masks" / "broken.png").write_bytes(b"no image")
    (folder / "masks" / "cut.png").write_bytes((folder / "masks" / "0.png").read_bytes()[:60])
    (folder.parent / "0.png").write_bytes((folder / "masks" / "0.png").read_bytes())
    (folder / f"{NAME}_leftImg8bit_pred.txt").write_text(line + "\n")
    with pytest.raises(FormatError, match=message):
        read_entries(folder)


def test_files_that_are_no_predictions_are_named(folder):
    (folder / "img_pred.txt").write_text("hello")
    with pytest.raises(FormatError, match=r"img_pred\.txt: is not named after an image"):
        read_entries(folder)
    (folder / "img_pred.txt").rename(folder / f"{NAME}_again.txt")
    with pytest.raises(FormatError, match=r"as .* does; keep one"):
        read_entries(folder)


@pytest.mark.parametrize(
    "name", ["README.txt", "notes.txt", f"._{NAME}_leftImg8bit_pred.txt", f".trash/{NAME}_pred.txt"]
)
def test_text_files_that_are_not_meant_as_predictions_are_left_alone(folder, tmp_path, name):
    expected = read_entries(folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\x00\x05\x16\xff no prediction")
    assert read_entries(folder) == expected
    write_predictions(tmp_path / "out", expected, folder)
    assert not (tmp_path / "out" / name).exists()


def test_an_index_file_in_a_folder_of_another_name_is_refused(folder):
    (folder / "index.txt").write_text("masks/0.png 24 1\n")
    with pytest.raises(FormatError, match=r"index\.txt: is not named after an image"):
        read_entries(folder)


def test_empty_folders_are_refused(tmp_path):
    with pytest.raises(FormatError, match="has no text files"):
        read_entries(tmp_path)
    with pytest.raises(FormatError, match="has no \\*_gtFine_instanceIds"):
        read_ground_truth(tmp_path)


def test_hidden_files_are_no_ground_truth(tmp_path):
    save_mask(tmp_path / f"{NAME}_gtFine_instanceIds.png", 3, value=26)
    (tmp_path / f"._{NAME}_gtFine_instanceIds.png").write_bytes(b"\x00\x05\x16")
    assert list(read_ground_truth(tmp_path).images) == [NAME]


def test_ground_truth_has_instances_and_groups(tmp_path):
    ids = np.full(SIZE, 7, np.uint16)  # road
    ids[0:5, 0:5], ids[10:20, 10:20], ids[30:35, 0:9] = 24001, 26000, 26
    (tmp_path / "aachen").mkdir()
    Image.fromarray(ids).save(tmp_path / "aachen" / f"{NAME}_gtFine_instanceIds.png")
    annotations = read_ground_truth(tmp_path)
    image = annotations.images[NAME]
    assert image.file_name == image_file(NAME)
    assert image.size == SIZE
    assert {(t.category, t.crowd, rle.area(t.rle)) for t in image.truths} == {
        (24, False, 25), (26, False, 100), (26, True, 45),
    }  # fmt: skip
