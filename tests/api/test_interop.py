import copy

import numpy as np
import pytest
import torch

from bpr import Refiner, rle
from bpr.api.arrays import boxes_of
from bpr.api.interop import masks_of

SIZE = (60, 80)


@pytest.fixture
def masks():
    stack = np.zeros((3, *SIZE), bool)
    stack[0, 10:30, 5:40] = stack[1, 40:55, 50:70] = True
    stack[2, 20:45, 60:78] = True
    return stack


@pytest.fixture
def refined(masks):
    """Other masks: one grown, one emptied, one as it was."""
    changed = masks.copy()
    changed[0, 8:32, 4:41] = True
    changed[1] = False
    return changed


@pytest.fixture(scope="session")
def ultralytics(tmp_path_factory):
    """Imported outside of any test: it changes environment variables and writes settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("yolo")))
        pytest.importorskip("ultralytics.engine.results", reason="the extra interop is not installed")
        return pytest.importorskip("ultralytics")


def there_and_back(given, refined, size=SIZE):
    before = copy.deepcopy(given)
    adapted = masks_of(given, size)
    assert adapted.arrays.dtype == bool
    rebuilt = adapted.rebuild(refined)
    assert np.array_equal(masks_of(rebuilt, size).arrays, refined)
    assert np.array_equal(masks_of(given, size).arrays, masks_of(before, size).arrays)
    assert np.array_equal(masks_of(adapted.rebuild(adapted.arrays), size).arrays, adapted.arrays)
    return rebuilt


def test_arrays_and_tensors_keep_their_type(masks, refined):
    assert there_and_back(masks, refined).dtype == bool
    assert there_and_back(masks.astype(np.uint8), refined).dtype == np.uint8
    assert there_and_back(torch.from_numpy(masks), refined).dtype == torch.bool


FORMS = {
    str: lambda code: code,
    bytes: lambda code: {**code, "counts": code["counts"].encode()},
    list: lambda code: {**code, "counts": rle.uncompressed_counts(code)},
}
"""RLEs by the type of their ``counts``."""


@pytest.mark.parametrize("kind", FORMS)
def test_rle_lists(masks, refined, kind):
    given = [FORMS[kind](rle.encode(mask)) for mask in masks]
    assert there_and_back(given, refined) == [FORMS[kind](rle.encode(mask)) for mask in refined]


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("others", [{"image_id": 1, "score": 0.5}, {"predicted_iou": 0.9, "point_coords": [[1, 2]]}])
def test_rles_in_results_and_in_sams_dicts_stay_what_they_were(masks, refined, kind, others):
    given = [{**others, "segmentation": FORMS[kind](rle.encode(mask))} for mask in masks]
    expected = [{**others, "segmentation": FORMS[kind](rle.encode(mask))} for mask in refined]
    assert there_and_back(given, refined) == expected


def test_results_entries_keep_their_fields(masks, refined):
    given = [{"score": 0.5, "bbox": [0, 0, 1, 1], "area": 1, "segmentation": rle.encode(mask)} for mask in masks]
    rebuilt = there_and_back(given, refined)
    assert rebuilt[0]["bbox"] == [4, 8, 37, 24]
    assert rebuilt[0]["area"] == 37 * 24
    assert rebuilt[0]["score"] == 0.5


def test_masks_of_sams_generator_stay_arrays(masks, refined):
    given = [{"segmentation": mask, "area": 1, "bbox": [0, 0, 1, 1], "predicted_iou": 0.9} for mask in masks]
    rebuilt = there_and_back(given, refined)
    assert rebuilt[0]["segmentation"].dtype == bool
    assert rebuilt[0]["bbox"] == [4, 8, 37, 24]
    assert rebuilt[0]["predicted_iou"] == 0.9


@pytest.fixture
def sams_dicts(masks):
    """As of SAM's automatic mask generator, but for the type of the mask."""
    return [{"segmentation": torch.from_numpy(mask), "area": int(mask.sum()), "bbox": [0, 0, 1, 1]} for mask in masks]


def test_tensors_in_sams_dicts_stay_tensors(sams_dicts, refined):
    rebuilt = masks_of(sams_dicts, SIZE).rebuild(refined)
    assert torch.equal(rebuilt[0]["segmentation"], torch.from_numpy(refined[0]))


@pytest.mark.parametrize("kind", [int, float])
def test_areas_keep_their_type(sams_dicts, refined, kind):
    given = [{**entry, "area": kind(1)} for entry in sams_dicts]
    assert isinstance(masks_of(given, SIZE).rebuild(refined)[0]["area"], kind)


