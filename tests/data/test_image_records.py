import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from PIL import Image

from bpr import rle
from bpr.data.image_records import refinement_records, training_records
from bpr.data.images import read_image
from bpr.formats import coco
from bpr.formats.annotations import read_annotations
from bpr.formats.coco import open_results, read_results
from bpr.formats.errors import FormatError
from bpr.formats.predictions import Predictions


def records(toy, annotated=False, entries=None):
    annotations = read_annotations(toy.annotations) if annotated else None
    entries = read_results(toy.predictions) if entries is None else entries
    return refinement_records(toy.images, Predictions(toy.predictions, coco.FORMAT, entries), annotations)


def test_images_are_found_by_id_as_well_as_by_annotation(toy_coco):
    assert list(records(toy_coco)) == list(records(toy_coco, annotated=True))
    assert [r.image_id for r in records(toy_coco)] == [10, 11, 12, 13]
    assert [i.position for r in records(toy_coco) for i in r.instances] == list(range(12))


def test_records_may_stay_in_the_file(toy_coco):
    stored = records(toy_coco, entries=open_results(toy_coco.predictions))
    assert list(stored) == list(records(toy_coco))
    assert stored[1:3] == list(records(toy_coco))[1:3]


def test_records_may_be_sent_to_a_spawned_process(toy_coco):
    stored = records(toy_coco, entries=open_results(toy_coco.predictions))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        assert process.submit(list, stored).result() == list(stored)


def test_entries_of_an_image_may_be_scattered_over_the_file(toy_coco):
    entries = read_results(toy_coco.predictions)
    shuffled = [entries[n] for n in np.random.default_rng(0).permutation(len(entries))]
    for record in records(toy_coco, entries=shuffled):
        positions = [n for n, entry in enumerate(shuffled) if entry["image_id"] == record.image_id]
        assert [i.position for i in record.instances] == positions
        assert [i.rle for i in record.instances] == [shuffled[n]["segmentation"] for n in positions]


def test_records_of_images_that_are_done_are_left_out(toy_coco):
    left = records(toy_coco).without({11, 13})
    assert [r.image_id for r in left] == [10, 12]


@pytest.mark.parametrize("kind", [str, float, "{:012d}.png".format, "C:\\data\\{:012d}.png".format])
def test_ids_of_another_type_are_of_the_same_images(toy_coco, kind):
    entries = read_results(toy_coco.predictions)
    expected = list(records(toy_coco, annotated=True, entries=entries))
    given = [{**entry, "image_id": kind(entry["image_id"])} for entry in entries]
    assert list(records(toy_coco, annotated=True, entries=given)) == expected
    assert [r.path for r in records(toy_coco, entries=given)] == [r.path for r in expected]
    toy_coco.predictions.write_text(json.dumps(given))
    trained = training_records(toy_coco.images, read_annotations(toy_coco.annotations), [toy_coco.predictions])
    assert [r.instances for r in trained] == [r.instances for r in expected]


def test_images_are_found_by_the_file_name_of_the_entry(toy_coco):
    entries = read_results(toy_coco.predictions)
    for entry in entries:
        entry["file_name"] = f"{entry['image_id']:012d}.png"
        entry["image_id"] = f"no number {entry['image_id']}"
    assert next(r.path.name for r in records(toy_coco, entries=entries)) == "000000000010.png"


def test_an_image_that_is_missing_is_an_error_that_names_the_entry_and_the_remedy(toy_coco):
    (toy_coco.images / "000000000012.png").unlink()
    with pytest.raises(FormatError, match=r"entry 6: no image in .* 12; give annotations=FILE"):
        records(toy_coco)
    with pytest.raises(FormatError, match=r"000000000012\.png: is missing"):
        records(toy_coco, annotated=True)


def test_an_ambiguous_id_is_an_error(toy_coco):
    image = toy_coco.images / "000000000012.png"
    image.rename(toy_coco.images / "left_12.png")
    (toy_coco.images / "right_12.png").write_bytes((toy_coco.images / "left_12.png").read_bytes())
    with pytest.raises(FormatError, match=r"fits several images \(left_12.png, right_12.png\)"):
        records(toy_coco)


def test_a_mask_of_another_size_is_an_error(toy_coco):
    entries = read_results(toy_coco.predictions)
    entries[4]["segmentation"] = rle.encode(np.ones((3, 3), bool))
    with pytest.raises(
        FormatError, match=r"entry 4: segmentation: the RLE is \(3, 3\) \(h, w\), its image \(160, 120\)"
    ):
        records(toy_coco, entries=entries)


def test_polygon_results_are_understood(toy_coco):
    entries = read_results(toy_coco.predictions)[:1]
    entries[0]["segmentation"] = [[10, 10, 50, 10, 50, 50]]
    (record,) = records(toy_coco, entries=entries)
    assert rle.area(record.instances[0].rle) > 700


def test_results_of_another_data_set_are_refused(toy_coco):
    entries = [{**entry, "image_id": 99} for entry in read_results(toy_coco.predictions)]
    with pytest.raises(FormatError, match="entry 0: image_id 99 is not among"):
        records(toy_coco, annotated=True, entries=entries)


def test_training_joins_the_predictions_of_several_segmenters(toy_coco):
    joined = training_records(toy_coco.images, read_annotations(toy_coco.annotations), [toy_coco.predictions] * 2)
    assert [len(r.instances) for r in joined] == [6] * 4
    assert all(r.truths for r in joined)


def test_training_needs_ground_truth(toy_coco):
    content = json.loads(toy_coco.annotations.read_text())
    toy_coco.annotations.write_text(json.dumps({"images": content["images"]}))
    with pytest.raises(FormatError, match="training needs ground truth"):
        training_records(toy_coco.images, read_annotations(toy_coco.annotations), [toy_coco.predictions])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (4, 3), (255, 255, 255)).convert(mode).save(path)
    image = read_image(path, (3, 4))
    assert (image.shape, image.dtype) == ((3, 4, 3), np.uint8)
    assert image.min() > 250


def test_an_image_of_another_size_or_no_image_is_an_error(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(FormatError, match=r"is \(3, 4\) \(h, w\), but its masks are \(4, 3\)"):
        read_image(tmp_path / "a.png", (4, 3))
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(FormatError, match="cannot be decoded"):
        read_image(tmp_path / "b.png", (4, 3))


def test_training_says_what_was_made_of_soft_masks(toy_coco, tmp_path, caplog):
    content = json.loads(toy_coco.annotations.read_text())
    content["categories"] = content["categories"][:1]
    toy_coco.annotations.write_text(json.dumps(content))
    (tmp_path / "masks").mkdir()
    ramp = np.broadcast_to(np.arange(160, dtype=np.uint8), (120, 160))
    Image.fromarray(ramp).save(tmp_path / "masks" / "000000000010_1.png")
    (record,) = training_records(toy_coco.images, read_annotations(toy_coco.annotations), [tmp_path / "masks"])
    assert rle.area(record.instances[0].rle) == 120 * 32
    assert "1 soft mask was thresholded at half of the range, such as 000000000010_1.png" in caplog.text
