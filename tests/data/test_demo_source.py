import pytest

from bpr.data.datamodule import PatchDataModule
from bpr.data.demo_source import demo_source
from bpr.structures import PatchSpec
from bpr.synthetic import demo

pytest.importorskip("skimage")


@pytest.fixture(autouse=True)
def _two_images(monkeypatch):
    monkeypatch.setattr(demo, "COUNTS", {"train": 2, "val": 2})


def source(root, split):
    folder = root / split
    return demo_source(folder / "images", folder / "instances.json", [folder / "coarse.json"])


def test_the_demo_is_made_and_gives_patches_to_train_on(tmp_path):
    sources = [[source(tmp_path / "demo", split)] for split in ("train", "val")]
    datamodule = PatchDataModule(*sources, PatchSpec(64), tmp_path / "index", batch_size=4)
    datamodule.setup()
    batch = next(iter(datamodule.train_dataloader()))
    assert batch.images.shape == (4, 3, 64, 64)
    assert batch.truth.any()


def test_a_folder_that_is_none_of_the_demos_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="split must be one of"):
        source(tmp_path / "demo", "test")
    with pytest.raises(ValueError, match="where the demo has them"):
        demo_source(tmp_path / "val" / "pictures", "instances.json")
    assert not (tmp_path / "demo").exists()
