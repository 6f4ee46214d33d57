import re
import signal
import sys
from argparse import ArgumentTypeError

import pytest
import torch
from hydra.errors import InstantiationException
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from bpr.cli.command import at_least, exit_code, one_line_errors
from bpr.formats.errors import FormatError
from bpr.models.weights import CheckpointError
from bpr.structures import SettingError

OF_THE_USER = [
    FormatError("a.json", "entry 3", "is wrong"),
    CheckpointError("no such weights"),
    SettingError("threshold must\nbe in [0, 1)"),
    MisconfigurationException("No supported gpu backend found!"),
    ModuleNotFoundError("needs: pip install x"),
    PermissionError(13, "Permission denied", "/out"),
]


def fail(error):
    raise error


@pytest.mark.parametrize("error", OF_THE_USER, ids=lambda error: type(error).__name__)
def test_what_the_user_can_mend_ends_in_one_line(error, capsys):
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise error
    assert end.value.code == "error: " + " ".join(str(error).split())  # which Python prints, and exits with 1
    assert exit_code(lambda: fail(error)) == 2
    assert capsys.readouterr().err == end.value.code + "\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000000 bytes."),
    ],
    ids=repr,
)
def test_where_memory_runs_out_one_line_names_what_needs_less(error):
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise error
    assert re.match(r"error: memory ran out \([^\n]*\); give a smaller patches_per_forward", end.value.code)


@pytest.mark.parametrize("error", [*OF_THE_USER, ValueError("data.batch_size=5 is no multiple")], ids=repr)
def test_so_does_what_a_constructor_refuses_that_hydra_calls(error):
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise InstantiationException("Error in call to target 'a.b'") from error
    assert end.value.code == "error: " + " ".join(str(error).split())


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), ZeroDivisionError("a bug")], ids=repr)
def test_bugs_keep_their_traceback(error):
    with pytest.raises(type(error)), one_line_errors():
        raise error
    with pytest.raises(type(error)):
        exit_code(lambda: fail(error))


def test_a_command_may_count_further_errors_as_the_users(capsys):
    assert exit_code(lambda: fail(ValueError("give 1 to 4")), ValueError) == 2
    assert capsys.readouterr().err == "error: give 1 to 4\n"
    assert exit_code(lambda: None) == 0


def test_signals_end_with_the_status_that_shells_expect():
    def lightning_at_control_c():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    for end, status in (
        (lambda: fail(SIGTERMException()), 128 + signal.SIGTERM),
        (lambda: fail(KeyboardInterrupt()), 128 + signal.SIGINT),
        (lightning_at_control_c, 128 + signal.SIGINT),
        (lambda: sys.exit(3), 3),
    ):
        with pytest.raises(SystemExit) as raised, one_line_errors():
            end()
        assert raised.value.code == status


@pytest.mark.parametrize(("text", "problem"), [("-1", "at least 0, got -1"), ("65536", "at most 65535, got 65536")])
def test_a_whole_number_out_of_its_range_is_refused_with_the_bound(text, problem):
    with pytest.raises(ArgumentTypeError, match=problem):
        at_least(0, at_most=65_535)(text)


def test_that_another_process_has_ended_is_one_line(capsys):
    def work():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:554] Connection closed by peer [127.0.0.1]:1")

    assert exit_code(work) == 2
    assert capsys.readouterr().err.startswith("error: another process of this run has ended")
