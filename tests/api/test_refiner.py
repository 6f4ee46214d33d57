import copy
import pickle
import subprocess
import sys
import threading
import tracemalloc
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from bpr import PatchSpec, Refiner, rle
from bpr.data.batches import RefinementBatch
from bpr.data.datasets import RefinementDataset
from bpr.models import backends
from bpr.models.refiner import Inference, PatchRefiner
from bpr.models.segmenter import PatchSegmenter
from bpr.patches.engine import Method
from bpr.refine.writer import encode_image
from bpr.structures import ImageRecord, Prediction, Round, SettingError


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32).eval()
    torch.nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    torch.nn.init.normal_(segmenter.backbone.conv1.mask.weight)
    return segmenter


@pytest.fixture(scope="module")
def refiner(segmenter):
    return Refiner(segmenter, PatchSpec(32), device="cpu", patches_per_forward=7)


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    ys, xs = np.mgrid[:90, :120]
    discs = [((xs - x) ** 2 + (ys - y) ** 2) < r**2 for x, y, r in ((30, 40, 20), (80, 30, 25), (110, 80, 30))]
    return image, np.stack([*discs, np.zeros((90, 120), bool)])


@pytest.mark.parametrize("rounds", [["boundary"], ["object", "boundary"]])
def test_masks_equal_those_of_the_prediction_loop(segmenter, scene, tmp_path, rounds):
    image, masks = scene
    Image.fromarray(image).save(tmp_path / "1.png")
    instances = tuple(Prediction(rle.encode(mask), 1, 1.0, n) for n, mask in enumerate(masks))
    record = ImageRecord(1, tmp_path / "1.png", image.shape[:2], instances)
    method = Method(PatchSpec(32), tuple(Round(name) for name in rounds), segmenter.input_size)
    module = PatchRefiner(segmenter, inference=Inference(method, patches_per_forward=7)).eval()
    batch = RefinementBatch((RefinementDataset([record], method)[0],))
    with torch.inference_mode():
        (predicted,) = module.predict_step(batch, 0)()
    written = encode_image(batch.images[0].image, predicted)
    refined = Refiner(segmenter, PatchSpec(32), device="cpu", patches_per_forward=7, rounds=rounds)(image, masks)
    assert refined.dtype == bool
    assert refined.shape == masks.shape
    assert not refined[3].any()
    assert written.skipped == {"empty mask": 1}
    assert written.changed == sum((refined[n] != masks[n]).any() for n in range(3)) > 0
    for number, code in written.masks.items():
        np.testing.assert_array_equal(refined[number], rle.decode(code))


def test_an_unknown_round_is_refused(segmenter):
    for rounds in ("objekt", ["boundary", "objekt"]):
        with pytest.raises(SettingError, match=r"^rounds must be one of boundary, object, got 'objekt'$"):
            Refiner(segmenter, device="cpu", rounds=rounds)


def test_inputs_are_not_changed(refiner, scene):
    image, masks = scene
    before = image.copy(), masks.copy()
    refiner(image, masks)
    assert np.array_equal(image, before[0])
    assert np.array_equal(masks, before[1])


def test_probabilities_explain_the_masks(refiner, scene):
    image, masks = scene
    refined, probabilities = refiner(image, masks, return_probabilities=True)
    assert probabilities.dtype == np.float32
    assert np.array_equal(probabilities > 0.5, refined)
    strict = refiner(image, masks, threshold=0.9)
    assert np.array_equal(probabilities > 0.9, strict)
    assert set(np.unique(probabilities[3])) == {0.0}


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("compat_2021", [False, True])
def test_masks_are_the_same_with_and_without_their_probabilities(segmenter, scene, threshold, compat_2021):
    refiner = Refiner(segmenter, PatchSpec(32, compat_2021=compat_2021), device="cpu")
    with_probabilities, _ = refiner(*scene, threshold=threshold, return_probabilities=True)
    assert np.array_equal(refiner(*scene, threshold=threshold), with_probabilities)


def test_masks_alone_need_no_memory_for_probabilities(refiner):
    image, masks = np.zeros((1000, 1000, 3), np.uint8), np.zeros((40, 1000, 1000), bool)
    masks[:, 500:510, 500:510] = True
    tracemalloc.start()
    refiner(image, masks)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * masks.nbytes  # as float32 the probabilities alone are 4 times as large


def test_a_list_of_images_gives_what_each_gives_alone(refiner, scene):
    image, masks = scene
    flipped = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(masks[:2, :, ::-1])
    together = refiner([image, flipped[0]], [masks, flipped[1]])
    alone = [refiner(image, masks), refiner(*flipped)]
    for ours, theirs in zip(together, alone, strict=True):
        assert (ours != theirs).mean() < 1e-3  # as above


