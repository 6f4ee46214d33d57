"""Each process here is told when it is ready: nothing depends on how fast the machine is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
SLEEP = "import time; print('ready', flush=True); [time.sleep(0.1) for _ in range(600)]"
"""In pieces: a signal that comes right before a long one would wait for its end."""


def heed_ctrl_c():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # it is ignored in jobs of the background


def signalled(command, number, cwd, **environment):
    """Exit status and stderr of a process that gets a signal once it is ready."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": cwd}
    options["preexec_fn"] = heed_ctrl_c
    with subprocess.Popen(command, env={**os.environ, **environment}, **options) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize(("number", "status"), SIGNALS)
@pytest.mark.parametrize("script", ["refine.py", "train.py"])
def test_a_script_ends_without_a_trace_while_it_imports(tmp_path, script, number, status):
    """Also where a package makes another error of any exception, as NumPy does."""
    (tmp_path / "hydra.py").write_text(
        f"try:\n  {SLEEP}\nexcept BaseException as error:\n  raise ImportError('failed to import') from error\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    assert signalled([sys.executable, ROOT / script], number, tmp_path, PYTHONPATH=path) == (status, "")


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_after_the_imports_what_is_under_way_is_cleaned_up(tmp_path, number, status):
    program = f"""
from bpr.cli.signals import exit_at_signals, raise_at_signals
exit_at_signals()
from bpr.cli.command import one_line_errors
raise_at_signals()
with one_line_errors():
    try:
        {SLEEP}
    finally:
        open('cleaned', 'w')
"""
    assert signalled([sys.executable, "-c", program], number, tmp_path) == (status, "")
    assert (tmp_path / "cleaned").exists()


def test_a_second_signal_does_not_break_the_end_into_pieces(tmp_path):
    program = """
import os, signal
from bpr.cli.signals import Interruption, exit_at_signals, raise_at_signals
exit_at_signals()
raise_at_signals()
try:
    os.kill(os.getpid(), signal.SIGINT)
except Interruption as error:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    print(error.status)
"""
    command, told = [sys.executable, "-c", program], {"stdout": subprocess.PIPE, "text": True}
    done = subprocess.run(command, preexec_fn=heed_ctrl_c, check=True, **told)
    assert done.stdout == "130\n"


IGNORED = "import signal, sys; print([signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGINT, signal.SIGTERM)])"


@pytest.mark.parametrize(
    ("before", "environment", "ignored"),
    [
        (signal.SIG_DFL, {}, [False, False]),
        (signal.SIG_IGN, {}, [True, False]),
        (signal.SIG_DFL, {"LOCAL_RANK": "0"}, [False, False]),
        (signal.SIG_DFL, {"LOCAL_RANK": "1"}, [True, True]),
        (signal.SIG_DFL, {"LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "a"}, [False, False]),
    ],
)
def test_background_jobs_and_processes_that_lightning_ends_ignore_them(before, environment, ignored):
    program = f"from bpr.cli.signals import exit_at_signals; exit_at_signals(); {IGNORED}"
    set_before = {"preexec_fn": lambda: signal.signal(signal.SIGINT, before), "env": {**os.environ, **environment}}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, **set_before)
    assert done.stdout == f"{ignored}\n"
