import numpy as np
import pytest
import torch

from bpr.benchmark import trust
from bpr.benchmark.trust import Case, fit, keeps
from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter
from bpr.patches.trust import Evidence
from bpr.structures import SettingError


def cases(count=400):
    """Masks that refinement harms where they are trusted and its own boundary is blurred."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 1, (count, 2))
    gains = -0.02 * (drawn[:, 1] + drawn[:, 0] + 0.3 * rng.normal(size=count))
    return [Case(Evidence(*row), float(gain)) for row, gain in zip(drawn, gains, strict=True)]


def test_what_was_harmed_is_kept_and_what_gained_is_not():
    given = cases()
    bias, weights = fit(given)
    assert weights.trust > 1
    assert weights.blur == pytest.approx(weights.trust, rel=0.3)
    gains = np.array([case.gain for case in given])
    kept = keeps(given, bias, weights)
    assert np.where(kept, 0, gains).mean() > 0.95 * gains.clip(0).mean()


def test_the_more_harm_counts_the_more_is_kept():
    given = cases()
    assert keeps(given, *fit(given, 10.0)).sum() > keeps(given, *fit(given, 1.0)).sum()


def test_masks_that_all_gain_teach_nothing():
    with pytest.raises(SettingError, match="masks that get worse"):
        fit([Case(Evidence(0, 1), 0.1)] * 3)


@pytest.mark.parametrize("has_trust", [True, False])
def test_the_command_prints_what_it_fitted(toy_coco, tmp_path, capsys, has_trust):
    torch.manual_seed(0)
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32, trust=has_trust).eval()
    torch.nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    save_segmenter(segmenter, tmp_path / "w.safetensors")
    given = ["--images", str(toy_coco.images), "--annotations", str(toy_coco.annotations), "--objects", "2"]
    status = trust.main([*given, "--ckpt", str(tmp_path / "w.safetensors"), "--device", "cpu", "--threads", "1"])
    printed = capsys.readouterr()
    if has_trust:
        assert "BIAS = " in printed.out or "masks that get worse" in printed.err
    else:
        assert status == 2
        assert "has no trust output" in printed.err
