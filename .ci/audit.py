"""Known vulnerabilities of what is installed, by pip-audit: ``python .ci/audit.py``, in the environment to look at.

Exit status 1 for findings that ``.ci/audit-explained.txt`` does not explain (a line each: the id, and why it does not
matter here), and where it cannot be run; 0, with a line that says so, where the database cannot be reached.
"""

import json
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

EXPLAINED = Path(__file__).with_name("audit-explained.txt")
DATABASE = "https://pypi.org/pypi/pip/24.0/json"
"""What pip-audit asks for, of some release."""


def unexplained(report: dict[str, Any], explained: str) -> Iterator[str]:
    """A line for each finding in a report of ``pip-audit --format json`` that no line of ``explained`` begins with."""
    known = {line.split()[0] for line in explained.splitlines() if len(line.split()) > 1}
    for package in report["dependencies"]:
        for found in package.get("vulns", []):
            if known.isdisjoint({found["id"], *found["aliases"]}):
                fixed = ", ".join(found["fix_versions"]) or "no version yet"
                yield f"{package['name']} {package['version']}: {found['id']}, mended in {fixed}"


def is_reachable() -> bool:
    """Whether the database of vulnerabilities answers."""
    try:
        with urlopen(DATABASE, timeout=20) as answer:
            return "vulnerabilities" in json.load(answer)
    except (OSError, ValueError):
        return False


def audit(folder: Path) -> dict[str, Any] | None:
    """The report on the packages of this environment, made in one of its own; None if it cannot be made."""
    venv.create(folder, with_pip=True)
    python, report = folder / "bin" / "python", folder / "report.json"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-audit"], check=False)  # noqa: S603 (no shell)
    command = [python, "-m", "pip_audit", "--path", sysconfig.get_path("purelib"), "--format", "json"]
    command += ["--output", report, "--progress-spinner", "off"]
    subprocess.run(command, check=False)  # noqa: S603 (no shell)
    return json.loads(report.read_text()) if report.exists() else None


def main() -> None:
    """Print what was found."""
    if not is_reachable():
        print(f"pip-audit: the database ({DATABASE}) cannot be reached from here, nothing was audited")
        return
    with tempfile.TemporaryDirectory() as folder:
        report = audit(Path(folder))
    if report is None:
        sys.exit("pip-audit: could not be installed or run, although its database can be reached; nothing was audited")
    skipped = sum("skip_reason" in package for package in report["dependencies"])
    print(f"pip-audit: {len(report['dependencies'])} packages, {skipped} of them unknown to the database")
    sys.exit("\n".join(unexplained(report, EXPLAINED.read_text())) or 0)


if __name__ == "__main__":
    main()
