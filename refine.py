"""Refine the masks of any instance segmenter: ``python refine.py images=DIR predictions=FILE``.

All settings are in ``conf/refine.yaml``. Without arguments, an embedded example and demo are refined.
"""

from __future__ import annotations

if __name__ == "__main__":
    from bpr.cli.signals import exit_at_signals

    exit_at_signals()

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig

from bpr.cli.command import one_line_errors, printable
from bpr.config.overrides import prepared, texts_as_help
from bpr.config.run_folder import check_run_folder, without_empty_folder, without_run_folder
from bpr.config.schemas import RefineConf, build, refine_text, refine_values, register_schemas

if TYPE_CHECKING:
    from omegaconf import DictConfig

register_schemas()


@hydra.main(version_base="1.3", config_path="conf", config_name="refine")
def main(cfg: DictConfig) -> None:
    """Refine, merge, and print what happened; bad input ends in one line that says what to do."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    with one_line_errors(), without_empty_folder(folder):
        from bpr.cli.signals import raise_at_signals
        from bpr.models.trainer import build_trainer
        from bpr.refine.run import open_run, predict
        from bpr.refine.settings import RefineSettings
        from bpr.refine.summary import format_kept, format_summary
        from bpr.report.outcome import show_outcome

        raise_at_signals()
        settings = RefineSettings.from_config(refine_values(cfg), folder)
        make_trainer = partial(build_trainer, partial(build, cfg.trainer))
        run = open_run(settings, make_trainer)
        with run.resumable():
            if not predict(run, make_trainer):
                return
            finished = run.finish()
            print(format_summary(finished.summary, finished.elapsed))
            for note in (*settings.notes, *run.given.notes, *finished.summary.notes):
                print(printable(f"note: {note}"))
            print(printable(run.network))
            print(printable(f"refined masks: {finished.refined.path}"))
            ratio = settings.dilation_ratio or run.given.predictions.format.dilation_ratio
            report = f"{refine_text(cfg)}# {run.network}" if settings.report else None
            for line in show_outcome(finished, ratio, settings.contact_sheet, report, settings.report_min_score):
                print(printable(line))
            run.shards.close()
        if finished.summary.kept:
            print(printable(format_kept(finished.summary)))


if __name__ == "__main__":
    with one_line_errors(), texts_as_help():
        given = prepared(sys.argv[1:], RefineConf, Path(__file__).with_name("conf") / "refine.yaml")
        sys.argv[1:] = without_run_folder(given)
        check_run_folder(sys.argv[1:], "refine")
        main()
