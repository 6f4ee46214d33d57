"""Memory does not grow with the number of images: measured in processes of their own, on generated streams."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from bpr import rle
from bpr.formats.coco import new_entry

READ = """
import resource, sys
from bpr.data.inputs import read_input
given = read_input(sys.argv[1], sys.argv[2])
print(len(given.records), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def write_stream(folder, images):
    """JSON Lines with one detailed mask in each image, 3 kB a line; all images are the same file."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)).save(folder / "a.jpg")
    ys, xs = np.mgrid[:240, :320]
    masks = [rng.random((240, 320)) * ((xs - x) ** 2 + (ys - 120) ** 2 < 60**2) > 0.7 for x in range(80, 240, 20)]
    codes = [rle.encode(mask) for mask in masks]
    path = folder / f"{images}.jsonl"
    with path.open("w") as file:
        for number in range(images):
            entry = new_entry(number, 1, codes[number % len(codes)], 0.5)
            file.write(json.dumps({**entry, "file_name": "a.jpg"}) + "\n")
    return path


def peak_mb(*command):
    """What the process printed last: its peak memory."""
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def test_reading_many_predictions_does_not_hold_them(tmp_path):
    few, many = (write_stream(tmp_path, images) for images in (10, 30_000))
    assert many.stat().st_size > 80e6
    grown = peak_mb("-c", READ, tmp_path, many) - peak_mb("-c", READ, tmp_path, few)
    assert grown < 40, "MB; 80 MB of JSON are more than 100 MB of objects"


def test_a_predicting_process_needs_no_more_memory_for_ten_times_the_images(tmp_path):
    script = Path(__file__).with_name("identity_run.py")
    peaks = []
    for images in (15, 150):
        predictions = write_stream(tmp_path, images)
        peaks.append(peak_mb(script, tmp_path, predictions, tmp_path / f"refined{images}.jsonl", 1))
    assert peaks[1] < 1.05 * peaks[0]
