"""Refine the masks of any instance segmenter: ``python refine.py images=DIR predictions=FILE``.

All settings are in ``conf/refine.yaml``. Without arguments, the embedded demo is refined.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig

from bpr.command import one_line_errors
from bpr.config import build_trainer, refine_text, refine_values, register_schemas

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bpr.refine.results import FinishedRun
    from bpr.refine.settings import RefineSettings

register_schemas()


@hydra.main(version_base="1.3", config_path="conf", config_name="refine")
def main(cfg: DictConfig) -> None:
    """Refine, merge, and print what happened; bad input ends in one line that says what to do."""
    with one_line_errors():
        from bpr.refine.results import format_summary
        from bpr.refine.run import open_run, predict
        from bpr.refine.settings import RefineSettings

        settings = RefineSettings.from_config(refine_values(cfg), HydraConfig.get().runtime.output_dir)
        make_trainer = partial(build_trainer, cfg.trainer)
        run = open_run(settings, make_trainer)
        if not predict(run, make_trainer):
            return
        finished = run.finish()
        print(format_summary(finished.summary, finished.elapsed))
        print(f"network: {run.checkpoint.stem}, backend {run.backend.value}")
        print(f"refined masks: {finished.refined.path}")
        show(finished, settings, settings.dilation_ratio or run.given.form.dilation_ratio, refine_text(cfg))


def show(finished: FinishedRun, settings: RefineSettings, dilation_ratio: float, configuration: str) -> None:
    """Write the contact sheet and the report that are asked for, and print where; print scores before and after."""
    from bpr.evaluation.scores import evaluate_results
    from bpr.evaluation.table import format_table
    from bpr.report import write_report
    from bpr.report.contact_sheet import write_contact_sheet

    output, annotations, scores = finished.refined.path, finished.annotations, None
    if settings.contact_sheet:
        sheet = output.with_name(f"{output.stem}_contact_sheet.png")
        shown = write_contact_sheet(sheet, finished.records, (output, finished.refined.entries), annotations)
        print(f"before and after: {sheet}" if shown else "no mask changed: no contact sheet")
    if annotations is not None and annotations.has_truths:
        scores = evaluate_results(finished.refined, annotations, finished.coarse, dilation_ratio)
        print(format_table(scores))
    if settings.report:
        print(f"report: {write_report(finished, scores, configuration)}")


if __name__ == "__main__":
    main()
