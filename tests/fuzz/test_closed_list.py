"""A closed list of exceptions leaves the readers, whatever they are given."""

import json
import math
import time
from pathlib import Path
from random import Random

import pytest
from safetensors.torch import save_file

from bpr.formats.predictions import FORMATS
from bpr.models.weights import METADATA_KEY, CheckpointError, load_segmenter
from fuzz.mutations import NUMBERS, OTHERS, TEXTS, mutate
from fuzz.readers import CLOSED_LIST, READERS, SLOWEST, Sample, TinyNetwork

FINDINGS = sorted((Path(__file__).parent / "findings").glob("*-*"))


def broken_files(reader, folder, count):
    """Read as many broken variants of the sample; gives how many were refused, and the longest time, CPU seconds."""
    sample, random = Sample(reader, folder), Random(f"{reader} {count}")
    refused, longest = 0, 0.0
    for number in range(count):
        file = random.randrange(len(sample.contents))
        content = mutate(sample.contents[file], random)
        start = time.process_time()
        try:
            error = sample.read_with(file, content)
        except Exception:
            (folder / "found").write_bytes(content)
            pytest.fail(f"number {number}, file {file}: {folder / 'found'}")
        longest = max(longest, time.process_time() - start)
        refused += error is not None
        if isinstance(error, CLOSED_LIST[:2]):
            assert str(folder) in str(error) or "/etc/passwd" in str(error), "the file is not named"
    return refused, longest


def test_every_format_has_a_reader_here():
    assert set(FORMATS) <= set(READERS)


@pytest.mark.parametrize("reader", READERS)
def test_the_sample_itself_is_good(reader, tmp_path):
    sample = Sample(reader, tmp_path)
    for number in range(len(sample.contents)):
        sample.read(number)
    assert sample.contents


@pytest.mark.parametrize("reader", READERS)
def test_broken_files_end_in_an_error_of_the_list(reader, tmp_path):
    refused, longest = broken_files(reader, tmp_path, 80)
    assert refused > 20, "the files are hardly broken"
    assert longest < SLOWEST


@pytest.mark.campaign
@pytest.mark.parametrize("reader", READERS)
def test_twenty_thousand_broken_files_end_in_an_error_of_the_list(reader, tmp_path, capsys):
    refused, longest = broken_files(reader, tmp_path, 20_000)
    with capsys.disabled():
        print(f"\n{reader}: 20,000 broken files, {refused} refused, none took more than {longest:.2f} s")
    assert longest < SLOWEST


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: path.name)
def test_what_was_found_once_stays_mended(finding, tmp_path):
    reader, file, _ = finding.name.split("-", 2)
    Sample(reader, tmp_path).read_with(int(file), finding.read_bytes())


CONFIGS = [
    *(("backbone", value) for value in [7, math.nan, None, [], {"a": 1}, "", "\ud800", "resnet18", "hf_hub:a/b"]),
    *(("input_size", value) for value in [*NUMBERS, *TEXTS, *OTHERS, 33, 2**20]),
    *(("trust", value) for value in ["x", None]),
    ("more", 1),
]


def test_a_network_of_a_config_of_any_kind_is_refused(tmp_path):
    path, network = tmp_path / "w.safetensors", TinyNetwork()
    for field, value in CONFIGS:
        config = {"backbone": "hrnet_w18_small", "input_size": 32, field: value}
        save_file(dict(network.state_dict()), path, metadata={METADATA_KEY: json.dumps(config)})
        with pytest.raises(CheckpointError, match=r"w\.safetensors"):
            load_segmenter(path)
