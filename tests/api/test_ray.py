import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpr import Refiner, rle

pytest.importorskip("ray.data", reason="Ray is not installed: pip install -e '.[ray]'")
pa = pytest.importorskip("pyarrow", reason="Ray Data is not installed: pip install -e '.[ray]'")
pq = pytest.importorskip("pyarrow.parquet")

PROCESSORS = "import ray, runpy, sys; ray.init(num_cpus=4, include_dashboard=False); del sys.argv[0]; "
"""As Ray counts them: two actors leave it some to read and write, whatever the machine has."""
PAGE = Path(__file__).parents[2] / "docs" / "ray.md"


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "refine_with_ray.py"
    path.write_text(re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.S | re.M)[1])
    return path


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    ys, xs = np.mgrid[:72, :96]
    made = []
    for number in range(6):
        pixels = rng.integers(0, 90, (72, 96, 3), np.uint8)
        pixels[(xs - 48) ** 2 + (ys - 36) ** 2 < 24**2] += 120
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        discs = [(xs - 44 - number) ** 2 + (ys - 36) ** 2 < radius**2 for radius in (21, 27)]
        made.append({"id": number, "image": str(path), "masks": [rle.encode(disc) for disc in discs]})
    return made


@pytest.fixture(scope="module")
def expected(rows, weights):
    refiner = Refiner.from_pretrained(weights, threads=1)
    return {row["id"]: refiner(row["image"], row["masks"]) for row in rows}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_script_of_the_page_gives_what_the_refiner_gives(script, rows, expected, weights, tmp_path, form):
    source, target = tmp_path / f"rows.{form}", tmp_path / "refined"
    if form == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), source)
    start = PROCESSORS + "runpy.run_path(sys.argv[0], run_name='__main__')"
    options = ["--weights", weights, "--actors", "2", "--images", "2", *["--parquet"] * (form == "parquet")]
    command = [sys.executable, "-c", start, script, source, target, *options]
    patience = {"RAY_raylet_start_wait_time_s": "300", "RAY_worker_niceness": "0"}  # beside other tests
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **patience})
    assert done.returncode == 0, done.stderr
    if form == "jsonl":
        found = [json.loads(line) for file in target.glob("*.json*") for line in file.read_text().splitlines()]
    else:
        found = [row for file in target.glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    assert {row["id"]: row["masks"] for row in found} == expected
    assert len(found) == len(rows)
    assert any(expected[row["id"]] != row["masks"] for row in rows)
