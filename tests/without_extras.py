"""Run a script as if only the required packages were installed: ``python without_extras.py SCRIPT ARGUMENTS``."""

import runpy
import sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from typing import ClassVar

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def required(package, extras=frozenset()):
    """Names of a package and all that it requires, in turn, in this environment."""
    found, left = set(), [(package, extras)]
    while left:
        name, extras = left.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        try:
            needs = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue
        for need in needs:
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                left.append((canonicalize_name(need.name), frozenset(need.extras)))
    return {name for name, _ in found}


class Present(PathFinder):
    """Finds packages and modules only of what is required."""

    required: ClassVar[set[str]] = set()
    absent: ClassVar[set[str]] = set()

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname.partition(".")[0] in cls.absent else super().find_spec(fullname, path, target)

    @classmethod
    def find_distributions(cls, *context):
        found = super().find_distributions(*context)
        return [one for one in found if canonicalize_name(one.metadata["Name"]) in cls.required]


if __name__ == "__main__":
    there = required("bpr")
    owners = {module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()}
    absent = {module for module, names in owners.items() if not names & there}
    print("as if absent:", *sorted(absent))
    Present.required, Present.absent = there, absent
    sys.meta_path[:] = [Present if finder is PathFinder else finder for finder in sys.meta_path]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
