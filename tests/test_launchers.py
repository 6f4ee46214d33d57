import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


def test_joblib_runs_the_jobs_of_a_sweep_side_by_side(toy_coco, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra `launchers` is not installed")
    sets = f"[{{images: '{toy_coco.images}', annotations: '{toy_coco.annotations}', "
    sets += f"predictions: ['{toy_coco.predictions}']}}]"
    command = [sys.executable, ROOT / "train.py", "-m", "debug=fast", f"data.train={sets}", f"data.val={sets}"]
    command += [
        "model.net.backbone=hrnet_w18_small",
        "patch.size=32",
        "data.patches_per_image=2",
        "threads=1",
        "trainer.max_steps=1",
    ]
    command += ["trainer.val_check_interval=1", "optim.optimizer.lr=0.01,0.001", "hydra/launcher=joblib"]
    command += ["hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BPR_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rates = []
    for job in (tmp_path / "sweep" / "0", tmp_path / "sweep" / "1"):
        rates.append(yaml.safe_load((job / ".hydra" / "config.yaml").read_text())["optim"]["optimizer"]["lr"])
        with (job / "csv" / "metrics.csv").open() as file:
            assert any(row.get("val/boundary_f") for row in csv.DictReader(file))
    assert rates == [0.01, 0.001]
