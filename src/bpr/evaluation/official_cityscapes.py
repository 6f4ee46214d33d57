"""Cityscapes AP by the official script, of the package ``cityscapesscripts`` (extra ``cityscapes``)."""

import copy
import importlib
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bpr.formats.cityscapes import INSTANCES_SUFFIX, image_name, prediction_files
from bpr.formats.errors import FormatError
from bpr.formats.files import visible_files

_SCRIPT = "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling"


OfficialScores = dict[str, tuple[float, float]]
"""AP at IoU 0.5 to 0.95 and at 0.5, in [0, 1], by class, and first their ``mean``; NaN for a class without objects."""


def official_scores(predictions: str | Path, ground_truth: str | Path) -> OfficialScores:
    """Run the official instance-level evaluation on a folder of predictions and one such as ``gtFine/val``.

    It differs from COCO's AP: objects of few pixels are not scored, and predictions that lie mostly in regions
    that are not annotated or in groups are ignored.

    Raises:
        FormatError: If an image has no prediction file, or the script refuses a file.
        ModuleNotFoundError: If ``cityscapesscripts`` is not installed; says how to install it.
    """
    try:
        script: Any = importlib.import_module(_SCRIPT)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the official evaluation needs: pip install -e '.[cityscapes]'") from error
    predictions, ground_truth = Path(predictions).resolve(), Path(ground_truth).resolve()
    truths = sorted(str(path) for path in visible_files(ground_truth) if path.name.endswith(INSTANCES_SUFFIX))
    if not truths:
        raise FormatError(ground_truth, None, f"has no *{INSTANCES_SUFFIX}; give a folder such as gtFine/val")
    lists = {image_name(path): str(path) for path in prediction_files(predictions)}
    missing = [path for path in truths if image_name(Path(path)) not in lists]
    if missing:
        raise FormatError(predictions, None, f"has no *_pred.txt for {len(missing)} images, such as {missing[0]}")
    settings = copy.copy(script.args)
    settings.quiet, settings.predictionPath = True, str(predictions)
    with tempfile.TemporaryDirectory() as folder:
        settings.gtInstancesFile = str(Path(folder) / "instances.json")
        try:
            averages = _run(script, settings, [lists[image_name(Path(path))] for path in truths], truths)
        except SystemExit as error:
            raise FormatError(predictions, None, "is refused by the official script; see its message above") from error
    scores = {"mean": (float(averages["allAp"]), float(averages["allAp50%"]))}
    return scores | {name: (float(f["ap"]), float(f["ap50%"])) for name, f in averages["classes"].items()}


def _run(script: Any, settings: Any, lists: list[str], truths: list[str]) -> Any:
    """The averages that the script prints, without the files that it leaves in the working directory."""
    # Version 2.2 of the script calls np.in1d, which NumPy 2.4 has removed.
    with patch.object(np, "in1d", lambda values, among: np.isin(values, among).ravel(), create=True):
        script.setInstanceLabels(settings)
        instances = script.getGtInstances(truths, settings)
        matches = script.matchGtWithPreds(lists, truths, instances, settings)
        return script.computeAverages(script.evaluateMatches(matches, settings), settings)


def format_official(scores: OfficialScores, before: OfficialScores | None = None) -> str:
    """A table for people: AP and AP50 in percent, of each class and the mean; with ``before``, beside its own."""
    if before is None:
        lines = [f"{name:<12} {100 * ap:6.1f} {100 * ap50:6.1f}" for name, (ap, ap50) in scores.items()]
        return "\n".join(["official Cityscapes scores:", f"{'':<12} {'AP':>6} {'AP50':>6}", *lines])
    lines = [
        f"{name:<12} {100 * before[name][0]:6.1f} {100 * ap:7.1f} {100 * before[name][1]:11.1f} {100 * ap50:7.1f}"
        for name, (ap, ap50) in scores.items()
    ]
    head = f"{'':<12} {'AP':>6} {'refined':>7} {'AP50':>11} {'refined':>7}"
    return "\n".join(["official Cityscapes scores:", head, *lines])