def test_progress_reaches_the_total(refiner, scene):
    calls = []
    refiner(*scene, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls[:-1]] == list(range(7, calls[-1][1], 7))
    assert calls[-1][0] == calls[-1][1]


@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy])
def test_a_refiner_can_be_pickled_and_copied(segmenter, scene, copied):
    refiner = Refiner(segmenter, PatchSpec(32), "cpu", 7, backend="eager", rounds=["object", "boundary"], flip=True)
    again = copied(refiner)
    assert again._method == refiner._method
    assert np.array_equal(again(*scene), refiner(*scene))


def test_names_of_weights_are_for_from_pretrained():
    with pytest.raises(SettingError, match=r"must be a PatchSegmenter, got 'hrnet18s'; Refiner\.from_pretrained takes"):
        Refiner("hrnet18s")


def test_threads_may_share_a_refiner(refiner, scene):
    expected, results = refiner(*scene), [None] * 4

    def work(number):
        results[number] = refiner(*scene)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for refined in results:
        assert np.array_equal(refined, expected)


@pytest.mark.parametrize("form", ["pil", "grey", "grey channel", "palette", "rgba"])
def test_images_come_in_several_forms(refiner, scene, form):
    image, masks = scene
    grey = image[..., 0]
    given = {
        "pil": Image.fromarray(image),
        "grey": grey,
        "grey channel": grey[..., None],
        "palette": Image.fromarray(image).convert("P"),
        "rgba": np.dstack([image, grey]),
    }[form]
    expected = np.asarray(Image.fromarray(image).convert("P").convert("RGB")) if form == "palette" else image
    expected = np.repeat(grey[..., None], 3, axis=2) if form.startswith("grey") else expected
    assert np.array_equal(refiner(given, masks), refiner(expected, masks))


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (31, 31)])
def test_images_smaller_than_a_patch_are_refined(refiner, shape):
    image, masks = np.zeros((*shape, 3), np.uint8), np.ones((1, *shape), bool)
    masks[0, :, shape[1] // 2 :] = False
    assert refiner(image, masks).shape == masks.shape


@pytest.mark.parametrize("shape", [(4, 1, 90, 120), (90, 120)], ids=str)
def test_probabilities_have_the_shape_of_the_masks(refiner, scene, shape):
    image, masks = scene
    given = torch.from_numpy(masks[0] if len(shape) == 2 else masks[:, None]).float()
    refined, probabilities = refiner(image, given, return_probabilities=True)
    assert refined.dtype == torch.float32
    assert tuple(refined.shape) == probabilities.shape == shape
    assert np.array_equal(refined.numpy() == 1, probabilities > 0.5)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_polygons_are_refined_as_the_masks_that_they_draw(refiner, scene, kind):
    image, _ = scene
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    discs = [np.stack([x + r * np.cos(turns), y + r * np.sin(turns)], 1) for x, y, r in ((30, 40, 20), (80, 30, 25))]
    polygons = [disc.astype(kind) for disc in discs]
    masks = np.stack([rle.decode(rle.from_segmentation([p.ravel().tolist()], (90, 120))) for p in polygons])
    refined = refiner.refine_polygons(image, polygons)
    assert {part.dtype for parts in refined for part in parts} == {np.dtype(kind)}
    for parts, mask in zip(refined, refiner(image, masks), strict=True):
        drawn = rle.from_segmentation([part.ravel().tolist() for part in parts], (90, 120))
        assert np.array_equal(rle.decode(drawn), ndimage.binary_fill_holes(mask))
    thinned = refiner.refine_polygons(image, polygons, tolerance=1.0)
    assert len(thinned[0][0]) < len(refined[0][0])


@pytest.mark.parametrize(
    ("image", "tolerance", "message"),
    [(np.zeros((9, 9, 3), np.uint8), -1, "tolerance must be 0 px or more, got -1"), ([], 0, "image by image")],
)
def test_polygons_that_cannot_be_refined_so_are_refused(refiner, image, tolerance, message):
    with pytest.raises((ValueError, TypeError), match=message):
        refiner.refine_polygons(image, [np.array([[1, 1], [5, 1], [5, 5]])], tolerance)


def test_no_masks_give_no_masks(refiner):
    assert refiner(np.zeros((9, 9, 3), np.uint8), np.zeros((0, 9, 9), bool)).shape == (0, 9, 9)


@pytest.mark.parametrize(
    ("image", "masks", "error", "message"),
    [
        (np.zeros((9, 9, 3)), np.zeros((1, 9, 9), bool), TypeError, "must be uint8"),
        (np.zeros((9, 9, 5), np.uint8), np.zeros((1, 9, 9), bool), ValueError, r"got shape \(9, 9, 5\)"),
        (np.zeros((1, 3, 9, 9), np.uint8), np.zeros((1, 9, 9), bool), ValueError, "several images come as a list"),
        ("absent.jpg", np.zeros((1, 9, 9), bool), ValueError, "absent.jpg: is missing; check the path"),
        (np.zeros((9, 9, 3), np.uint8), np.zeros((1, 8, 9), bool), ValueError, "but the image is"),
        (np.zeros((9, 9, 3), np.uint8), np.zeros(9, bool), TypeError, r"\(n, h, w\)"),
        (np.zeros((9, 9, 3), np.uint8), np.full((1, 9, 9), 0.7), TypeError, "threshold them"),
        (np.zeros((9, 9, 3), np.uint8), {"boxes": 1}, TypeError, "this one"),
        ([np.zeros((9, 9, 3), np.uint8)], np.zeros((2, 9, 9), bool), ValueError, "1 images need"),
        ([np.zeros((9, 9, 3), np.uint8)], [], ValueError, "1 images need a list with the masks of each, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(refiner, image, masks, error, message):
    with pytest.raises(error, match=message):
        refiner(image, masks)


def test_the_threshold_is_checked(refiner, scene):
    with pytest.raises(ValueError, match="threshold must be in"):
        refiner(*scene, threshold=1.0)


def test_bundled_weights_load_by_name():
    refiner = Refiner.from_pretrained("hrnet18s", device="cpu")
    assert refiner.patch == PatchSpec()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_of_the_caller_changes_nothing(refiner, scene, dtype):
    (_, expected) = refiner(*scene, return_probabilities=True)
    with torch.autocast("cpu", dtype):
        (_, found) = refiner(*scene, return_probabilities=True)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:99"}, "device=cuda:99 cannot be used .*device=cpu"),
        ({"device": "gpu"}, "device=gpu cannot be used .*device=cpu"),
        (
            {"backend": "onyx"},
            "backend must be one of eager, compile, openvino, openvino_bf16, openvino_int8, got 'onyx'",
        ),
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"patches_per_forward": 0}, "patches_per_forward must be at least 1, got 0"),
        ({"patch": "nms"}, "patch must be a PatchSpec, got 'nms'"),
        ({"threads": "2"}, "threads must be a whole number, got '2'"),
        ({"patches_per_forward": 2.5}, r"patches_per_forward must be a whole number, got 2\.5"),
        ({"rounds": 3}, "rounds must be a list of names, got 3"),
        ({"flip": "false"}, "flip must be True or False, got 'false'"),
    ],
)
def test_options_that_cannot_be_met_are_refused_at_once_in_one_line(segmenter, options, message):
    with pytest.raises(SettingError, match=f"^{message}") as caught:
        Refiner(segmenter, **options)
    assert "\n" not in str(caught.value)


