import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpr import PatchSpec, Refiner, rle
from bpr.app.job import Job, Upload
from bpr.formats.errors import FormatError
from bpr.formats.predictions import read_predictions

SIZE = (96, 120)
STRANGE = "ä '<&.png"


@pytest.fixture(scope="module")
def refiner(weights):
    return Refiner.from_pretrained(weights, patch=PatchSpec(32), device="cpu", rounds=["boundary"])


@pytest.fixture
def scene(tmp_path):
    """An image, and two masks of it, (2, h, w) bool."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "upload.png")
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    discs = [(xs - x) ** 2 + (ys - y) ** 2 < 400 for x, y in ((35, 40), (80, 60))]
    return Upload(tmp_path / "upload.png", "cat.png"), np.stack(discs)


def saved(tmp_path, name, content):
    """What a browser uploads: a file of a safe name, and the name that its user gave it."""
    path = tmp_path / f"upload-{len([*tmp_path.iterdir()])}"
    if isinstance(content, np.ndarray):
        Image.fromarray(content).save(path, "PNG")
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return Upload(path, name)


def annotations(masks, file_name, others=()):
    images = [
        {"id": n, "file_name": name, "height": SIZE[0], "width": SIZE[1]} for n, name in enumerate([file_name, *others])
    ]
    entries = [
        {
            "id": 10 * image["id"] + n,
            "image_id": image["id"],
            "category_id": 3,
            "segmentation": rle.encode(mask),
            "note": "kept",
        }
        for image in images
        for n, mask in enumerate(masks)
    ]
    return {"images": images, "annotations": entries, "categories": [{"id": 3, "name": "cat"}], "info": "kept"}


def job_of(tmp_path, image, *masks):
    return Job.of_uploads(tmp_path / "job", image, masks)


def decoded(rles):
    return np.stack([rle.decode(one) for one in rles])


def written(job, refiner):
    path, _ = job.write(all_masks(job, refiner))
    return path


def all_masks(job, refiner, progress=lambda *_: None):
    return [rle for some in job.refine(refiner, 0.5, progress) for rle in some]


def test_an_annotation_file_comes_back_with_the_masks_of_the_refiner_and_all_else_as_it_was(tmp_path, scene, refiner):
    image, masks = scene
    content = annotations(masks, STRANGE, ["dog.png"])
    job = job_of(tmp_path, image._replace(name=STRANGE), saved(tmp_path, "rough.json", content))
    told = []
    path, _ = job.write(all_masks(job, refiner, lambda *progress: told.append(progress)))
    assert path.name == "rough.json"
    refined = json.loads(path.read_text())
    expected = refiner(np.asarray(Image.open(image.path)), masks)
    assert not np.array_equal(expected, masks)
    assert np.array_equal(decoded(one.pop("segmentation") for one in refined["annotations"][:2]), expected)
    assert refined["annotations"][2:] == content["annotations"][2:]
    assert [{**one, "segmentation": None} for one in refined["annotations"][:2]] == [
        {**one, "segmentation": None} for one in content["annotations"][:2]
    ]
    assert refined["info"] == "kept"
    (line,) = job.left
    assert line.startswith("2 masks left as before: the image is missing")
    assert "dog.png" in line
    assert told[-1][1] == told[-1][2] > 0


def test_polygons_of_yolo_and_labelme_come_back_as_such(tmp_path, scene, refiner):
    image, _ = scene
    row = "7 0.1 0.2 0.6 0.2 0.6 0.7 0.1 0.7"
    yolo = job_of(tmp_path, image, saved(tmp_path, "cat.txt", f"{row}\n0 0.5 0.5 0.1 0.1\n"))
    path = written(yolo, refiner)
    first, second = path.read_text().splitlines()
    assert path.name == "cat.txt"
    assert first.startswith("7 ")
    assert first != row
    assert second == "0 0.5 0.5 0.1 0.1"
    shape = {"label": "cat", "points": [[10, 10], [70, 12], [60, 70]], "shape_type": "polygon", "flags": {}}
    labelme = {"shapes": [shape], "imagePath": "C:\\photos\\cat.png", "imageData": None}
    job = Job.of_uploads(tmp_path / "other", image, [saved(tmp_path, "cat.json", labelme)])
    (refined,) = json.loads(written(job, refiner).read_text())["shapes"]
    assert {**refined, "points": None} == {**shape, "points": None}
    assert len(refined["points"]) > 3


def test_images_of_masks_may_have_any_name_and_come_back_together(tmp_path, scene, refiner):
    image, masks = scene
    one = job_of(tmp_path, image, saved(tmp_path, "rough.png", masks[0]))
    path = written(one, refiner)
    expected = refiner(np.asarray(Image.open(image.path)), masks)
    assert path.name == "rough.png"
    assert np.array_equal(np.asarray(Image.open(path)), expected[0])
    given = [
        saved(tmp_path, name, mask.astype(np.uint8) * 255)
        for name, mask in zip(("a.png", "cat_2.png"), masks, strict=True)
    ]
    path = written(Job.of_uploads(tmp_path / "both", image, given), refiner)
    assert path.name == "cat.zip"
    with zipfile.ZipFile(path) as package:
        package.extractall(tmp_path / "unpacked")
    for name, mask in zip(("a.png", "cat_2.png"), expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "unpacked" / "cat" / name)) > 0, mask)


def test_masks_of_sam_come_with_their_scores(tmp_path, scene, refiner):
    image, masks = scene
    given = [saved(tmp_path, f"{n}.png", mask.astype(np.uint8) * 255) for n, mask in enumerate(masks)]
    given.append(saved(tmp_path, "metadata.csv", "id,predicted_iou\n0,0.75\n1,0.5\n"))
    job = job_of(tmp_path, image, *given)
    assert [entry["score"] for entry in job.predictions.entries] == [0.75, 0.5]
    with zipfile.ZipFile(written(job, refiner)) as package:
        assert {Path(name).name for name in package.namelist()} >= {"0.png", "1.png", "metadata.csv"}


@pytest.mark.parametrize("as_coco", [False, True])
def test_an_image_with_the_name_of_a_hidden_file_is_refined(tmp_path, scene, refiner, as_coco):
    image, masks = scene
    hidden = Upload(image.path, ".cat.png")
    assert len(Job.of_drawing(tmp_path / "drawn", hidden, masks, as_coco).rles) == 2
    assert len(job_of(tmp_path, hidden, saved(tmp_path, "rough.png", masks[0])).rles) == 1


def test_a_damaged_zip_file_is_named(tmp_path, scene):
    image, _ = scene
    with zipfile.ZipFile(tmp_path / "given", "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("cat.txt", "0 0.1 0.2 0.6 0.2 0.6 0.7\n" * 99)
    content = bytearray((tmp_path / "given").read_bytes())
    content[40:46] = b"\xff" * 6
    (tmp_path / "given").write_bytes(content)
    with pytest.raises(FormatError, match=r"set\.zip: cannot be unpacked"):
        job_of(tmp_path, image, Upload(tmp_path / "given", "set.zip"))


def test_a_zip_file_of_a_folder_comes_back_as_one_and_nothing_is_unpacked_elsewhere(tmp_path, scene, refiner):
    image, _ = scene
    given = tmp_path / "given"
    with zipfile.ZipFile(given, "w") as package:
        package.writestr("set/labels/cat.txt", "0 0.1 0.2 0.6 0.2 0.6 0.7 0.1 0.7\n")
        package.writestr("../../out.txt", "0 0.1 0.2 0.6 0.2 0.6 0.7\n")
        package.writestr("/tmp/bpr-out.txt", "not a label")
    job = job_of(tmp_path, image, Upload(given, "set.zip"))
    path = written(job, refiner)
    assert path.name == "set.zip"
    with zipfile.ZipFile(path) as package:
        assert "set/labels/cat.txt" in package.namelist()
    assert {one.name for one in tmp_path.iterdir()} == {"given", "job", "upload.png"}
    assert not (tmp_path.parent / "out.txt").exists()


@pytest.mark.parametrize("as_coco", [False, True])
def test_what_was_drawn_is_refined_and_packed_as_asked_for(tmp_path, scene, refiner, as_coco):
    image, masks = scene
    job = Job.of_drawing(tmp_path / "job", image, masks, as_coco)
    path = written(job, refiner)
    expected = refiner(np.asarray(Image.open(image.path)), masks)
    if as_coco:
        assert path.name == "cat.json"
        assert np.array_equal(decoded(one["segmentation"] for one in read_predictions(path).entries), expected)
    else:
        assert path.name == "cat.zip"
        with zipfile.ZipFile(path) as package, package.open("cat/2.png") as second:
            assert np.array_equal(np.asarray(Image.open(second)) > 0, expected[1])


@pytest.mark.parametrize("limit", ["_PIXELS_AT_ONCE", "_MASKS_AT_ONCE"])
def test_masks_that_are_refined_apart_are_the_same_and_no_more_are_refined_than_asked_for(
    tmp_path, scene, refiner, monkeypatch, limit
):
    image, masks = scene
    job, told = job_of(tmp_path, image, saved(tmp_path, "rough.json", annotations(masks, "cat.png"))), []
    (together,) = job.refine(refiner, 0.5, lambda *_: None)
    monkeypatch.setattr(f"bpr.app.job.{limit}", 1)
    work = job.refine(refiner, 0.5, lambda done, *_: told.append(done))
    first = next(work)
    assert set(told) == {0}
    assert [*first, *next(work)] == together
    assert set(told) == {0, 1}


@pytest.mark.parametrize("name", ["../../cat.png", "/etc/cat.png", "C:\\Windows\\cat.png", "..\\..\\cat.png"])
def test_the_folders_of_a_name_are_left_out(tmp_path, scene, name):
    image, _ = scene
    assert image._replace(name=name).copy_to(tmp_path / "to") == tmp_path / "to" / "cat.png"


@pytest.mark.parametrize("name", ["", ".", "..", "...png", "a/..", "\\"])
def test_what_is_no_name_is_refused(tmp_path, scene, name):
    with pytest.raises(FormatError, match="is no name for a file"):
        scene[0]._replace(name=name).copy_to(tmp_path / "to")


def test_no_other_image_of_this_machine_is_read(tmp_path, scene):
    image, masks = scene
    secret = tmp_path / "secret.png"
    Image.fromarray(np.full((*SIZE, 3), 77, np.uint8)).save(secret)
    with pytest.raises(FormatError, match=r"secret\.png: is missing"):
        job_of(tmp_path, image, saved(tmp_path, "a.json", annotations(masks, str(secret))))
    elsewhere = saved(tmp_path, "a.json", annotations(masks, str(tmp_path / "cat.png")))
    image.path.rename(tmp_path / "cat.png")
    job = Job.of_uploads(tmp_path / "other", image._replace(path=tmp_path / "cat.png"), [elsewhere])
    assert job.record.path == tmp_path / "other" / "image" / "cat.png"


def wrong_files(tmp_path, masks):
    yield "a.json", annotations(masks, "dog.png"), r"dog\.png: is missing"
    yield "a.json", annotations(masks, "a/cat.png", ["b/cat.png"]), r"has masks of 2 images that may be cat\.png"
    yield "a.json", annotations(masks[:, :-1], "cat.png"), r"annotations\[0\]: .*95, 120.*96, 120"
    yield "a.json", [], r"has no mask of cat\.png"
    yield "a.json", "[{", "a.json: is not JSON"
    yield "a.png", "no image", r"a\.png: cannot be decoded"
    yield "a.png", masks[0, :-1], r"a\.png: the mask is \(95, 120\) \(h, w\), its image \(96, 120\)"
    yield "a.docx", "text", "is in no known format; taken are COCO"
    yield "a.zip", "no zip", r"a\.zip: cannot be unpacked"


@pytest.mark.parametrize("number", range(9))
def test_what_cannot_be_used_is_said_in_one_line(tmp_path, scene, number):
    image, masks = scene
    name, content, problem = [*wrong_files(tmp_path, masks)][number]
    with pytest.raises(FormatError, match=problem):
        job_of(tmp_path, image, saved(tmp_path, name, content))


def results(*masks_by_id):
    return [
        {"image_id": image_id, "category_id": 3, "score": 0.5, "segmentation": rle.encode(mask)}
        for image_id, masks in masks_by_id
        for mask in masks
    ]


def test_results_of_one_image_need_not_have_its_name(tmp_path, scene, refiner):
    image, masks = scene
    job = job_of(tmp_path, image, saved(tmp_path, "a.json", results((77, masks))))
    assert np.array_equal(decoded(job.rles), masks)
    entries = json.loads(written(job, refiner).read_text())
    assert [entry["image_id"] for entry in entries] == [77, 77]
    assert "file_name" not in entries[0]


@pytest.mark.parametrize("bad", [{"more": 1}, 7, {"image_id": [1]}, {"image_id": 77}])
def test_bad_results_stay_beside_good_ones(tmp_path, scene, refiner, bad):
    image, masks = scene
    job = job_of(tmp_path, image, saved(tmp_path, "a.json", [bad, *results((77, masks))]))
    assert np.array_equal(decoded(job.rles), masks)
    assert len(job.left) == 1
    assert json.loads(written(job, refiner).read_text())[0] == bad


def test_results_of_several_images_find_the_one_whose_name_ends_in_their_id(tmp_path, scene):
    image, masks = scene
    several = results((77, masks), (8, masks[:1]))
    with pytest.raises(FormatError, match="named after image_id 77; rename the image such that") as raised:
        job_of(tmp_path, image, saved(tmp_path, "a.json", several))
    assert "annotations=" not in str(raised.value)
    job = Job.of_uploads(tmp_path / "other", image._replace(name="0008.png"), [saved(tmp_path, "a.json", several)])
    assert np.array_equal(decoded(job.rles), masks[:1])
    (line,) = job.left
    assert line.startswith("2 masks left as before: the image id is unknown (")
    assert "annotations=" not in line


def test_two_files_of_one_name_are_refused(tmp_path, scene):
    image, masks = scene
    given = [saved(tmp_path, "a.png", mask) for mask in masks]
    with pytest.raises(FormatError, match=r"a\.png: is the name of two files"):
        job_of(tmp_path, image, *given)


def test_a_photograph_that_exif_turns_takes_masks_of_either_size(tmp_path, refiner):
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif)
    for number, size in enumerate((SIZE, SIZE[::-1])):
        mask = np.zeros(size, bool)
        mask[20:60, 30:70] = True
        job = Job.of_uploads(
            tmp_path / f"{number}", Upload(tmp_path / "photo.jpg", "photo.jpg"), [saved(tmp_path, "m.png", mask)]
        )
        assert np.asarray(Image.open(written(job, refiner))).shape == size
