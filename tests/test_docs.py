import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from bpr.config import register_schemas

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture
def configurations():
    register_schemas()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield [compose("refine"), compose("train"), compose("train", ["experiment=hrnet18s_128"])]
    GlobalHydra.instance().clear()


def settings(page):
    """What stands before an equals sign in commands and in code between words, of ours."""
    code = re.findall(r"```\n(.*?)```|`([^`\n]+)`", page.read_text(), re.S)
    words = " ".join(block or inline for block, inline in code).split()
    named = {word.split("=")[0] for word in words if re.match(r"[a-z_.]+=", word)}
    return {name for name in named if not name.startswith("hydra.")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_setting_in_the_documentation_exists(configurations, page):
    for name in settings(page) - {"return_probabilities"}:
        exists = any(OmegaConf.select(cfg, name, default="absent") != "absent" for cfg in configurations)
        assert exists or (ROOT / "conf" / name).is_dir(), name


def test_the_migration_page_names_every_variable_and_script_of_the_2021_code():
    page = (ROOT / "docs" / "migration.md").read_text()
    for name in ("IOU_THRESH", "IMG_DIR", "GT_JSON", "GPUS", "BPR_ROOT", "DATA_ROOT", "prepare_dataset.sh",
                 "prepare_dataset_coco.sh", "inference.sh", "inference_coco.sh", "dist_train.sh", "split_patches.py",
                 "merge_patches.py", "filter.py", "cityscapes2json.py", "json2cityscapes.py"):  # fmt: skip
        assert f"{name}`" in page or f"{name} " in page, name
