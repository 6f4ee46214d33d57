import gzip
import json
from pathlib import Path

import pytest

from bpr import rle
from bpr.formats.annotations import AnnotatedImage, Annotations, read_annotations
from bpr.formats.errors import FormatError
from bpr.structures import ClassCoverage

IMAGE = {"id": 1, "file_name": "a.jpg", "height": 5, "width": 6}
SQUARE = [[1, 1, 4, 1, 4, 4, 1, 4]]


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_annotations_of_all_three_encodings_become_the_same_rle(tmp_path):
    mask = rle.decode(rle.from_segmentation(SQUARE, (5, 6)))
    code = rle.encode(mask)
    uncompressed = {"size": [5, 6], "counts": [6, 3, 2, 3, 2, 3, 11]}
    entries = [{"image_id": 1, "category_id": 3, "segmentation": s} for s in (SQUARE, uncompressed, code)]
    entries[1]["iscrowd"] = 1
    read = read_annotations(write(tmp_path / "a.json", {"images": [IMAGE], "annotations": entries}))
    truths = read.images[1].truths
    assert [t.rle for t in truths] == [code] * 3
    assert [t.crowd for t in truths] == [False, True, False]
    assert read.has_truths


def test_a_file_that_only_lists_images_has_no_truths(tmp_path):
    assert not read_annotations(write(tmp_path / "a.json", {"images": [IMAGE]})).has_truths


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "expected a COCO annotation file"),
        ({"images": [{"id": 1}]}, r"images\[0\]: 'height' is missing"),
        ({"images": [IMAGE, IMAGE]}, r"images\[1\]: image id 1 occurs twice"),
        ({"images": [{**IMAGE, "width": 0}]}, "'width' must be at least 1 px"),
        ({"images": [IMAGE], "annotations": [{"image_id": 2}]}, r"annotations\[0\]: image_id 2 is not among"),
        (
            {"images": [IMAGE], "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[1, 2]]}]},
            r"annotations\[0\]: segmentation: a polygon",
        ),
    ],
)
def test_errors_in_annotations_name_file_and_entry(tmp_path, content, message):
    path = write(tmp_path / "broken.json", content)
    with pytest.raises(FormatError, match=message) as error:
        read_annotations(path)
    assert str(path) in str(error.value)


def test_lvis_images_are_named_by_their_url(tmp_path):
    image = {key: value for key, value in IMAGE.items() if key != "file_name"}
    image |= {"coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg", "neg_category_ids": [1]}
    read = read_annotations(write(tmp_path / "a.json", {"images": [image]}))
    assert next(iter(read.images.values())).file_name == "val2017/000000397133.jpg"


def test_lvis_says_which_classes_were_looked_for(tmp_path):
    image = {**IMAGE, "neg_category_ids": [3, 5], "not_exhaustive_category_ids": [7]}
    read = read_annotations(write(tmp_path / "a.json", {"images": [image]}))
    assert read.images[1].coverage == ClassCoverage(frozenset({3, 5}), frozenset({7}))
    assert read_annotations(write(tmp_path / "b.json", {"images": [IMAGE]})).images[1].coverage is None
    with pytest.raises(FormatError, match=r"images\[0\]: 'neg_category_ids' must be a list of category ids"):
        read_annotations(write(tmp_path / "c.json", {"images": [{**image, "neg_category_ids": ["x"]}]}))


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        (7, 7),
        ("7", 7),
        ("12", "12"),
        (12, "12"),
        ("000000000139.jpg", 9),
        ("val/000000000139", 9),
        ("C:\\val\\000000000139.jpg", 9),
        ("0007.jpg", 7),
        ("0007", 7),
        ("sa.1", "sa.1"),
        (139, 139),
        ("b", "b"),
    ],
)
def test_ids_of_another_type_and_names_lead_to_the_id_of_the_image(image_id, expected):
    files = {7: "a.png", "12": "b/c.png", 9: "val\\000000000139.jpg"}
    images = {known: AnnotatedImage(name, (5, 5), ()) for known, name in files.items()}
    assert Annotations(Path("a.json"), images, {}).id_of(image_id) == expected


@pytest.mark.parametrize(("image_id", "expected"), [("a.jpg", 1), ("x/a.png", 2), ("a", "a"), ("a.bmp", "a.bmp")])
def test_of_names_that_differ_in_their_suffix_alone_the_whole_name_decides(image_id, expected):
    images = {1: AnnotatedImage("a.jpg", (5, 5), ()), 2: AnnotatedImage("a.png", (5, 5), ())}
    assert Annotations(Path("a.json"), images, {}).id_of(image_id) == expected


def test_ids_that_are_whole_floats_are_read_as_integers(tmp_path):
    square = {"size": [5, 6], "counts": [0, 30]}
    content = {
        "images": [{"id": 3.0, "file_name": "a.png", "height": 5, "width": 6}],
        "annotations": [{"id": 1, "image_id": 3.0, "category_id": 2.0, "segmentation": square}],
        "categories": [{"id": 2.0, "name": "thing"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    read = read_annotations(tmp_path / "a.json")
    assert [*map(repr, (*read.images, *read.categories))] == ["3", "2"]
    assert read.images[3].truths[0].category == 2


@pytest.mark.parametrize(("of_image", "of_annotation"), [(3, "3"), ("3", 3), ("3", 3.0)])
def test_ids_may_be_numbers_in_one_place_and_text_in_another(tmp_path, of_image, of_annotation):
    content = {
        "images": [{**IMAGE, "id": of_image}],
        "annotations": [{"image_id": of_annotation, "category_id": 2, "segmentation": SQUARE}],
    }
    assert len(read_annotations(write(tmp_path / "a.json", content)).images[of_image].truths) == 1


def test_a_gzipped_file_is_read(tmp_path):
    content = {"images": [{"id": 1, "width": 30, "height": 20, "file_name": "a.jpg"}], "annotations": []}
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    assert read_annotations(tmp_path / "a.json.gz").images[1].size == (20, 30)
    (tmp_path / "a.json.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(FormatError, match=r"a\.json\.gz: cannot be read"):
        read_annotations(tmp_path / "a.json.gz")


def test_annotations_without_a_mask_are_no_objects_and_said(tmp_path, caplog):
    plain = {"image_id": 1, "category_id": 2, "bbox": [1, 1, 3, 3]}
    boxed = [plain, *({**plain, "segmentation": one} for one in ([], SQUARE, None, "", {}))]
    (tmp_path / "a.json").write_text(json.dumps({"images": [IMAGE], "annotations": boxed}))
    (truth,) = read_annotations(tmp_path / "a.json").images[1].truths
    assert rle.area(truth.rle) == 9
    assert "a.json: 5 annotations have no mask; they count as no objects" in caplog.text
