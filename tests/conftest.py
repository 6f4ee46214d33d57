"""Fixtures that every test can use, and the guards that fail a test which leaves traces."""

import json
import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hypothesis import settings
from omegaconf import DictConfig, open_dict
from PIL import Image

from bpr import rle
from bpr.config.schemas import register_schemas

ROOT = Path(__file__).parents[1]

BROWSER_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update"),
    *("--disable-background-networking", "--disable-sync", "--window-size=1280,1600"),
]

settings.register_profile("bpr", deadline=None)  # first calls import and compile; machines of CI are slow
settings.load_profile("bpr")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data and golden numbers; absent outside of the project's own machines."""
    folder = Path(os.environ.get("BPR_SHARED", ROOT.parent / "shared"))
    if folder.is_dir():
        return folder
    reason = f"{folder} is absent: real data and golden numbers are not part of the repository"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def leaves_no_traces() -> Iterator[None]:
    """Fail a test that leaves files in the repository, changes the environment or keeps a process group."""
    environment, files = dict(os.environ), set(os.listdir(ROOT))
    yield
    ignored = {"PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", "LD_LIBRARY_PATH"}  # set by pytest, torch and cv2
    ignored.add("PYTORCH_NVML_BASED_CUDA_CHECK")  # by Lightning, when it builds a trainer
    changed = {k for k in os.environ.keys() | environment.keys() if os.environ.get(k) != environment.get(k)} - ignored
    assert not changed, f"the test changed environment variables: {sorted(changed)}"
    caches = {".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".import_linter_cache"}
    leaked = set(os.listdir(ROOT)) - files - caches
    assert not leaked, f"the test left files: {sorted(leaked)}"
    assert not (torch.distributed.is_available() and torch.distributed.is_initialized()), "a process group is left"


@dataclass(frozen=True)
class ToyCoco:
    """A small COCO data set on disk: bright discs on noise; the coarse masks are the discs moved and grown."""

    root: Path
    images: Path
    annotations: Path
    predictions: Path


@pytest.fixture
def toy_coco(tmp_path: Path) -> ToyCoco:
    """Five images of different sizes, three discs each (two in the last, which has no prediction)."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "toy"
    (folder / "images").mkdir(parents=True)
    images, annotations, results = [], [], []
    for number, (height, width) in enumerate([(120, 160), (160, 120), (90, 200), (128, 128), (100, 100)]):
        pixels = rng.integers(0, 100, (height, width, 3), dtype=np.uint8)
        ys, xs = np.mgrid[:height, :width]
        for disc in range(3):
            x, y, radius = rng.uniform(20, width - 20), rng.uniform(20, height - 20), rng.uniform(12, 18)
            true = (xs - x) ** 2 + (ys - y) ** 2 < radius**2
            coarse = (xs - x - 2) ** 2 + (ys - y) ** 2 < (radius + 2) ** 2
            pixels[true] = 200 + 10 * disc
            code = rle.encode(true)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 + number,
                    "category_id": 1 + disc % 2,
                    "segmentation": code,
                    "area": rle.area(code),
                    "bbox": [0, 0, 1, 1],
                    "iscrowd": 0,
                }
            )
            if number < 4:
                entry = {"image_id": 10 + number, "category_id": 1 + disc % 2, "score": 0.9 - 0.1 * disc}
                results.append({**entry, "bbox": [0, 0, 1, 1], "segmentation": rle.encode(coarse), "note": "kept"})
        name = f"{10 + number:012d}.png"
        Image.fromarray(pixels).save(folder / "images" / name)
        images.append({"id": 10 + number, "file_name": name, "height": height, "width": width})
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "disk"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(truth))
    (folder / "coarse.json").write_text(json.dumps(results))
    return ToyCoco(folder, folder / "images", folder / "instances.json", folder / "coarse.json")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    """Chromium that records its console and its network, and downloads into ``tmp_path/downloads``."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        reason = "chromium and chromedriver are not installed (Debian: chromium, chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*BROWSER_FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(flag)
    downloads = {"download.default_directory": str(tmp_path / "downloads")}
    downloads |= {"profile.default_content_setting_values.automatic_downloads": 1}  # several, without asking
    options.add_experimental_option("prefs", downloads)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network, the smallest HRNet: not to be changed."""
    from bpr.models.segmenter import PatchSegmenter
    from bpr.models.weights import save_segmenter

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    segmenter = PatchSegmenter("hrnet_w18_small", input_size=32)
    torch.nn.init.normal_(segmenter.decode_head.conv_seg.weight)
    save_segmenter(segmenter, path)
    return path


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Callable[..., DictConfig]]:
    """The configuration of ``refine.py`` with some overrides, as Hydra gives it to ``main``."""

    def compose_refine(*overrides: object) -> DictConfig:
        register_schemas()
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            small = ["patch.size=32", "threads=1", "trainer.accelerator=cpu", "trainer.devices=1"]
            small += ["trainer.enable_progress_bar=false", f"hydra.runtime.output_dir={tmp_path / 'run'}"]
            small += [f"paths.cache={tmp_path / 'cache'}"]
            cfg = compose("refine", [*small, *map(str, overrides)], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    yield compose_refine
    HydraConfig.instance().cfg = None


@pytest.fixture
def refine(composed: Callable[..., DictConfig], weights: Path) -> Callable[..., None]:
    """Run ``refine.py`` in this process; it ends with a SystemExit where ``python refine.py`` ends early."""
    main = runpy.run_path(str(ROOT / "refine.py"))["main"].__wrapped__

    def run(*overrides: object) -> None:
        chosen = [] if any(str(o).startswith("ckpt=") for o in overrides) else [f"ckpt={weights}"]
        main(composed(*chosen, *overrides))

    return run


Released = Callable[[str], Path]


@pytest.fixture(scope="session")
def released(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Path of a file in the released layout, by network name; written once."""
    folder = tmp_path_factory.mktemp("released")

    def write(name: str) -> Path:
        path = folder / f"{name}.pth"
        if not path.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["reference_weights.py", name, str(path)])
                runpy.run_path(str(shared_dir / "golden" / "reference_weights.py"), run_name="__main__")
        return path

    return write
