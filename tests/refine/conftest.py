import pytest
import torch

from bpr.models.segmenter import PatchSegmenter
from bpr.models.weights import save_segmenter


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A random network that runs fast."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    segmenter = PatchSegmenter(input_size=32)
    torch.nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    save_segmenter(segmenter, path)
    return path
