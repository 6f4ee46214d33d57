"""``python -m bpr.benchmark.first_patches ARGUMENTS``: `refine.py`, and when its network had seen the first patches."""

import sys
import time
from typing import Any, Final

from bpr.__main__ import run_script
from bpr.models.refiner import PatchRefiner

MARK: Final = "first patches at "
"""Begins the line that says when: seconds since the epoch."""


def main(arguments: list[str]) -> int:
    """Run ``refine.py`` with the arguments and print one line more."""
    predict_patches = PatchRefiner.predict_patches

    def first(refiner: PatchRefiner, *patches: Any) -> Any:
        found = predict_patches(refiner, *patches)
        if len(found):
            print(f"{MARK}{time.time()}", flush=True)
            setattr(PatchRefiner, "predict_patches", predict_patches)  # noqa: B010 (mypy: a method is not assigned to)
        return found

    setattr(PatchRefiner, "predict_patches", first)  # noqa: B010
    return run_script("refine", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
