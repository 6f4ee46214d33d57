import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.formats.errors import FormatError
from bpr.formats.mask_images import read_mask_images, write_mask_images
from bpr.formats.prediction_format import Reading

NAMES = {"a", "a_b", "c"}


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def read_masks(folder):
    return read_mask_images(folder, Reading(lambda: NAMES)).entries


def labels(dtype=np.uint8):
    array = np.zeros((20, 30), dtype)
    array[2:10, 2:10], array[2:10, 10:20] = 3, 7
    return array


def one_mask(dtype=np.uint8):
    return ((labels() > 0) * 7).astype(dtype)


def test_a_label_image_has_an_instance_for_each_value(tmp_path):
    save(tmp_path / "masks" / "a.png", labels())
    entries = read_masks(tmp_path / "masks")
    assert [(e["image_id"], e["value"], rle.area(e["segmentation"])) for e in entries] == [("a", 3, 64), ("a", 7, 80)]


@pytest.mark.parametrize(
    ("name", "image"), [("a_1.png", "a"), ("a_b_2.png", "a_b"), ("c/x.png", "c"), ("c-1.png", "c")]
)
def test_a_mask_belongs_to_the_image_it_is_named_after(tmp_path, name, image):
    save(tmp_path / "masks" / name, one_mask())
    entries = read_masks(tmp_path / "masks")
    assert [(e["image_id"], e["value"], rle.area(e["segmentation"])) for e in entries] == [(image, None, 144)]


@pytest.mark.parametrize(("at", "value"), [(11, 5), (37, 255)])  # a short header; a chunk of no known type
def test_a_damaged_file_is_named(tmp_path, at, value):
    save(tmp_path / "masks" / "a_1.png", one_mask())
    content = bytearray((tmp_path / "masks" / "a_1.png").read_bytes())
    content[at] = value
    (tmp_path / "masks" / "a_1.png").write_bytes(content)
    with pytest.raises(FormatError, match=r"a_1\.png: cannot be decoded"):
        read_masks(tmp_path / "masks")


def test_hidden_files_are_no_masks(tmp_path):
    save(tmp_path / "masks" / "a_1.png", one_mask())
    expected = read_masks(tmp_path / "masks")
    (tmp_path / "masks" / "._a_1.png").write_bytes(b"\x00\x05\x16 no image")
    save(tmp_path / "masks" / ".ipynb_checkpoints" / "c.png", labels())
    assert read_masks(tmp_path / "masks") == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_are_written_as_they_were(tmp_path, dtype):
    save(tmp_path / "masks" / "a.png", labels(dtype))
    save(tmp_path / "masks" / "c" / "0.png", one_mask(dtype))
    entries = read_masks(tmp_path / "masks")
    write_mask_images(tmp_path / "out", entries, tmp_path / "masks")
    for name in ("a.png", "c/0.png"):
        before, after = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("masks", "out"))
        assert before.dtype == after.dtype
        assert np.array_equal(before, after)


def test_overlaps_stay_with_the_instance_that_had_the_pixel(tmp_path):
    save(tmp_path / "masks" / "a.png", labels())
    entries = read_masks(tmp_path / "masks")
    everywhere = rle.encode(np.ones((20, 30), bool))
    write_mask_images(tmp_path / "out", [{**e, "segmentation": everywhere} for e in entries], tmp_path / "masks")
    written = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    assert (written[labels() == 3] == 3).all()
    assert (written[labels() != 3] == 7).all()


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(FormatError, match="has no masks"):
        read_masks(tmp_path / "masks")
    save(tmp_path / "masks" / "a.png", np.full((20, 30, 3), 7, np.uint8))
    with pytest.raises(FormatError, match=r"a\.png: must have one channel"):
        read_masks(tmp_path / "masks")
    (tmp_path / "masks" / "a.png").unlink()
    save(tmp_path / "masks" / "z.png", labels())
    with pytest.raises(FormatError, match=r"z\.png: belongs to none of the 3 images"):
        read_masks(tmp_path / "masks")


