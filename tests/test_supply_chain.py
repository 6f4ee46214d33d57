"""What ruff's rules leave open: no file can run code when it is read, and no package is imported that may be absent."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "refine.py", ROOT / "train.py", *sorted((ROOT / "src").rglob("*.py"))]
SAFE = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
"""What must be said in a call."""

RUNS_CODE = ("eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "os.system", "os.popen")


def unsafe_calls(text):
    for call in ast.walk(ast.parse(text)):
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func)
            said = {keyword.arg: getattr(keyword.value, "value", None) for keyword in call.keywords}
            argument, value = SAFE.get(name, (None, None))
            if name in RUNS_CODE or said.get("shell") is True or (argument and said.get(argument) is not value):
                yield f"line {call.lineno}: {ast.unparse(call)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_is_read_can_run_code(path):
    assert not list(unsafe_calls(path.read_text()))


@pytest.mark.parametrize(
    "call", ["torch.load(path)", "np.load(path, allow_pickle=True)", "run(command, shell=True)", "pickle.loads(data)"]
)
def test_calls_that_could_are_found(call):
    assert len(list(unsafe_calls(f"found = {call}"))) == 1


def test_findings_are_red_unless_explained():
    audit = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["unexplained"]
    finding = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.0"]}
    packages = [{"name": "a", "version": "1.0", "vulns": [finding]}, {"name": "b", "skip_reason": "unknown"}]
    report = {"dependencies": packages}
    assert list(audit(report, "")) == ["a 1.0: PYSEC-2026-1, mended in 2.0"]
    assert list(audit(report, "CVE-2026-1"))  # without a reason
    assert not list(audit(report, "CVE-2026-1 is of a server that is never started"))


def test_only_what_is_required_is_imported_by_a_refinement(toy_coco, weights, tmp_path):
    command = [sys.executable, Path(__file__).with_name("without_extras.py"), ROOT / "refine.py"]
    command += [
        f"images={toy_coco.images}",
        f"predictions={toy_coco.predictions}",
        f"annotations={toy_coco.annotations}",
    ]
    command += [f"ckpt={weights}", f"output={tmp_path / 'refined.json'}", "patch.size=32", "report=true", "threads=1"]
    done = subprocess.run([*command, "trainer.accelerator=cpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "openvino" in done.stdout.splitlines()[0]
    assert "report: " in done.stdout
