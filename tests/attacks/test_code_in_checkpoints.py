"""A checkpoint is a pickle that runs a program when it is read."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from bpr.models.weights import CheckpointError, load_segmenter


@dataclass
class Intruder:
    """Creates the folder ``trace`` when it is unpickled."""

    trace: Path

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def save_with_torch(content, path):
    torch.save(content, path)


def save_as_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_with_pickle(content, path):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [save_with_torch, save_as_legacy, save_with_pickle])
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("place", ["meta", "state_dict", "hyper_parameters"])
def test_code_does_not_run(tmp_path, save, suffix, place):
    path, trace = tmp_path / f"evil{suffix}", tmp_path / "trace"
    save({"state_dict": {"w": torch.zeros(1)}, place: Intruder(trace)}, path)
    with pytest.raises(CheckpointError, match=rf"evil\{suffix}: not a"):
        load_segmenter(path)
    assert not trace.exists()