def test_images_without_instances_and_the_modes_of_files_are_kept(tmp_path):
    save(tmp_path / "masks" / "a.png", np.zeros((20, 30), np.uint8))
    palette = Image.fromarray(labels())
    palette.putpalette([0, 0, 0, 255, 0, 0] * 128)
    palette.save(tmp_path / "masks" / "c.png")
    save(tmp_path / "masks" / "a_b_1.png", labels() > 0)
    write_mask_images(tmp_path / "out", read_masks(tmp_path / "masks"), tmp_path / "masks")
    for name, mode in (("a.png", "L"), ("c.png", "P"), ("a_b_1.png", "1")):
        before, after = (Image.open(tmp_path / folder / name) for folder in ("masks", "out"))
        assert after.mode == before.mode == mode
        assert np.array_equal(np.asarray(before.convert("RGB")), np.asarray(after.convert("RGB")))


def soft(dtype, highest, shape=(20, 30)):
    """A ramp from 0 to ``highest``, half of its columns in the upper half."""
    return np.broadcast_to(np.linspace(0, highest, shape[1]), shape).astype(dtype)


@pytest.mark.parametrize(
    ("name", "dtype", "highest", "half"),
    [
        ("a_1.png", np.uint8, 255, 128),
        ("a_1.png", np.uint16, 65535, 32768),
        ("a_1.tif", np.float32, 1, 0.5),
        ("a_1.tif", np.int32, 65535, 32768),
    ],
)
def test_a_soft_mask_is_thresholded_at_half_and_said(tmp_path, name, dtype, highest, half):
    ramp = soft(dtype, highest)
    save(tmp_path / "masks" / name, ramp)
    save(tmp_path / "masks" / "c_1.png", one_mask())
    entries, notes, _ = read_mask_images(tmp_path / "masks", Reading(lambda: NAMES))
    assert np.array_equal(rle.decode(entries[0]["segmentation"]), ramp >= half)
    assert notes == (f"1 soft mask was thresholded at half of the range, such as {name}",)


def test_what_did_not_change_is_copied_and_a_soft_mask_that_did_is_no_longer_soft(tmp_path):
    for name, array in (("a_1.png", soft(np.uint8, 255)), ("a_2.png", soft(np.uint8, 255)), ("c.png", labels())):
        save(tmp_path / "masks" / name, array)
    image = Image.open(tmp_path / "masks" / "c.png")
    image.save(tmp_path / "masks" / "c.png", dpi=(300, 300))
    entries = read_masks(tmp_path / "masks")
    whole = rle.encode(np.ones((20, 30), bool))
    write_mask_images(
        tmp_path / "out", [entries[0], {**entries[1], "segmentation": whole}, *entries[2:]], tmp_path / "masks"
    )
    for name in ("a_1.png", "c.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "masks" / name).read_bytes()
    assert np.unique(np.asarray(Image.open(tmp_path / "out" / "a_2.png"))).tolist() == [255]


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 3), (7, 7)])
def test_a_mask_of_two_values_is_all_that_is_not_0(tmp_path, values):
    mask = np.full((20, 30), values[0], np.uint8)
    mask[:5] = values[1]
    save(tmp_path / "masks" / "a_1.png", mask)
    entries, notes, _ = read_mask_images(tmp_path / "masks", Reading(lambda: NAMES))
    assert np.array_equal(rle.decode(entries[0]["segmentation"]), mask > 0)
    assert not notes


def test_a_mask_of_several_low_values_is_not_guessed(tmp_path):
    save(tmp_path / "masks" / "a_1.png", labels())
    with pytest.raises(FormatError, match=r"a_1\.png: has 3 values, but none is at least 128.*; take a soft mask"):
        read_masks(tmp_path / "masks")


def test_labels_are_whole_numbers(tmp_path):
    save(tmp_path / "masks" / "a.tif", soft(np.float32, 1))
    with pytest.raises(FormatError, match=r"a\.tif: is a label image of float32, but labels are integers"):
        read_masks(tmp_path / "masks")


def void_image():
    """Two objects with an outline of 255, as in PASCAL VOC, in its palette."""
    values = np.zeros((20, 30), np.uint8)
    values[1:11, 1:21] = 255
    values[2:10, 2:10], values[2:10, 10:20] = 1, 2
    image = Image.fromarray(values)
    image.putpalette([n % 256 for n in range(0, 768 * 5, 5)])
    return image