def test_sams_masks_of_another_image_are_named(sams_dicts):
    sams_dicts[1]["segmentation"] = torch.zeros(5, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"mask 1 is \(5, 5\) \(h, w\), but the image is \(60, 80\)"):
        masks_of(sams_dicts, SIZE)


def test_lists_of_masks_come_back_as_lists(masks, refined):
    given = [masks[0], torch.from_numpy(masks[1]).float(), masks[2, None].astype(np.uint8) * 255]
    rebuilt = there_and_back(given, refined)
    assert [(type(one), one.dtype, one.shape) for one in rebuilt] == [
        (type(one), one.dtype, one.shape) for one in given
    ]
    assert rebuilt[2].max() == 255


@pytest.mark.parametrize("shapes", [[(5, 5), (6, 5)], [(2, 5, 5), (2, 5, 5)]])
def test_lists_of_other_masks_are_refused(shapes):
    with pytest.raises(TypeError, match=r"\(h, w\) arrays of the same size, each one mask, got \["):
        masks_of([np.zeros(shape, bool) for shape in shapes], (5, 5))


def test_the_axis_of_the_masks_comes_first(masks):
    with pytest.raises(ValueError, match=r"\(80, 3\) \(h, w\), but the image is \(60, 80\); .*axis of the masks first"):
        masks_of(np.moveaxis(masks, 0, -1), SIZE)


def test_maps_of_ids_are_refused_with_a_remedy():
    with pytest.raises(TypeError, match=r"int64 from 0 to 7; .*give \(labels == id\) for each"):
        masks_of(np.arange(8).reshape(2, 4), (2, 4))


@pytest.mark.parametrize("entry", [{"masks": torch.zeros(1, 1, *SIZE)}, {"segmentation": None, "segments_info": []}])
def test_a_list_of_dicts_of_whole_images_is_refused_for_one_image(entry):
    with pytest.raises(TypeError, match=r"a list of 1 builtins\.dict, .*give one of them \(result\[0\]\)"):
        masks_of([entry], SIZE)


def test_a_bad_rle_is_named():
    with pytest.raises(ValueError, match="mask 1 is no COCO mask"):
        masks_of([rle.encode(np.zeros(SIZE, bool)), {"size": [1, 1], "counts": "1"}], SIZE)


def test_torchvision_detections(masks, refined):
    given = {
        "boxes": torch.from_numpy(boxes_of(masks)),
        "labels": torch.tensor([1, 2, 3]),
        "scores": torch.tensor([0.9, 0.8, 0.7]),
        "masks": torch.from_numpy(masks[:, None]).float() * 0.8,
    }
    rebuilt = there_and_back(given, refined)
    assert rebuilt["masks"].shape == (3, 1, *SIZE)
    assert rebuilt["boxes"][0].tolist() == [4, 8, 41, 32]
    assert torch.equal(rebuilt["boxes"][1], given["boxes"][1])  # its mask is empty now: the box stays
    assert torch.equal(rebuilt["scores"], given["scores"])


def test_arrays_in_a_torchvision_dict_stay_arrays(masks, refined):
    given = {"boxes": boxes_of(masks), "masks": masks[:, None].astype(np.float32)}
    rebuilt = there_and_back(given, refined)
    assert (type(rebuilt["masks"]), type(rebuilt["boxes"])) == (np.ndarray, np.ndarray)


def test_full_masks_in_a_torchvision_dict_stay_full(masks, refined):
    given = {"masks": torch.from_numpy(masks[:, None].astype(np.uint8) * 255)}
    assert there_and_back(given, refined)["masks"].unique().tolist() == [0, 255]


@pytest.fixture(scope="module")
def tv_tensors():
    return pytest.importorskip("torchvision.tv_tensors", reason="the extra interop is not installed")


def test_masks_of_torchvision_stay_such(masks, refined, tv_tensors):
    rebuilt = there_and_back(tv_tensors.Mask(masks), refined)
    assert (type(rebuilt), rebuilt.dtype) == (tv_tensors.Mask, torch.bool)


def test_masks_and_boxes_in_a_torchvision_dict_stay_such(masks, refined, tv_tensors):
    boxes = tv_tensors.BoundingBoxes(boxes_of(masks), format="XYXY", canvas_size=SIZE)
    rebuilt = there_and_back({"masks": tv_tensors.Mask(masks[:, None]), "boxes": boxes}, refined)
    assert {name: type(one) for name, one in rebuilt.items()} == {
        "masks": tv_tensors.Mask,
        "boxes": tv_tensors.BoundingBoxes,
    }
    assert (rebuilt["boxes"].format, rebuilt["boxes"].canvas_size) == (boxes.format, SIZE)


