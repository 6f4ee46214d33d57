import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from bpr.config.schemas import register_schemas

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OF_OTHERS = {"return_probabilities", "progress", "save_json", "save_txt", "save_conf", "iscrowd"}
"""Arguments of Python and of other programs, and fields of files."""


@pytest.fixture
def configurations():
    register_schemas()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        trainings = [[], ["experiment=hrnet18s_128"], ["experiment=shipped"]]
        yield [compose("refine"), *(compose("train", overrides) for overrides in trainings)]
    GlobalHydra.instance().clear()


def settings(page):
    """What stands before an equals sign in commands and in code between words, of ours."""
    code = re.findall(r"^```(\w*)\n(.*?)^```$|`([^`\n]+)`", page.read_text(), re.S | re.M)
    words = " ".join(block or inline for language, block, inline in code if not language).split()
    named = {word.split("=")[0] for word in words if re.match(r"[a-z_.]+=", word)}
    return {name for name in named if not name.startswith("hydra.")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_every_setting_in_the_documentation_exists(configurations, page):
    for name in settings(page) - OF_OTHERS:
        exists = any(OmegaConf.select(cfg, name, default="absent") != "absent" for cfg in configurations)
        assert exists or (ROOT / "conf" / name).is_dir(), name


def test_the_page_on_refining_states_every_setting_and_its_default(configurations):
    refine, *_ = configurations
    page = (ROOT / "docs" / "refine.md").read_text()
    stated = dict(re.findall(r"^\| `([a-z_.0-9]+)` \| `([^`]+)` \|", page, re.M))
    groups = {f"patch.{name}" for name in refine.patch} | {name for name in stated if name.startswith("trainer.")}
    assert set(stated) == {str(name) for name in refine if name not in ("patch", "trainer", "paths")} | groups
    for name, default in stated.items():
        assert OmegaConf.select(refine, name) == OmegaConf.create(f"value: {default}").value, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_what_a_page_links_to_is_there(page):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [one for one in targets if not one.startswith("https://") and not (page.parent / one).exists()]
    assert not missing


def test_the_readme_is_a_front_page():
    readme = (ROOT / "README.md").read_bytes()
    assert len(readme) <= 9000
    for page in (b"refine", b"when-to-refine", b"train", b"multi-gpu", b"metrics", b"results", b"speed", b"migration"):
        assert b"(docs/" + page + b".md)" in readme


def test_the_migration_page_names_every_variable_and_script_of_the_2021_code():
    page = (ROOT / "docs" / "migration.md").read_text()
    for name in ("IOU_THRESH", "IMG_DIR", "GT_JSON", "GPUS", "BPR_ROOT", "DATA_ROOT", "prepare_dataset.sh",
                 "prepare_dataset_coco.sh", "inference.sh", "inference_coco.sh", "dist_train.sh", "split_patches.py",
                 "merge_patches.py", "filter.py", "cityscapes2json.py", "json2cityscapes.py"):  # fmt: skip
        assert f"{name}`" in page or f"{name} " in page, name