def test_trust_as_text_is_refused():
    with pytest.raises(SettingError, match=r"^trust must be True or False, got 'false'$"):
        Refiner.from_pretrained(trust="false")


def test_refused_options_leave_the_threads_of_torch_as_they_are(segmenter):
    before = torch.get_num_threads()
    with pytest.raises(SettingError):
        Refiner(segmenter, threads=before + 1, backend="onyx")
    assert torch.get_num_threads() == before


def test_converted_networks_are_kept_in_the_cache_that_the_environment_names(segmenter, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(backends, "check_backend", lambda backend, device: None)
    monkeypatch.setattr(backends, "ir_of", lambda network, folder: asked.append(folder))
    monkeypatch.setattr(backends, "OpenVinoNetwork", Mock())
    monkeypatch.setenv("BPR_CACHE", str(tmp_path / "cache"))
    Refiner(segmenter, device="cpu", backend="openvino")
    assert asked == [tmp_path / "cache" / "openvino"]


@pytest.fixture(scope="module")
def imported_with_the_refiner():
    script = "import sys; from bpr import Refiner; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


UNNEEDED = ["timm", "torchvision", "pytorch_lightning", "torchmetrics", "hydra", "omegaconf", "albumentations"]
UNNEEDED += ["huggingface_hub", "scipy", "skimage", "matplotlib", "wandb", "jinja2", "onnxruntime"]


@pytest.mark.parametrize("package", UNNEEDED)
def test_importing_the_refiner_leaves_out_what_it_does_not_need(imported_with_the_refiner, package):
    assert package not in imported_with_the_refiner


def test_a_preset_stands_for_what_is_not_given(weights):
    for options in ({}, {"rounds": None, "patch": None}):
        method = Refiner.from_pretrained(weights, preset="best", device="cpu", **options)._method
        assert (method.rounds, method.spec.margin) == ((Round.boundary,), 8)
    given = {"rounds": ("boundary", "boundary"), "patch": PatchSpec(margin=2)}
    method = Refiner.from_pretrained(weights, preset="best", device="cpu", **given)._method
    assert (method.rounds, method.spec.margin) == ((Round.boundary, Round.boundary), 2)
    with pytest.raises(ValueError, match="preset must be one of fast, default, best, got 'quick'"):
        Refiner.from_pretrained(weights, preset="quick")