def test_void_is_no_instance_and_is_written_back(tmp_path):
    (tmp_path / "masks").mkdir()
    void_image().save(tmp_path / "masks" / "a.png")
    entries, notes, _ = read_mask_images(tmp_path / "masks", Reading(lambda: NAMES, 255))
    assert [entry["value"] for entry in entries] == [1, 2]
    assert not notes
    everywhere = rle.encode(np.ones((20, 30), bool))
    write_mask_images(tmp_path / "out", [{**e, "segmentation": everywhere} for e in entries], tmp_path / "masks")
    before, after = void_image(), Image.open(tmp_path / "out" / "a.png")
    assert np.array_equal(np.asarray(before) == 255, np.asarray(after) == 255)
    assert after.getpalette() == before.getpalette()


def test_what_looks_like_void_is_said(tmp_path):
    (tmp_path / "masks").mkdir()
    void_image().save(tmp_path / "masks" / "a.png")
    entries, notes, _ = read_mask_images(tmp_path / "masks", Reading(lambda: NAMES))
    assert [entry["value"] for entry in entries] == [1, 2, 255]
    assert notes[0].startswith("1 label image has the value 255 beside small ones, such as a.png")
    assert "ignore_label=255" in notes[0]


@pytest.mark.parametrize("values", [(3, 7, 255), (255,), (1, 2), tuple(range(1, 256))])
def test_other_labels_do_not_look_like_void(tmp_path, values):
    image = np.zeros((20, 30), np.uint8)
    image.flat[: len(values)] = values
    save(tmp_path / "masks" / "a.png", image)
    assert not read_mask_images(tmp_path / "masks", Reading(lambda: NAMES)).notes


def test_masks_of_several_videos_belong_to_the_frames_of_theirs(tmp_path):
    for video in ("bear", "camel"):
        save(tmp_path / "masks" / video / "00000.png", labels())
        save(tmp_path / "masks" / video / "00001" / "1.png", one_mask())
    frames = {f"{video}/{number:05d}" for video in ("bear", "camel") for number in range(2)}
    entries = read_mask_images(tmp_path / "masks", Reading(lambda: frames)).entries
    assert [(e["image_id"], e["value"]) for e in entries] == [
        (f"{video}/{frame}", value)
        for video in ("bear", "camel")
        for frame, value in [("00000", 3), ("00000", 7), ("00001", None)]
    ]


def test_numbered_masks_of_sam_belong_to_the_image_of_their_folder_though_images_have_numbers_too(tmp_path):
    for image in "012":
        for number in range(2):
            save(tmp_path / "masks" / image / f"{number}.png", one_mask())
        (tmp_path / "masks" / image / "metadata.csv").write_text("id,predicted_iou\n0,0.5\n1,0.25\n")
    entries = read_mask_images(tmp_path / "masks", Reading(lambda: {"0", "1", "2"})).entries
    expected = [(image, None, score) for image in "012" for score in (0.5, 0.25)]
    assert [(e["image_id"], e["value"], e["score"]) for e in entries] == expected
    entries = read_mask_images(tmp_path / "masks" / "2", Reading(lambda: {"0", "1", "2"})).entries
    assert [(e["image_id"], e["value"]) for e in entries] == [("2", None), ("2", None)]


def test_a_mask_with_the_name_of_one_image_in_the_folder_of_another_is_refused(tmp_path):
    save(tmp_path / "masks" / "1" / "0.png", one_mask())
    with pytest.raises(
        FormatError, match=r"0\.png: .* image 0, but its folder that of 1; call it 0_1\.png or 1_1\.png,"
    ):
        read_mask_images(tmp_path / "masks", Reading(lambda: {"0", "1"}))
    frames = Reading(lambda: {"x/1/0", "x/1/1"})  # those of one video
    assert [e["image_id"] for e in read_mask_images(tmp_path / "masks", frames).entries] == ["x/1/0"]


def test_a_mask_is_not_of_an_image_in_another_folder(tmp_path):
    save(tmp_path / "masks" / "camel" / "00000.png", labels())
    with pytest.raises(FormatError, match=r"00000\.png: belongs to none of the 1 images.*bear/00000 is in another"):
        read_mask_images(tmp_path / "masks", Reading(lambda: {"bear/00000"}))


def test_a_mask_that_may_be_of_several_images_is_refused_with_their_names(tmp_path):
    save(tmp_path / "masks" / "00000.png", labels())
    with pytest.raises(FormatError, match=r"00000\.png: may belong to bear/00000, camel/00000; put it into a folder"):
        read_mask_images(tmp_path / "masks", Reading(lambda: {"bear/00000", "camel/00000"}))