def test_boxes_of_torchvision_in_another_format_are_refused(masks, tv_tensors):
    boxes = tv_tensors.BoundingBoxes(boxes_of(masks), format="XYWH", canvas_size=SIZE)
    with pytest.raises(ValueError, match=r"must be x1, y1, x2, y2 \(XYXY\), got XYWH; convert them"):
        masks_of({"masks": tv_tensors.Mask(masks[:, None]), "boxes": boxes}, SIZE)


def test_half_precision_detections_are_understood(masks):
    given = {"masks": torch.from_numpy(masks[:, None]).to(torch.bfloat16)}
    assert np.array_equal(masks_of(given, SIZE).arrays, masks)


def test_a_torchvision_dict_with_a_list_of_masks_is_refused(masks):
    with pytest.raises(TypeError, match=r"\(n, 1, h, w\) tensor or array, got list"):
        masks_of({"masks": list(masks)}, SIZE)


def test_a_real_torchvision_detector_is_understood(refined):
    detection = pytest.importorskip("torchvision.models.detection")
    torch.manual_seed(0)
    model = detection.maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3, box_score_thresh=0.0, box_detections_per_img=3
    ).eval()
    with torch.inference_mode():
        output = model([torch.rand(3, *SIZE)])[0]
    there_and_back(output, refined[: len(output["masks"])])


def test_supervision_detections(masks, refined):
    sv = pytest.importorskip("supervision", reason="the extra interop is not installed")
    given = sv.Detections(
        xyxy=boxes_of(masks), mask=masks, class_id=np.array([1, 2, 3]), confidence=np.array([0.9, 0.8, 0.7]),
        data={"name": np.array(["a", "b", "c"])},
    )  # fmt: skip
    rebuilt = there_and_back(given, refined)
    assert isinstance(rebuilt, sv.Detections)
    assert rebuilt.xyxy[0].tolist() == [4, 8, 41, 32]
    assert rebuilt.data["name"].tolist() == ["a", "b", "c"]
    assert masks_of(sv.Detections.empty(), SIZE).rebuild(None).is_empty()
    with pytest.raises(ValueError, match="no masks"):
        masks_of(sv.Detections(xyxy=boxes_of(masks)), SIZE)


@pytest.fixture
def ultralytics_results(masks, ultralytics):
    boxes = torch.cat([torch.from_numpy(boxes_of(masks)), torch.tensor([[0.9, 0], [0.8, 1], [0.7, 2]])], dim=1)
    return ultralytics.engine.results.Results(
        np.zeros((*SIZE, 3), np.uint8), "a.jpg", {0: "a", 1: "b", 2: "c"}, boxes, torch.from_numpy(masks).float()
    )


def test_ultralytics_results(ultralytics_results, refined, ultralytics):
    rebuilt = there_and_back(ultralytics_results, refined)
    assert isinstance(rebuilt, ultralytics.engine.results.Results)
    assert rebuilt.boxes.xyxy[0].tolist() == [4, 8, 41, 32]
    assert rebuilt.boxes.conf.tolist() == ultralytics_results.boxes.conf.tolist()


def test_the_list_that_ultralytics_returns_is_refused_for_one_image(ultralytics_results):
    with pytest.raises(TypeError, match=r"a list of 1 ultralytics\.Results, .*give one of them \(result\[0\]\)"):
        masks_of([ultralytics_results], SIZE)


def test_the_list_that_ultralytics_returns_goes_with_a_list_of_images(ultralytics_results):
    refiner = Refiner.from_pretrained("hrnet18s", device="cpu")
    refined = refiner([np.zeros((*SIZE, 3), np.uint8)] * 2, [ultralytics_results] * 2)
    assert [type(one) for one in refined] == [type(ultralytics_results)] * 2


def test_letterboxed_ultralytics_masks_are_brought_to_the_image(masks, ultralytics):
    results, ops = ultralytics.engine.results, ultralytics.utils.ops
    small = torch.zeros(3, 64, 64)
    small[:, 8:56] = torch.nn.functional.interpolate(torch.from_numpy(masks)[None].float(), (48, 64))[0]
    boxes = torch.cat([torch.from_numpy(boxes_of(masks)), torch.ones(3, 2)], dim=1)
    given = results.Results(np.zeros((*SIZE, 3), np.uint8), "a.jpg", {1: "a"}, boxes, small)
    expected = ops.scale_masks(small[None], SIZE)[0].numpy() > 0.5
    adapted = masks_of(given, SIZE).arrays
    assert (adapted != expected).mean() < 0.002  # two bilinear resizings, OpenCV's and torch's


def test_hugging_face_maps(masks, refined):
    segments = [{"id": i, "label_id": 7, "score": s} for i, s in ((0, 0.9), (1, 0.8), (2, 0.7))]
    ids = np.full(SIZE, -1)
    for number in (2, 1, 0):
        ids[masks[number]] = number
    given = {"segmentation": torch.from_numpy(ids), "segments_info": segments}
    rebuilt = there_and_back(given, refined)
    assert rebuilt["segmentation"].dtype == torch.int64
    overlapping = refined.copy()
    overlapping[2, 8:32, 30:41] = True
    shared = masks_of(given, SIZE).rebuild(overlapping)["segmentation"]
    assert shared[10, 35] == 0  # the higher score keeps the pixel
    assert shared.min() == -1
    segments[1]["score"] = None  # an unscored one loses the pixel
    arrays = {"segmentation": ids, "segments_info": segments}
    assert isinstance(there_and_back(arrays, refined)["segmentation"], np.ndarray)
    maps = {"segmentation": masks, "segments_info": segments}
    assert isinstance(there_and_back(maps, refined)["segmentation"], np.ndarray)


def test_what_cannot_be_an_array_is_named():
    class Instances:
        def __iter__(self):
            raise NotImplementedError("`Instances` object is not iterable!")

        __len__ = __array__ = __iter__

    with pytest.raises(TypeError, match="Instances is no array; give the masks in it, such as pred_masks"):
        masks_of(Instances(), SIZE)


def test_the_background_of_panoptic_maps_of_hugging_face_stays_what_it_was(masks, refined):
    segments = [{"id": 1, "label_id": 7, "score": 0.9}]
    given = {"segmentation": torch.from_numpy(masks[0].astype(np.int32)), "segments_info": segments}
    rebuilt = masks_of(given, SIZE).rebuild(refined[:1])["segmentation"]
    assert np.array_equal(rebuilt, refined[0])
    for background in (-1, 0):
        ids = np.full(SIZE, background)
        ids[:2, :2], ids[masks[0]] = 3, 1
        given = {"segmentation": torch.from_numpy(ids), "segments_info": segments}  # 3 has been left out
        rebuilt = masks_of(given, SIZE).rebuild(refined[:1])["segmentation"]
        left = np.where(masks[0], background, ids)
        assert np.array_equal(rebuilt, np.where(refined[0], 1, left))
    full = {"segmentation": torch.ones(SIZE, dtype=torch.int32), "segments_info": segments}
    assert np.array_equal(masks_of(full, SIZE).rebuild(refined[:1])["segmentation"], refined[0])


@pytest.mark.parametrize("background", [-1, 0])
def test_segments_of_hugging_face_that_are_not_given_give_way_only_to_refined_ones(masks, refined, background):
    ids = np.full(SIZE, background, np.int32)
    ids[:10], ids[masks[0]] = 3, 1
    given = {"segmentation": torch.from_numpy(ids), "segments_info": [{"id": 1, "score": 0.9}]}
    rebuilt = masks_of(given, SIZE).rebuild(refined[:1])["segmentation"].numpy()
    assert np.array_equal(rebuilt == 1, refined[0])
    assert np.array_equal(rebuilt == 3, (ids == 3) & ~refined[0])


def test_a_map_of_hugging_face_whose_type_holds_no_background_is_refused(masks):
    given = {"segmentation": masks[0].astype(np.uint8), "segments_info": [{"id": 0}, {"id": 1}]}
    with pytest.raises(TypeError, match="uint8 cannot hold: give int32"):
        masks_of(given, SIZE)


def test_hugging_face_post_processing_is_understood(refined):
    transformers = pytest.importorskip("transformers", reason="the extra interop is not installed")
    modeling = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    outputs = modeling.Mask2FormerForUniversalSegmentationOutput(
        class_queries_logits=torch.tensor([[[9.0, 0, 0], [0, 9.0, 0], [9.0, 0, 0]]]),
        masks_queries_logits=torch.stack([torch.linspace(-9, 9, 96 * 96).reshape(96, 96).roll(n, 0) for n in range(3)])[
            None
        ],
    )
    processor = transformers.Mask2FormerImageProcessor()
    for maps in (True, False):
        found = processor.post_process_instance_segmentation(outputs, target_sizes=[SIZE], return_binary_maps=maps)[0]
        adapted = masks_of(found, SIZE)
        assert len(adapted.arrays) == len(found["segments_info"]) == 3
        there_and_back(found, refined)


def test_no_instances_of_hugging_face():
    given = {"segmentation": torch.full(SIZE, -1), "segments_info": []}
    assert masks_of(given, SIZE).arrays.shape == (0, *SIZE)
